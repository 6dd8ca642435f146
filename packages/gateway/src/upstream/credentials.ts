import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { PlaneClient } from '../plane/client.ts'
import { Refusal } from '../refusal.ts'

export interface CredentialOptions {
  readonly client: PlaneClient
  readonly clock: Clock
  /** Secret name → value, for a gateway that is given them: these come first. */
  readonly given: Readonly<Record<string, string>>
}

interface Held {
  readonly value: string
  /** Monotonic, milliseconds. */
  readonly fetchedAt: number
  readonly freshUntil: number
}

/** Longest that the control plane may let one be kept without being asked again. */
const MAX_FRESH_SECONDS = 60
/** How long the last one is used where the control plane is out of reach. */
const STALE_MS = 300_000
/** What a header can carry. */
const SENDABLE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/

/** Credentials of upstreams, fetched from the control plane when they are needed, and held in memory only. */
export class Credentials {
  readonly #options: CredentialOptions
  readonly #held = new Map<string, Held>()
  readonly #asking = new Map<string, Promise<string | undefined>>()

  constructor(options: CredentialOptions) {
    this.#options = options
  }

  /** @throws Refusal `SP_CREDENTIAL_MISSING`: without it the call is not made */
  async get(name: string): Promise<string> {
    const { given, clock } = this.#options
    const held = this.#held.get(name)
    const value = Object.hasOwn(given, name)
      ? given[name]
      : held && clock.monotonic() < held.freshUntil
        ? held.value
        : await this.#ask(name)
    if (value === undefined || value === '') throw missing(`no secret \`${name}\``)
    if (!SENDABLE.test(value)) throw missing(`secret \`${name}\` cannot be sent in a header`)
    return value
  }

  /** An upstream refused it: the next call asks for it anew. */
  forget(name: string): void {
    this.#held.delete(name)
  }

  #ask(name: string): Promise<string | undefined> {
    const asking = this.#asking.get(name)
    if (asking) return asking
    const asked = this.#fetch(name).finally(() => this.#asking.delete(name))
    this.#asking.set(name, asked)
    return asked
  }

  async #fetch(name: string): Promise<string | undefined> {
    const { client, clock } = this.#options
    const asked = clock.monotonic()
    try {
      const { status, body } = await client.request({
        method: 'POST',
        path: `/v1/credentials/${encodeURIComponent(name)}`,
        body: {},
        also: [403, 404],
      })
      const { value, cacheSeconds } = body
      if (status !== 200 || typeof value !== 'string') {
        // It was taken away: that counts at once.
        this.#held.delete(name)
        return undefined
      }
      const seconds = typeof cacheSeconds === 'number' ? cacheSeconds : 0
      const fresh = Math.max(0, Math.min(seconds, MAX_FRESH_SECONDS)) * 1000
      this.#held.set(name, { value, fetchedAt: asked, freshUntil: asked + fresh })
      return value
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error
      const held = this.#held.get(name)
      return held && clock.monotonic() - held.fetchedAt < STALE_MS ? held.value : undefined
    }
  }
}

function missing(detail: string): Refusal {
  return new Refusal('SP_CREDENTIAL_MISSING', 'the system cannot be reached', {
    status: 503,
    detail,
  })
}
