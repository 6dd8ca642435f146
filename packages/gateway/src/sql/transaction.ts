import type { Link } from './upstream/link.ts'
import * as wire from './wire/messages.ts'

/** How far the database is with what it was sent: what it has done of it, and what of that is still to be had back. */
export class Transaction {
  readonly #link: Link
  /** As the database's last ReadyForQuery said: idle, in a transaction, or in a failed one. */
  #status = 'I'
  /** The database was sent something since then. */
  #isOpen = false
  /** It was also asked for its next ReadyForQuery, which has not come yet. */
  #isEnding = false

  constructor(link: Link) {
    this.#link = link
  }

  get status(): string {
    return this.#status
  }

  /** Whether something was sent of which nobody knows yet what became of it. */
  get isOpen(): boolean {
    return this.#isOpen
  }

  /** Something was sent. */
  sent(): void {
    this.#isOpen = true
  }

  /** Something was sent, and its end with it. */
  sentWhole(): void {
    this.#isOpen = true
    this.#isEnding = true
  }

  /** Ends what was sent, where anything was, and reads up to there. */
  async end(): Promise<void> {
    if (!this.#isOpen) return
    if (!this.#isEnding) this.#link.send(wire.SYNC)
    await this.#ended()
  }

  /** What the database has done of this transaction must not stand: it is brought to the state the client was told of. */
  async fail(): Promise<void> {
    // What ends with its own transaction only read: there is nothing to take back, but what comes of it.
    if (this.#isEnding) await this.#ended()
    // What the status was says nothing once something was sent: a transaction may have ended, and another begun.
    if (!this.#isOpen && this.#status !== 'T') return
    // An error whatever the client has done, such as given a savepoint any name.
    this.#isOpen = true
    this.#link.send(wire.parse({ name: '', sql: 'refused', oids: [] }), wire.FLUSH)
    await this.#until('E')
  }

  async #ended(): Promise<void> {
    const body = await this.#until('Z')
    this.#isEnding = false
    this.#isOpen = false
    this.#status = body.toString('latin1')
  }

  /** Reads up to and with a message of this type. */
  async #until(type: string): Promise<Buffer> {
    for (;;) {
      const frames = await this.#link.batch()
      const at = frames.findIndex((frame) => frame.type === type)
      this.#link.putBack(at < 0 ? [] : frames.slice(at + 1))
      const found = frames[at]
      if (found) return found.body
    }
  }
}
