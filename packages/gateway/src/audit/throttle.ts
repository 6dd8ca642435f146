import type { Clock } from '@sallyport/base'

const MAX_KEYS = 4096

/** Lets so many through a second and key, and counts the rest. */
export class Throttle {
  readonly #perSecond: number
  readonly #clock: Clock
  readonly #keys = new Map<string, { second: number; taken: number; suppressed: number }>()

  constructor(perSecond: number, clock: Clock) {
    this.#perSecond = perSecond
    this.#clock = clock
  }

  /** @returns how many were left out since the last one let through; undefined where this one is left out too */
  take(key: string): number | undefined {
    const second = Math.floor(this.#clock.monotonic() / 1000)
    let entry = this.#keys.get(key)
    if (!entry) {
      const oldest = this.#keys.keys().next().value
      if (this.#keys.size >= MAX_KEYS && oldest !== undefined) this.#keys.delete(oldest)
      this.#keys.set(key, (entry = { second, taken: 0, suppressed: 0 }))
    }
    if (entry.second !== second) {
      entry.second = second
      entry.taken = 0
    }
    if (entry.taken >= this.#perSecond) {
      entry.suppressed++
      return undefined
    }
    entry.taken++
    const { suppressed } = entry
    entry.suppressed = 0
    return suppressed
  }
}
