import { SqlRefusal, unsupported } from '../refuse.ts'
import { Expressions, oneOf } from './expression.ts'
import type { Queries } from './expression.ts'
import { FromClause, outputs } from './from.ts'
import type { OutputColumn, Query } from './from.ts'
import { quoteName } from './names.ts'
import { flagOf, listOf, namesOf, only, plain, textOf, unwrap } from './nodes.ts'
import type { Node } from './nodes.ts'
import { nameOf } from './output-name.ts'
import type { SubqueryNames } from './output-name.ts'
import { isSingle } from './single.ts'
import { Scope } from './scope.ts'
import type { Column, Ctes, FromItem, Place } from './scope.ts'
import type { Tables, Use } from './tables.ts'
import { plainOf, plainSql } from './values.ts'
import type { Plain } from './values.ts'

/** An item of a SELECT list or a RETURNING. */
export interface Output extends OutputColumn {
  readonly sql: string
}

const CLAUSES = [
  ...['distinctClause', 'targetList', 'fromClause', 'whereClause', 'groupClause', 'havingClause'],
  ...['valuesLists', 'sortClause', 'limitOffset', 'limitCount', 'limitOption', 'withClause'],
  ...['op', 'all', 'larg', 'rarg'],
] as const

/** Queries, written anew: the tables in them are what their caller sees of them, and nothing else is. */
export class Selects implements Queries {
  readonly tables: Tables
  readonly expressions: Expressions
  /** LIMIT of the outermost query, where it is a number. */
  limit: number | undefined
  readonly #subqueryNames: SubqueryNames = new WeakMap()

  constructor(tables: Tables) {
    this.tables = tables
    this.expressions = new Expressions(tables, this)
  }

  subquery(node: Node, scope: Scope, place: Place): { sql: string; width: number } {
    const { sql, columns } = this.query(node['subselect'], scope, scope.ctes)
    for (const column of columns) {
      if (column.token !== undefined) throw tokenInside(column.name)
      column.note(place)
    }
    if (columns[0]) this.#subqueryNames.set(node, columns[0].name)
    return { sql, width: columns.length }
  }

  query(value: unknown, parent: Scope | undefined, ctes: Ctes): Query {
    const [kind, node] = unwrap(value)
    if (kind !== 'SelectStmt') throw unsupported(`this inside a query (${kind})`)
    return this.select(node, parent, ctes, false)
  }

  select(node: Node, parent: Scope | undefined, outerCtes: Ctes, top: boolean): Query {
    only(node, 'this query', ...CLAUSES)
    const { text: withText, ctes } = this.#with(node['withClause'], parent, outerCtes)
    if (node['op'] !== 'SETOP_NONE') return this.#setOperation(node, parent, ctes, withText, top)
    if (node['valuesLists'] !== undefined) return this.#values(node, parent, ctes, withText, top)

    const scope = new Scope(parent, ctes)
    const from = new FromClause(this, scope)
    const items: FromItem[] = []
    for (const value of listOf(node['fromClause'])) items.push(from.item(value, items))
    for (const item of items) scope.add(item)
    this.#implied(node['whereClause'], scope, from.uses)
    const list = this.targets(node['targetList'], scope)
    const inner = (place: Place) => (value: unknown) => this.expressions.sql(value, scope, place)
    const where =
      node['whereClause'] === undefined ? '' : ` WHERE ${inner('filter')(node['whereClause'])}`
    const groups = listOf(node['groupClause']).map((value) => this.#grouped(value, scope, list))
    const having =
      node['havingClause'] === undefined ? '' : ` HAVING ${inner('filter')(node['havingClause'])}`
    const distinct = this.#distinct(node['distinctClause'], scope, list)
    const order = this.expressions.orderBy(node['sortClause'], (value) =>
      this.#ordered(value, scope, list),
    )
    for (const use of from.uses) use.settle()
    const sql = [
      `${withText}SELECT ${distinct}${list.map(({ sql: text, name }) => `${text} AS ${quoteName(name)}`).join(', ')}`,
      items.length === 0 ? '' : ` FROM ${items.map((item) => item.sql()).join(', ')}`,
      where,
      groups.length === 0 ? '' : ` GROUP BY ${groups.join(', ')}`,
      ...[having, order === '' ? '' : ` ${order}`, this.#limits(node, top)],
    ].join('')
    return { sql, columns: list }
  }

  /** The list of what is returned, `*` written out. */
  targets(value: unknown, scope: Scope): Output[] {
    return listOf(value).flatMap((item): Output[] => {
      const [kind, node] = unwrap(item)
      if (kind !== 'ResTarget') throw unsupported('this in a list of columns')
      only(node, 'this in a list of columns', 'name', 'val')
      const [valueKind, val] = unwrap(node['val'])
      if (valueKind === 'ColumnRef') {
        const star = starOf(val)
        if (star !== undefined) return this.#star(star, scope)
        const column = this.expressions.column(val, scope, 'output')
        return [asOutput(column, textOf(node['name']) || column.name)]
      }
      const { result: sql, note } = this.tables.watch(() =>
        this.expressions.sql(node['val'], scope, 'output'),
      )
      const single = isSingle(node['val'])
      return [
        {
          name: textOf(node['name']) || nameOf(node['val'], this.#subqueryNames),
          sql,
          note,
          single,
        },
      ]
    })
  }

  #star(alias: string, scope: Scope): Output[] {
    const relation = alias === '' ? undefined : scope.relation(alias)
    if (alias !== '' && !relation) throw unsupported(`\`${alias}.*\``)
    if (alias === '' && scope.relations.length === 0) throw unsupported('`*` without a table')
    return (relation?.columns ?? scope.visible).map((column) => {
      column.note('output')
      return asOutput(column, column.name)
    })
  }

  #with(
    value: unknown,
    parent: Scope | undefined,
    outer: Ctes,
  ): { readonly text: string; readonly ctes: Ctes } {
    if (value === undefined) return { text: '', ctes: outer }
    const clause = plain(value)
    only(clause, 'WITH RECURSIVE', 'ctes')
    let ctes = outer
    const seen = new Set<string>()
    const texts = listOf(clause['ctes']).map((item) => {
      const [kind, node] = unwrap(item)
      if (kind !== 'CommonTableExpr') throw unsupported('this WITH')
      only(node, 'this WITH', 'ctename', 'aliascolnames', 'ctematerialized', 'ctequery')
      const name = textOf(node['ctename'])
      if (seen.has(name)) {
        throw new SqlRefusal('SP_SQL_NAME', `the name \`${name}\` stands twice`, '42712')
      }
      seen.add(name)
      const query = this.query(node['ctequery'], parent, ctes)
      const names = namesOf(node['aliascolnames'])
      const columns = outputs(query).map((column, i) => ({
        ...column,
        name: names[i] ?? column.name,
      }))
      if (names.length > columns.length) throw unsupported('this WITH')
      ctes = new Map([...ctes, [name, columns]])
      const list = names.length === 0 ? '' : ` (${names.map(quoteName).join(', ')})`
      const how = oneOf(node['ctematerialized'], MATERIALIZED)
      return `${quoteName(name)}${list} AS ${how}(${query.sql})`
    })
    return { text: `WITH ${texts.join(', ')} `, ctes }
  }

  #setOperation(
    node: Node,
    parent: Scope | undefined,
    ctes: Ctes,
    withText: string,
    top: boolean,
  ): Query {
    const [left, right] = [node['larg'], node['rarg']].map((side) =>
      this.select(plain(side), parent, ctes, false),
    )
    if (!left || !right || left.columns.length !== right.columns.length) {
      throw new SqlRefusal('SP_SQL_SYNTAX', 'both queries must have as many columns', '42601')
    }
    const columns = left.columns.map(({ name, token, single, note }, i): OutputColumn => {
      const other = right.columns[i]
      // One column would hold tokens of one kind and values of another.
      if (token !== undefined || other?.token !== undefined) throw tokenInside(name)
      return {
        ...{ name, single: single === true && other?.single === true },
        note: (place) => {
          note(place)
          other?.note(place)
        },
      }
    })
    const order = this.expressions.orderBy(node['sortClause'], (value) => position(value, columns))
    const how = oneOf(node['op'], SETS)
    const all = flagOf(node['all'])
    // Everything but UNION ALL chooses rows by all that is in them.
    if (how !== 'UNION' || !all) for (const column of columns) column.note('filter')
    const sql = `${withText}(${left.sql}) ${how}${all ? ' ALL' : ''} (${right.sql})${order === '' ? '' : ` ${order}`}${this.#limits(node, top)}`
    return { sql, columns }
  }

  #values(
    node: Node,
    parent: Scope | undefined,
    ctes: Ctes,
    withText: string,
    top: boolean,
  ): Query {
    const scope = new Scope(parent, ctes)
    const { result: rows, note } = this.tables.watch(() =>
      listOf(node['valuesLists']).map((value) => {
        const [kind, list] = unwrap(value)
        if (kind !== 'List') throw unsupported('this VALUES')
        return listOf(list['items']).map((item) => this.expressions.sql(item, scope, 'output'))
      }),
    )
    const columns = (rows[0] ?? []).map((_, i): OutputColumn => ({ name: `column${i + 1}`, note }))
    const order = this.expressions.orderBy(node['sortClause'], (value) => position(value, columns))
    const sql = `${withText}VALUES ${rows.map((row) => `(${row.join(', ')})`).join(', ')}${order === '' ? '' : ` ${order}`}${this.#limits(node, top)}`
    return { sql, columns }
  }

  /** Takes down what the WHERE demands of a table's rows in any case: `column = value`, in an AND of the whole. */
  #implied(value: unknown, scope: Scope, uses: readonly Use[]): void {
    if (value !== undefined) impliedBy(value, scope, uses)
  }

  #grouped(value: unknown, scope: Scope, list: readonly Output[]): string {
    const [kind, node] = unwrap(value)
    if (kind === 'A_Const') return position(value, list)
    const name = kind === 'ColumnRef' ? bareName(node) : undefined
    if (name !== undefined && scope.lookUp(name) === undefined) {
      const at = list.findIndex((column) => column.name === name)
      if (at >= 0) return chosen(list, at)
    }
    return this.expressions.sql(value, scope, 'filter')
  }

  #ordered(value: unknown, scope: Scope, list: readonly Output[]): string {
    const [kind, node] = unwrap(value)
    if (kind === 'A_Const') return position(value, list)
    const name = kind === 'ColumnRef' ? bareName(node) : undefined
    const found = list.flatMap((column, i) => (column.name === name ? [i] : []))
    const [at] = found
    if (at === undefined) return this.expressions.sql(value, scope, 'filter')
    if (found.some((i) => list[i]?.sql !== list[at]?.sql)) {
      throw new SqlRefusal('SP_SQL_NAME', `the column \`${name ?? ''}\` is ambiguous`, '42702')
    }
    return chosen(list, at)
  }

  #distinct(value: unknown, scope: Scope, list: readonly Output[]): string {
    const items = listOf(value)
    if (items.length === 0) return ''
    // A plain DISTINCT is a list of one empty node.
    const [first] = items
    if (items.length === 1 && Object.keys(plain(first)).length === 0) {
      for (const column of list) column.note('filter')
      return 'DISTINCT '
    }
    return `DISTINCT ON (${items.map((item) => this.#ordered(item, scope, list)).join(', ')}) `
  }

  #limits(node: Node, top: boolean): string {
    const option = node['limitOption']
    if (option !== 'LIMIT_OPTION_COUNT' && option !== 'LIMIT_OPTION_DEFAULT') {
      throw unsupported('FETCH … WITH TIES')
    }
    const count = node['limitCount'] === undefined ? undefined : amount(node['limitCount'])
    const offset = node['limitOffset'] === undefined ? undefined : amount(node['limitOffset'])
    if (top && count !== undefined) this.limit = numberIn(count, this.tables)
    return `${count ? ` LIMIT ${plainSql(count)}` : ''}${offset ? ` OFFSET ${plainSql(offset)}` : ''}`
  }
}

/** @see Selects.#implied */
export function impliedBy(value: unknown, scope: Scope, uses: readonly Use[]): void {
  const [kind, node] = unwrap(value)
  if (kind === 'BoolExpr' && node['boolop'] === 'AND_EXPR') {
    for (const part of listOf(node['args'])) impliedBy(part, scope, uses)
    return
  }
  if (kind !== 'A_Expr' || node['kind'] !== 'AEXPR_OP' || node['lexpr'] === undefined) return
  const operator = namesOf(node['name'])
  if (operator.length !== 1 || operator[0] !== '=') return
  for (const [one, other] of [
    [node['lexpr'], node['rexpr']],
    [node['rexpr'], node['lexpr']],
  ]) {
    const [oneKind, reference] = unwrap(one)
    const given = plainOf(other)
    if (oneKind !== 'ColumnRef' || given === undefined) continue
    const own = referred(reference, scope)?.own
    if (own === undefined || !uses.includes(own.use)) continue
    const { use, type, whole } = own
    const column = referred(reference, scope)?.name ?? ''
    if (whole) use.equal({ column, type, value: given })
  }
}

function referred(node: Node, scope: Scope): Column | undefined {
  const fields = listOf(node['fields'])
  if (fields.some((field) => unwrap(field)[0] !== 'String')) return undefined
  const [first = '', second] = fields.map((field) => textOf(unwrap(field)[1]['sval']))
  return second === undefined ? scope.lookUp(first) : scope.findIn(first, second)
}

const asOutput = ({ sql, token, single, note }: Column, name: string): Output => ({
  ...{ name, sql, note, single: single === true },
  ...(token === undefined ? {} : { token }),
})

/** `''` for `*`, the alias for `alias.*`, undefined for anything else. */
function starOf(node: Node): string | undefined {
  const fields = listOf(node['fields'])
  if (fields.length === 0 || fields.length > 2) return undefined
  const [kind] = unwrap(fields.at(-1))
  if (kind !== 'A_Star') return undefined
  if (fields.length === 1) return ''
  const [, name] = unwrap(fields[0])
  return textOf(name['sval'])
}

function bareName(node: Node): string | undefined {
  const fields = listOf(node['fields'])
  const [kind, name] = unwrap(fields[0])
  return fields.length === 1 && kind === 'String' ? textOf(name['sval']) : undefined
}

/** A place in the list: `ORDER BY 2`. */
function position(
  value: unknown,
  list: readonly (OutputColumn & { readonly sql?: string })[],
): string {
  const given = plainOf(value)
  const [kind, node] = unwrap(value)
  if (given?.kind === 'number' && /^[1-9]\d{0,3}$/.test(given.text)) {
    return chosen(list, Number(given.text) - 1)
  }
  const name = kind === 'ColumnRef' ? bareName(node) : undefined
  const at = list.findIndex((column) => column.name === name)
  if (at < 0) throw unsupported('this ORDER BY')
  return chosen(list, at)
}

function chosen(list: readonly OutputColumn[], at: number): string {
  const column = list[at]
  if (!column) throw new SqlRefusal('SP_SQL_NAME', 'there is no column of that number', '42P10')
  // Their order is that of the values behind the tokens.
  if (column.token !== undefined) throw tokenInside(column.name)
  column.note('filter')
  return String(at + 1)
}

function amount(value: unknown): Plain {
  const given = plainOf(value)
  if (given === undefined || given.kind === 'text' || given.kind === 'bool') {
    throw unsupported('a limit that is no number')
  }
  return given
}

function numberIn(given: Plain, { parts }: Tables): number | undefined {
  const read = given.kind === 'parameter' ? parts.parameters.read(given.number, 'int8') : given
  const limit = read.kind === 'number' || read.kind === 'text' ? Number(read.text) : Number.NaN
  return Number.isSafeInteger(limit) && limit >= 0 ? limit : undefined
}

const tokenInside = (name: string): SqlRefusal =>
  new SqlRefusal(
    'SP_SQL_COLUMN',
    `the column \`${name}\` leaves as a token: it can be returned or compared with a token, and nothing else`,
    '42501',
  )

const SETS = { SETOP_UNION: 'UNION', SETOP_INTERSECT: 'INTERSECT', SETOP_EXCEPT: 'EXCEPT' }
const MATERIALIZED = {
  CTEMaterializeDefault: '',
  CTEMaterializeAlways: 'MATERIALIZED ',
  CTEMaterializeNever: 'NOT MATERIALIZED ',
}
