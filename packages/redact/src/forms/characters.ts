/** Of a code unit: its number among letters and figures of ASCII, from 1 on; 0 for any other. */
const numbers = new Uint8Array(128)
const CHARACTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
for (let i = 0; i < CHARACTERS.length; i++) numbers[CHARACTERS.charCodeAt(i)] = i + 1

/** How many there are, and a number for none. */
export const NUMBERS: number = CHARACTERS.length + 1

/** @returns 0 for what is no letter or figure of ASCII */
export const numberOf = (c: number): number => (c < 128 ? (numbers[c] ?? 0) : 0)
export const isFigure = (c: number | undefined): boolean =>
  c !== undefined && c >= 0x30 && c <= 0x39

/** Signs between two letters or figures of a number; more were never written. */
export const MAX_GAP = 3
/** What may stand between those: models group and join numbers as they like. */
export const BETWEEN: ReadonlySet<number> = new Set(
  Array.from(' -./():\u00a0\u2009\u202f\u2010\u2011\u2012\u2013', (c) => c.charCodeAt(0)),
)
const PLUS = 0x2b

/** Whether a text is letters, figures and what groups them: the layout of anything else says more of it than how it is written. */
export function isGrouped(text: string): boolean {
  let signs = 0
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (numberOf(c) !== 0) signs = 0
    else if (!(BETWEEN.has(c) || (c === PLUS && i === signs)) || ++signs > MAX_GAP) return false
  }
  return true
}

/** The letters and figures of a text alone. */
export function squeeze(text: string): string {
  let out = ''
  let from = 0
  for (let i = 0; i <= text.length; i++) {
    if (i < text.length && numberOf(text.charCodeAt(i)) !== 0) continue
    if (i > from) out += text.slice(from, i)
    from = i + 1
  }
  return out
}

/** A text with its letters and figures replaced by as many others, in their order. */
export function lay(layout: string, characters: string): string {
  let next = 0
  return layout.replaceAll(/[0-9A-Za-z]/g, () => characters.charAt(next++))
}
