import type { CedarType } from '../schema-types.ts'
import { equal, SetValue } from '../value.ts'
import type { Column, Term } from './columns.ts'
import { equality, FAILED, isOneOf, mismatch, scalar } from './compare.ts'
import { unsupported } from './text.ts'
import type { Parameters } from './text.ts'
import { alike, parameterList, typeOf } from './values.ts'

type SetTerm =
  | { readonly kind: 'known'; readonly set: SetValue }
  | { readonly kind: 'column'; readonly column: Column; readonly element: CedarType }

function asSet(term: Term): SetTerm | undefined {
  if (term.kind === 'list') throw unsupported('a set with columns in it')
  if (term.kind === 'value' && term.value instanceof SetValue)
    return { kind: 'known', set: term.value }
  if (term.kind !== 'column' || term.type.kind !== 'set') return undefined
  return { kind: 'column', column: term, element: term.type.element }
}

/** A set written with columns in it: every element is evaluated, so that one that fails makes the whole fail. */
export function setOfAll(items: readonly Term[]): Term {
  if (items.some(({ kind }) => kind === 'error')) return { kind: 'error' }
  if (items.some(({ kind }) => kind === 'list')) throw unsupported('sets with columns in sets')
  return { kind: 'list', items }
}

export function isEmpty(term: Term): string {
  if (term.kind === 'list') return mismatch(term.items, term.items.length === 0 ? 'TRUE' : 'FALSE')
  const set = asSet(term)
  if (set?.kind !== 'column') return FAILED
  return `cardinality(${set.column.sql}) = 0`
}

/** Neither operand fails for sure. */
export function contains(set: Term, item: Term, parameters: Parameters): string {
  if (set.kind === 'list') {
    const equals = set.items.map((each) => {
      if (each.kind === 'value' && item.kind === 'value') {
        return equal(each.value, item.value) ? 'TRUE' : 'FALSE'
      }
      return `COALESCE(${equality(each, item, parameters)}, FALSE)`
    })
    return mismatch([...set.items, item], `(${equals.join(' OR ')})`)
  }
  const target = asSet(set)
  if (target === undefined) return FAILED
  if (target.kind === 'column') {
    if (item.kind === 'list') throw unsupported('a set with columns in it')
    const one = scalarOrNone(item, target.element, parameters)
    return one === undefined
      ? mismatch([target.column, item], 'FALSE')
      : item.kind === 'column'
        ? isOneOf({ ...item, sql: one }, target.column.sql)
        : `${one} = ANY(${target.column.sql})`
  }
  if (item.kind !== 'column') throw unsupported('a set with columns in it')
  if (item.type.kind === 'set' || item.type.kind === 'record') {
    throw unsupported('a set or record as the element of a set')
  }
  const list = parameterList(target.set.values(), item.type, parameters, item.numeric)
  return isOneOf(item, list)
}

function scalarOrNone(item: Term, type: CedarType, parameters: Parameters): string | undefined {
  const sql = scalar(item, type, parameters)
  // Elements of an integer array are compared as what they are.
  return sql !== undefined && item.kind === 'column' && item.numeric === true
    ? `${sql}::bigint`
    : sql
}

export function containsAll(set: Term, other: Term, parameters: Parameters): string {
  const [a, b] = [asSet(set), asSet(other)]
  if (a === undefined || b === undefined) return FAILED
  if (a.kind === 'column') {
    if (b.kind === 'column') {
      return alike(a.element, b.element)
        ? `${a.column.sql} @> ${b.column.sql}`
        : mismatch([a.column, b.column], `cardinality(${b.column.sql}) = 0`)
    }
    const items = [...b.set.values()]
    return items.every((item) => alike(typeOf(item), a.element))
      ? `${a.column.sql} @> ${parameterList(items, a.element, parameters)}`
      : mismatch([a.column], 'FALSE')
  }
  if (b.kind === 'known') throw unsupported('two sets that are known')
  return `${b.column.sql} <@ ${parameterList(a.set.values(), b.element, parameters)}`
}

export function containsAny(set: Term, other: Term, parameters: Parameters): string {
  const [a, b] = [asSet(set), asSet(other)]
  if (a === undefined || b === undefined) return FAILED
  const [column, rest] = a.kind === 'column' ? [a, b] : [b, a]
  if (column.kind === 'known') throw unsupported('two sets that are known')
  if (rest.kind === 'known') {
    const list = parameterList(rest.set.values(), column.element, parameters)
    return `${column.column.sql} && ${list}`
  }
  return alike(column.element, rest.element)
    ? `${column.column.sql} && ${rest.column.sql}`
    : mismatch([column.column, rest.column], 'FALSE')
}
