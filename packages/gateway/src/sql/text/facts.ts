import type { CedarJson } from '@sallyport/cedar'
import type { FieldTreatment } from '@sallyport/decide'
import type { ColumnType, MaskStyle, PostgresTable, TableAction } from '@sallyport/network'
import { isJudged, judgedValue } from './values.ts'
import type { Parameters, Plain } from './values.ts'

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

/** What the values in a statement are read by. */
export interface Reading {
  readonly parameters: Parameters
  readonly tokens: Tokens
}

/** What one statement does with one table: one call. */
export class TableFacts {
  readonly table: PostgresTable
  readonly action: TableAction
  readonly #reading: Reading
  /** Columns that are returned, or that rows are chosen by. */
  readonly columns: Set<string>
  /** Columns that rows are chosen, ordered or grouped by. */
  readonly filters: Set<string>
  readonly written: Set<string>
  /** Rows to be written: column → value, as policies read them. */
  readonly sets: Readonly<Record<string, CedarJson>>[]
  limit: number | undefined
  /** What rows are wanted by, at each place where the table stands. */
  readonly #places: (readonly Equality[])[]
  #where: Readonly<Record<string, CedarJson>> | undefined

  /** @param same of the same statement, with other values */
  constructor(table: PostgresTable, action: TableAction, reading: Reading, same?: TableFacts) {
    this.table = table
    this.action = action
    this.#reading = reading
    this.columns = same?.columns ?? new Set()
    this.filters = same?.filters ?? new Set()
    this.written = same?.written ?? new Set()
    this.sets = same?.sets ?? []
    this.limit = same?.limit
    this.#places = same === undefined ? [] : same.#places
  }

  /** The same of a statement in which nothing but what its rows are wanted by depends on the values that come with it. */
  with(reading: Reading): TableFacts {
    return new TableFacts(this.table, this.action, reading, this)
  }

  /** Of each place where the table stands. */
  restrict(equal: readonly Equality[]): void {
    this.#places.push([...equal])
    this.#where = undefined
  }

  /** What policies may take for granted of the rows; what does not hold at all places is not said. */
  get where(): Readonly<Record<string, CedarJson>> {
    if (this.#where) return this.#where
    let known: Map<string, CedarJson> | undefined
    for (const equal of this.#places) {
      const before = known
      known = new Map(
        [...this.#judged(equal)].filter(
          ([column, value]) => !before || before.get(column) === value,
        ),
      )
    }
    return (this.#where = Object.fromEntries(known ?? []))
  }

  #judged(equal: readonly Equality[]): Map<string, CedarJson> {
    const { parameters, tokens } = this.#reading
    const found = new Map<string, CedarJson>()
    for (const { column, type, value } of equal) {
      if (!isJudged(type)) continue
      let judged: CedarJson | undefined
      try {
        judged = judgedValue(value, type, parameters)
      } catch {
        // It restricts the rows all the same; policies cannot build on it.
        continue
      }
      if (judged === undefined) continue
      found.set(
        column,
        typeof judged === 'string'
          ? tokens.restored(tokens.kindOf(this.table, column), judged)
          : judged,
      )
    }
    return found
  }
}
