import type {
  AmountCeiling,
  ArgumentConstraint,
  MandateDraft,
  MandateGrant,
} from '../api/mandate-types.ts'
import { agentName, count, instanceName } from './format.ts'
import { readMoney } from './money.ts'
import { visible } from './visible.ts'

/** `operator:NAME` or a SPIFFE id, as people call it. */
export function partyName(party: string): string {
  if (party.startsWith('operator:')) return visible(party.slice('operator:'.length))
  const agent = agentName(party)
  const instance = instanceName(party)
  return visible(instance === party ? agent : `${agent} ${instance}`)
}

/** Whom a mandate is for: an instance, or any instance of an agent. */
function delegateName(delegate: string): string {
  return instanceName(delegate) === delegate
    ? `any instance of ${visible(agentName(delegate))}`
    : `the instance ${visible(instanceName(delegate))} of ${visible(agentName(delegate))}`
}

const quoted = (value: string | number | boolean): string =>
  typeof value === 'string' ? `“${visible(value)}”` : String(value)

const listed = (values: readonly (string | number)[]): string =>
  values.map(quoted).join(values.length > 2 ? ', ' : ' or ')

/** `is exactly “x”`, `begins with “x”`, `is 1 at least and 9 at most`. */
function constraintWords(constraint: ArgumentConstraint): string {
  if ('equals' in constraint) return `is exactly ${quoted(constraint.equals)}`
  if ('oneOf' in constraint) return `is one of ${listed(constraint.oneOf)}`
  if ('prefix' in constraint) return `begins with ${quoted(constraint.prefix)}`
  const bounds = [
    ...(constraint.min === undefined ? [] : [`${count(constraint.min)} at least`]),
    ...(constraint.max === undefined ? [] : [`${count(constraint.max)} at most`]),
  ]
  return `is ${bounds.join(' and ')}`
}

/** Minor units, and beside them what people read: the exact number is never left out. */
export function amountWords(amount: number, currency: string): string {
  const exact = `${count(amount)} minor units of ${visible(currency)}`
  const reading = readMoney(amount, currency)
  return reading === undefined ? exact : `${reading} (${exact})`
}

function ceilingWords(ceiling: AmountCeiling): readonly string[] {
  const { input, currencyInput, currency, perUse, total } = ceiling
  return [
    `${visible(input)} is ${amountWords(perUse, currency)} at most in each call`,
    ...(total === undefined
      ? []
      : [`${visible(input)} is ${amountWords(total, currency)} at most over all calls`]),
    ...(currencyInput === undefined
      ? []
      : [`${visible(currencyInput)} is exactly “${visible(currency)}”`]),
  ]
}

/** Every condition of a grant, one sentence each; empty where nothing narrows the calls. */
export function conditionsOf({
  arguments: args,
  amount,
  counterparties,
}: MandateGrant): readonly string[] {
  return [
    ...Object.entries(args ?? {}).map(
      ([input, constraint]) => `${visible(input)} ${constraintWords(constraint)}`,
    ),
    ...(amount ? ceilingWords(amount) : []),
    ...(counterparties
      ? [`${visible(counterparties.input)} names nobody but ${listed(counterparties.values)}`]
      : []),
  ]
}

/** A span of whole seconds without parts that are nothing: `1 h`, `1 h 30 min`, `2 d`. */
export function spanWords(seconds: number): string {
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ] as const
  const said = parts.filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`)
  return said.length === 0 ? '0 s' : said.join(' ')
}

/** The first sentence of what is signed, for a draft and for a statement alike. */
export function summaryOf(
  delegator: string,
  { delegate, uses }: Pick<MandateDraft, 'delegate' | 'uses'>,
): string {
  return `${partyName(delegator)} lets ${delegateName(delegate)} make ${
    uses === 1 ? 'one call' : `at most ${count(uses)} calls`
  }`
}
