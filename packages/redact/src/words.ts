import { randomInt } from 'node:crypto'
import { classOf, IDEOGRAPH, isWordClass } from './characters.ts'

/** Percent-encoded, and no letter or digit. */
const SIGN = /^%(?:[2][0-9a-f]|3[a-f]|40|5[b-f]|60|7[b-f])$/i
/** The same as programs write it that escape more than JSON wants: `\u0027`, `\u0026`. */
const ESCAPED = /^\\u00(?:[012][0-9a-f]|3[a-f]|40|5[b-f]|60|7[b-f])$/i

/** How many characters the sign at a place has; 0 where a later piece tells. */
export function signAt(text: string, at: number, ended: boolean): number {
  const c = text.charCodeAt(at)
  const left = text.length - at
  if (c === 0x5c) {
    if (left < 2) return ended ? 1 : 0
    const next = text.charAt(at + 1)
    if ('ntrbf'.includes(next)) return 2
    if (next !== 'u') return 1
    if (left < 6 && !ended) return 0
    return ESCAPED.test(text.slice(at, at + 6)) ? 6 : 1
  }
  // In an address `%20` is a blank.
  if (c !== 0x25) return 1
  if (left < 3 && !ended) return 0
  return SIGN.test(text.slice(at, at + 3)) ? 3 : 1
}

/** A word as it is compared: its case, and how its accents are written, make no difference. */
export const fold = (word: string): string => {
  const lower = word.toLowerCase()
  return /^[\0-\x7f]*$/.test(lower) ? lower : lower.normalize('NFC')
}

/**
 * The words of a value, and the most signs between two of them.
 *
 * @param escapes whether a backslash or a `%` may be the beginning of an escape, as in a text that is looked through
 */
export function wordsOf(value: string, escapes: boolean): { words: string[]; gap: number } {
  const words: string[] = []
  let gap = 0
  let signs = 0
  for (let i = 0; i < value.length;) {
    const found = classOf(value.charCodeAt(i))
    const alone = (found & IDEOGRAPH) !== 0
    if (!alone && !isWordClass(found)) {
      i += escapes ? signAt(value, i, true) : 1
      signs++
      continue
    }
    let end = i + 1
    if (!alone) {
      while (end < value.length && isWordClass(classOf(value.charCodeAt(end)))) end++
    }
    if (words.length > 0) gap = Math.max(gap, signs)
    words.push(fold(value.slice(i, end)))
    signs = 0
    i = end
  }
  return { words, gap }
}

/** Longer texts that were cut from others keep these in memory (V8's sliced strings). */
const MAX_COPIED = 12

/** The same text in memory of its own, whatever it was cut from. */
export const own = (text: string): string =>
  text.length <= MAX_COPIED ? text : Buffer.from(text, 'utf16le').toString('utf16le')

/** As programs write it that keep JSON to ASCII. */
export const escape = (value: string): string =>
  // oxlint-disable-next-line no-control-regex -- everything beyond ASCII
  value.replaceAll(/[^\x00-\x7f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)

export const HASH_BITS = 16
/** Of a folded word, and of the same word as it stands in a text: of its length and its first three letters. ASCII only. */
export const hashOf = (length: number, a: number, b: number, c: number): number =>
  Math.imul((lowered(a) * 128 + lowered(b)) * 128 + lowered(c) + (length << 21), 0x9e3779b1) >>>
  (32 - HASH_BITS)
export const lowered = (c: number): number => (c >= 65 && c <= 90 ? c | 0x20 : c)

/** Nobody outside can choose words that meet. */
const SEED = randomInt(2 ** 32) | 0
const stir = (hash: number, c: number): number => Math.imul(hash ^ c, 0x9e3779b1)
const settle = (hash: number): number => hash ^ (hash >>> 15)

/** Of a whole word that is folded. */
export function hashOfText(word: string): number {
  let hash = SEED
  for (let i = 0; i < word.length; i++) hash = stir(hash, word.charCodeAt(i))
  return settle(hash)
}

/** The same of a word of ASCII as it stands in a text. */
export function hashOfCodes(codes: Uint16Array, start: number, end: number): number {
  let hash = SEED
  for (let i = start; i < end; i++) hash = stir(hash, lowered(codes[i] ?? 0))
  return settle(hash)
}
