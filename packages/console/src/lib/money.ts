/** ISO 4217 (list one): how many decimal digits a currency's minor unit has, where it is not two. */
const DIGITS: Readonly<Record<string, number>> = {
  ...{ BIF: 0, CLP: 0, DJF: 0, GNF: 0, ISK: 0, JPY: 0, KMF: 0, KRW: 0, PYG: 0, RWF: 0, UGX: 0 },
  ...{ UYI: 0, VND: 0, VUV: 0, XAF: 0, XOF: 0, XPF: 0 },
  ...{ BHD: 3, IQD: 3, JOD: 3, KWD: 3, LYD: 3, OMR: 3, TND: 3 },
  ...{ CLF: 4, UYW: 4 },
}
const KNOWN = new Set(Intl.supportedValuesOf('currency'))

/**
 * Reads an integer in minor units as an amount: `2500000` and `EUR` are `25,000.00 EUR`. Exact at any size.
 *
 * @returns undefined where it is no whole number, no currency, or where ISO 4217 and the browser's own tables (which follow
 *   what is in daily use, and know currencies of the past) put the decimal point in different places: a reading that may
 *   be wrong a hundredfold is worse than none
 */
export function readMoney(amount: unknown, currency: unknown): string | undefined {
  if (typeof amount !== 'number' || !Number.isSafeInteger(amount)) return undefined
  if (typeof currency !== 'string' || !KNOWN.has(currency)) return undefined
  const format = new Intl.NumberFormat('en-GB', { style: 'currency', currency })
  const digits = DIGITS[currency] ?? 2
  if (format.resolvedOptions().maximumFractionDigits !== digits) return undefined
  const padded = String(Math.abs(amount)).padStart(digits + 1, '0')
  const whole = padded.slice(0, padded.length - digits)
  const grouped = BigInt(whole).toLocaleString('en-GB')
  const fraction = digits === 0 ? '' : `.${padded.slice(-digits)}`
  return `${amount < 0 ? '-' : ''}${grouped}${fraction} ${currency}`
}

/**
 * The house rule: an integer `amount` beside an ISO 4217 `currency` is money in minor units.
 *
 * @param wholeNumbers that are declared as such: of a decimal, 5 is five of the currency itself
 */
export function moneyOf(
  name: string,
  input: object,
  wholeNumbers: readonly string[],
): string | undefined {
  if (name !== 'amount' || !wholeNumbers.includes(name)) return undefined
  if (!('amount' in input) || !('currency' in input)) return undefined
  return readMoney(input.amount, input.currency)
}
