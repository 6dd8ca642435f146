import { listOf, namesOf, plain, textOf, unwrap } from './nodes.ts'

const NONE = '?column?'

/** The name that PostgreSQL gives to an item of a list that has none (its `FigureColname`). */
export function nameOf(value: unknown): string {
  return figured(value) ?? NONE
}

function figured(value: unknown): string | undefined {
  const [kind, node] = unwrap(value)
  switch (kind) {
    case 'ColumnRef':
      return textOf(unwrap(listOf(node['fields']).at(-1))[1]['sval'])
    case 'FuncCall':
      return namesOf(node['funcname']).at(-1)
    case 'A_Expr':
      return node['kind'] === 'AEXPR_NULLIF' ? 'nullif' : undefined
    case 'TypeCast':
      return figured(node['arg']) ?? namesOf(plain(node['typeName'])['names']).at(-1)
    case 'CollateClause':
    case 'A_Indirection':
      return figured(node['arg'])
    case 'CaseExpr':
      return (node['defresult'] === undefined ? undefined : figured(node['defresult'])) ?? 'case'
    case 'CoalesceExpr':
      return 'coalesce'
    case 'MinMaxExpr':
      return node['op'] === 'IS_LEAST' ? 'least' : 'greatest'
    case 'A_ArrayExpr':
      return 'array'
    case 'RowExpr':
      return 'row'
    case 'SQLValueFunction':
      return textOf(node['op']).replace('SVFOP_', '').toLowerCase()
    case 'SubLink':
      return ofSubquery(node)
    default:
      return undefined
  }
}

function ofSubquery(node: Readonly<Record<string, unknown>>): string | undefined {
  if (node['subLinkType'] === 'EXISTS_SUBLINK') return 'exists'
  if (node['subLinkType'] === 'ARRAY_SUBLINK') return 'array'
  if (node['subLinkType'] !== 'EXPR_SUBLINK') return undefined
  const [kind, query] = unwrap(node['subselect'])
  const [first] = listOf(kind === 'SelectStmt' ? query['targetList'] : undefined)
  if (first === undefined) return undefined
  const [, target] = unwrap(first)
  return textOf(target['name']) || figured(target['val'])
}
