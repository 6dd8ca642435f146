import { DatetimeValue, DurationValue, SetValue } from '../value.ts'
import type { CedarType } from '../schema-types.ts'
import type { Column, Term } from './columns.ts'
import { aliasPlaceholder, unsupported } from './text.ts'
import type { Parameters } from './text.ts'
import { alike, parameter, parameterList, typeOf } from './values.ts'

export const FAILED = 'NULL::boolean'

/**
 * `make` of a value that is computed once, however often it is read. OFFSET keeps the planner from copying it. A value bound
 * inside this one's own text has a name of its own: the text, and so its length, is longer.
 */
export function bound(sql: string, make: (value: string) => string): string {
  const alias = aliasPlaceholder(sql.length)
  return `(SELECT ${make(`${alias}.v`)} FROM (SELECT ${sql} AS v OFFSET 0) AS ${alias})`
}

/** A numeric that is NULL where it does not fit 64 bits. */
export function bounded64(sql: string): string {
  return bound(
    sql,
    (v) => `CASE WHEN ${v} BETWEEN -9223372036854775808 AND 9223372036854775807 THEN ${v} END`,
  )
}

/** `result` where every column could be read. */
export function mismatch(terms: readonly Term[], result: string): string {
  const columns = terms.filter((term) => term.kind === 'column')
  if (columns.length === 0) return result
  const read = columns.map(({ sql }) => `${sql} IS NOT NULL`).join(' AND ')
  return `CASE WHEN ${read} THEN ${result} END`
}

/**
 * Whether a column's value is one of a list or of another column's array. INVARIANT: NULL where either is, although
 * `NULL = ANY('{}')` is FALSE.
 */
export function isOneOf(column: Column, array: string): string {
  return `CASE WHEN ${column.sql} IS NOT NULL THEN ${column.sql} = ANY(${array}) END`
}

/** As `isOneOf` of a list of known length: one that is not empty keeps the form that an index serves. */
export function isListed(column: Column, ids: readonly string[], parameters: Parameters): string {
  return ids.length === 0
    ? mismatch([column], 'FALSE')
    : `${column.sql} = ANY(${parameters.list(ids, 'text')})`
}

/** A scalar as SQL of type `type`; undefined where it is of another. */
export function scalar(term: Term, type: CedarType, parameters: Parameters): string | undefined {
  switch (term.kind) {
    case 'error':
      return 'NULL'
    case 'value':
      return alike(typeOf(term.value), type) ? parameter(term.value, parameters) : undefined
    case 'column':
      return alike(term.type, type) ? term.sql : undefined
    default:
      return undefined
  }
}

/** Neither side fails for sure. */
export function equality(a: Term, b: Term, parameters: Parameters): string {
  if (a.kind === 'list' || b.kind === 'list')
    throw unsupported('equality of a set with columns in it')
  const [left, right] = a.kind === 'column' ? [a, b] : [b, a]
  if (left.kind !== 'column') throw unsupported('equality of two values')
  if (left.type.kind === 'set') return setEquality(left, left.type.element, right, parameters)
  if (left.type.kind === 'record') throw unsupported('equality of records')
  const other = scalar(right, left.type, parameters)
  return other === undefined ? mismatch([left, right], 'FALSE') : `${left.sql} = ${other}`
}

function setEquality(set: Column, element: CedarType, other: Term, parameters: Parameters): string {
  if (other.kind === 'value') {
    if (!(other.value instanceof SetValue)) return mismatch([set], 'FALSE')
    const items = [...other.value.values()]
    if (!items.every((item) => alike(typeOf(item), element))) return mismatch([set], 'FALSE')
    const list = parameterList(items, element, parameters)
    return `(${set.sql} @> ${list} AND ${set.sql} <@ ${list})`
  }
  if (other.kind !== 'column' || other.type.kind !== 'set') return mismatch([set, other], 'FALSE')
  if (alike(element, other.type.element)) {
    return `(${set.sql} @> ${other.sql} AND ${set.sql} <@ ${other.sql})`
  }
  return mismatch([set, other], `cardinality(${set.sql}) = 0 AND cardinality(${other.sql}) = 0`)
}

const ORDERED: ReadonlySet<string> = new Set(['long', 'datetime', 'duration'])

/** `<` and its like, of two longs, datetimes or durations. */
export function compared(operator: string, a: Term, b: Term, parameters: Parameters): Term {
  const [left, right] = [orderable(a, parameters), orderable(b, parameters)]
  if (left === undefined || right === undefined || left.kind !== right.kind) {
    return { kind: 'error' }
  }
  return { kind: 'column', sql: `(${left.sql} ${operator} ${right.sql})`, type: { kind: 'bool' } }
}

function orderable(
  term: Term,
  parameters: Parameters,
): { readonly kind: string; readonly sql: string } | undefined {
  if (term.kind === 'column') {
    return ORDERED.has(term.type.kind) ? { kind: term.type.kind, sql: term.sql } : undefined
  }
  if (term.kind !== 'value') return undefined
  const { value } = term
  const ordered =
    typeof value === 'number' ||
    typeof value === 'bigint' ||
    value instanceof DatetimeValue ||
    value instanceof DurationValue
  return ordered ? { kind: typeOf(value).kind, sql: parameter(value, parameters) } : undefined
}
