import { beginEvents } from '../edge/answer.ts'
import type { EdgeResponse } from '../edge/message.ts'

/** Bytes that may wait for a client that reads slowly, beside the largest message that waits: a result is sent however large. */
const MAX_WAITING = 1024 * 1024

/** Messages to a client, as an event stream that begins with the first of them. */
export class ClientStream {
  readonly #res: EdgeResponse
  readonly #decision: string | undefined
  #begun = false
  #waiting = 0
  #largest = 0
  #isWaiting = false
  bytes = 0

  constructor(res: EdgeResponse, decision?: string) {
    this.#res = res
    this.#decision = decision
  }

  get begun(): boolean {
    return this.#begun
  }

  get gone(): boolean {
    return this.#res.destroyed || this.#res.writableEnded
  }

  begin(): void {
    if (this.#begun || this.gone) return
    this.#begun = true
    beginEvents(this.#res, this.#decision)
  }

  /** @returns false where nobody reads: it is broken off where the client leaves too much unread */
  send(message: string): boolean {
    if (this.gone) return false
    this.begin()
    if (this.#waiting - this.#largest > MAX_WAITING) {
      this.cut()
      return false
    }
    const text = `event: message\ndata: ${message}\n\n`
    const size = Buffer.byteLength(text)
    this.bytes += size
    if (this.#res.write(text)) this.#drained()
    else {
      this.#waiting += size
      this.#largest = Math.max(this.#largest, size)
      if (!this.#isWaiting) {
        this.#isWaiting = true
        this.#res.once('drain', () => {
          this.#isWaiting = false
          this.#drained()
        })
      }
    }
    return !this.gone
  }

  end(): void {
    if (!this.gone) this.#res.end()
  }

  cut(): void {
    this.#res.destroy()
  }

  #drained(): void {
    this.#waiting = 0
    this.#largest = 0
  }
}
