import { listOf, namesOf, plain, unwrap } from './nodes.ts'

/** Of one argument: each of their values is the argument's in one row, perhaps in other letters. */
const KEEPING: ReadonlySet<string> = new Set([
  ...['lower', 'upper', 'btrim', 'ltrim', 'rtrim', 'min', 'max'],
  ...['first_value', 'last_value', 'lag', 'lead'],
])

/** Whether every value of an expression is one whole value of one column, or a constant. */
export function isSingle(value: unknown): boolean {
  const [kind, node] = unwrap(value)
  switch (kind) {
    case 'ColumnRef':
    case 'A_Const':
    case 'ParamRef':
      return true
    case 'TypeCast':
      // A length would cut it.
      return plain(node['typeName'])['typmods'] === undefined && isSingle(node['arg'])
    case 'CollateClause':
      return isSingle(node['arg'])
    case 'CoalesceExpr':
    case 'MinMaxExpr':
      return listOf(node['args']).every(isSingle)
    case 'FuncCall': {
      const args = listOf(node['args'])
      return (
        KEEPING.has(namesOf(node['funcname']).at(-1) ?? '') &&
        args.length === 1 &&
        args.every(isSingle)
      )
    }
    default:
      return false
  }
}
