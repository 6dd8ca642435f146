import type { FieldTreatment } from '@sallyport/decide'
import type { Request } from './request.ts'

/** What one declaration decided about a counterexample. */
export interface Decided {
  readonly decision: 'allow' | 'deny' | 'needs'
  readonly code: string
  /** Determining policies. */
  readonly policies: readonly string[]
}

/** A request that the two declarations decide differently: decided by both as a gateway decides. */
export interface Counterexample extends Request {
  readonly old: Decided
  readonly new: Decided
}

export interface CallFinding {
  readonly agent: string
  /** `SYSTEM.OPERATION` */
  readonly operation: string
  readonly found: 'solver' | 'search'
  readonly counterexample: Counterexample
}

export interface FieldFinding extends CallFinding {
  /** `DATASET.FIELD` */
  readonly field: string
  readonly before: FieldTreatment
  readonly after: FieldTreatment
}

/** A question that was neither proven nor refuted. */
export interface Undecided {
  readonly agent: string
  readonly operation: string
  readonly question: Question
  readonly why: string
}

export type Question = 'newly allowed' | 'newly denied' | 'fields more open' | 'fields less open'

/** A change outside the policies: limits, and what decides how much a limit or an approval is worth. */
export interface LimitChange {
  readonly direction: 'widened' | 'narrowed'
  readonly what: string
  readonly before: string
  readonly after: string
}

export interface DiffReport {
  readonly old: string
  readonly new: string
  /** `undecided` only where no difference was found and something is not proven. */
  readonly verdict: 'equivalent' | 'differs' | 'undecided'
  readonly newlyAllowed: readonly CallFinding[]
  readonly newlyDenied: readonly CallFinding[]
  readonly fieldsMoreOpen: readonly FieldFinding[]
  readonly fieldsLessOpen: readonly FieldFinding[]
  readonly limits: readonly LimitChange[]
  readonly undecided: readonly Undecided[]
  /** Questions asked, and how many were proven: by the solver, or because both sides are one formula. */
  readonly questions: number
  readonly proven: number
  /** Of the proven ones, those that took the solver. */
  readonly bySolver: number
}
