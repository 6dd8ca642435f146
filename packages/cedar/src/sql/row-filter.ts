import type { EntityStore } from '../entities.ts'
import { PartialEvaluator } from '../partial/evaluate.ts'
import { residualOf } from '../partial/residual.ts'
import type { ResidualPolicy } from '../partial/residual.ts'
import type { UnknownEntity } from '../partial/types.ts'
import type { PolicySet } from '../policy-set.ts'
import type { PreparedContext } from '../prepare.ts'
import type { CedarJson, EntityUid } from '../types.ts'
import type { Row } from './translate.ts'
import { Translator } from './translate.ts'
import type { RowMap } from './columns.ts'
import { Hierarchy } from './hierarchy.ts'
import { qualified } from './read.ts'
import { Parameters, unsupported } from './text.ts'

export interface RowFilterRequest {
  readonly policies: PolicySet
  /** What is known beside the row. */
  readonly entities: EntityStore
  readonly principal: EntityUid
  readonly action: EntityUid
  readonly context: Readonly<Record<string, CedarJson>> | PreparedContext
  /** How a row is read as the resource. */
  readonly row: RowMap
  /** Number of the first parameter (default 1): those before it are the query's own. */
  readonly firstParameter?: number
  /** Ids of permits that deny where they are satisfied: they carry a duty that nobody can meet. */
  readonly vetoes?: (policyId: string) => boolean
}

/** A condition for a `WHERE`. */
export interface RowFilter {
  readonly kind: 'all' | 'none' | 'some'
  /** Boolean and never NULL. Refers to the table's columns and to `$n` only. */
  readonly text: string
  /** Values of the parameters, for a client that sends texts, booleans and arrays of them as such. */
  readonly values: readonly unknown[]
  /** Policies that bear on some row. */
  readonly policies: readonly string[]
}

/**
 * The rows that a request may have: those for which Cedar allows it and no forbid fails. Where some policy cannot be
 * evaluated for a row, a permit does not permit it and a forbid forbids it.
 *
 * @throws SallyportError `SP_CEDAR_FILTER_UNSUPPORTED` for policies that SQL cannot express exactly,
 *   `SP_CEDAR_VALUE`
 */
export function rowFilter(request: RowFilterRequest): RowFilter {
  const { policies, entities, principal, action, context, row: map } = request
  const hierarchy = new Hierarchy(entities, map)
  const evaluator = new PartialEvaluator(
    { principal, action, resource: anyRow(map, entities), context: { known: context } },
    hierarchy,
  )
  const parameters = new Parameters()
  const row = rowOf(map)
  const translator = new Translator(row, parameters, hierarchy, evaluator)
  const residuals = policies
    .policies()
    .map((policy) => residualOf(policy, evaluator))
    .filter(({ outcome }) => outcome !== 'unsatisfied')
  const permits = residuals.filter(({ policy }) => policy.effect === 'permit')
  const permitted = permits.filter(({ outcome }) => outcome !== 'error')
  const vetoed = permitted.filter(({ policy }) => request.vetoes?.(policy.id) === true)
  const forbids = residuals.filter(({ policy }) => policy.effect === 'forbid')
  const none = (ids: readonly ResidualPolicy[]): RowFilter => ({
    kind: 'none',
    text: 'FALSE',
    values: [],
    policies: ids.map(({ policy }) => policy.id),
  })
  if (permitted.length === 0) return none([])
  const always = [
    ...forbids.filter(({ outcome }) => outcome !== 'open'),
    ...vetoed.filter(isSatisfied),
  ]
  if (always.length > 0) return none(always)
  const id = qualified(row, map.id)
  const any = permitted.some(isSatisfied) ? undefined : permitted
  const allowed = any?.map((each) => `COALESCE(${truth(translator, each)}, FALSE)`).join(' OR ')
  const denied = [
    ...forbids.map((each) => `COALESCE(${whole(translator, each)}, TRUE)`),
    ...vetoed.map((each) => `COALESCE(${truth(translator, each)}, FALSE)`),
  ].join(' OR ')
  const parts = [
    `${id} IS NOT NULL`,
    ...(allowed === undefined ? [] : [`(${allowed})`]),
    ...(denied === '' ? [] : [`NOT (${denied})`]),
  ]
  return {
    kind: parts.length === 1 ? 'all' : 'some',
    ...parameters.number(`(${parts.join(' AND ')})`, request.firstParameter ?? 1),
    policies: residuals.map(({ policy }) => policy.id),
  }
}

function anyRow({ type, ancestors, in: parents }: RowMap, store: EntityStore): UnknownEntity {
  if (parents === undefined) return { unknown: true, type }
  if (ancestors !== undefined) throw unsupported('both `in` and `ancestors` of a row')
  const above = parents.flatMap((parent) => [parent, ...(store.get(parent)?.ancestors ?? [])])
  return { unknown: true, type, ancestors: above }
}

const isSatisfied = ({ outcome }: ResidualPolicy): boolean => outcome === 'satisfied'

function truth(translator: Translator, { condition, outcome }: ResidualPolicy): string {
  return condition === undefined ? String(outcome === 'satisfied') : translator.truth(condition)
}

function whole(translator: Translator, { condition }: ResidualPolicy): string {
  return condition === undefined ? 'TRUE' : translator.bool(condition)
}

function rowOf(map: RowMap): Row {
  const column = { kind: 'column', sql: '', type: { kind: 'entity', type: map.type } } as const
  const bare: Row = { map, column }
  const sql = `(${qualified(bare, map.id)}::text COLLATE "C")`
  return {
    map,
    column: {
      ...column,
      sql,
      ...(map.ancestors === undefined ? {} : { ancestors: map.ancestors }),
    },
  }
}
