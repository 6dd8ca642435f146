import type { CedarType } from '../schema-types.ts'
import type { EntityUid } from '../types.ts'
import type { Value } from '../value.ts'

/**
 * Where an attribute of a row's entity is read from. SQL's NULL is an absent attribute. PostgreSQL types: `long` smallint,
 * integer or bigint; `string` text or varchar; `ipaddr` inet; `decimal` numeric; `datetime` timestamptz (or bigint
 * milliseconds with `millis`); `duration` bigint milliseconds; `entity` the id as text; `set` a one-dimensional array.
 */
export type ColumnMap =
  | { readonly kind: 'bool' | 'long' | 'string' | 'ipaddr' | 'decimal'; readonly column: string }
  | { readonly kind: 'datetime'; readonly column: string; readonly millis?: boolean }
  | { readonly kind: 'duration'; readonly column: string }
  | {
      readonly kind: 'entity'
      readonly column: string
      readonly type: string
      /**
       * Ancestor type → column with an array of the ids of all ancestors of that type; a type that is not named has none.
       * With it no entity of `type` may stand in the store; without it, the store says what its ancestors are.
       */
      readonly ancestors?: Readonly<Record<string, string>>
    }
  | {
      readonly kind: 'set'
      readonly column: string
      readonly of: 'bool' | 'long' | 'string' | 'ipaddr' | { readonly entity: string }
    }
  /** A record that every row has; its members may be absent. */
  | { readonly kind: 'record'; readonly members: Readonly<Record<string, ColumnMap>> }
  /** No row has it. */
  | { readonly kind: 'absent' }

/** One row as the resource of a request. */
export interface RowMap {
  /** The table's name or alias in the query that takes the filter. */
  readonly table: string
  /** The Cedar entity type of a row. No entity of this type may stand in the store. */
  readonly type: string
  /** Column with the entity's id, as text. A row without one is never returned. */
  readonly id: string
  readonly attributes: Readonly<Record<string, ColumnMap>>
  /** As of an entity column. */
  readonly ancestors?: Readonly<Record<string, string>>
  /** What every row is in, in place of `ancestors`. With neither, a row has no ancestors. */
  readonly in?: readonly EntityUid[]
  /** A jsonb column with an object of texts: the tags. Without it a row has none. */
  readonly tags?: string
}

/** What stands for a Cedar value in SQL. NULL is a failed evaluation. */
export interface Column {
  readonly kind: 'column'
  readonly sql: string
  readonly type: CedarType
  /** Whether a `long` is of type numeric rather than an integer type. */
  readonly numeric?: boolean
  /** Of an entity: where its ancestors stand. */
  readonly ancestors?: Readonly<Record<string, string>>
}

/** What a subexpression comes to: known, failing, a column's value, or a set of such. */
export type Term =
  | { readonly kind: 'value'; readonly value: Value }
  | { readonly kind: 'error' }
  | Column
  | { readonly kind: 'list'; readonly items: readonly Term[] }
