import { splitPolicies } from '@sallyport/cedar'
import type { ColumnMap, RowFilter } from '@sallyport/cedar'
import { createRowFilters } from '@sallyport/decide'
import type { Decider, RowFilters } from '@sallyport/decide'
import type { ColumnType, Declaration, PostgresTable } from '@sallyport/network'
import { SqlRefusal } from './refuse.ts'
import { quoteText, ROW } from './text/names.ts'

/** `SYSTEM.TABLE` → which of its rows callers have; a table that is not here has no policies about rows. */
export type TableRows = ReadonlyMap<string, RowFilters>

/**
 * Compiles the policies about rows of a declaration.
 *
 * @throws SallyportError `SP_CEDAR_*` where they do not fit the tables
 */
export async function tableRows(declaration: Declaration, decider: Decider): Promise<TableRows> {
  const found = new Map<string, RowFilters>()
  for (const { name, postgres } of declaration.network.systems) {
    for (const table of postgres?.tables ?? []) {
      const { rows } = table
      if (rows === undefined) continue
      const split = await Promise.all(rows.map(({ source, file }) => splitPolicies(source, file)))
      found.set(
        `${name}.${table.name}`,
        await createRowFilters({
          ...{ declaration, decider },
          rows: {
            ...{ dataset: table.dataset, table: ROW, id: table.key },
            attributes: attributesOf(table),
            policies: split.flat(),
          },
        }),
      )
    }
  }
  return found
}

function attributesOf({ columns }: PostgresTable): Record<string, ColumnMap> {
  return Object.fromEntries(
    Object.entries(columns).flatMap(([column, type]): [string, ColumnMap][] => {
      const kind = KINDS[type]
      return kind === undefined ? [] : [[column, { kind, column }]]
    }),
  )
}

/** Types that policies about rows can read. */
const KINDS: Readonly<
  Partial<Record<ColumnType, 'bool' | 'long' | 'string' | 'decimal' | 'datetime'>>
> = {
  bool: 'bool',
  int2: 'long',
  int4: 'long',
  int8: 'long',
  text: 'string',
  varchar: 'string',
  uuid: 'string',
  numeric: 'decimal',
  timestamptz: 'datetime',
}

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
