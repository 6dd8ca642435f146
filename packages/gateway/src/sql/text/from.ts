import { SqlRefusal, unsupported } from '../refuse.ts'
import type { Expressions } from './expression.ts'
import { oneOf } from './expression.ts'
import { quoteName } from './names.ts'
import { flagOf, namesOf, only, plain, textOf, unwrap } from './nodes.ts'
import type { Node } from './nodes.ts'
import { Scope } from './scope.ts'
import type { Column, FromItem, Place, Relation } from './scope.ts'
import type { Tables, Use } from './tables.ts'

/** What a query returns, as whoever stands around it sees it. */
export interface Query {
  readonly sql: string
  readonly columns: readonly OutputColumn[]
}

export interface OutputColumn {
  readonly name: string
  readonly token?: string
  readonly single?: boolean
  readonly note: (place: Place) => void
}

interface Compiler {
  readonly tables: Tables
  readonly expressions: Expressions
  query(value: unknown, parent: Scope | undefined, ctes: Scope['ctes']): Query
}

/** Compiles one FROM clause. */
export class FromClause {
  readonly #compiler: Compiler
  readonly #outer: Scope
  /** Declared tables that stand in it directly. */
  readonly uses: Use[] = []

  /** @param outer scope of the query that it belongs to: its parent, and the CTEs in view */
  constructor(compiler: Compiler, outer: Scope) {
    this.#compiler = compiler
    this.#outer = outer
  }

  /** @param before what stands to the left, for LATERAL */
  item(value: unknown, before: readonly FromItem[]): FromItem {
    const [kind, node] = unwrap(value)
    switch (kind) {
      case 'RangeVar':
        return this.#table(node)
      case 'RangeSubselect':
        return this.#subselect(node, before)
      case 'JoinExpr':
        return this.#join(node, before)
      default:
        throw unsupported(`this in FROM (${kind})`)
    }
  }

  #table(node: Node): FromItem {
    const { schema, name, alias, columns } = rangeVar(node)
    const cte = schema === '' ? this.#outer.ctes.get(name) : undefined
    if (cte) {
      const { relation, list } = derived(alias, cte, columns)
      return {
        ...{ relations: [relation], visible: relation.columns },
        sql: () => `${quoteName(name)} AS ${quoteName(alias)}${list}`,
      }
    }
    if (columns) throw unsupported('other names for the columns of a table')
    const use = this.#compiler.tables.use(schema, name, 'select')
    this.uses.push(use)
    const relation = { alias, columns: use.columns(quoteName(alias), true) }
    return {
      ...{ relations: [relation], visible: relation.columns },
      sql: () => use.subquery(alias),
    }
  }

  #subselect(node: Node, before: readonly FromItem[]): FromItem {
    only(node, 'a subquery', 'lateral', 'subquery', 'alias')
    const { alias, columns } = aliasOf(node['alias'])
    if (alias === undefined) throw unsupported('a subquery in FROM without a name')
    const { parent, ctes } = this.#outer
    const lateral = flagOf(node['lateral'])
    const scope = lateral ? Scope.of(before, parent, ctes) : parent
    const query = this.#compiler.query(node['subquery'], scope, ctes)
    const { relation, list } = derived(alias, outputs(query), columns)
    const text = `${lateral ? 'LATERAL ' : ''}(${query.sql}) AS ${quoteName(alias)}${list}`
    return { relations: [relation], visible: relation.columns, sql: () => text }
  }

  #join(node: Node, before: readonly FromItem[]): FromItem {
    only(node, 'a join', 'jointype', 'larg', 'rarg', 'quals', 'usingClause', 'rtindex')
    const left = this.item(node['larg'], before)
    const right = this.item(node['rarg'], [...before, left])
    const type = oneOf(node['jointype'], JOINS)
    const relations = [...left.relations, ...right.relations]
    const scope = Scope.of([left, right], this.#outer.parent, this.#outer.ctes)
    let condition: string | undefined
    let visible = [...left.visible, ...right.visible]
    if (node['usingClause'] !== undefined) {
      if (type !== 'JOIN' && type !== 'LEFT JOIN') throw unsupported('USING with this join')
      const names = namesOf(node['usingClause'])
      const pairs = names.map((name) => [one(left, name), one(right, name)] as const)
      condition = pairs
        .map(([a, b]) => `${usable(a)} OPERATOR(pg_catalog.=) ${usable(b)}`)
        .join(' AND ')
      const others = (item: FromItem): Column[] =>
        item.visible.filter((column) => !names.includes(column.name))
      visible = [...pairs.map(([a]) => a), ...others(left), ...others(right)]
    } else if (node['quals'] !== undefined) {
      condition = this.#compiler.expressions.sql(node['quals'], scope, 'filter')
    } else if (type !== 'JOIN') throw unsupported('this join')
    return {
      ...{ relations, visible },
      sql: () =>
        condition === undefined
          ? `(${left.sql()} CROSS JOIN ${right.sql()})`
          : `(${left.sql()} ${type} ${right.sql()} ON ${condition})`,
    }
  }
}

/** A table's name in a statement. */
export function rangeVar(node: Node): {
  schema: string
  name: string
  alias: string
  columns: readonly string[] | undefined
} {
  only(node, 'this table', 'schemaname', 'relname', 'inh', 'relpersistence', 'alias')
  if (!flagOf(node['inh']) || node['relpersistence'] !== 'p') throw unsupported('ONLY')
  const name = textOf(node['relname'])
  const { alias = name, columns } = aliasOf(node['alias'])
  return { schema: textOf(node['schemaname']), name, alias, columns }
}

function aliasOf(value: unknown): { alias?: string; columns?: readonly string[] } {
  if (value === undefined) return {}
  const node = plain(value)
  only(node, 'this name', 'aliasname', 'colnames')
  return {
    alias: textOf(node['aliasname']),
    ...(node['colnames'] === undefined ? {} : { columns: namesOf(node['colnames']) }),
  }
}

/** Columns of a query as one may refer to them, before a relation names them. */
export const outputs = ({ columns }: Pick<Query, 'columns'>): readonly Column[] =>
  columns.map(({ name, token, single, note }) => ({
    ...{ name, sql: '', note, single: single === true },
    ...(token === undefined ? {} : { token }),
  }))

/** A query or a CTE under a name, and the names of its columns where it needs some. */
function derived(
  alias: string,
  columns: readonly Column[],
  names: readonly string[] | undefined,
): { readonly relation: Relation; readonly list: string } {
  if (names && names.length > columns.length) {
    throw new SqlRefusal('SP_SQL_NAME', 'there are more names than columns', '42P10')
  }
  const shown = columns.map(({ name }, i) => names?.[i] ?? name)
  const twice = new Set(shown).size < shown.length
  // `*` may return two columns of one name; each is referred to by a name of its own in what is sent.
  const sent = shown.map((name, i) => (twice ? `sp_${i}` : name))
  return {
    relation: {
      alias,
      columns: columns.map(({ token, single, note }, i) => {
        const name = shown[i] ?? ''
        const sql = `${quoteName(alias)}.${quoteName(sent[i] ?? '')}`
        const same = { name, sql, note, single: single === true }
        return { ...same, ...(token === undefined ? {} : { token }) }
      }),
    },
    list: names === undefined && !twice ? '' : ` (${sent.map(quoteName).join(', ')})`,
  }
}

function one(item: FromItem, name: string): Column {
  const found = Scope.of([item], undefined, new Map()).find(name)
  found.note('filter')
  return found
}

function usable({ sql, token, name }: Column): string {
  if (token !== undefined) {
    throw new SqlRefusal('SP_SQL_COLUMN', `the column \`${name}\` leaves as a token`, '42501')
  }
  return sql
}

const JOINS = {
  JOIN_INNER: 'JOIN',
  JOIN_LEFT: 'LEFT JOIN',
  JOIN_RIGHT: 'RIGHT JOIN',
  JOIN_FULL: 'FULL JOIN',
}
