import type { TableAction } from './secrets-types.ts'
import type { PolicySource } from './types.ts'

/** What the gateway knows of a PostgreSQL database: what is not here cannot be named in a statement. */
export interface PostgresSystem {
  /** Its name on the server. */
  readonly database: string
  /** The role that the gateway signs in with: one that may do no more than the declared tables need. */
  readonly user: string
  /** Name of the secret that is its password. */
  readonly secret: string
  readonly statementTimeoutMs: number
  readonly tables: readonly PostgresTable[]
}

export interface PostgresTable {
  /** What callers call it. */
  readonly name: string
  /** Where it stands. */
  readonly schema: string
  readonly table: string
  /** The data set whose fields its columns are. */
  readonly dataset: string
  /** The column that names a row. */
  readonly key: string
  /** Column → type. A column that is not here never leaves, and is never written. */
  readonly columns: Readonly<Record<string, ColumnType>>
  /** Rows that one statement may return; one more ends it with an error. */
  readonly maxRows: number
  /** Policies of `Action::"row.read"` on `Row`: which rows a caller has. Absent means all of them. */
  readonly rows?: readonly PolicySource[]
}

/** PostgreSQL's own names of the types that columns may have. */
export const COLUMN_TYPES = [
  'bool',
  'int2',
  'int4',
  'int8',
  'text',
  'varchar',
  'numeric',
  'float8',
  'uuid',
  'date',
  'timestamp',
  'timestamptz',
  'jsonb',
  'bytea',
] as const
export type ColumnType = (typeof COLUMN_TYPES)[number]

export interface PostgresBinding {
  readonly kind: 'postgres'
  readonly action: TableAction
  /** Name of the table. */
  readonly table: string
}
