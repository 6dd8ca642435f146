import { Refusal } from '../refusal.ts'
import { agentOf, Share } from './share.ts'

/**
 * Places of callers that may go on sending what they began, for as long as they like: so many of one session, and all instances of an agent
 * together have their share, as they have of calls in flight.
 */
export class Places {
  readonly #share: Share
  readonly #maxOfOne: number
  readonly #held = new Map<string, number>()

  constructor(max: number, maxOfOne: number) {
    this.#share = new Share(max)
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
    const agent = agentOf(session)
    if (held >= this.#maxOfOne || !this.#share.take(agent)) {
      throw new Refusal('SP_OVERLOADED', 'too many calls go on sending', {
        status: 503,
        retryAfterSeconds: 1,
      })
    }
    this.#held.set(session, held + 1)
    let isIn = true
    return () => {
      if (!isIn) return
      isIn = false
      this.#share.giveBack(agent)
      const left = (this.#held.get(session) ?? 1) - 1
      if (left > 0) this.#held.set(session, left)
      else this.#held.delete(session)
    }
  }
}
