/** The digits of a text, whatever separates them. */
export function digitsOf(text: string): number[] {
  const digits: number[] = []
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i) - 48
    if (c >= 0 && c <= 9) digits.push(c)
  }
  return digits
}

export const weighted = (digits: readonly number[], weights: readonly number[]): number =>
  weights.reduce((sum, weight, i) => sum + weight * (digits[i] ?? 0), 0)

/** ISO/IEC 7812-1, annex B. */
export function luhn(text: string): boolean {
  const digits = digitsOf(text)
  let sum = 0
  for (let i = digits.length - 1, double = false; i >= 0; i--, double = !double) {
    const digit = digits[i] ?? 0
    sum += double ? (digit > 4 ? 2 * digit - 9 : 2 * digit) : digit
  }
  return sum % 10 === 0
}

const ANTI = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
const permute = (digit: number, times: number): number => {
  let value = digit
  for (let i = 0; i < times % 8; i++) value = ANTI[value] ?? 0
  return value
}

/** In the dihedral group of order ten. */
function times(a: number, b: number): number {
  if (a < 5) return b < 5 ? (a + b) % 5 : ((a + b - 5) % 5) + 5
  return b < 5 ? ((a - b) % 5) + 5 : (a - b + 5) % 5
}

/** Verhoeff's check digit, of Indian and Nigerian identity numbers. */
export function verhoeff(text: string): boolean {
  const digits = digitsOf(text).toReversed()
  return digits.reduce((sum, digit, i) => times(sum, permute(digit, i)), 0) === 0
}

/** ISO/IEC 7064, MOD 11,10. */
export function mod11_10(text: string): boolean {
  const digits = digitsOf(text)
  let product = 10
  for (const digit of digits.slice(0, -1)) product = (((digit + product) % 10 || 10) * 2) % 11
  return (11 - product) % 10 === digits.at(-1)
}

/** ICAO Doc 9303 part 3, section 4.9: the last digit checks the others. */
export function icao(text: string): boolean {
  const value = (c: string): number => Number.parseInt(c, 36)
  const upper = text.toUpperCase()
  let sum = 0
  for (let i = 0; i < upper.length - 1; i++) sum += value(upper[i] ?? '0') * ([7, 3, 1][i % 3] ?? 0)
  return sum % 10 === Number(upper.at(-1))
}

const LENGTHS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

/** Whether a text of the digits `YYMMDD` or `YYYYMMDD` can be a day. */
export function isDay(text: string): boolean {
  const month = Number(text.slice(-4, -2))
  const day = Number(text.slice(-2))
  return month >= 1 && month <= 12 && day >= 1 && day <= (LENGTHS[month - 1] ?? 0)
}

export const allSame = (text: string): boolean => new Set(digitsOf(text)).size === 1
