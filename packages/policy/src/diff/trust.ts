import { DATA_CLASSES } from '@sallyport/network'
import type { EnforcementPoint, InputType, Network, Operation, Operator } from '@sallyport/network'
import { shown } from './limits.ts'
import type { LimitChange } from './types.ts'

/**
 * What no single request shows: who can approve, which labels a session comes to carry, how much a mask hides, and where a call goes.
 * Losing a tag, for one, disarms every bound that reads the label. What could be either counts as widened.
 */
export function trustChanges(before: Network, after: Network): LimitChange[] {
  const changes: LimitChange[] = []
  const compare = <T>(what: string, a: T, b: T, wider: (a: T, b: T) => boolean): void => {
    if (shown(a) === shown(b)) return
    const direction = wider(a, b) ? 'widened' : 'narrowed'
    changes.push({ direction, what, before: shown(a), after: shown(b) })
  }
  for (const name of namesOf(before.operators, after.operators)) {
    const [a, b] = [before, after].map(({ operators }) => trusted(find(operators, name)))
    compare(`operator ${name}: roles`, a, b, (x = [], y = []) => y.some((one) => !x.includes(one)))
    const [glass, other] = [before, after].map(({ operators }) => signIns(find(operators, name)))
    compare(`operator ${name}: sign-in`, glass ?? [], other ?? [], (x, y) =>
      y.some((one) => !x.includes(one)),
    )
  }
  const providers = [before, after].map(({ identityProviders }) => identityProviders ?? [])
  for (const name of namesOf(providers[0] ?? [], providers[1] ?? [])) {
    const [a, b] = providers.map((declared) => find(declared, name))
    // Whichever member differs, others may come in by it.
    compare(`identity provider ${name}`, a, b, (_, next) => next !== undefined && !next.disabled)
  }
  for (const dataset of before.datasets) {
    const next = find(after.datasets, dataset.name)
    for (const field of dataset.fields) {
      const other = find(next?.fields ?? [], field.name)
      if (!other) continue
      const what = `field ${dataset.name}.${field.name}`
      const rank = (one: typeof field.class): number => DATA_CLASSES.indexOf(one)
      compare(`${what}: class`, field.class, other.class, (a, b) => rank(b) < rank(a))
      compare(`${what}: tags`, field.tags.toSorted(), other.tags.toSorted(), (a, b) =>
        a.some((tag) => !b.includes(tag)),
      )
      compare(`${what}: mask`, field.mask, other.mask, (_, b) => b !== 'full')
      // Tokens of one kind can be joined: of another kind, with other fields.
      compare(`${what}: token`, field.tokenKind, other.tokenKind, (_, b) => b !== undefined)
    }
  }
  for (const system of before.systems) {
    const next = find(after.systems, system.name)
    if (!next) continue
    compare(`system ${system.name}: upstream`, system.upstream, next.upstream, () => true)
    compare(`system ${system.name}: tables`, system.postgres, next.postgres, () => true)
    compare(`system ${system.name}: models`, system.llm, next.llm, () => true)
    const asked = [system, next].map(({ onBehalfOf }) => onBehalfOf)
    compare(`system ${system.name}: on behalf of`, asked[0], asked[1], (_, b) => b === undefined)
    for (const operation of system.operations) {
      const other = find(next.operations, operation.name)
      if (!other) continue
      const what = `operation ${system.name}.${operation.name}`
      compare(`${what}: kind`, operation.kind, other.kind, (_, b) => b === 'read')
      compare(`${what}: binding`, operation.binding, other.binding, () => true)
      // Policies say how a data set's fields leave, and nothing of which data set an answer holds, or what is public.
      compare(`${what}: returns`, sorted(operation.returns), sorted(other.returns), () => true)
      compare(`${what}: subject`, operation.subject, other.subject, () => true)
      const tokens = (of: Operation): string[] => tokensOf(of.input, 'input').toSorted()
      compare(`${what}: tokens restored`, tokens(operation), tokens(other), (a, b) =>
        b.some((one) => !a.includes(one)),
      )
    }
  }
  for (const name of namesOf(before.services, after.services)) {
    const [a, b] = [before, after].map(({ services }) => find(services, name)?.enforcementPoint)
    const what = `service ${name}: enforcement point`
    compare(what, pointOf(a), pointOf(b), (x = [], y = []) => y.some((one) => !x.includes(one)))
    const [c, d] = [before, after].map(({ services }) => find(services, name)?.responder ?? false)
    compare(`service ${name}: responder`, c, d, (_, next) => next === true)
  }
  return changes
}

const sorted = (map: Readonly<Record<string, string>>): readonly (readonly [string, string])[] =>
  Object.entries(map).toSorted(([a], [b]) => (a < b ? -1 : 1))

/** Where callers may pass a token that is restored, and of which kind. */
function tokensOf(type: InputType, path: string): string[] {
  switch (type.type) {
    case 'string':
      return type.tokenOf === undefined ? [] : [`${path}: ${type.tokenOf}`]
    case 'set':
      return tokensOf(type.items, `${path}[]`)
    case 'record':
      return Object.entries(type.members).flatMap(([name, { schema }]) =>
        tokensOf(schema, `${path}.${name}`),
      )
    default:
      return []
  }
}

/** Each system that it may ask about, and each ability: both let it be answered more. */
const pointOf = (point: EnforcementPoint | undefined): readonly string[] | undefined =>
  point &&
  [
    ...point.systems.map((name) => `asks ${name}`),
    ...point.can.map((one) => `can ${one}`),
  ].toSorted()

/** Roles that widen: to approve and release, and to change operators and policy. */
const trusted = (operator: Operator | undefined): readonly string[] | undefined =>
  operator?.roles.filter((role) => role === 'approver' || role === 'admin').toSorted()

/** Other ways in, and what break-glass adds. */
const signIns = (operator: Operator | undefined): readonly string[] => [
  ...(operator?.identities ?? []).map(({ provider, subject }) => `${subject} of ${provider}`),
  ...(operator?.breakGlass?.roles ?? []).map((role) => `break-glass ${role}`),
]

interface Named {
  readonly name: string
}

const find = <T extends Named>(items: readonly T[], name: string): T | undefined =>
  items.find((item) => item.name === name)

const namesOf = (a: readonly Named[], b: readonly Named[]): Set<string> =>
  new Set([...a, ...b].map(({ name }) => name))
