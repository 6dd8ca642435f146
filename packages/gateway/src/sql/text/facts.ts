import type { CedarJson } from '@sallyport/cedar'
import type { FieldTreatment } from '@sallyport/decide'
import type { ColumnType, MaskStyle, PostgresTable, TableAction } from '@sallyport/network'
import type { Plain } from './values.ts'

/** How a caller sees a table, once that is decided. */
export interface TableView {
  treatmentOf(column: string): FieldTreatment
  maskOf(column: string): MaskStyle
  /** Condition on `ROW` that its rows meet; undefined where it has them all. */
  readonly filter: string | undefined
}

/** Tokens in and out. */
export interface Tokens {
  kindOf(table: PostgresTable, column: string): string
  /** The value behind a text that is a token of this kind; the text itself where it is none. */
  restored(kind: string, text: string): string
}

/** A column that a statement compares with one plain value, whatever else it asks for. */
export interface Equality {
  readonly column: string
  readonly type: ColumnType
  readonly value: Plain
}

/** What one statement does with one table: one call. */
export class TableFacts {
  readonly table: PostgresTable
  readonly action: TableAction
  /** Columns that are returned, or that rows are chosen by. */
  readonly columns: Set<string> = new Set()
  /** Columns that rows are chosen, ordered or grouped by. */
  readonly filters: Set<string> = new Set()
  readonly written: Set<string> = new Set()
  /** Rows to be written: column → value, as policies read them. */
  readonly sets: Readonly<Record<string, CedarJson>>[] = []
  limit: number | undefined
  #where: Map<string, CedarJson> | undefined

  constructor(table: PostgresTable, action: TableAction) {
    this.table = table
    this.action = action
  }

  /** Of each place where the table stands; what does not hold in all of them is not said. */
  restrict(equal: ReadonlyMap<string, CedarJson>): void {
    const before = this.#where
    this.#where = new Map(
      [...equal].filter(([column, value]) => !before || before.get(column) === value),
    )
  }

  get where(): Readonly<Record<string, CedarJson>> {
    return Object.fromEntries(this.#where ?? [])
  }
}
