import { EntityRef, SetValue } from '../value.ts'
import { arrayColumn } from './read.ts'
import type { Column, Term } from './columns.ts'
import { FAILED, isListed, isOneOf, mismatch } from './compare.ts'
import { unsupported } from './text.ts'
import type { Translator } from './translate.ts'

/** Cedar's `in`. Neither side fails for sure. */
export function isIn(translator: Translator, entity: Term, target: Term): string {
  if (target.kind === 'list') throw unsupported('`in` a set with columns in it')
  if (entity.kind === 'value' && entity.value instanceof EntityRef) {
    return knownIn(translator, entity.value, target)
  }
  if (entity.kind !== 'column' || entity.type.kind !== 'entity') return FAILED
  if (target.kind === 'column') return columnIn(translator, entity, entity.type.type, target)
  if (target.kind !== 'value') return FAILED
  const targets = target.value instanceof SetValue ? [...target.value.values()] : [target.value]
  const refs = targets.filter((each) => each instanceof EntityRef)
  if (refs.length !== targets.length) return FAILED
  return belowAny(translator, entity, entity.type.type, refs)
}

function belowAny(
  translator: Translator,
  entity: Column,
  type: string,
  targets: readonly EntityRef[],
): string {
  const { hierarchy, parameters } = translator
  const list = (ids: readonly string[]): string => parameters.list(ids, 'text')
  const self = targets.filter((target) => target.type === type).map(({ id }) => id)
  if (!hierarchy.isRow(type)) {
    return isListed(entity, hierarchy.descendants(type, targets), parameters)
  }
  const own = isListed(entity, self, parameters)
  const above = ancestorsOf(translator, entity, type)
  if (above === undefined) return own
  const through = Object.entries(above).flatMap(([ancestor, column]) => {
    const ids = hierarchy.descendants(ancestor, targets)
    return ids.length === 0
      ? []
      : [`${arrayColumn(translator.row, column, 'text')} && ${list(ids)}`]
  })
  // Of an entity that is absent there may still be ancestors in a column.
  return mismatch([entity], `(${[own, ...through].join(' OR ')})`)
}

/** The columns with the ancestors of a row's entity; undefined where it has none. */
function ancestorsOf(translator: Translator, entity: Column, type: string) {
  if (entity.ancestors !== undefined) return entity.ancestors
  if (entity === translator.row.column) return undefined
  throw unsupported(`what an entity of type \`${type}\` in a column is in`)
}

function knownIn(translator: Translator, entity: EntityRef, target: Term): string {
  if (target.kind !== 'column') throw unsupported('`in` of two that are known')
  const { hierarchy, parameters } = translator
  const { type } = target
  if (type.kind === 'entity') {
    return isListed(target, hierarchy.ancestors(entity, type.type), parameters)
  }
  if (type.kind !== 'set') return FAILED
  if (type.element.kind !== 'entity') return onlyEmpty(target)
  const ids = hierarchy.ancestors(entity, type.element.type)
  return `${target.sql} && ${parameters.list(ids, 'text')}`
}

function columnIn(translator: Translator, entity: Column, type: string, target: Column): string {
  const element = target.type.kind === 'set' ? target.type.element : target.type
  if (element.kind !== 'entity') {
    return target.type.kind === 'set' ? mismatch([entity], onlyEmpty(target)) : FAILED
  }
  // Equal is all that one can be in another where nothing of its type has ancestors of the other's.
  if (couldClimb(translator, entity, type, element.type)) {
    throw unsupported('`in` of two columns')
  }
  if (element.type !== type) return mismatch([entity, target], 'FALSE')
  return target.type.kind === 'set' ? isOneOf(entity, target.sql) : `${entity.sql} = ${target.sql}`
}

function couldClimb(translator: Translator, entity: Column, type: string, to: string): boolean {
  const { hierarchy } = translator
  if (hierarchy.isRow(type)) {
    const { row } = translator
    return ancestorsOf(translator, entity, type) !== undefined || row.map.in !== undefined
  }
  for (const record of hierarchy.recordsOf(type)) if (record.ancestorIds.has(to)) return true
  return false
}

/** A set of what are no entities: `in` fails on its first element. */
const onlyEmpty = (set: Column): string => `CASE WHEN cardinality(${set.sql}) = 0 THEN FALSE END`
