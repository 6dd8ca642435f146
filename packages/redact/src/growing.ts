import { classOf } from './characters.ts'

/** A buffer that grows at its end and loses what is done at its beginning; positions count from its beginning. */
export class GrowingText {
  text = ''
  /** Its code units, and what each of them is (`characters.ts`), as far as `length`. */
  codes: Uint16Array = new Uint16Array(FIRST)
  kinds: Uint16Array = new Uint16Array(FIRST)
  #bytes = Buffer.from(this.codes.buffer)
  length = 0
  /** Nothing more will come. */
  ended = false

  push(piece: string): void {
    const { length } = this
    const end = length + piece.length
    this.length = end
    if (end > this.codes.length) this.#grow()
    const { codes, kinds } = this
    if (piece.length < BY_HAND) {
      for (let i = 0; i < piece.length; i++) codes[length + i] = piece.charCodeAt(i)
    } else {
      this.#bytes.write(piece, 2 * length, 'utf16le')
    }
    for (let at = length; at < end; at++) kinds[at] = classOf(codes[at] ?? 0)
    this.text += piece
  }

  /** Empty again, and clean: what was in it is nobody's business any more. */
  clear(): void {
    this.codes.fill(0)
    this.text = ''
    this.length = 0
    this.ended = false
  }

  shift(by: number): void {
    this.codes.copyWithin(0, by, this.length)
    this.kinds.copyWithin(0, by, this.length)
    this.text = this.text.slice(by)
    this.length -= by
  }

  #grow(): void {
    const size = 2 ** Math.ceil(Math.log2(this.length))
    const { codes, kinds } = this
    this.codes = new Uint16Array(size)
    this.#bytes = Buffer.from(this.codes.buffer)
    this.codes.set(codes)
    this.kinds = new Uint16Array(size)
    this.kinds.set(kinds)
  }
}

const FIRST = 1024
/** Shorter pieces are not worth the call. */
const BY_HAND = 64
