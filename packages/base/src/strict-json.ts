import { hasPlaces, isDecimalAsWritten } from './decimal.ts'
import { SallyportError } from './error.ts'

export type JsonValue =
  null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue }

export type JsonCode =
  | 'SP_JSON_SYNTAX'
  | 'SP_JSON_TOO_LARGE'
  | 'SP_JSON_TOO_DEEP'
  | 'SP_JSON_DUPLICATE_KEY'
  | 'SP_JSON_FORBIDDEN_KEY'
  | 'SP_JSON_NUMBER'
  | 'SP_JSON_UNICODE'
  | 'SP_JSON_UNREPRESENTABLE'

export const fail = (code: JsonCode, message: string): SallyportError<JsonCode> =>
  new SallyportError(code, message)

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
// A string token: no raw control characters, only the escapes of RFC 8259 section 7.
// eslint-disable-next-line no-control-regex -- the control characters are what is being excluded
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y

/** What knows all that is refused, and says where. Its caller bounds how deep the text nests. */
export class StrictParser {
  readonly #text: string
  readonly #exactDecimals: boolean
  #at = 0

  /** @param exactDecimals as in `JsonLimits` */
  constructor(text: string, exactDecimals = false) {
    this.#text = text
    this.#exactDecimals = exactDecimals
  }

  /** @throws SallyportError `SP_JSON_*` */
  parse(): JsonValue {
    const value = this.#value()
    this.#space()
    if (this.#at !== this.#text.length) throw this.#syntax()
    return value
  }

  #syntax(): SallyportError<JsonCode> {
    return fail('SP_JSON_SYNTAX', `the JSON text is malformed at offset ${this.#at}`)
  }

  #space(): void {
    while (isSpace(this.#text.charCodeAt(this.#at))) this.#at++
  }

  #value(): JsonValue {
    this.#space()
    switch (this.#text.charCodeAt(this.#at)) {
      case 0x7b:
        return this.#object()
      case 0x5b:
        return this.#array()
      case 0x22:
        return this.#string()
      case 0x74:
        return this.#word('true', true)
      case 0x66:
        return this.#word('false', false)
      case 0x6e:
        return this.#word('null', null)
      default:
        return this.#number()
    }
  }

  #word<T extends JsonValue>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw this.#syntax()
    this.#at += word.length
    return value
  }

  #number(): number {
    NUMBER.lastIndex = this.#at
    if (!NUMBER.test(this.#text)) throw this.#syntax()
    const token = this.#text.slice(this.#at, NUMBER.lastIndex)
    const value = Number(token)
    const isHeld =
      isHeldExactly(token, value) && (!this.#exactDecimals || isDecimalAsWritten(token, value))
    if (!isHeld) {
      throw fail('SP_JSON_NUMBER', `the JSON number at offset ${this.#at} cannot be held exactly`)
    }
    this.#at = NUMBER.lastIndex
    return value
  }

  #string(): string {
    const plain = this.#plainString()
    if (plain !== undefined) return plain
    STRING.lastIndex = this.#at
    if (!STRING.test(this.#text)) throw this.#syntax()
    const token = this.#text.slice(this.#at, STRING.lastIndex)
    this.#at = STRING.lastIndex
    // The token matched the grammar above, so JSON.parse can only return a string.
    const value = token.includes('\\') ? (JSON.parse(token) as string) : token.slice(1, -1)
    if (!value.isWellFormed()) {
      throw fail('SP_JSON_UNICODE', 'a JSON string has an unpaired surrogate')
    }
    return value
  }

  /** A string of ASCII without escapes, as most are; undefined, and nothing consumed, where it is another. */
  #plainString(): string | undefined {
    const text = this.#text
    const start = this.#at + 1
    for (let end = start; ; end++) {
      const c = text.charCodeAt(end)
      if (c === 0x22) {
        this.#at = end + 1
        return text.slice(start, end)
      }
      // NaN, past the end, is not in the range either.
      if (!(c >= 0x20 && c < 0x80 && c !== 0x5c)) return undefined
    }
  }

  #array(): JsonValue[] {
    const items: JsonValue[] = []
    this.#at++
    this.#space()
    if (this.#text.charCodeAt(this.#at) === 0x5d) {
      this.#at++
      return items
    }
    for (;;) {
      items.push(this.#value())
      if (this.#next(0x5d)) return items
    }
  }

  #object(): { [key: string]: JsonValue } {
    const members: { [key: string]: JsonValue } = {}
    this.#at++
    this.#space()
    if (this.#text.charCodeAt(this.#at) === 0x7d) {
      this.#at++
      return members
    }
    for (;;) {
      this.#space()
      if (this.#text.charCodeAt(this.#at) !== 0x22) throw this.#syntax()
      const key = this.#string()
      if (key === '__proto__') {
        throw fail('SP_JSON_FORBIDDEN_KEY', 'a JSON object has a member named `__proto__`')
      }
      if (Object.hasOwn(members, key)) {
        throw fail('SP_JSON_DUPLICATE_KEY', 'a JSON object names the same member twice')
      }
      this.#space()
      if (this.#text.charCodeAt(this.#at) !== 0x3a) throw this.#syntax()
      this.#at++
      members[key] = this.#value()
      if (this.#next(0x7d)) return members
    }
  }

  /** Consumes `,` (false) or the closing bracket (true). */
  #next(close: number): boolean {
    this.#space()
    const c = this.#text.charCodeAt(this.#at)
    if (c !== 0x2c && c !== close) throw this.#syntax()
    this.#at++
    return c === close
  }
}

/** Whether a number can be what was written: no integer that others may read as another, and finite. */
export const isExact = (value: number): boolean =>
  Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value))

/**
 * Whether a double stands for a number of JSON as I-JSON (RFC 7493, section 2.2) wants it: see `parseJson`. It can be a whole one where the
 * text is not: whoever reads `1.99999999999999999999` by its digits has 1 and a part, and a double of it is 2.
 *
 * @param token the number, well formed
 * @param value what a double makes of it
 */
export const isHeldExactly = (token: string, value: number = Number(token)): boolean =>
  isExact(value) && (!Number.isInteger(value) || hasPlaces(token, 0))

const isSpace = (c: number): boolean => c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09
