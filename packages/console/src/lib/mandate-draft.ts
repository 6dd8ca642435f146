import type { ArgumentConstraint, MandateDraft, MandateGrant } from '../api/mandate-types.ts'
import type { InputSchema, InputType, Network } from '../api/network-types.ts'

export interface FormCondition {
  readonly key: number
  readonly input: string
  readonly kind: 'equals' | 'oneOf' | 'range' | 'prefix'
  /** The value; values one a line; the lower bound. */
  readonly value: string
  /** The upper bound. */
  readonly max: string
}

export interface FormGrant {
  readonly key: number
  readonly system: string
  readonly operations: readonly string[]
  readonly conditions: readonly FormCondition[]
  readonly amount?: {
    readonly input: string
    readonly currencyInput: string
    readonly currency: string
    readonly perUse: string
    readonly total: string
  }
  readonly counterparties?: { readonly input: string; readonly values: string }
}

/** What stands in the fields, as it was typed. */
export interface MandateForm {
  readonly agent: string
  /** SPIFFE id; empty for any instance. */
  readonly instance: string
  readonly task: string
  readonly grants: readonly FormGrant[]
  readonly uses: string
  readonly time: string
  readonly unit: keyof typeof UNITS
}

const UNITS = { minutes: 60, hours: 3600, days: 86_400 } as const

export const EMPTY_FORM: MandateForm = {
  ...{ agent: '', instance: '', task: '', uses: '1', time: '1', unit: 'hours' },
  grants: [],
}

type Leaf = 'string' | 'long' | 'boolean' | 'set'

/**
 * The systems and operations that flows declare for an agent: whatever else it calls is refused before any policy is asked,
 * so a mandate for it would be good for nothing.
 */
export function callsOf(network: Network, agent: string): ReadonlyMap<string, readonly string[]> {
  const calls = new Map<string, string[]>()
  for (const { from, to, operations } of network.flows) {
    if (from === agent) calls.set(to, [...new Set([...(calls.get(to) ?? []), ...operations])])
  }
  return calls
}

/** Inputs, dotted, that every one of the operations has in the same type: only on those can a condition stand. */
export function inputsOf(
  network: Network,
  { system, operations }: Pick<FormGrant, 'system' | 'operations'>,
): ReadonlyMap<string, Leaf> {
  const declared = network.systems.find(({ name }) => name === system)?.operations ?? []
  const [first, ...rest] = declared
    .filter(({ name }) => operations.includes(name))
    .map(({ input }) => new Map(leaves(input)))
  return new Map(
    [...(first ?? [])].filter(([path, type]) => rest.every((other) => other.get(path) === type)),
  )
}

function leaves(schema: InputSchema, above: string = ''): readonly (readonly [string, Leaf])[] {
  return Object.entries(schema.members).flatMap(([name, { schema: type }]) => {
    const path = above + name
    if (type.type === 'record') return leaves(type, `${path}.`)
    const leaf = leafOf(type)
    return leaf === undefined ? [] : [[path, leaf] as const]
  })
}

function leafOf(type: InputType): Leaf | undefined {
  // Ceilings are whole numbers of minor units, which a decimal never is.
  if (type.type === 'record' || type.type === 'decimal') return undefined
  return type.type === 'set' && type.items.type !== 'string' ? undefined : type.type
}

/** What may be said of an input of a type. */
export function kindsFor(type: Leaf | undefined): readonly FormCondition['kind'][] {
  switch (type) {
    case 'long':
      return ['range', 'equals', 'oneOf']
    case 'boolean':
      return ['equals']
    case 'string':
      return ['equals', 'oneOf', 'prefix']
    case 'set':
    case undefined:
      return []
  }
}

/** The form as a draft, or what is still missing, in sentences. */
export function readForm(
  form: MandateForm,
  network: Network,
): { readonly draft?: MandateDraft; readonly missing: readonly string[] } {
  const missing: string[] = []
  const want = (there: boolean, sentence: string): void => {
    if (!there) missing.push(sentence)
  }
  want(form.agent !== '', 'Choose the agent.')
  want(form.task.trim() !== '', 'Say what is to be done.')
  if (form.agent !== '') want(form.grants.length > 0, 'Choose what it may call.')
  const grants = form.grants.map((grant) => readGrant(grant, network, want))
  const uses = wholeNumber(form.uses)
  want(uses !== undefined && uses >= 1 && uses <= 1_000_000, 'Calls: from 1 to 1,000,000.')
  const time = wholeNumber(form.time)
  const lifetimeSeconds = (time ?? 0) * UNITS[form.unit]
  want(lifetimeSeconds >= 1 && lifetimeSeconds <= 90 * 86_400, 'Time: from 1 minute to 90 days.')
  if (missing.length > 0 || uses === undefined) return { missing }
  const delegate =
    form.instance === '' ? `spiffe://${network.trustDomain}/agent/${form.agent}` : form.instance
  return { missing, draft: { delegate, task: form.task.trim(), grants, uses, lifetimeSeconds } }
}

function readGrant(
  grant: FormGrant,
  network: Network,
  want: (there: boolean, sentence: string) => void,
): MandateGrant {
  const { system, operations, conditions, amount, counterparties } = grant
  want(operations.length > 0, `${system}: choose an operation.`)
  const types = inputsOf(network, grant)
  // A condition on what the chosen operations do not all have would be refused: it is said here, not dropped.
  const known = (input: string): void =>
    want(
      types.has(input),
      `${system}: not every operation has an input ${input || '(none chosen)'}.`,
    )
  const inputs = conditions.map(({ input }) => input)
  want(new Set(inputs).size === inputs.length, `${system}: one condition for each input.`)
  const args = conditions.map((condition): readonly [string, ArgumentConstraint] => {
    known(condition.input)
    const constraint = readCondition(condition, types.get(condition.input))
    want(constraint !== undefined, `${system}: complete the condition on ${condition.input}.`)
    return [condition.input, constraint ?? { equals: '' }]
  })
  if (amount) known(amount.input)
  if (amount && amount.currencyInput !== '') known(amount.currencyInput)
  if (counterparties) known(counterparties.input)
  const perUse = amount && wholeNumber(amount.perUse)
  const total = amount && amount.total !== '' ? wholeNumber(amount.total) : undefined
  if (amount) {
    want(/^[A-Z]{3}$/.test(amount.currency), `${system}: a currency has three capital letters.`)
    want((perUse ?? -1) >= 0, `${system}: how much each call may move, in minor units.`)
    const ceiling = amount.total === '' || (total ?? -1) >= (perUse ?? 0)
    want(ceiling, `${system}: the sum of all calls is no less than one call.`)
  }
  const values = linesOf(counterparties?.values ?? '')
  if (counterparties) want(values.length > 0, `${system}: name the counterparties.`)
  return {
    system,
    operations,
    ...(args.length > 0 && { arguments: Object.fromEntries(args) }),
    ...(amount && {
      amount: {
        input: amount.input,
        ...(amount.currencyInput !== '' && { currencyInput: amount.currencyInput }),
        currency: amount.currency,
        perUse: perUse ?? 0,
        ...(total !== undefined && { total }),
      },
    }),
    ...(counterparties && { counterparties: { input: counterparties.input, values } }),
  }
}

function readCondition(
  { kind, value, max }: FormCondition,
  type: Leaf | undefined,
): ArgumentConstraint | undefined {
  const scalar = (text: string): string | number | boolean | undefined => {
    if (type === 'long') return wholeNumber(text)
    if (type === 'boolean') return text === 'true' ? true : text === 'false' ? false : undefined
    return text === '' ? undefined : text
  }
  switch (kind) {
    case 'equals': {
      const equals = scalar(value)
      return equals === undefined ? undefined : { equals }
    }
    case 'prefix':
      return value === '' ? undefined : { prefix: value }
    case 'oneOf': {
      const read = linesOf(value).map(scalar)
      const values = read.filter((one) => typeof one === 'string' || typeof one === 'number')
      return values.length === 0 || values.length < read.length ? undefined : { oneOf: values }
    }
    case 'range': {
      const [from, to] = [wholeNumber(value), wholeNumber(max)]
      // A bound that cannot be read is no missing bound.
      if ((value !== '' && from === undefined) || (max !== '' && to === undefined)) return undefined
      if (from === undefined) return to === undefined ? undefined : { max: to }
      if (to === undefined) return { min: from }
      return from <= to ? { min: from, max: to } : undefined
    }
  }
}

function wholeNumber(text: string): number | undefined {
  const trimmed = text.trim()
  if (!/^-?\d{1,16}$/.test(trimmed)) return undefined
  const value = Number(trimmed)
  return Number.isSafeInteger(value) ? value : undefined
}

const linesOf = (text: string): readonly string[] => [
  ...new Set(
    text
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== ''),
  ),
]
