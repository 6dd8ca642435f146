export interface SharesOptions {
  /** Of one holder. */
  readonly max: number
  /** Of all holders together. */
  readonly maxTotal: number
}

/**
 * What is kept for many holders at once, so that none can drive out what is another's: who has its share full loses its own oldest,
 * and where all is full, whoever has most does.
 */
export class Shares<V> {
  readonly #options: SharesOptions
  /** In the order of use. */
  readonly #held = new Map<string, Map<string, V>>()
  #size = 0

  constructor(options: SharesOptions) {
    this.#options = options
  }

  /** Everything that a holder has, the longest unused first. */
  of(holder: string): ReadonlyMap<string, V> {
    return this.#held.get(holder) ?? new Map<string, V>()
  }

  get holders(): Iterable<string> {
    return this.#held.keys()
  }

  /** Keeps something as just used. @returns what had to go for it */
  set(holder: string, key: string, value: V): V[] {
    this.delete(holder, key)
    const own = this.#held.get(holder) ?? new Map<string, V>()
    this.#held.set(holder, own)
    own.set(key, value)
    this.#size++
    if (own.size > this.#options.max) return this.#dropOldest(holder, own)
    if (this.#size <= this.#options.maxTotal) return []
    let [most, all] = [holder, own]
    for (const [other, theirs] of this.#held) {
      if (theirs.size > all.size) [most, all] = [other, theirs]
    }
    return this.#dropOldest(most, all)
  }

  delete(holder: string, key: string): void {
    const own = this.#held.get(holder)
    if (!own?.delete(key)) return
    this.#size--
    if (own.size === 0) this.#held.delete(holder)
  }

  #dropOldest(holder: string, all: ReadonlyMap<string, V>): V[] {
    for (const [key, value] of all) {
      this.delete(holder, key)
      return [value]
    }
    return []
  }
}
