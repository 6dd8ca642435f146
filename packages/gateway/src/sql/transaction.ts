import { DatabaseError } from './told.ts'
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

  /**
   * Ends what was sent, where anything was, and reads up to there.
   *
   * @returns what the database said against it: what may wait until then, such as a deferred constraint, fails there, after its
   *   statement was said to be done
   */
  async end(): Promise<DatabaseError | undefined> {
    if (!this.#isOpen) return undefined
    if (!this.#isEnding) this.#link.send(wire.SYNC)
    return this.#ended()
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
    await this.#link.until('E')
  }

  async #ended(): Promise<DatabaseError | undefined> {
    let error: DatabaseError | undefined
    for (;;) {
      const { type, body } = await this.#link.until('E', 'Z')
      if (type === 'E') {
        error ??= DatabaseError.of(body)
        continue
      }
      this.#isEnding = false
      this.#isOpen = false
      this.#status = body.toString('latin1')
      return error
    }
  }
}
