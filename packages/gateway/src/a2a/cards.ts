import { canonicalJson, sha256Hex } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { A2aSystem, System } from '@sallyport/network'
import { isCardSigned } from '@sallyport/wire'
import { isObject } from '../adapters/jsonrpc.ts'
import type { Audit } from '../audit/audit.ts'
import type { Grant } from '../calls/pipeline.ts'
import type { Ending } from '../edge/ending.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import { basePath, unusable, upstreamRefusal } from '../upstream/exchange.ts'
import type { Exchange } from '../upstream/exchange.ts'

/** Milliseconds that a wrong card is not asked for again, at most. */
const BAD_MS = 1000

export interface CardsParts {
  readonly exchange: Exchange
  readonly audit: Pick<Audit, 'boundedEvent'>
  readonly clock: Clock
}

interface Seen {
  /** By the clock that never goes back. */
  readonly until: number
  readonly refusal: Refusal | undefined
}

/** The cards that peers show, held against those that were reviewed. */
export class Cards {
  readonly #exchange: Exchange
  readonly #audit: Pick<Audit, 'boundedEvent'>
  readonly #clock: Clock
  readonly #cardMs: number
  readonly #seen = new Map<string, Seen>()

  /** @param cardMs how long a card counts as read */
  constructor(parts: CardsParts, cardMs: number) {
    this.#exchange = parts.exchange
    this.#audit = parts.audit
    this.#clock = parts.clock
    this.#cardMs = cardMs
  }

  /**
   * To be awaited before a granted call goes out: a peer that shows another card than the declared one is not called.
   *
   * @throws Refusal `SP_A2A_CARD`, `SP_A2A_SIGNATURE`, `SP_UPSTREAM_*`
   */
  async demand(grant: Grant, a2a: A2aSystem, signal: Ending): Promise<void> {
    const { system } = grant.typed
    const key = keyOf(system, a2a)
    const seen = this.#seen.get(key)
    if (seen && seen.until > this.#clock.monotonic()) {
      if (seen.refusal) throw unsent(seen.refusal)
      return
    }
    try {
      await this.#check(grant, system, a2a, signal)
    } catch (error) {
      const refusal = toRefusal(error)
      // That it gave no card may be this caller's doing or its bad luck, and is nobody else's: of the card itself all learn.
      if (refusal.code.startsWith('SP_A2A_')) {
        this.#keep(key, Math.min(BAD_MS, this.#cardMs), refusal)
        const facts = { system: system.name, detail: (refusal.detail ?? '').slice(0, 1000) }
        this.#audit.boundedEvent('a2a-card-refused', { code: refusal.code, facts })
      }
      throw unsent(refusal)
    }
    this.#keep(key, this.#cardMs, undefined)
    if (signal.aborted) throw unsent(unusable('the caller is gone'))
  }

  #keep(key: string, lasts: number, refusal: Refusal | undefined): void {
    this.#seen.set(key, { until: this.#clock.monotonic() + lasts, refusal })
    const oldest = this.#seen.keys().next().value
    if (this.#seen.size > MAX_SEEN && oldest !== undefined) this.#seen.delete(oldest)
  }

  async #check(grant: Grant, system: System, a2a: A2aSystem, signal: Ending): Promise<void> {
    const answer = await this.#exchange.send({
      caller: grant.caller.instance,
      delegation: grant.call,
      system,
      decision: grant.id,
      operation: `${system.name}.${grant.typed.operation.name}`,
      request: { method: 'GET', path: cardPath(system, a2a), body: undefined },
      trace: grant.caller.trace,
      accept: 'application/json',
      headers: { 'a2a-version': a2a.speaks },
      repeatable: true,
      signal,
    })
    if (answer.status !== 200) {
      answer.body.destroy()
      throw upstreamRefusal(answer)
    }
    const card = await this.#exchange.json(answer)
    if (!isObject(card)) throw unusable('its card is not an object')
    const { signatures, ...unsigned } = card
    const digest = sha256Hex(canonicalJson(unsigned))
    if (digest !== a2a.cardDigest) {
      throw new Refusal('SP_A2A_CARD', 'the agent shows another card than the one accepted', {
        status: 503,
        detail: `sha256 ${digest}, declared ${a2a.cardDigest}`,
      })
    }
    if (a2a.keys && !(await isCardSigned(unsigned, signatures, a2a.keys))) {
      throw new Refusal('SP_A2A_SIGNATURE', 'the card of the agent is not signed as declared', {
        status: 503,
      })
    }
  }
}

const MAX_SEEN = 1024

/** An agent outside shows its card at the root of its host (RFC 8615), unless the declaration says where. */
const cardPath = (system: System, { cardPath: path }: A2aSystem): string =>
  system.upstream.kind === 'service' ? `${basePath(system, '')}${path}` : path

/** What a card is held against, and where it is shown: of systems as declarations have them, which nobody changes. */
function keyOf(system: System, a2a: A2aSystem): string {
  let key = keys.get(system)
  if (key === undefined) {
    key = sha256Hex(canonicalJson({ name: system.name, upstream: system.upstream, a2a }))
    keys.set(system, key)
  }
  return key
}

const keys = new WeakMap<System, string>()

/** Each caller is told anew, for a refusal bears the id of one decision: its call waited for the card, and did not go out. */
const unsent = (refusal: Refusal): Refusal =>
  new Refusal(refusal.code, refusal.message, {
    status: refusal.status,
    ...(refusal.retryAfterSeconds === undefined
      ? {}
      : { retryAfterSeconds: refusal.retryAfterSeconds }),
    ...(refusal.detail === undefined ? {} : { detail: refusal.detail }),
    cause: refusal.cause,
    unsent: true,
  })
