import type { Expr } from '../ast.ts'
import type { CedarType } from '../schema-types.ts'
import type { Value } from '../value.ts'
import type { Column, ColumnMap, Term } from './columns.ts'
import { FAILED, isListed } from './compare.ts'
import { identifier, tableName, unsupported } from './text.ts'
import type { SqlType } from './text.ts'
import type { Row, Translator } from './translate.ts'
import { alike, parameterList, sqlType, typeOf } from './values.ts'

/** Entities of a store that one filter carries the attributes of, at most. */
const MAX_LOOKUP = 10_000

/** Where a path leads to. */
type Place =
  | { readonly kind: 'row' }
  | { readonly kind: 'map'; readonly map: ColumnMap }
  | { readonly kind: 'term'; readonly term: Term }

export function qualified(row: Row, column: string): string {
  return `${tableName(row.map.table)}.${identifier(column)}`
}

/** An array of one dimension without NULL; NULL where it is another. */
export function arrayColumn(row: Row, column: string, element: SqlType): string {
  const raw = qualified(row, column)
  const typed = `${raw}::${element}[]${element === 'text' ? ' COLLATE "C"' : ''}`
  return `(CASE WHEN array_ndims(${raw}) > 1 THEN NULL WHEN array_position(${raw}, NULL) IS NULL THEN ${typed} END)`
}

function columnOf(row: Row, map: Exclude<ColumnMap, { kind: 'record' | 'absent' }>): Column {
  const raw = qualified(row, map.column)
  const column = (sql: string, type: CedarType): Column => ({ kind: 'column', sql, type })
  switch (map.kind) {
    case 'bool':
    case 'duration':
      return column(raw, { kind: map.kind })
    case 'long':
      return column(raw, { kind: 'long' })
    case 'string':
      return column(`(${raw}::text COLLATE "C")`, { kind: 'string' })
    case 'ipaddr':
      return column(`${raw}::inet`, { kind: 'ipaddr' })
    case 'decimal': {
      // What Cedar has no decimal for, NaN and infinities among it, cannot be read.
      const fits = `${raw} BETWEEN -922337203685477.5808 AND 922337203685477.5807`
      return column(
        `(CASE WHEN ${fits} THEN CASE WHEN scale(trim_scale(${raw})) <= 4 THEN ${raw} END END)`,
        { kind: 'decimal' },
      )
    }
    case 'datetime': {
      if (map.millis === true) return column(raw, { kind: 'datetime' })
      const ms = `extract(epoch FROM ${raw}) * 1000`
      return column(
        `(CASE WHEN isfinite(${raw}) THEN CASE WHEN mod(${ms}, 1) = 0 THEN ${ms} END END)`,
        { kind: 'datetime' },
      )
    }
    case 'entity':
      return {
        ...column(`(${raw}::text COLLATE "C")`, { kind: 'entity', type: map.type }),
        ...(map.ancestors === undefined ? {} : { ancestors: map.ancestors }),
      }
    case 'set': {
      const element: CedarType =
        typeof map.of === 'string' ? { kind: map.of } : { kind: 'entity', type: map.of.entity }
      const sql = arrayColumn(row, map.column, sqlType(element))
      return column(sql, { kind: 'set', element })
    }
  }
}

function placeOf(translator: Translator, expr: Expr): Place {
  if (expr.kind === 'variable' && translator.term(expr) === translator.row.column) {
    return { kind: 'row' }
  }
  if (expr.kind === 'attribute') {
    const of = placeOf(translator, expr.of)
    const map = of.kind === 'term' ? undefined : memberOf(translator, of, expr.name)
    if (map?.kind === 'record') return { kind: 'map', map }
  }
  return { kind: 'term', term: translator.term(expr) }
}

function memberOf(
  { row }: Translator,
  place: Exclude<Place, { kind: 'term' }>,
  name: string,
): ColumnMap | undefined {
  const members =
    place.kind === 'row'
      ? row.map.attributes
      : place.map.kind === 'record'
        ? place.map.members
        : undefined
  if (members === undefined) return undefined
  const map = Object.hasOwn(members, name) ? members[name] : undefined
  if (map === undefined)
    throw unsupported(`the attribute \`${name}\`, for which there is no column`)
  return map
}

export function readAttribute(translator: Translator, of: Expr, name: string): Term {
  const place = placeOf(translator, of)
  if (place.kind !== 'term') {
    const map = memberOf(translator, place, name)
    if (map === undefined || map.kind === 'absent') return { kind: 'error' }
    if (map.kind === 'record') throw unsupported('a record as a value')
    return columnOf(translator.row, map)
  }
  const { term } = place
  if (term.kind === 'list' || term.kind === 'value') throw unsupported('a record made of columns')
  if (term.kind !== 'column' || term.type.kind !== 'entity') return { kind: 'error' }
  return lookedUp(translator, term, term.type.type, name)
}

/** The attribute of whichever entity of the store a column names. */
function lookedUp(translator: Translator, entity: Column, type: string, name: string): Term {
  const found = attributesOf(translator, type, name)
  const [first] = found
  if (first === undefined) return { kind: 'error' }
  const valueType = typeOf(first[1])
  if (!found.every(([, value]) => alike(typeOf(value), valueType))) {
    throw unsupported(`the attribute \`${name}\` of \`${type}\`, which is of several types`)
  }
  const { parameters } = translator
  const ids = parameters.list(
    found.map(([id]) => id),
    'text',
  )
  const values = parameterList(
    found.map(([, value]) => value),
    valueType,
    parameters,
  )
  const collation = sqlType(valueType) === 'text' ? ' COLLATE "C"' : ''
  return {
    kind: 'column',
    sql: `((SELECT _spl.v FROM unnest(${ids}, ${values}) AS _spl(k, v) WHERE _spl.k = ${entity.sql})${collation})`,
    type: valueType,
  }
}

function attributesOf(translator: Translator, type: string, name: string): [string, Value][] {
  const { hierarchy } = translator
  if (hierarchy.isRow(type)) throw unsupported(`what is in a column's entity of type \`${type}\``)
  const found: [string, Value][] = []
  for (const { uid, attrs } of hierarchy.recordsOf(type)) {
    const value = attrs.get(name)
    if (value !== undefined) found.push([uid.id, value])
    if (found.length > MAX_LOOKUP) throw unsupported(`the attributes of all \`${type}\`: too many`)
  }
  return found
}

export function readHas(translator: Translator, of: Expr, path: readonly string[]): string {
  const place = placeOf(translator, of)
  if (place.kind === 'term') {
    const { term } = place
    if (term.kind === 'list' || term.kind === 'value') throw unsupported('a record made of columns')
    if (term.kind !== 'column' || term.type.kind !== 'entity') return FAILED
    const [name = '', ...rest] = path
    if (rest.length > 0) throw unsupported('`has` a path through an entity of a column')
    const ids = attributesOf(translator, term.type.type, name).map(([id]) => id)
    return isListed(term, ids, translator.parameters)
  }
  return hasPath(translator, place, path)
}

function hasPath(
  translator: Translator,
  place: Exclude<Place, { kind: 'term' }>,
  path: readonly string[],
): string {
  const [name = '', ...rest] = path
  const map = memberOf(translator, place, name)
  if (map === undefined || map.kind === 'absent') return 'FALSE'
  if (map.kind === 'record') {
    return rest.length === 0 ? 'TRUE' : hasPath(translator, { kind: 'map', map }, rest)
  }
  const raw = qualified(translator.row, map.column)
  const [next, ...further] = rest
  if (next === undefined) return `${raw} IS NOT NULL`
  // What is there and is neither record nor entity makes `has` fail.
  if (map.kind !== 'entity') return `CASE WHEN ${raw} IS NULL THEN FALSE END`
  if (further.length > 0) throw unsupported('`has` a path through an entity of a column')
  const ids = attributesOf(translator, map.type, next).map(([id]) => id)
  const column = columnOf(translator.row, map)
  return `COALESCE(${isListed(column, ids, translator.parameters)}, FALSE)`
}

/** Tags of the row; those of other entities are known or refused. */
export function readTag(
  translator: Translator,
  operator: 'hasTag' | 'getTag',
  entity: Term,
  tag: Term,
): Term {
  if (entity !== translator.row.column) throw unsupported('tags of an entity that is not the row')
  const text = tagName(translator, tag)
  if (text === undefined) return { kind: 'error' }
  const { tags } = translator.row.map
  if (tags === undefined) {
    if (operator === 'getTag') return { kind: 'error' }
    if (tag.kind === 'value') return { kind: 'value', value: false }
    const sql = `(CASE WHEN ${text} IS NOT NULL THEN FALSE END)`
    return { kind: 'column', sql, type: { kind: 'bool' } }
  }
  const raw = qualified(translator.row, tags)
  const there = `jsonb_typeof(${raw}) = 'object'`
  return operator === 'hasTag'
    ? {
        kind: 'column',
        sql: `(CASE WHEN ${text} IS NOT NULL THEN COALESCE(CASE WHEN ${there} THEN jsonb_exists(${raw}, ${text}) END, FALSE) END)`,
        type: { kind: 'bool' },
      }
    : {
        kind: 'column',
        sql: `((CASE WHEN jsonb_typeof(CASE WHEN ${there} THEN ${raw} -> ${text} END) = 'string' THEN ${raw} ->> ${text} END) COLLATE "C")`,
        type: { kind: 'string' },
      }
}

function tagName({ parameters }: Translator, tag: Term): string | undefined {
  if (tag.kind === 'value' && typeof tag.value === 'string')
    return parameters.one(tag.value, 'text')
  return tag.kind === 'column' && tag.type.kind === 'string' ? tag.sql : undefined
}
