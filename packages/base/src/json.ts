import { SallyportError } from './error.ts'

export type JsonValue =
  null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue }

export interface JsonLimits {
  /** Bytes of UTF-8 (default 1 MiB). */
  readonly maxBytes?: number
  /** Nested arrays and objects (default 64). */
  readonly maxDepth?: number
}

type JsonCode =
  | 'SP_JSON_SYNTAX'
  | 'SP_JSON_TOO_LARGE'
  | 'SP_JSON_TOO_DEEP'
  | 'SP_JSON_DUPLICATE_KEY'
  | 'SP_JSON_FORBIDDEN_KEY'
  | 'SP_JSON_NUMBER'
  | 'SP_JSON_UNICODE'
  | 'SP_JSON_UNREPRESENTABLE'

const fail = (code: JsonCode, message: string): SallyportError<JsonCode> =>
  new SallyportError(code, message)

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Parses JSON (RFC 8259) as strictly as I-JSON (RFC 7493) asks, so that no second parser downstream
 * can read the same bytes differently: refuses duplicate keys, `__proto__`, invalid UTF-8, lone
 * surrogates, numbers that a double cannot hold exactly as written integers, and anything over the limits.
 *
 * @throws SallyportError `SP_JSON_*`
 */
export function parseJson(input: string | Uint8Array, limits: JsonLimits = {}): JsonValue {
  const maxBytes = limits.maxBytes ?? 1_048_576
  const size = typeof input === 'string' ? Buffer.byteLength(input) : input.byteLength
  if (size > maxBytes) {
    throw fail('SP_JSON_TOO_LARGE', `the JSON text has ${size} bytes, the limit is ${maxBytes}`)
  }
  let text: string
  if (typeof input === 'string') text = input
  else {
    try {
      text = decoder.decode(input)
    } catch {
      throw fail('SP_JSON_UNICODE', 'the JSON text is not valid UTF-8')
    }
  }
  checkDepth(text, limits.maxDepth ?? 64)
  // Depth is bounded by the scan above, so the recursive parse below cannot exhaust the stack.
  return new StrictParser(text).parse()
}

/** Bounds nesting before anything recursive looks at the text. */
function checkDepth(text: string, maxDepth: number): void {
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (inString) {
      if (c === 0x5c) i++
      else if (c === 0x22) inString = false
    } else if (c === 0x22) inString = true
    else if (c === 0x7b || c === 0x5b) {
      if (++depth > maxDepth) {
        throw fail('SP_JSON_TOO_DEEP', `the JSON text nests deeper than ${maxDepth}`)
      }
    } else if (c === 0x7d || c === 0x5d) depth--
  }
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
// A string token: no raw control characters, only the escapes of RFC 8259 section 7.
// eslint-disable-next-line no-control-regex -- the control characters are what is being excluded
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y

class StrictParser {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

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
    const value = Number(this.#text.slice(this.#at, NUMBER.lastIndex))
    if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) {
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

const isSpace = (c: number): boolean => c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09

/**
 * The canonical form of a JSON value (RFC 8785, JCS): members sorted by UTF-16 code units, ECMAScript
 * number form, no white space. Members whose value is `undefined` are left out.
 *
 * @throws SallyportError `SP_JSON_UNREPRESENTABLE` for what JSON cannot hold (NaN, bigint, functions, cycles
 *   deeper than 256, unpaired surrogates)
 */
export function canonicalJson(value: unknown): string {
  return canonical(value, 0)
}

function canonical(value: unknown, depth: number): string {
  if (depth > 256) throw unrepresentable('a value nested deeper than 256')
  if (typeof value === 'string') return canonicalString(value)
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw unrepresentable('a number that is not finite')
    return JSON.stringify(value)
  }
  if (typeof value !== 'object') throw unrepresentable(`a ${typeof value}`)
  let text = ''
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      text += i === 0 ? '[' : ','
      // As `map` and `join` have it, a hole is nothing at all.
      if (i in value) text += canonical(value[i], depth + 1)
    }
    return text === '' ? '[]' : `${text}]`
  }
  // A non-null, non-array object: its own enumerable members are all that canonicalisation reads.
  const members = value as Record<string, unknown>
  for (const key of sortedNames(Object.keys(members))) {
    const member = members[key]
    if (member !== undefined) {
      text += `${text === '' ? '{' : ','}${canonicalKey(key)}:${canonical(member, depth + 1)}`
    }
  }
  return text === '' ? '{}' : `${text}}`
}

/** Sorts names in place as the canonical form has them, by UTF-16 code units: few of them, and mostly in order already. */
export function sortedNames(keys: string[]): string[] {
  if (keys.length > 32) return keys.sort()
  for (let i = 1; i < keys.length; i++) {
    const key = keys[i] ?? ''
    let to = i
    for (let before = keys[to - 1]; before !== undefined && before > key; before = keys[to - 1]) {
      keys[to--] = before
    }
    keys[to] = key
  }
  return keys
}

/** Names that were written before. */
const known = new Map<string, string>()
const MAX_KNOWN = 1024
const MAX_KNOWN_LENGTH = 64

function canonicalKey(key: string): string {
  let text = known.get(key)
  if (text !== undefined) return text
  text = canonicalString(key)
  if (known.size < MAX_KNOWN && key.length <= MAX_KNOWN_LENGTH) known.set(key, text)
  return text
}

/** Characters that JSON writes as they are, and of which no two make up another. */
const PLAIN = /^[ !#-[\]-~]*$/

/**
 * The canonical form of a string.
 *
 * @throws SallyportError `SP_JSON_UNREPRESENTABLE` where a surrogate in it is unpaired
 */
export function canonicalString(value: string): string {
  if (PLAIN.test(value)) return `"${value}"`
  if (!value.isWellFormed()) throw unrepresentable('a string with an unpaired surrogate')
  return JSON.stringify(value)
}

function unrepresentable(what: string): SallyportError<JsonCode> {
  return fail('SP_JSON_UNREPRESENTABLE', `canonical JSON cannot hold ${what}`)
}
