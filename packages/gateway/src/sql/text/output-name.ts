import { listOf, namesOf, plain, textOf, unwrap } from './nodes.ts'
import type { Node } from './nodes.ts'

const NONE = '?column?'

/** A name, and whether it yields to the type of a cast or the `CASE` around it (PostgreSQL's strength 1). */
interface Figured {
  readonly name: string
  readonly weak?: true
}

/** What the only column of a subquery is called, by its `SubLink`. */
export type SubqueryNames = WeakMap<Node, string>

/**
 * The name that PostgreSQL gives to an item of a list that has none (its `FigureColname`).
 *
 * @param names of the subqueries inside, which PostgreSQL has analysed by then
 */
export function nameOf(value: unknown, names: SubqueryNames): string {
  return figured(value, names)?.name ?? NONE
}

function figured(value: unknown, names: SubqueryNames): Figured | undefined {
  const [kind, node] = unwrap(value)
  switch (kind) {
    case 'ColumnRef':
      return named(textOf(unwrap(listOf(node['fields']).at(-1))[1]['sval']))
    case 'FuncCall':
      return named(namesOf(node['funcname']).at(-1))
    case 'A_Expr':
      return node['kind'] === 'AEXPR_NULLIF' ? { name: 'nullif' } : undefined
    case 'TypeCast':
      return firm(node['arg'], names) ?? weak(namesOf(plain(node['typeName'])['names']).at(-1))
    case 'CollateClause':
    case 'A_Indirection':
      return figured(node['arg'], names)
    case 'CaseExpr':
      return firm(node['defresult'], names) ?? weak('case')
    case 'CoalesceExpr':
      return { name: 'coalesce' }
    case 'MinMaxExpr':
      return { name: node['op'] === 'IS_LEAST' ? 'least' : 'greatest' }
    case 'A_ArrayExpr':
      return { name: 'array' }
    case 'RowExpr':
      return { name: 'row' }
    case 'SQLValueFunction':
      return { name: textOf(node['op']).replace('SVFOP_', '').toLowerCase() }
    case 'SubLink':
      return ofSubquery(node, names)
    default:
      return undefined
  }
}

const named = (name: string | undefined): Figured | undefined =>
  name === undefined || name === '' ? undefined : { name }

const weak = (name: string | undefined): Figured | undefined =>
  name === undefined ? undefined : { name, weak: true }

/** The name of what stands inside, where it does not yield. */
function firm(value: unknown, names: SubqueryNames): Figured | undefined {
  const inner = value === undefined ? undefined : figured(value, names)
  return inner?.weak ? undefined : inner
}

function ofSubquery(node: Node, names: SubqueryNames): Figured | undefined {
  switch (node['subLinkType']) {
    case 'EXISTS_SUBLINK':
      return { name: 'exists' }
    case 'ARRAY_SUBLINK':
      return { name: 'array' }
    case 'EXPR_SUBLINK':
      return named(names.get(node))
    default:
      return undefined
  }
}
