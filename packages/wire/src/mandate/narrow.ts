import { IDENTIFIER } from './shape.ts'
import type { AmountCeiling, ArgumentConstraint, MandateGrant, MandateStatement } from './types.ts'

/**
 * In what `child` reaches beyond `parent`; undefined where it does so in nothing. What cannot be compared counts as beyond.
 *
 * Each grant of the child must lie within one single grant of the parent: a child is never covered by two of them together.
 */
export function widens(child: MandateStatement, parent: MandateStatement): string | undefined {
  if (child.notBefore < parent.notBefore) return 'it begins earlier'
  if (child.expiresAt > parent.expiresAt) return 'it ends later'
  if (child.uses > parent.uses) return 'it has more uses'
  if (child.issuedAt < parent.issuedAt) return 'it is older'
  const index = child.grants.findIndex((grant) => !parent.grants.some((one) => within(grant, one)))
  return index === -1 ? undefined : `its grant ${index + 1} lies within none`
}

function within(child: MandateGrant, parent: MandateGrant): boolean {
  return (
    child.system === parent.system &&
    child.operations.every((operation) => parent.operations.includes(operation)) &&
    argumentsWithin(child.arguments ?? {}, parent.arguments ?? {}) &&
    (parent.amount === undefined || amountWithin(child.amount, parent.amount)) &&
    (parent.counterparties === undefined ||
      counterpartiesWithin(child.counterparties, parent.counterparties))
  )
}

type Arguments = NonNullable<MandateGrant['arguments']>

function argumentsWithin(child: Arguments, parent: Arguments): boolean {
  return Object.entries(parent).every(([name, wanted]) => {
    const own = Object.hasOwn(child, name) ? child[name] : undefined
    return own !== undefined && implies(own, wanted)
  })
}

/** Whether every value that `own` lets through, `wanted` lets through too. */
function implies(own: ArgumentConstraint, wanted: ArgumentConstraint): boolean {
  if ('equals' in own) return fits(own.equals, wanted)
  if ('oneOf' in own) return own.oneOf.every((value) => fits(value, wanted))
  if ('prefix' in own) return 'prefix' in wanted && own.prefix.startsWith(wanted.prefix)
  if ('equals' in wanted || 'oneOf' in wanted || 'prefix' in wanted) return false
  return (
    (wanted.min === undefined || (own.min !== undefined && own.min >= wanted.min)) &&
    (wanted.max === undefined || (own.max !== undefined && own.max <= wanted.max))
  )
}

/** Whether a value is one that a constraint lets through. A set, a record, an extension value never is. */
export function fits(value: unknown, wanted: ArgumentConstraint): boolean {
  if ('equals' in wanted) return value === wanted.equals
  if ('oneOf' in wanted) return wanted.oneOf.some((one) => one === value)
  if ('prefix' in wanted) return isIdentifier(value) && value.startsWith(wanted.prefix)
  const { min, max } = wanted
  if (min === undefined && max === undefined) return false
  return (
    typeof value === 'number' &&
    Number.isSafeInteger(value) &&
    (min === undefined || value >= min) &&
    (max === undefined || value <= max)
  )
}

/**
 * What a prefix can say something of: identifiers. Where dots lead up, or escapes, slashes, an `@` or a combining mark are read
 * by whoever is behind the call, what a text begins with is not where it leads.
 */
function isIdentifier(value: unknown): value is string {
  return typeof value === 'string' && IDENTIFIER.test(value) && !value.includes('..')
}

function amountWithin(child: AmountCeiling | undefined, parent: AmountCeiling): boolean {
  return (
    child !== undefined &&
    child.input === parent.input &&
    child.currency === parent.currency &&
    (parent.currencyInput === undefined || child.currencyInput === parent.currencyInput) &&
    child.perUse <= parent.perUse &&
    (parent.total === undefined || (child.total !== undefined && child.total <= parent.total))
  )
}

type Counterparties = NonNullable<MandateGrant['counterparties']>

function counterpartiesWithin(child: Counterparties | undefined, parent: Counterparties): boolean {
  return (
    child !== undefined &&
    child.input === parent.input &&
    child.values.every((value) => parent.values.includes(value))
  )
}
