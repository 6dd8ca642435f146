import type { JsonValue } from '@sallyport/base'
import { createRedactor } from '@sallyport/redact'
import type { KnownSource, Redactor } from '@sallyport/redact'

/** Letters and figures that are looked at together: as many as the shortest stand-in has that keeps a form. */
const GRAM = 8
/** Bits for each character of a request: of those that it does not hold, one in sixteen is taken for one that it does. */
const BITS = 16
const MAX_BITS = 1 << 26

/**
 * What stands for itself in one request, and so stands in for nothing there: whatever anybody is known to have read, and what
 * the request holds already. Where in doubt something is taken: another stand-in is drawn then.
 */
export class Taken {
  readonly #body: () => JsonValue
  readonly #known: Redactor
  #grams: Uint32Array | undefined
  #mask = 0

  /** @param body the request; asked for where something is to be looked up, once */
  constructor(body: () => JsonValue, known: KnownSource) {
    this.#body = body
    this.#known = createRedactor({ find: { groups: [] }, known, replace: () => undefined })
  }

  has(text: string): boolean {
    return this.#isInRequest(text) || this.#isKnown(text)
  }

  #isKnown(text: string): boolean {
    return this.#known.find(text).some(({ start, end }) => start === 0 && end === text.length)
  }

  #isInRequest(text: string): boolean {
    const grams = (this.#grams ??= this.#read())
    let holdsAll = true
    forGrams(text, (hash) => {
      const bit = hash & this.#mask
      holdsAll &&= ((grams[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0
    })
    return holdsAll
  }

  #read(): Uint32Array {
    const text = JSON.stringify(this.#body())
    const bits = Math.min(MAX_BITS, 2 ** Math.ceil(Math.log2(BITS * text.length + 32)))
    this.#mask = bits - 1
    const grams = new Uint32Array(bits / 32)
    forGrams(text, (hash) => {
      const bit = hash & this.#mask
      grams[bit >>> 5] = (grams[bit >>> 5] ?? 0) | (1 << (bit & 31))
    })
    return grams
  }
}

/** Each eight letters and figures that follow one another in a text, whatever stands between them. */
function forGrams(text: string, each: (hash: number) => void): void {
  // A hash of the last eight: what leaves it is taken away with the power that it came to.
  const last = new Uint8Array(GRAM)
  let hash = 0
  let count = 0
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    const letter = c | 0x20
    if (!((c >= 0x30 && c <= 0x39) || (letter >= 0x61 && letter <= 0x7a && c < 0x80))) continue
    const place = count++ % GRAM
    hash = (Math.imul(hash - Math.imul(last[place] ?? 0, LEAVING), FACTOR) + c) | 0
    last[place] = c
    if (count >= GRAM) each(hash ^ (hash >>> 15))
  }
}

const FACTOR = 0x01000193
let power = 1
for (let i = 1; i < GRAM; i++) power = Math.imul(power, FACTOR)
/** What a character is multiplied by when it is the first of eight. */
const LEAVING = power
