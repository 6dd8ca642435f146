import { DATA_CLASSES } from '@sallyport/network'
import type { Network, Operator } from '@sallyport/network'
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
    for (const operation of system.operations) {
      const other = find(next.operations, operation.name)
      if (!other) continue
      const what = `operation ${system.name}.${operation.name}`
      compare(`${what}: kind`, operation.kind, other.kind, (_, b) => b === 'read')
      compare(`${what}: binding`, operation.binding, other.binding, () => true)
    }
  }
  return changes
}

/** Roles that widen: to approve and release, and to change operators and policy. */
const trusted = (operator: Operator | undefined): readonly string[] | undefined =>
  operator?.roles.filter((role) => role === 'approver' || role === 'admin').toSorted()

interface Named {
  readonly name: string
}

const find = <T extends Named>(items: readonly T[], name: string): T | undefined =>
  items.find((item) => item.name === name)

const namesOf = (a: readonly Named[], b: readonly Named[]): Set<string> =>
  new Set([...a, ...b].map(({ name }) => name))
