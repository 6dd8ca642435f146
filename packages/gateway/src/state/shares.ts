export interface SharesOptions {
  /** Of one holder. */
  readonly max: number
  /** Of all holders together. */
  readonly maxTotal: number
  /** The same of what they weigh, in a unit that whoever keeps them chooses. */
  readonly maxWeight?: number
  readonly maxTotalWeight?: number
}

/** What one holder has. */
interface Share<V> {
  /** In the order of use. */
  readonly items: Map<string, V>
  readonly weights: Map<string, number>
  weight: number
}

/**
 * What is kept for many holders at once, so that none can drive out what is another's: who has its share full loses its own oldest,
 * and where all is full, whoever has most does.
 */
export class Shares<V> {
  readonly #options: Required<SharesOptions>
  readonly #held = new Map<string, Share<V>>()
  #size = 0
  #weight = 0

  constructor(options: SharesOptions) {
    this.#options = { maxWeight: Infinity, maxTotalWeight: Infinity, ...options }
  }

  /** Everything that a holder has, the longest unused first. */
  of(holder: string): ReadonlyMap<string, V> {
    return this.#held.get(holder)?.items ?? new Map<string, V>()
  }

  get holders(): Iterable<string> {
    return this.#held.keys()
  }

  /**
   * Keeps something as just used.
   *
   * @returns what had to go for it; that itself where it weighs more than one holder may have
   */
  set(holder: string, key: string, value: V, weight = 0): V[] {
    this.delete(holder, key)
    const own: Share<V> = this.#held.get(holder) ?? {
      ...{ items: new Map<string, V>(), weights: new Map<string, number>(), weight: 0 },
    }
    this.#held.set(holder, own)
    own.items.set(key, value)
    own.weights.set(key, weight)
    own.weight += weight
    this.#size++
    this.#weight += weight
    const { max, maxTotal, maxWeight, maxTotalWeight } = this.#options
    const gone: V[] = []
    while (own.items.size > max || own.weight > maxWeight) gone.push(...this.#dropOldest(holder))
    while (this.#size > maxTotal) {
      gone.push(...this.#dropOldest(this.#most(holder, ({ items }) => items.size)))
    }
    while (this.#weight > maxTotalWeight) {
      gone.push(...this.#dropOldest(this.#most(holder, (share) => share.weight)))
    }
    return gone
  }

  delete(holder: string, key: string): void {
    const own = this.#held.get(holder)
    if (!own?.items.delete(key)) return
    const weight = own.weights.get(key) ?? 0
    own.weights.delete(key)
    own.weight -= weight
    this.#size--
    this.#weight -= weight
    if (own.items.size === 0) this.#held.delete(holder)
  }

  /** Whoever has most; of those who have as much, the one named. */
  #most(holder: string, of: (share: Share<V>) => number): string {
    const own = this.#held.get(holder)
    let [most, all] = [holder, own ? of(own) : 0]
    for (const [other, theirs] of this.#held)
      if (of(theirs) > all) [most, all] = [other, of(theirs)]
    return most
  }

  #dropOldest(holder: string): V[] {
    for (const [key, value] of this.of(holder)) {
      this.delete(holder, key)
      return [value]
    }
    return []
  }
}
