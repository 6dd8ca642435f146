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
