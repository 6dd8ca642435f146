import { BASE_CONTEXT } from '@sallyport/network'
import type { ColumnMap } from '@sallyport/cedar'

/** The Cedar schema of one table's rows. Every column may be NULL, so every attribute may be absent. */
export function rowSchema(attributes: Readonly<Record<string, ColumnMap>>): string {
  return `entity Row in [DataSet] ${recordOf(attributes)};
action "row.read" appliesTo {
  principal: [Instance],
  resource: [Row],
  context: { operation: String, ${BASE_CONTEXT} }
};`
}

function recordOf(members: Readonly<Record<string, ColumnMap>>): string {
  const parts = Object.entries(members).flatMap(([name, column]) => {
    if (column.kind === 'absent') return []
    // A field's name is printable ASCII without quotes; JSON's escapes are the second line.
    const optional = column.kind === 'record' ? '' : '?'
    return [`${JSON.stringify(name)}${optional}: ${typeOf(column)}`]
  })
  return `{ ${parts.join(', ')} }`
}

const SCALARS = {
  bool: 'Bool',
  long: 'Long',
  string: 'String',
  ipaddr: 'ipaddr',
  decimal: 'decimal',
  datetime: 'datetime',
  duration: 'duration',
} as const

function typeOf(column: Exclude<ColumnMap, { kind: 'absent' }>): string {
  switch (column.kind) {
    case 'entity':
      return column.type
    case 'record':
      return recordOf(column.members)
    case 'set':
      return `Set<${typeof column.of === 'string' ? SCALARS[column.of] : column.of.entity}>`
    default:
      return SCALARS[column.kind]
  }
}
