import type { CedarJson } from '@sallyport/cedar'
import { unsupported } from '../refuse.ts'
import { rangeVar } from './from.ts'
import { declaredName, quoteName, ROW } from './names.ts'
import { listOf, only, plain, textOf, unwrap } from './nodes.ts'
import type { Node } from './nodes.ts'
import { Scope } from './scope.ts'
import { impliedBy } from './select.ts'
import type { Output, Selects } from './select.ts'
import type { Use } from './tables.ts'
import { isJudged, judgedValue, notPlain, plainOf, typedSql } from './values.ts'

/** One row is one call, so that limits and policies see each. */
const MAX_ROWS = 100

interface Write {
  readonly sql: string
  readonly columns: readonly Output[]
}

/** INSERT, UPDATE and DELETE of declared columns. */
export class Writes {
  readonly #selects: Selects

  constructor(selects: Selects) {
    this.#selects = selects
  }

  insert(node: Node): Write {
    const { tables, expressions } = this.#selects
    only(node, 'this INSERT', ...INSERT)
    if (node['override'] !== 'OVERRIDING_NOT_SET') throw unsupported('OVERRIDING')
    const { schema, name, alias } = rangeVar(plain(node['relation']))
    const use = tables.use(schema, name, 'insert')
    const columns = listOf(node['cols']).map((value) => {
      const [, target] = unwrap(value)
      only(target, 'this INSERT', 'name')
      const column = textOf(target['name'])
      use.typeOf(column)
      use.facts.written.add(column)
      return column
    })
    if (columns.length === 0) throw unsupported('an INSERT that does not name its columns')
    const [, source] = unwrap(node['selectStmt'] ?? {})
    only(source, 'INSERT … SELECT', 'valuesLists', 'limitOption', 'op')
    const rows = listOf(source['valuesLists'])
    if (rows.length === 0) throw unsupported('INSERT … SELECT')
    if (rows.length > MAX_ROWS) throw unsupported(`an INSERT of more than ${MAX_ROWS} rows`)
    const nothing = new Scope(undefined, new Map())
    const texts = rows.map((value) => {
      const [, list] = unwrap(value)
      const items = listOf(list['items'])
      if (items.length !== columns.length) throw unsupported('a row of another length')
      const set: [string, CedarJson][] = []
      const row = items.map((item, i) => {
        const column = columns[i] ?? ''
        const [kind] = unwrapped(item)
        if (kind === 'SetToDefault') return 'DEFAULT'
        return this.#value(use, column, item, set, (part) =>
          expressions.sql(part, nothing, 'output'),
        )
      })
      use.facts.sets.push(Object.fromEntries(set))
      return `(${row.join(', ')})`
    })
    const own = this.#target(use, alias)
    const returning = this.#returning(node['returningClause'], own)
    const conflict = this.#conflict(node['onConflictClause'], use)
    const list = columns.map(declaredName).join(', ')
    const sql = `INSERT INTO ${use.name()} AS ${declaredName(ROW)} (${list}) VALUES ${texts.join(', ')}${conflict}${returning.sql}`
    return { sql, columns: returning.columns }
  }

  update(node: Node): Write {
    const { tables, expressions } = this.#selects
    only(node, 'this UPDATE', 'relation', 'targetList', 'whereClause', 'returningClause')
    const { schema, name, alias } = rangeVar(plain(node['relation']))
    const use = tables.use(schema, name, 'update')
    const own = this.#target(use, alias)
    const set: [string, CedarJson][] = []
    const seen = new Set<string>()
    const assignments = listOf(node['targetList']).map((value) => {
      const [, target] = unwrap(value)
      only(target, 'this SET', 'name', 'val')
      const column = textOf(target['name'])
      use.typeOf(column)
      use.facts.written.add(column)
      if (seen.has(column)) throw unsupported('a column that is set twice')
      seen.add(column)
      const nothing = new Scope(undefined, new Map())
      const [kind] = unwrapped(target['val'])
      const text =
        kind === 'SetToDefault'
          ? 'DEFAULT'
          : this.#value(use, column, target['val'], set, (part) =>
              expressions.sql(part, nothing, 'output'),
            )
      return `${declaredName(column)} = ${text}`
    })
    use.facts.sets.push(Object.fromEntries(set))
    const where = this.#where(node['whereClause'], use, own)
    const returning = this.#returning(node['returningClause'], own)
    const sql = `UPDATE ${use.name()} AS ${declaredName(ROW)} SET ${assignments.join(', ')}${where}${returning.sql}`
    return { sql, columns: returning.columns }
  }

  delete(node: Node): Write {
    only(node, 'this DELETE', 'relation', 'whereClause', 'returningClause')
    const { schema, name, alias } = rangeVar(plain(node['relation']))
    const use = this.#selects.tables.use(schema, name, 'delete')
    const own = this.#target(use, alias)
    const where = this.#where(node['whereClause'], use, own)
    const returning = this.#returning(node['returningClause'], own)
    const sql = `DELETE FROM ${use.name()} AS ${declaredName(ROW)}${where}${returning.sql}`
    return { sql, columns: returning.columns }
  }

  /** What policies read must be there to read: a plain value. Of types that they do not read, any value. */
  #value(
    use: Use,
    column: string,
    item: unknown,
    set: [string, CedarJson][],
    compile: (part: unknown) => string,
  ): string {
    const type = use.typeOf(column)
    if (!isJudged(type)) return use.cast(column, compile(item))
    const value = plainOf(item)
    if (value === undefined)
      throw notPlain(`what \`${column}\` is set to, which is no plain value,`)
    if (value.kind === 'parameter' && !use.tables.typed(value.number, type)) {
      throw notPlain('a parameter that meets columns of two types')
    }
    const judged = judgedValue(value, type, use.tables.parts.parameters)
    // A column of a limited length drops them: what is kept would not be what was judged.
    if (type === 'varchar' && typeof judged === 'string' && judged.endsWith(' ')) {
      throw notPlain('a text with spaces at its end')
    }
    if (judged !== undefined) set.push([column, judged])
    return typedSql(value, type)
  }

  #target(use: Use, alias: string): Scope {
    const scope = new Scope(undefined, new Map())
    const columns = use.columns(declaredName(ROW), false)
    // Only to refuse a name that could not be sent.
    quoteName(alias)
    scope.add({ relations: [{ alias, columns }], visible: columns })
    return scope
  }

  /** Rows that the caller does not have are left out before any condition of the caller's is tried on them. */
  #where(value: unknown, use: Use, scope: Scope): string {
    if (value !== undefined) impliedBy(value, scope, [use])
    const asked =
      value === undefined ? 'TRUE' : this.#selects.expressions.sql(value, scope, 'filter')
    use.settle()
    const filter = use.view?.filter
    if (filter === undefined) return ` WHERE ${asked}`
    return ` WHERE ${[...use.implied(), `CASE WHEN ${filter} THEN ${asked} ELSE FALSE END`].join(' AND ')}`
  }

  #returning(value: unknown, scope: Scope): Write {
    if (value === undefined) return { sql: '', columns: [] }
    const node = plain(value)
    only(node, 'this RETURNING', 'exprs')
    const columns = this.#selects.targets(node['exprs'], scope)
    const list = columns.map(({ sql, name }) => `${sql} AS ${quoteName(name)}`).join(', ')
    return { sql: ` RETURNING ${list}`, columns }
  }

  #conflict(value: unknown, use: Use): string {
    if (value === undefined) return ''
    const node = plain(value)
    only(node, 'ON CONFLICT', 'action', 'infer')
    if (node['action'] !== 'ONCONFLICT_NOTHING') throw unsupported('ON CONFLICT DO UPDATE')
    if (node['infer'] === undefined) return ' ON CONFLICT DO NOTHING'
    const infer = plain(node['infer'])
    only(infer, 'ON CONFLICT', 'indexElems')
    const columns = listOf(infer['indexElems']).map((element) => {
      const [, index] = unwrap(element)
      only(index, 'ON CONFLICT', 'name', 'ordering', 'nulls_ordering')
      const column = textOf(index['name'])
      use.typeOf(column)
      return declaredName(column)
    })
    return ` ON CONFLICT (${columns.join(', ')}) DO NOTHING`
  }
}

/** `DEFAULT` is a node with nothing in it. */
function unwrapped(value: unknown): readonly [string] {
  return [Object.keys(plain(value))[0] ?? '']
}

const INSERT = [
  ...['relation', 'cols', 'selectStmt', 'onConflictClause', 'returningClause', 'override'],
] as const
