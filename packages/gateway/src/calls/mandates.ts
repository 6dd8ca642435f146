import { errorCode, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { cedarInput } from '@sallyport/decide'
import type { Call } from '@sallyport/decide'
import { kindOf, parseSpiffeId, verifySvid } from '@sallyport/spiffe'
import { bundlesOf } from '@sallyport/transport'
import type { IdentityHolder } from '@sallyport/transport'
import { coverOf, MANDATE_ID, mandateId, readMandateToken, verifyMandate } from '@sallyport/wire'
import type {
  DecisionRecord,
  HopUse,
  MandateSigner,
  OperatorSet,
  VerifiedMandate,
} from '@sallyport/wire'
import type { PlaneClient } from '../plane/client.ts'
import { Refusal } from '../refusal.ts'
import type { Bundles, Enforced } from '../state/bundles.ts'
import type { SessionScope } from '../state/sessions.ts'
import { Pace } from '../edge/pace.ts'
import { MandateMemory } from './mandate-memory.ts'
import type { Remembered } from './mandate-memory.ts'
import type { Caller, TypedCall } from './types.ts'

export interface MandatesOptions {
  readonly client: PlaneClient
  readonly holder: IdentityHolder
  readonly bundles: Bundles
  readonly clock: Clock
}

/**
 * Mandates that one caller may present in vain, in the long run and at once: an id costs the control plane a request, a chain the checks
 * of its signatures, and whoever makes them up never runs out of them.
 */
const MISSES_PER_SECOND = 2
const MISSES_AT_ONCE = 64
/**
 * How far this gateway's clock may be behind that of whoever signed. Labels are told apart by it: what was touched in that time may have
 * been touched after the mandate was given, and counts.
 */
const MAX_SKEW_MS = 60_000

/** A mandate that covers one call of its holder, whole chain verified. */
export interface CallMandate {
  readonly known: Remembered
  readonly mandate: VerifiedMandate
  /** What the call takes of each hop, root first. */
  readonly uses: readonly HopUse[]
  /** As policies read it. */
  readonly facts: NonNullable<Call['mandate']>
  readonly record: NonNullable<DecisionRecord['mandate']>
  readonly scope: SessionScope
  /** Whoever passed it on, each to be allowed the very same call. */
  readonly delegators: readonly Delegator[]
}

/** An instance that passed a mandate on, with the one that it was given itself. */
interface Delegator {
  readonly instance: string
  readonly agent: string
  readonly mandate: NonNullable<Call['mandate']> | undefined
  readonly scope: SessionScope
}

/** Mandates that callers present: looked up, verified here, and held against the call. */
export class Mandates {
  readonly #options: MandatesOptions
  readonly #memory = new MandateMemory()
  readonly #misses: Pace
  /** Lookups in flight, by id: callers that ask for the same one ask once. */
  readonly #asking = new Map<string, Promise<unknown>>()

  constructor(options: MandatesOptions) {
    this.#options = options
    this.#misses = new Pace(MISSES_PER_SECOND, MISSES_AT_ONCE, options.clock)
  }

  /**
   * The mandate that a caller presents, if it covers exactly this call.
   *
   * @param presented an id, or a whole chain as a token
   * @throws Refusal `SP_MANDATE_*`
   */
  async present(
    presented: string,
    caller: Caller,
    typed: Pick<TypedCall, 'system' | 'operation' | 'input'>,
    { operators }: Enforced,
  ): Promise<CallMandate> {
    const known = await this.#verified(presented, caller.instance, operators)
    const { mandate } = known
    const { system, operation, input } = typed
    // Ceilings are whole numbers of minor units: a decimal is none of them, not even a whole one, and so is never covered.
    const call = {
      system: system.name,
      operation: operation.name,
      input: cedarInput(operation, input),
    }
    const uses = mandate.hops.map((hop, index) => {
      const use = coverOf(hop, call)
      if (use) return use
      const detail = `hop ${index + 1}, ${mandate.chain[index] ?? ''}`
      throw refusal('SP_MANDATE_CALL', 'the mandate does not cover the call', detail)
    })
    const facts = factsAt(mandate, mandate.depth)
    if (!facts) throw refusal('SP_MANDATE_FORMAT', 'the mandate is malformed', 'no hop')
    return {
      known,
      mandate,
      uses,
      facts,
      record: { ...facts, chain: mandate.chain },
      scope: scopeAt(mandate, mandate.depth),
      delegators: delegatorsOf(mandate),
    }
  }

  /**
   * Whether a mandate that was verified still holds: in this very turn, without looking anything up.
   *
   * @throws Refusal `SP_MANDATE_*`
   */
  check({ known }: CallMandate): void {
    this.#current(known, this.#options.bundles.enforced?.operators)
  }

  async #verified(
    presented: string,
    caller: string,
    operators: OperatorSet | undefined,
  ): Promise<Remembered> {
    if (MANDATE_ID.test(presented)) return this.#verifiedById(presented, caller, operators)
    let chain
    try {
      chain = readMandateToken(presented)
    } catch (error) {
      throw told(error)
    }
    const leaf = chain.at(-1)
    const id = leaf ? mandateId(leaf.statement) : ''
    const known = this.#memory.recall(caller, id)
    // What is carried may be signed anew since: it is what counts where what is remembered no longer stands.
    if (known && this.#stands(known, operators)) return known
    return this.#rationed(caller, () => this.#verify({ id, caller, chain, operators }))
  }

  async #verifiedById(
    id: string,
    caller: string,
    operators: OperatorSet | undefined,
  ): Promise<Remembered> {
    const known = this.#memory.recall(caller, id)
    try {
      if (known) return this.#current(known, operators)
    } catch (error) {
      // An SVID that signed it is over: it may be signed anew since.
      if (errorCode(error) !== 'SP_MANDATE_SIGNATURE' || !known?.mandate.delegators.length) {
        throw error
      }
    }
    if (this.#options.bundles.isMandateRevoked(id)) {
      throw told(new SallyportError('SP_MANDATE_REVOKED', 'the mandate was revoked'))
    }
    return this.#rationed(caller, async () =>
      this.#verify({ id, caller, chain: await this.#lookUp(id), operators }),
    )
  }

  /** Looks up or verifies what is not remembered, where the caller has not done so in vain too often. */
  async #rationed(
    caller: string,
    act: () => Remembered | Promise<Remembered>,
  ): Promise<Remembered> {
    if (!this.#misses.admits(caller)) {
      throw new Refusal('SP_OVERLOADED', 'calls come too fast', {
        status: 429,
        outcome: 'limited',
        retryAfterSeconds: 1,
      })
    }
    try {
      const verified = await act()
      this.#misses.giveBack(caller)
      return verified
    } catch (error) {
      // No fault of the caller's.
      if (errorCode(error) === 'SP_MANDATE_UNAVAILABLE') this.#misses.giveBack(caller)
      throw error
    }
  }

  /** What was verified, if everything that it was verified by is still so; verified anew otherwise. */
  #current(known: Remembered, operators: OperatorSet | undefined): Remembered {
    if (this.#stands(known, operators)) return known
    const { mandate, caller, chain } = known
    return this.#verify({ id: mandate.id, caller, chain, operators })
  }

  #stands(known: Remembered, operators: OperatorSet | undefined): boolean {
    const { bundles, clock, holder } = this.#options
    const { mandate, signers } = known
    const now = clock.now()
    return (
      known.operators === operators &&
      known.rootsPem === holder.current().rootsPem &&
      now < mandate.expiresAt &&
      !mandate.chain.some((id) => bundles.isMandateRevoked(id)) &&
      !mandate.delegators.some((instance) => bundles.isQuarantined(instance)) &&
      signers.every(({ notAfter, serial }) => now <= notAfter && !bundles.isRevoked(serial))
    )
  }

  #verify({
    id,
    caller,
    chain,
    operators,
  }: Pick<Remembered, 'caller' | 'chain' | 'operators'> & { readonly id: string }): Remembered {
    const { bundles, clock, holder } = this.#options
    const anchors = holder.current()
    const { trustDomain, rootsPem } = anchors
    const now = clock.now()
    const signers: MandateSigner[] = []
    let mandate
    try {
      mandate = verifyMandate(chain, {
        trustDomain,
        now,
        operators,
        holder: caller,
        verifySvid: (der) => {
          const svid = verifySvid(der, bundlesOf(anchors), { now })
          const { serial, notAfter, publicKey } = svid
          const signer = { instance: svid.id.uri, serial, notAfter, publicKey }
          signers.push(signer)
          return signer
        },
        isRevoked: (one) => bundles.isMandateRevoked(one),
        isSerialRevoked: (serial) => bundles.isRevoked(serial),
        isCut: (instance) => bundles.isQuarantined(instance),
      })
    } catch (error) {
      this.#memory.forget(caller, id)
      throw told(error)
    }
    // What was asked for by its hash is that, whatever the control plane answered.
    if (mandate.id !== id) throw unknown()
    const size = JSON.stringify(chain).length
    const known = { caller, mandate, signers, operators, rootsPem, chain, size }
    this.#memory.remember(known)
    return known
  }

  async #lookUp(id: string): Promise<unknown> {
    let asked = this.#asking.get(id)
    if (!asked) {
      asked = this.#ask(id).finally(() => this.#asking.delete(id))
      this.#asking.set(id, asked)
    }
    let chain
    try {
      chain = await asked
    } catch (cause) {
      throw unavailable(cause)
    }
    if (chain === undefined) throw unknown()
    return chain
  }

  /** @returns undefined where there is none */
  async #ask(id: string): Promise<unknown> {
    const path = `/v1/mandates/${id}`
    const answer = await this.#options.client.request({ method: 'GET', path, also: [404] })
    return answer.status === 404 ? undefined : answer.body['chain']
  }
}

/**
 * The first `depth` hops as policies read them; undefined where there is none. The task is that of the root, as is the delegator:
 * whoever passes a part on words it anew, and a policy must not take those words for the delegator's.
 */
function factsAt(mandate: VerifiedMandate, depth: number): CallMandate['facts'] | undefined {
  const [id, root] = [mandate.chain[depth - 1], mandate.hops[0]]
  if (id === undefined || !root) return undefined
  return { id, delegator: mandate.delegator, depth, task: root.task }
}

/**
 * The session that a holder is in under the first `depth` hops. Only what a person gives to an agent themselves opens a fresh
 * one: an agent's word clears nothing, or two that work together would clear whatever either has touched. What delegators have
 * touched comes with the task.
 */
function scopeAt(mandate: VerifiedMandate, depth: number): SessionScope {
  const hops = mandate.hops.slice(0, depth)
  const leaf = hops.at(-1)
  if (!leaf) return {}
  const also = hops.map(({ delegator }) => delegator).filter((one) => !one.startsWith('operator:'))
  return {
    ...(hops.length === 1 && also.length === 0 ? { since: leaf.issuedAt - MAX_SKEW_MS } : {}),
    also,
  }
}

function delegatorsOf(mandate: VerifiedMandate): Delegator[] {
  return mandate.hops.flatMap(({ delegator }, index) =>
    delegator.startsWith('operator:')
      ? []
      : [
          {
            instance: delegator,
            agent: agentOf(delegator),
            mandate: factsAt(mandate, index),
            scope: scopeAt(mandate, index),
          },
        ],
  )
}

const agentOf = (instance: string): string => kindOf(parseSpiffeId(instance))?.name ?? ''

/** Why, as a caller may know it; of what is not the mandate's fault, nothing. */
function told(error: unknown): unknown {
  if (!(error instanceof SallyportError) || !error.code.startsWith('SP_MANDATE_')) return error
  const malformed = error.code === 'SP_MANDATE_FORMAT' || error.code === 'SP_MANDATE_DEPTH'
  return new Refusal(error.code, error.message, {
    status: malformed ? 400 : 403,
    outcome: 'refused',
    ...(error.detail === undefined ? {} : { detail: error.detail }),
    cause: error,
  })
}

const refusal = (code: string, message: string, detail: string): Refusal =>
  new Refusal(code, message, { status: 403, outcome: 'refused', detail })

const unknown = (): Refusal =>
  new Refusal('SP_MANDATE_UNKNOWN', 'there is no such mandate', { status: 403 })

const unavailable = (cause: unknown): Refusal =>
  new Refusal('SP_MANDATE_UNAVAILABLE', 'mandates cannot be reached', { status: 503, cause })
