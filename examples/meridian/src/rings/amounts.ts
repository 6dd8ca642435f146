const STEP = Math.log(1.02)

/** What payments between strangers usually amount to: a histogram in steps of 2 %, which bounds its memory. */
export class AmountModel {
  readonly #bins = new Map<number, number>()
  #total = 0
  #median: number | undefined

  add(amount: number): void {
    const bin = Math.floor(Math.log(amount) / STEP)
    this.#bins.set(bin, (this.#bins.get(bin) ?? 0) + 1)
    this.#total++
    if (this.#total % 256 === 0) this.#median = undefined
  }

  /** The chance that a payment falls within [low, high], never 0: half a payment is always granted. */
  chance(low: number, high: number): number {
    let count = 0.5
    const last = Math.floor(Math.log(high) / STEP)
    for (let bin = Math.floor(Math.log(low) / STEP); bin <= last; bin++) {
      count += this.#bins.get(bin) ?? 0
    }
    return Math.min(1, count / (this.#total + 1))
  }

  /** Recomputed every 256 payments. */
  median(): number {
    if (this.#median !== undefined) return this.#median
    let left = this.#total / 2
    for (const bin of [...this.#bins.keys()].sort((a, b) => a - b)) {
      left -= this.#bins.get(bin) ?? 0
      if (left <= 0) return (this.#median = Math.exp(bin * STEP))
    }
    return 1
  }
}
