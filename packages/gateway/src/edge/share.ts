/** How many times the room that is left one agent may hold. */
const PART = 2

/**
 * Who may have how many calls in flight when there are not enough for all (Choudhury and Hahne, "Dynamic queue length
 * thresholds", 1998): an agent may hold twice the room that is left. One alone gets two thirds of it, two get two fifths each, and
 * some is always left for whoever comes next. Counted by agent, not by instance: starting more of oneself wins nothing.
 */
export class Share {
  readonly #room: number
  readonly #held = new Map<string, number>()
  #total = 0

  /** @param room calls in flight, of all together */
  constructor(room: number) {
    this.#room = room
  }

  get total(): number {
    return this.#total
  }

  /** Takes a place; false where the agent has its share, or there is none left. */
  take(agent: string): boolean {
    const held = this.#held.get(agent) ?? 0
    if (held >= PART * (this.#room - this.#total)) return false
    this.#total++
    this.#held.set(agent, held + 1)
    return true
  }

  giveBack(agent: string): void {
    this.#total--
    const left = (this.#held.get(agent) ?? 1) - 1
    if (left > 0) this.#held.set(agent, left)
    else this.#held.delete(agent)
  }
}

/** `spiffe://TD/agent/NAME/INSTANCE` without its instance; of another trust domain, what counts is the agent already. */
export const agentOf = (session: string): string =>
  session.startsWith('spiffe://') ? session.slice(0, session.lastIndexOf('/')) : session
