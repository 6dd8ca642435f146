import type { FieldTreatment } from '@sallyport/decide'
import type { ColumnType, PostgresSystem, PostgresTable, TableAction } from '@sallyport/network'
import { plain } from '../../inventory/plain.ts'
import { noColumn, noName } from '../refuse.ts'
import { TableFacts } from './facts.ts'
import type { Equality, Reading, TableView } from './facts.ts'
import { hasTokens, maskSql } from './masks.ts'
import { columnType, declaredName, quoteName, ROW } from './names.ts'
import type { Column, Place } from './scope.ts'
import { typedSql } from './values.ts'

/** Takes down that a column was referred to. */
type Note = (place: Place) => void

/** A declared column that a value is made of. */
export interface Source {
  readonly table: PostgresTable
  readonly column: string
  /** Neither masked nor a token. */
  readonly whole: boolean
}

export interface TablesParts extends Reading {
  readonly system: PostgresSystem
  /** How a table is seen; absent while that is not decided: then every column is taken to be. */
  view?(table: PostgresTable, action: TableAction): TableView | undefined
}

/** The declared tables of one statement, and what it does with them. */
export class Tables {
  readonly parts: TablesParts
  readonly #facts = new Map<string, TableFacts>()
  /** Types of parameters that meet a declared column. */
  readonly parameterTypes: Map<number, ColumnType> = new Map()

  /** What is referred to while something is being compiled, for whoever asks. */
  readonly #watching = new Set<Set<Note>>()
  #tracing: Set<Source> | undefined

  constructor(parts: TablesParts) {
    this.parts = parts
  }

  /** Compiles something. @returns also what takes down again all that was referred to in it, in queries inside it too */
  watch<T>(compile: () => T): { readonly result: T; readonly note: Note } {
    const seen = new Set<Note>()
    this.#watching.add(seen)
    try {
      const result = compile()
      return {
        result,
        note: (place) => {
          for (const note of seen) note(place)
        },
      }
    } finally {
      this.#watching.delete(seen)
    }
  }

  noted(source: Source, note: Note): void {
    for (const seen of this.#watching) seen.add(note)
    this.#tracing?.add(source)
  }

  /** Which declared columns an output is made of. @param note of that output */
  sourcesOf(note: Note): readonly Source[] {
    const found = new Set<Source>()
    this.#tracing = found
    try {
      note('output')
    } finally {
      this.#tracing = undefined
    }
    return [...found]
  }

  get facts(): readonly TableFacts[] {
    return [...this.#facts.values()]
  }

  /** @throws SqlRefusal `SP_SQL_NAME` for every table that is not declared, whether it exists or not */
  use(schema: string, name: string, action: TableAction): Use {
    const table = this.parts.system.tables.find(
      (one) => one.name === name && (schema === '' || schema === one.schema),
    )
    if (!table) {
      const strange = { kind: 'operation', name: `table ${plain.field(name)} ${action}` } as const
      throw noName('table', schema === '' ? name : `${schema}.${name}`, '42P01', strange)
    }
    const key = `${table.name}.${action}`
    let facts = this.#facts.get(key)
    if (!facts) this.#facts.set(key, (facts = new TableFacts(table, action, this.parts)))
    return new Use(this, facts)
  }

  /**
   * Says of which type a parameter is, by the column that it meets.
   *
   * @returns false where it has met one of another type: the server reads it as one of them, and only one could be judged
   */
  typed(parameter: number, type: ColumnType): boolean {
    const known = this.parameterTypes.get(parameter) ?? type
    this.parameterTypes.set(parameter, known)
    return known === type
  }
}

/** A declared table at one place of a statement. */
export class Use {
  readonly tables: Tables
  readonly facts: TableFacts
  readonly table: PostgresTable
  readonly view: TableView | undefined
  readonly #equal: Equality[] = []

  constructor(tables: Tables, facts: TableFacts) {
    this.tables = tables
    this.facts = facts
    this.table = facts.table
    this.view = tables.parts.view?.(facts.table, facts.action)
  }

  treatmentOf(column: string): FieldTreatment {
    const treatment = this.view?.treatmentOf(column) ?? 'whole'
    const type = this.table.columns[column]
    if (this.view === undefined || type === undefined) return treatment
    return treatment === 'tokenise' && !hasTokens(type) ? 'drop' : treatment
  }

  /** Columns as the statement sees them. @param qualifier where they stand, quoted; `masked` says that masks are applied there already */
  columns(qualifier: string, masked: boolean): Column[] {
    return Object.entries(this.table.columns).flatMap(([name, type]): Column[] => {
      const treatment = this.treatmentOf(name)
      if (treatment === 'drop') return []
      const raw = `${qualifier}.${declaredName(name)}`
      const source = { table: this.table, column: name, whole: treatment === 'whole' }
      const note = (place: Place): void => {
        this.facts.columns.add(name)
        if (place === 'filter') this.facts.filters.add(name)
        this.tables.noted(source, note)
      }
      if (treatment === 'mask') {
        const sql = masked ? raw : maskSql(raw, type, this.view?.maskOf(name) ?? 'full')
        return [{ name, sql, note, single: true }]
      }
      const own = { use: this, type, whole: treatment === 'whole' }
      if (treatment === 'whole') return [{ name, sql: raw, own, note, single: true }]
      const token = this.tables.parts.tokens.kindOf(this.table, name)
      const sql = masked ? raw : `(${raw}::pg_catalog.text)`
      return [{ name, sql, token, own, note, single: true }]
    })
  }

  /** Takes down that rows are wanted only where a column has this value. */
  equal(equality: Equality): void {
    const { value, type } = equality
    if (value.kind === 'parameter' && !this.tables.typed(value.number, type)) return
    this.#equal.push(equality)
  }

  /** Once, when all equalities are known. */
  settle(): void {
    this.facts.restrict(this.#equal)
  }

  /** Conditions on `ROW` that the statement itself implies, so that indexes serve although other conditions wait for the filter. */
  implied(): string[] {
    return this.#equal.flatMap(({ column, type, value }) =>
      this.treatmentOf(column) === 'whole'
        ? [
            `${declaredName(ROW)}.${declaredName(column)} OPERATOR(pg_catalog.=) ${typedSql(value, type)}`,
          ]
        : [],
    )
  }

  name(): string {
    return `${declaredName(this.table.schema)}.${declaredName(this.table.table)}`
  }

  /**
   * The table as its caller sees it: no column and no row beside those. Where rows are left out, no condition of the caller's is
   * tried on them: it might fail on one, and so tell of it.
   */
  subquery(alias: string): string {
    const row = declaredName(ROW)
    const filter = this.view?.filter
    const columns = Object.entries(this.table.columns).flatMap(([name, type]) => {
      const raw = `${row}.${declaredName(name)}`
      switch (this.treatmentOf(name)) {
        case 'whole':
          return [filter === undefined ? raw : withoutStatistics(raw, name, type)]
        case 'mask':
          return [
            `${maskSql(raw, type, this.view?.maskOf(name) ?? 'full')} AS ${declaredName(name)}`,
          ]
        case 'tokenise':
          return [`${raw}::pg_catalog.text AS ${declaredName(name)}`]
        default:
          return []
      }
    })
    const where = filter === undefined ? '' : ` WHERE ${[filter, ...this.implied()].join(' AND ')}`
    const fence = filter === undefined ? '' : ' OFFSET 0'
    // A relation without columns is one of PostgreSQL's own; so nothing has to be made up where none may be seen.
    const list = columns.join(', ')
    return `(SELECT ${list} FROM ${this.name()} AS ${row}${where}${fence}) AS ${quoteName(alias)}`
  }

  /** A value for a column. @throws SqlRefusal `SP_SQL_NAME` */
  typeOf(column: string): ColumnType {
    const type = Object.hasOwn(this.table.columns, column) ? this.table.columns[column] : undefined
    if (type === undefined) throw noColumn(this.table.name, column)
    return type
  }

  cast(column: string, sql: string): string {
    return `CAST(${sql} AS ${columnType(this.typeOf(column))})`
  }
}

/**
 * A column of a table of which its caller does not have every row. To plan `LIKE`, the server tries a pattern on values that it keeps of
 * all rows, and an error there would tell of them. It keeps none of an expression.
 */
function withoutStatistics(raw: string, name: string, type: ColumnType): string {
  if (type !== 'text' && type !== 'varchar' && type !== 'bytea') return raw
  const nothing = `''::pg_catalog.${type === 'bytea' ? 'bytea' : 'text'}`
  return `(${raw} OPERATOR(pg_catalog.||) ${nothing})::${columnType(type)} AS ${declaredName(name)}`
}
