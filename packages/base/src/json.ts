import { tenThousandths } from './decimal.ts'
import type { SallyportError } from './error.ts'
import { fail, isExact, StrictParser } from './strict-json.ts'
import type { JsonCode, JsonValue } from './strict-json.ts'

export type { JsonValue } from './strict-json.ts'

export interface JsonLimits {
  /** Bytes of UTF-8 (default 1 MiB). */
  readonly maxBytes?: number
  /** Nested arrays and objects (default 64). */
  readonly maxDepth?: number
  /**
   * Refuses more digits than a double tells apart where it would be a decimal of at most four places that is not what was written
   * (default false): for numbers that are decided on, and forwarded by others as they were written. Many printers of doubles write
   * `0.10000000000000001` where they mean 0.1.
   */
  readonly exactDecimals?: boolean
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Parses JSON (RFC 8259) as strictly as I-JSON (RFC 7493) asks, so that no second parser downstream
 * can read the same bytes differently: refuses duplicate keys, `__proto__`, invalid UTF-8, lone
 * surrogates, numbers that a double cannot hold exactly as written integers or makes integers of that are none, and
 * anything over the limits.
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
  const { maxDepth = 64, exactDecimals = false } = limits
  const members = membersOf(text, maxDepth, exactDecimals)
  // Depth is bounded by the scan above, so that neither parse below can exhaust the stack.
  let value: JsonValue
  try {
    // Whatever it accepts is JSON.
    value = JSON.parse(text) as JsonValue
  } catch {
    return new StrictParser(text, exactDecimals).parse()
  }
  // The engine keeps the last of two members of one name and rounds numbers; then there are fewer than were written.
  return soundMembers(value) === members ? value : new StrictParser(text, exactDecimals).parse()
}

/**
 * Bounds nesting before anything recursive looks at the text.
 *
 * @returns how many members the objects in the text have, where it is JSON; `RARE` where a number in it may become a whole
 *   one, or a decimal, that it is not
 */
function membersOf(text: string, maxDepth: number, exactDecimals: boolean): number {
  const { length } = text
  let depth = 0
  let members = 0
  for (let i = 0; i < length; i++) {
    const c = text.charCodeAt(i)
    if (c === 0x22) {
      i = endOfString(text, i)
      if (i < 0) break
    } else if (c === 0x3a) members++
    else if (c === 0x2e) {
      const end = endOfDigits(text, i + 1)
      if (mayBeRounded(text, i, end, exactDecimals)) return RARE
      i = end - 1
    } else if (c === 0x2d) {
      // Of an exponent: of so small a one that nothing is left, say.
      const before = text.charCodeAt(i - 1)
      if ((before === 0x65 || before === 0x45) && isReadAsShort(text, i, exactDecimals)) return RARE
    } else if (c === 0x7b || c === 0x5b) {
      if (++depth > maxDepth) {
        throw fail('SP_JSON_TOO_DEEP', `the JSON text nests deeper than ${maxDepth}`)
      }
    } else if (c === 0x7d || c === 0x5d) depth--
  }
  return members
}

/** No number of members: the strict parser is to say. */
const RARE = NaN

/** Doubles tell decimals of this many digits apart, whatever they are (IEEE 754, binary64), and so from whole numbers. */
const EXACT_DIGITS = 15
/** A number with no more digits before its point is read as a whole one only if the first few behind it are all 0 or all 9. */
const FEW_DIGITS = 8

/**
 * Whether a number may be read as a whole one, or as a decimal, that it is not: only one of more digits than a double tells apart.
 *
 * @param point where its point is
 * @param end where the digits behind that end
 */
function mayBeRounded(text: string, point: number, end: number, exactDecimals: boolean): boolean {
  let from = point
  while (isDigit(text.charCodeAt(from - 1))) from--
  if (end - from - 1 <= EXACT_DIGITS) return false
  if (exactDecimals) return isReadAsShort(text, point, true)
  const after = text.charCodeAt(end)
  // Most have such digits behind the point as no whole number is near: below 10⁸ a double is less than 10⁻⁸ away.
  if (point - from <= FEW_DIGITS && after !== 0x65 && after !== 0x45) {
    const first = text.charCodeAt(point + 1)
    if (first !== 0x30 && first !== 0x39) return false
    for (let i = point + 2; i < point + 8; i++) if (text.charCodeAt(i) !== first) return false
  }
  return isReadAsShort(text, point, false)
}

/** Whether the number around a place in it is read as a whole one, or as a decimal of few places. */
function isReadAsShort(text: string, at: number, orDecimal: boolean): boolean {
  let from = at
  let to = at + 1
  while (isOfNumber(text.charCodeAt(from - 1))) from--
  while (isOfNumber(text.charCodeAt(to))) to++
  const value = Number(text.slice(from, to))
  return Number.isInteger(value) || (orDecimal && tenThousandths(value) !== undefined)
}

function endOfDigits(text: string, from: number): number {
  let end = from
  while (isDigit(text.charCodeAt(end))) end++
  return end
}

const isDigit = (c: number): boolean => c >= 0x30 && c <= 0x39

const isOfNumber = (c: number): boolean =>
  isDigit(c) || c === 0x2e || c === 0x2d || c === 0x2b || c === 0x65 || c === 0x45

/** Where a string ends that begins at `start`: the first quote that is not escaped; -1 where there is none. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let before = end - 1
    while (text.charCodeAt(before) === 0x5c) before--
    if ((end - before) % 2 === 1) return end
  }
  return -1
}

/** Less than any text has members. */
const UNSOUND = -Number.MAX_SAFE_INTEGER

/** How many members a value's objects have; less than none where it holds what the strict parser refuses. */
function soundMembers(value: JsonValue): number {
  if (typeof value === 'string') return value.isWellFormed() ? 0 : UNSOUND
  if (typeof value === 'number') return isExact(value) ? 0 : UNSOUND
  if (typeof value !== 'object' || value === null) return 0
  let members = 0
  if (Array.isArray(value)) {
    // `Array.isArray` does not narrow a readonly array.
    for (const item of value as readonly JsonValue[]) members += soundMembers(item)
    return members
  }
  // Neither a scalar nor a list.
  const object = value as { readonly [key: string]: JsonValue }
  for (const name of Object.keys(object)) {
    if (name === '__proto__' || !name.isWellFormed()) return UNSOUND
    members += 1 + soundMembers(object[name] ?? null)
  }
  return members
}

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
