import type { AnswerControl } from './connections.ts'

/** Bytes that wait to be read before the upstream has to wait. */
const MAX_WAITING = 65_536

const END: IteratorReturnResult<undefined> = { done: true, value: undefined }

/** The body of an upstream's answer: pieces as they came, without the stream around them that a short one would not repay. */
export class AnswerBody implements AsyncIterableIterator<Buffer, undefined> {
  /** Bytes that were handed out. */
  taken = 0
  readonly #controller: AnswerControl
  readonly #waiting: Buffer[] = []
  #waitingBytes = 0
  #isPaused = false
  #hasEnded = false
  #error: Error | undefined
  #reader: PromiseWithResolvers<IteratorResult<Buffer, undefined>> | undefined

  constructor(controller: AnswerControl) {
    this.#controller = controller
  }

  /** Whether all of it came and was handed out. */
  get isWhole(): boolean {
    return this.#hasEnded && this.#waiting.length === 0 && !this.#error
  }

  /** The next piece, if it is here: undefined says nothing of whether one will come. @throws Error where it broke off */
  take(): Buffer | undefined {
    // What came before the fault is no answer either.
    if (this.#error) throw this.#error
    const piece = this.#waiting.shift()
    if (piece === undefined) return undefined
    this.taken += piece.length
    this.#waitingBytes -= piece.length
    if (this.#isPaused && this.#waitingBytes < MAX_WAITING) {
      this.#isPaused = false
      this.#controller.resume()
    }
    return piece
  }

  /** Waits for the next piece. One reader at a time. */
  async next(): Promise<IteratorResult<Buffer, undefined>> {
    const value = this.take()
    if (value !== undefined) return { done: false, value }
    if (this.#hasEnded) return END
    this.#reader = Promise.withResolvers()
    return this.#reader.promise
  }

  /** Of a loop that was left early: nobody reads on. */
  async return(): Promise<IteratorResult<Buffer, undefined>> {
    this.destroy()
    return END
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** Gives up what was not read, and its connection where more of it was to come. */
  destroy(reason: Error = new Error('the answer was given up')): void {
    const isOpen = !this.#hasEnded && !this.#error
    this.fail(reason)
    this.#waiting.length = 0
    this.#waitingBytes = 0
    if (isOpen) this.#controller.abort(reason)
  }

  push(piece: Buffer): void {
    if (this.#error) return
    this.#waiting.push(piece)
    this.#waitingBytes += piece.length
    this.#answer()
    if (this.#waitingBytes < MAX_WAITING) return
    this.#isPaused = true
    this.#controller.pause()
  }

  end(): void {
    this.#hasEnded = true
    this.#answer()
  }

  fail(error: Error): void {
    if (this.#error || this.isWhole) return
    this.#error = error
    const reader = this.#reader
    this.#reader = undefined
    reader?.reject(error)
  }

  #answer(): void {
    const reader = this.#reader
    if (!reader) return
    this.#reader = undefined
    const value = this.take()
    reader.resolve(value === undefined ? END : { done: false, value })
  }
}
