/** What a character is to whoever cuts a text into words; bits. */
export const SEPARATOR = 1
export const DIGIT = 2
export const UPPER = 4
export const LOWER = 8
export const AT = 16
export const COLON = 32
export const DOT = 64
/** A letter of a script that writes no blanks between words: a word by itself. */
export const IDEOGRAPH = 128

/** Beyond ASCII. */
export const WIDE = 256

export const EQUALS = 1024

/** Zero: not known yet. `OTHER` has no bit that anybody asks for. */
const OTHER = 512
const classes = new Uint16Array(65_536)

for (let c = 0; c < 128; c++) {
  const text = String.fromCharCode(c)
  classes[c] =
    c <= 0x20 || '"{}[]<>|,;`\\'.includes(text) || c === 0x7f
      ? SEPARATOR
      : c >= 48 && c <= 57
        ? DIGIT
        : c >= 65 && c <= 90
          ? UPPER
          : c >= 97 && c <= 122
            ? LOWER
            : text === '@'
              ? AT
              : text === ':'
                ? COLON
                : text === '.'
                  ? DOT
                  : text === '='
                    ? EQUALS
                    : OTHER
}

/** The class of a UTF-16 code unit. */
export function classOf(c: number): number {
  return classes[c] || learn(c)
}

function learn(c: number): number {
  const text = String.fromCharCode(c)
  let found = OTHER
  if (
    (c >= 0x0e00 && c <= 0x0eff) ||
    (c >= 0x1000 && c <= 0x109f) ||
    (c >= 0x1780 && c <= 0x17ff)
  ) {
    found = IDEOGRAPH
  } else if (c >= 0x2e80 && c <= 0xd7ff) {
    found = /[\p{L}\p{N}\p{M}]/u.test(text) ? IDEOGRAPH : SEPARATOR
  } else if (/[\p{Z}\p{Cc}\u3000-\u303f]/u.test(text)) found = SEPARATOR
  else if (/\p{Lu}|\p{Lt}/u.test(text)) found = UPPER
  // A surrogate is half of a letter or of a picture: as part of a word it is on the safe side.
  else if (/[\p{L}\p{M}]/u.test(text) || (c >= 0xd800 && c <= 0xdfff)) found = LOWER
  else if (/\p{N}/u.test(text)) found = DIGIT
  // Known of ASCII from the beginning.
  classes[c] = found | WIDE
  return found | WIDE
}

const WORD = DIGIT | UPPER | LOWER

/** Whether what a code unit is makes it a letter or a digit of a word. */
export const isWordClass = (found: number): boolean => (found & WORD) !== 0

/** The `n` of `\n`, and the like. */
export const isEscape = (c: number): boolean =>
  c === 0x6e || c === 0x74 || c === 0x72 || c === 0x62 || c === 0x66

/** Words of fewer characters, and of other signs than those, hold nothing that anybody looks for. */
export const LONG_WORD = 16
/** Of these, a word of capitals alone may be something. */
const MIN_CAPITALS = 8
const HYPHEN = 0x2d
const BACKSLASH = 0x5c

/**
 * Whether a whole text has no word that a recogniser could begin with, nor the beginning of a key: what most texts of a protocol are,
 * and much of what people write. False says nothing: it is the segmenter that knows.
 *
 * @param capitals whether a capital is enough for one
 */
export function isUnpromising(text: string, capitals: boolean): boolean {
  const { length } = text
  let word = 0
  let found = 0
  for (let i = 0; i < length; i++) {
    const c = text.charCodeAt(i)
    // An escape may hide where a word begins.
    if (c > 0x7f || c === BACKSLASH) return false
    const one = classes[c] ?? 0
    if ((one & SEPARATOR) !== 0) {
      if (word >= MIN_CAPITALS && (found & (UPPER | LOWER)) === UPPER) return false
      word = found = 0
      continue
    }
    if ((one & (DIGIT | AT | COLON)) !== 0) return false
    found |= one
    if (++word >= LONG_WORD || (capitals && (one & UPPER) !== 0)) return false
    if (one === DOT || c === HYPHEN) {
      const next = i + 1 < length ? text.charCodeAt(i + 1) : 0
      if (c === HYPHEN ? next === HYPHEN : isWordClass(classOf(next))) return false
    }
  }
  return word < MIN_CAPITALS || (found & (UPPER | LOWER)) !== UPPER
}
