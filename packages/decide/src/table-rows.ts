import { splitPolicies } from '@sallyport/cedar'
import type { ColumnMap } from '@sallyport/cedar'
import type { ColumnType, Declaration, PostgresTable } from '@sallyport/network'
import { createRowFilters } from './rows.ts'
import type { RowFilters } from './rows.ts'
import type { Decider } from './types.ts'

/** `SYSTEM.TABLE` → which of its rows callers have; a table that is not here has no policies about rows. */
export type TableRows = ReadonlyMap<string, RowFilters>

/**
 * Compiles the policies about rows of every declared table.
 *
 * @param input.alias what a table is called in the statements that take the filters
 * @throws SallyportError `SP_CEDAR_*` where policies do not fit the table that they are declared for
 */
export async function createTableRows(input: {
  readonly declaration: Declaration
  /** Of the same declaration. */
  readonly decider: Decider
  readonly alias: string
}): Promise<TableRows> {
  const { declaration, decider, alias } = input
  const found = new Map<string, RowFilters>()
  for (const { name, postgres } of declaration.network.systems) {
    for (const table of postgres?.tables ?? []) {
      const { rows } = table
      if (rows === undefined) continue
      const split = await Promise.all(rows.map(({ source, file }) => splitPolicies(source, file)))
      const filters = await createRowFilters({
        ...{ declaration, decider },
        rows: {
          ...{ dataset: table.dataset, table: alias, id: table.key },
          attributes: attributesOf(table),
          policies: split.flat(),
        },
      })
      found.set(`${name}.${table.name}`, filters)
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
