/**
 * Cedar's Long is a signed 64-bit integer. At run time it is a JavaScript number where that is exact and a bigint
 * elsewhere, never both forms for one value, so `===` is equality.
 */
export type Long = number | bigint

const MIN = -(2n ** 63n)
const MAX = 2n ** 63n - 1n

/** The one form of a bigint, or undefined where it does not fit 64 bits. */
export function toLong(value: bigint): Long | undefined {
  if (value < MIN || value > MAX) return undefined
  const small = Number(value)
  return Number.isSafeInteger(small) ? small : value
}

/** Each gives undefined on overflow. */
export function add(a: Long, b: Long): Long | undefined {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b
    if (Number.isSafeInteger(sum)) return sum
  }
  return toLong(BigInt(a) + BigInt(b))
}

export function subtract(a: Long, b: Long): Long | undefined {
  if (typeof a === 'number' && typeof b === 'number') {
    const difference = a - b
    if (Number.isSafeInteger(difference)) return difference
  }
  return toLong(BigInt(a) - BigInt(b))
}

export function multiply(a: Long, b: Long): Long | undefined {
  if (typeof a === 'number' && typeof b === 'number') {
    const product = a * b
    // Adding 0 turns -0, which `Object.is` and Set keys tell apart from 0, into 0.
    if (Number.isSafeInteger(product)) return product + 0
  }
  return toLong(BigInt(a) * BigInt(b))
}

/** Division rounding towards zero; `b` is a positive constant. */
export function divide(a: Long, b: number): Long {
  if (typeof a === 'number') return Math.trunc(a / b) + 0
  const quotient = a / BigInt(b)
  // A quotient of a Long by a constant of at least 1 fits a Long.
  return toLong(quotient) ?? quotient
}

export function isLong(value: unknown): value is Long {
  return typeof value === 'number' || typeof value === 'bigint'
}
