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
