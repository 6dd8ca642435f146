import { Refusal } from '../refusal.ts'

/** Places of callers that may go on sending what they began, for as long as they like: so many in all, and so many of one session. */
export class Places {
  readonly #max: number
  readonly #maxOfOne: number
  readonly #held = new Map<string, number>()
  #total = 0

  constructor(max: number, maxOfOne: number) {
    this.#max = max
    this.#maxOfOne = maxOfOne
  }

  /**
   * Takes a place.
   *
   * @returns gives it back
   * @throws Refusal `SP_OVERLOADED`
   */
  enter(session: string): () => void {
    const held = this.#held.get(session) ?? 0
    if (this.#total >= this.#max || held >= this.#maxOfOne) {
      throw new Refusal('SP_OVERLOADED', 'too many calls go on sending', {
        status: 503,
        retryAfterSeconds: 1,
      })
    }
    this.#total++
    this.#held.set(session, held + 1)
    let isIn = true
    return () => {
      if (!isIn) return
      isIn = false
      this.#total--
      const left = (this.#held.get(session) ?? 1) - 1
      if (left > 0) this.#held.set(session, left)
      else this.#held.delete(session)
    }
  }
}
