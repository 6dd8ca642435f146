import { isHeldExactly, SallyportError } from '@sallyport/base'

export const QUOTE = 0x22
export const BACKSLASH = 0x5c
const HEX_U = 0x75
/** What may stand behind a backslash and be done with. */
const SIMPLE: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrt'))

export const syntax = (): SallyportError =>
  new SallyportError('SP_JSON_SYNTAX', 'the JSON text is malformed')

const unpaired = (): SallyportError =>
  new SallyportError('SP_JSON_UNICODE', 'a JSON string has an unpaired surrogate')

/** Finds the end of a string (RFC 8259 section 7) that may come in pieces. That its bytes are UTF-8 is seen to elsewhere. */
export class StringScanner {
  /** Whether the string has escapes. */
  escaped = false
  /** 0 outside of an escape, 1 behind the backslash, 2 to 5 for the digits of `\uXXXX`. */
  #at = 0
  #unit = 0
  /** The escape before was the first half of a pair. */
  #half = false

  begin(): void {
    this.escaped = false
  }

  /**
   * @param i behind the opening quote, or where the piece begins
   * @returns where the closing quote stands; -1 where it is not in this piece
   * @throws SallyportError `SP_JSON_SYNTAX`, `SP_JSON_UNICODE`
   */
  scan(chunk: Uint8Array, i: number, n: number): number {
    let at = i
    while (at < n) {
      if (this.#at === 0 && !this.#half) {
        let byte = 0
        while (at < n && (byte = chunk[at] ?? 0) !== QUOTE && byte !== BACKSLASH) {
          if (byte < 0x20) throw syntax()
          at++
        }
        if (at === n) return -1
        if (byte === QUOTE) return at
      }
      this.#escape(chunk[at] ?? 0)
      at++
    }
    return -1
  }

  #escape(byte: number): void {
    if (this.#at === 0) {
      if (byte !== BACKSLASH) throw unpaired()
      this.escaped = true
      this.#at = 1
    } else if (this.#at === 1) {
      if (byte === HEX_U) {
        this.#unit = 0
        this.#at = 2
        return
      }
      if (this.#half) throw unpaired()
      if (!SIMPLE.has(byte)) throw syntax()
      this.#at = 0
    } else {
      this.#unit = this.#unit * 16 + hexOf(byte)
      if (this.#at < 5) {
        this.#at++
        return
      }
      this.#at = 0
      const low = this.#unit >= 0xdc00 && this.#unit <= 0xdfff
      if (low !== this.#half) throw unpaired()
      this.#half = this.#unit >= 0xd800 && this.#unit <= 0xdbff
    }
  }
}

function hexOf(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const letter = byte | 0x20
  if (letter >= 0x61 && letter <= 0x66) return letter - 0x57
  throw syntax()
}

/** A whole number of so many digits is one that a double holds exactly. */
const SAFE_DIGITS = 15

/**
 * Checks a number (RFC 8259 section 6) as strictly as `parseJson` does.
 *
 * @throws SallyportError `SP_JSON_SYNTAX`, `SP_JSON_NUMBER`
 */
export function checkNumber(text: Buffer, start: number, end: number): void {
  let at = text[start] === 0x2d ? start + 1 : start
  const whole = at
  at = digits(text, at, end)
  if (text[whole] === 0x30 && at > whole + 1) throw syntax()
  if (at < end && text[at] === 0x2e) at = digits(text, at + 1, end)
  // Of so few digits a double makes nothing else.
  let plain = at - whole <= SAFE_DIGITS
  if (at < end && (text[at] === 0x65 || text[at] === 0x45)) {
    plain = false
    at++
    if (text[at] === 0x2b || text[at] === 0x2d) at++
    at = digits(text, at, end)
  }
  if (at !== end) throw syntax()
  if (plain) return
  if (!isHeldExactly(text.toString('latin1', start, end))) {
    throw new SallyportError('SP_JSON_NUMBER', 'a JSON number cannot be held exactly')
  }
}

/** Where the digits that begin here end; one at least. */
function digits(text: Uint8Array, start: number, end: number): number {
  let at = start
  while (at < end && (text[at] ?? 0) >= 0x30 && (text[at] ?? 0) <= 0x39) at++
  if (at === start) throw syntax()
  return at
}
