import type { RowFilter } from '@sallyport/cedar'
import { SqlRefusal } from './refuse.ts'
import { quoteText } from './text/names.ts'

/** The condition as it is sent, its values written into it; undefined where all rows are had. */
export function filterSql({ kind, text, values }: RowFilter): string | undefined {
  if (kind === 'all') return undefined
  if (kind === 'none') return 'FALSE'
  // Names in it are the declaration's own, and those have no `$`; everything else in it is the translator's.
  return text.replaceAll(/\$(\d+)/g, (_, number: string) => literal(values[Number(number) - 1]))
}

function literal(value: unknown): string {
  if (typeof value === 'string') return quoteText(value)
  if (typeof value === 'boolean') return value ? 'TRUE' : 'FALSE'
  if (Array.isArray(value)) {
    return value.length === 0 ? "'{}'" : `ARRAY[${value.map(literal).join(', ')}]`
  }
  throw new SqlRefusal(
    'SP_SQL_UNSUPPORTED',
    'the rows of this table cannot be told apart',
    '0A000',
    {
      detail: `a value of type ${typeof value} in a filter of rows`,
    },
  )
}
