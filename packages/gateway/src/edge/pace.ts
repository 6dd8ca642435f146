import type { Clock } from '@sallyport/base'

interface Bucket {
  level: number
  at: number
}

/**
 * How fast each instance may call, refused calls included: every decision is a synced record, so an instance that is
 * only ever refused could otherwise fill the log's disk, and a full log stops everyone. A token bucket an instance.
 */
export class Pace {
  readonly #perSecond: number
  readonly #burst: number
  readonly #clock: Clock
  readonly #buckets = new Map<string, Bucket>()

  /**
   * @param perSecond calls a second that an instance may make in the long run
   * @param burst calls that it may make at once
   */
  constructor(perSecond: number, burst: number, clock: Clock) {
    this.#perSecond = perSecond
    this.#burst = burst
    this.#clock = clock
  }

  /** Takes one call's token; false where the instance calls too fast. */
  admits(instance: string): boolean {
    const now = this.#clock.monotonic()
    const bucket = this.#buckets.get(instance)
    if (!bucket) {
      if (this.#buckets.size >= 1024) this.#forgetTheIdle(now)
      this.#buckets.set(instance, { level: this.#burst - 1, at: now })
      return true
    }
    bucket.level = this.#levelOf(bucket, now)
    bucket.at = now
    if (bucket.level < 1) return false
    bucket.level--
    return true
  }

  /** Takes back that a token was taken. */
  giveBack(instance: string): void {
    const bucket = this.#buckets.get(instance)
    if (bucket) bucket.level = Math.min(this.#burst, bucket.level + 1)
  }

  #levelOf({ level, at }: Bucket, now: number): number {
    return Math.min(this.#burst, level + ((now - at) / 1000) * this.#perSecond)
  }

  /** A bucket that is full again says no more than one that is not there. */
  #forgetTheIdle(now: number): void {
    for (const [instance, bucket] of this.#buckets) {
      if (this.#levelOf(bucket, now) >= this.#burst) this.#buckets.delete(instance)
    }
  }
}
