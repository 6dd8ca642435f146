import type { Clock } from '@sallyport/base'
import { sha256Hex } from '@sallyport/base'

const IDLE_MS = 15 * 60_000
/** No session is older, so nothing older is remembered. */
const FORGET_MS = 8 * 3_600_000

/**
 * When each session was last used, by its hash. A session that this process has not seen yet counts as used now, so a restart
 * gives it one more quarter of an hour, never more than its absolute life.
 */
export class IdleWatch {
  readonly #clock: Clock
  readonly #lastUse = new Map<string, number>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Milliseconds until the session ends for want of use; 0 where it has. */
  left(secret: string): number {
    const now = this.#clock.monotonic()
    return Math.max(0, IDLE_MS - (now - (this.#lastUse.get(sha256Hex(secret)) ?? now)))
  }

  /** Starts the clock of a valid session that this process has not met. */
  meet(secret: string): void {
    if (!this.#lastUse.has(sha256Hex(secret))) this.touch(secret)
  }

  /** Counts a use. */
  touch(secret: string): void {
    const now = this.#clock.monotonic()
    const key = sha256Hex(secret)
    // The map stays in order of use, so the oldest stand first.
    this.#lastUse.delete(key)
    this.#lastUse.set(key, now)
    for (const [old, at] of this.#lastUse) {
      if (now - at <= FORGET_MS) break
      this.#lastUse.delete(old)
    }
  }
}
