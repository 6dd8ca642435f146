import { SallyportError } from '@sallyport/base'

/** Authorisation to pay, narrower than a scope (RFC 9396, section 2; type `payment`). */
export interface Payment {
  readonly type: 'payment'
  /** At most this much in one call, in minor units of the currency. */
  readonly amount: number
  /** ISO 4217. */
  readonly currency: string
  /** Account or identifier of who is paid. */
  readonly creditor: string
  /** Operations of the system that it is for. */
  readonly operations: readonly string[]
}

const MEMBERS = ['type', 'amount', 'currency', 'creditor', 'operations'] as const
const MAX_DETAILS = 16
const MAX_OPERATIONS = 64

/**
 * Reads `authorization_details`: payments alone, each with every member and no other.
 *
 * @throws SallyportError `SP_AUTHORISATION_DETAILS`
 */
export function readPayments(value: unknown): readonly Payment[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_DETAILS) {
    throw bad(`it is not a list of 1 to ${MAX_DETAILS}`)
  }
  return value.map((entry: unknown) => readPayment(entry))
}

/** @throws SallyportError `SP_AUTHORISATION_DETAILS` */
export function readPayment(value: unknown): Payment {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw bad('an entry is not an object')
  }
  // Checked just above.
  const entry = value as Readonly<Record<string, unknown>>
  const extra = Object.keys(entry).find((name) => !MEMBERS.some((known) => known === name))
  if (extra !== undefined) throw bad('an entry has a member that a payment does not have')
  const { type, amount, currency, creditor, operations } = entry
  if (type !== 'payment') throw bad('only the type `payment` is known')
  if (typeof amount !== 'number' || !Number.isSafeInteger(amount) || amount <= 0) {
    throw bad('`amount` is not a whole number of minor units above zero')
  }
  if (typeof currency !== 'string' || !/^[A-Z]{3}$/.test(currency)) {
    throw bad('`currency` is not an ISO 4217 code')
  }
  if (typeof creditor !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(creditor)) {
    throw bad('`creditor` is not a plain identifier of at most 128 characters')
  }
  return { type, amount, currency, creditor, operations: readOperations(operations) }
}

function readOperations(value: unknown): readonly string[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_OPERATIONS) {
    throw bad(`\`operations\` is not a list of 1 to ${MAX_OPERATIONS}`)
  }
  const names = value.map((name: unknown) => {
    if (typeof name === 'string' && /^[A-Za-z0-9._-]{1,128}$/.test(name)) return name
    throw bad('an operation is not a name')
  })
  if (new Set(names).size < names.length) throw bad('an operation stands twice')
  return names
}

/** Whether `wanted` allows nothing that one of `granted` does not allow alone. */
export function covered(wanted: Payment, granted: readonly Payment[]): boolean {
  return granted.some(
    (grant) =>
      wanted.amount <= grant.amount &&
      wanted.currency === grant.currency &&
      wanted.creditor === grant.creditor &&
      wanted.operations.every((operation) => grant.operations.includes(operation)),
  )
}

function bad(detail: string): SallyportError {
  return new SallyportError('SP_AUTHORISATION_DETAILS', 'the authorisation details are not valid', {
    detail,
    fix: 'send payments with `type`, `amount`, `currency`, `creditor` and `operations`',
  })
}

/**
 * Whether payments that a token names allow a call. An operation that none of them names is not theirs to judge; one that is
 * named must say in its input, as `amount`, `currency` and `creditor`, what one of them allows.
 */
export function paymentsAllow(
  payments: readonly Payment[] | undefined,
  operation: string,
  input: Readonly<Record<string, unknown>>,
): boolean {
  const named = payments?.some(({ operations }) => operations.includes(operation)) ?? false
  return !named || coveringPayments(payments, operation, input).length > 0
}

/** The payments that allow a call by what it says as `amount`, `currency` and `creditor`. */
export function coveringPayments(
  payments: readonly Payment[] = [],
  operation: string,
  { amount, currency, creditor }: Readonly<Record<string, unknown>>,
): readonly Payment[] {
  return payments.filter(
    (payment) =>
      payment.operations.includes(operation) &&
      typeof amount === 'number' &&
      amount >= 0 &&
      amount <= payment.amount &&
      currency === payment.currency &&
      creditor === payment.creditor,
  )
}
