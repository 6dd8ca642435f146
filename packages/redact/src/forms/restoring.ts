import { GrowingText } from '../growing.ts'
import type { Span } from '../recognise/recogniser.ts'
import type { RedactingStream } from '../redactor.ts'
import { lay, squeeze } from './characters.ts'
import { LOOKS_BACK } from './form-index.ts'
import type { FormIndex } from './form-index.ts'

const STEP = 4096

/** A text that comes in pieces, with what stands in it for values of the same form replaced by these. */
export class FormRestorer implements RedactingStream {
  readonly #index: FormIndex
  readonly #write: (value: string) => string
  readonly #scanner: ReturnType<FormIndex['scanner']>
  readonly #growing = new GrowingText()
  #emitted = 0

  constructor(index: FormIndex, write: (value: string) => string) {
    this.#index = index
    this.#write = write
    this.#scanner = index.scanner()
  }

  push(piece: string): string {
    let out = ''
    for (let i = 0; i < piece.length; i += STEP) {
      this.#growing.push(piece.slice(i, i + STEP))
      out += this.#advance()
    }
    return out
  }

  end(): string {
    this.#growing.ended = true
    return this.#advance()
  }

  #advance(): string {
    const growing = this.#growing
    const spans: Span[] = []
    this.#scanner.advance(growing, spans)
    let out = ''
    for (const { start, end } of spans) {
      out +=
        growing.text.slice(this.#emitted, start) + this.#valueOf(growing.text.slice(start, end))
      this.#emitted = end
    }
    const { decided } = this.#scanner
    if (decided > this.#emitted) {
      out += growing.text.slice(this.#emitted, decided)
      this.#emitted = decided
    }
    const by = this.#emitted - LOOKS_BACK
    if (by > STEP / 2) {
      growing.shift(by)
      this.#scanner.shift(by)
      this.#emitted -= by
    }
    return out
  }

  #valueOf(found: string): string {
    const one = this.#index.get(found)
    if (one === undefined) return found
    // In the places that the model put it in.
    return this.#write(one.loose ? lay(found, squeeze(one.value)) : one.value)
  }
}
