import { fits } from './narrow.ts'
import type { MandateGrant, MandateStatement } from './types.ts'

/** A call as the enforcement point typed it. */
export interface MandatedCall {
  readonly system: string
  readonly operation: string
  readonly input: Readonly<Record<string, unknown>>
}

/** What a call takes of one hop. */
export interface HopUse {
  /** Index of the grant that covers the call. */
  readonly grant: number
  /** Minor units; 0 where the grant has no ceiling. */
  readonly amount: number
  /** Over all uses, where the grant has one. */
  readonly total?: number
}

/** The first grant that covers a call, and what the call takes of it; undefined where none does. */
export function coverOf({ grants }: MandateStatement, call: MandatedCall): HopUse | undefined {
  for (const [index, grant] of grants.entries()) {
    const amount = coveredAmount(grant, call)
    if (amount === undefined) continue
    const total = grant.amount?.total
    return { grant: index, amount, ...(total === undefined ? {} : { total }) }
  }
  return undefined
}

function coveredAmount(grant: MandateGrant, call: MandatedCall): number | undefined {
  if (grant.system !== call.system || !grant.operations.includes(call.operation)) return undefined
  for (const [path, wanted] of Object.entries(grant.arguments ?? {})) {
    if (!fits(at(call.input, path), wanted)) return undefined
  }
  const { counterparties, amount } = grant
  if (counterparties !== undefined) {
    const value = at(call.input, counterparties.input)
    // A set of counterparties is covered where each of them is; an empty one names nobody.
    const named: readonly unknown[] = Array.isArray(value) ? value : [value]
    const known = named.every((one) => counterparties.values.some((name) => name === one))
    if (named.length === 0 || !known) return undefined
  }
  if (amount === undefined) return 0
  const value = at(call.input, amount.input)
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) return undefined
  if (value < 0 || value > amount.perUse) return undefined
  if (
    amount.currencyInput !== undefined &&
    at(call.input, amount.currencyInput) !== amount.currency
  ) {
    return undefined
  }
  return value
}

/** The member at a dotted path; undefined where it is not there. */
function at(input: MandatedCall['input'], path: string): unknown {
  let value: unknown = input
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    if (!Object.hasOwn(value, name)) return undefined
    // A plain record whose own member was just found.
    value = (value as Readonly<Record<string, unknown>>)[name]
  }
  return value
}
