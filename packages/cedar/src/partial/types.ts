import type { Expr } from '../ast.ts'
import type { CedarType, RecordType } from '../schema-types.ts'
import type { PreparedContext } from '../prepare.ts'
import type { CedarJson, EntityUid } from '../types.ts'
import type { Value } from '../value.ts'

/** An entity of which only some is known. */
export interface UnknownEntity {
  readonly unknown: true
  readonly type: string
  /** Attributes that are known; others may be anything. */
  readonly attributes?: Readonly<Record<string, CedarJson>>
  /** All of its ancestors, where they are known. */
  readonly ancestors?: readonly EntityUid[]
  /** Whether it could be the one of this id; any could where unsaid. */
  readonly mayBe?: (id: string) => boolean
}

/** A request of which parts are unknown. */
export interface PartialRequest {
  readonly principal: EntityUid | UnknownEntity
  readonly action: EntityUid
  readonly resource: EntityUid | UnknownEntity
  readonly context: {
    readonly known: Readonly<Record<string, CedarJson>> | PreparedContext
    /** Attributes that stand here and not in `known` are unknown. Without it, all of the context is known. */
    readonly unknown?: RecordType
  }
}

/** What partial evaluation makes of an expression. */
export type Part =
  | { readonly kind: 'value'; readonly value: Value }
  /** It fails for every completion of what is unknown. */
  | { readonly kind: 'error'; readonly message: string }
  | OpenPart

/** Depends on what is unknown. */
export interface OpenPart {
  readonly kind: 'open'
  /** With the same value, or the same failure, as the whole, for every completion. */
  readonly expr: Expr
  /** Its type where that is certain. */
  readonly type: CedarType | undefined
  /** Whether it cannot fail. */
  readonly total: boolean
  /** Of a variable. */
  readonly entity?: UnknownEntity
}
