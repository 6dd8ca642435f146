import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { addressKey } from '../site/addresses.ts'

/** Loading the console and signing in takes fewer than ten calls. */
const BURST = 60
const PER_SECOND = 1
const MAX_ADDRESSES = 10_000

/**
 * Calls of those who have not signed in, rationed by address: each may cost the database a read or a challenge to keep, and it also
 * serves the gateways. One bucket each; the memory of them is bounded.
 */
export class Strangers {
  readonly #clock: Clock
  /** In order of use. */
  readonly #buckets = new Map<string, { tokens: number; at: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @throws SallyportError `SP_API_RATE` */
  admit(address: string): void {
    const now = this.#clock.monotonic()
    const key = addressKey(address)
    const { tokens, at } = this.#buckets.get(key) ?? { tokens: BURST, at: now }
    const left = Math.min(BURST, tokens + ((now - at) / 1000) * PER_SECOND) - 1
    this.#buckets.delete(key)
    this.#buckets.set(key, { tokens: Math.max(0, left), at: now })
    if (this.#buckets.size > MAX_ADDRESSES) {
      const [oldest = ''] = this.#buckets.keys()
      this.#buckets.delete(oldest)
    }
    if (left >= 0) return
    throw new SallyportError('SP_API_RATE', 'too many calls from this address without a session', {
      fix: 'Wait a minute, then sign in.',
    })
  }
}
