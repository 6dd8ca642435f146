/** Digits behind the point, as Cedar's `decimal` has them. */
const PLACES = 4
const SCALE = 10 ** PLACES
/** Doubles tell decimals of fifteen digits apart, whatever they are (IEEE 754, binary64). */
const MAX_SCALED = 10 ** 15 - 1

/** The largest number that `tenThousandths` takes, and with a minus sign the smallest. */
export const MAX_DECIMAL: number = MAX_SCALED / SCALE

/**
 * A number with at most four digits behind its point, below 10¹¹, as a whole number of ten-thousandths: exact, where the double
 * itself is but the nearest to it.
 *
 * @returns undefined for any other number
 */
export function tenThousandths(value: number): number | undefined {
  const scaled = Math.round(value * SCALE)
  // No two decimals of so few digits have one nearest double, and division rounds to the nearest. Of -0 it makes 0.
  return Math.abs(scaled) <= MAX_SCALED && scaled / SCALE === value ? scaled + 0 : undefined
}

/** The other way round. @param scaled a whole number of ten-thousandths, as `tenThousandths` gives it */
export const fromTenThousandths = (scaled: number): number => scaled / SCALE

/**
 * Whether a number of JSON is, digit for digit, the decimal that `tenThousandths` would take it for; true where it takes it for none.
 *
 * @param token the number, well formed
 * @param value what a double makes of it
 */
export const isDecimalAsWritten = (token: string, value: number): boolean =>
  tenThousandths(value) === undefined || hasPlaces(token, PLACES)

/** Whether a number of JSON, as it is written, has no more than so many places behind its point that are not zero. */
export function hasPlaces(token: string, most: number): boolean {
  const [mantissa = '', exponent = '0'] = token.toLowerCase().split('e')
  const [whole = '', fraction = ''] = mantissa.split('.')
  const digits = whole + fraction
  let last = digits.length
  while (last > 0 && !(digits.charCodeAt(last - 1) > 0x30)) last--
  return last === 0 || last - whole.length <= Number(exponent) + most
}
