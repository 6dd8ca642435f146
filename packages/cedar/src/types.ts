export interface EntityUid {
  readonly type: string
  readonly id: string
}

/**
 * A Cedar value in Cedar's JSON form: Long is a safe integer or a bigint, a set is an array, a record a plain
 * object, an entity `{ __entity: { type, id } }`, an extension value `{ __extn: { fn, arg } }`.
 */
export type CedarJson =
  | boolean
  | number
  | bigint
  | string
  | readonly CedarJson[]
  | { readonly __entity: EntityUid }
  | { readonly __extn: { readonly fn: string; readonly arg: string } }
  | { readonly [attribute: string]: CedarJson }

export interface EntityJson {
  readonly uid: EntityUid
  readonly attrs: Readonly<Record<string, CedarJson>>
  readonly parents: readonly EntityUid[]
  readonly tags?: Readonly<Record<string, CedarJson>>
}

export interface Request {
  readonly principal: EntityUid
  readonly action: EntityUid
  readonly resource: EntityUid
  readonly context: Readonly<Record<string, CedarJson>>
}

/** Exactly what Cedar answers: an erroring policy is skipped and listed; `decide` is stricter. */
export interface CedarDecision {
  readonly decision: 'allow' | 'deny'
  /** Ids of the determining policies: satisfied permits of an allow, satisfied forbids of a deny. */
  readonly reasons: readonly string[]
  readonly errors: readonly { readonly policyId: string; readonly message: string }[]
}

/** One clause of a policy and what it came to for a request. */
export interface ClauseTrace {
  /** The clause as Cedar text. */
  readonly text: string
  readonly result: 'true' | 'false' | 'error'
  /** Values that the clause read, as `context.input.amount` → `1500000`, for people. */
  readonly values: Readonly<Record<string, string>>
  readonly error?: string
}

export interface PolicyTrace {
  readonly policyId: string
  readonly effect: 'permit' | 'forbid'
  readonly outcome: 'satisfied' | 'unsatisfied' | 'error'
  readonly scope: readonly ClauseTrace[]
  readonly conditions: readonly ClauseTrace[]
  readonly annotations: Readonly<Record<string, string>>
}

export interface CedarExplanation {
  readonly decision: CedarDecision
  /** Determining and erroring policies first, then near misses: fewest failing clauses first. */
  readonly policies: readonly PolicyTrace[]
}

/** A part of a policy that a thorough test sees come out both ways. */
export interface CoveragePoint {
  /** A clause of a `when`, the body of an `unless`, or an operand or arm inside one of these. */
  readonly kind: 'when' | 'unless' | 'part'
  /** The part as Cedar text. */
  readonly text: string
  /** How far inside its clause, which is 0. */
  readonly depth: number
}

export interface PolicyPoints {
  readonly policyId: string
  readonly effect: 'permit' | 'forbid'
  readonly points: readonly CoveragePoint[]
}

/** What a policy whose scope admits a request came to, point by point. */
export interface PolicyCover {
  readonly policyId: string
  readonly outcome: PolicyTrace['outcome']
  /** In the order of the policy's points; undefined for what evaluation did not reach. */
  readonly seen: readonly (ClauseTrace['result'] | undefined)[]
}

export interface Diagnostic {
  readonly severity: 'error' | 'warning'
  readonly policyId?: string
  readonly message: string
  readonly help?: string
  /** Offsets into that policy's source, or where no policy is named into the schema, in UTF-16 code units. */
  readonly start?: number
  readonly end?: number
}
