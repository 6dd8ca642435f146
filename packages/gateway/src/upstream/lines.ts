import { unusable } from './exchange.ts'

const LINE_FEED = 0x0a

/** JSON texts, one a line (NDJSON, JSON Lines), cut out of an answer as its pieces come. Lines of blanks are none. */
export class LineReader {
  readonly #maxLine: number
  #held: Buffer[] = []
  #size = 0

  /** @param maxLine bytes that one line may have */
  constructor(maxLine: number) {
    this.#maxLine = maxLine
  }

  /**
   * Gives each line that this piece completed before it looks at the next.
   *
   * @throws Refusal `SP_UPSTREAM_RESPONSE` for a line over the limit
   */
  *push(piece: Buffer): Generator<Buffer, void, undefined> {
    let start = 0
    for (;;) {
      const end = piece.indexOf(LINE_FEED, start)
      this.#hold(piece.subarray(start, end < 0 ? piece.length : end))
      if (end < 0) return
      const line = this.end()
      if (line) yield line
      start = end + 1
    }
  }

  /** @returns the last line, which may end with the answer; undefined where there is none */
  end(): Buffer | undefined {
    const line = Buffer.concat(this.#held)
    this.#held = []
    this.#size = 0
    return line.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d) ? undefined : line
  }

  #hold(bytes: Buffer): void {
    this.#size += bytes.length
    if (this.#size > this.#maxLine) throw unusable('a line of it is too long')
    if (bytes.length > 0) this.#held.push(bytes)
  }
}
