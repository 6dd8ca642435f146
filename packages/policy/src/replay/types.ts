import type { FieldTreatment } from '@sallyport/decide'

/** Why a recorded decision was not decided again. None of them is ever guessed at. */
export type NotReplayed =
  /** The gateway found no operation in the request, so there was no call to decide. */
  | 'no-operation'
  /** The key of the person or account concerned was erased. */
  | 'erased'
  /** The input was too long for the log, which holds its digest only. */
  | 'input-truncated'
  /** The log holds no input, or one that this gateway's keyring does not open. */
  | 'input-unreadable'
  /** The declaration that decided is not kept, or is not the one that the record names. */
  | 'declaration-missing'

/** One side of a comparison: what policy decided. */
export interface Verdict {
  readonly decision: 'allow' | 'deny' | 'needs'
  readonly code: string
  /** Approvals that a `needs` asks for. */
  readonly approvals?: number
  /** Determining policies: permits of an allow, forbids of a deny. */
  readonly policies: readonly string[]
}

export interface FieldChange {
  /** `DATASET.FIELD` */
  readonly field: string
  readonly before: FieldTreatment
  readonly after: FieldTreatment
}

export type Direction = 'widened' | 'narrowed'

/** Recorded calls that the draft decides differently, all in the same way. */
export interface ChangeGroup {
  readonly direction: Direction
  readonly agent: string
  /** `SYSTEM.OPERATION` */
  readonly operation: string
  readonly before: Verdict
  readonly after: Verdict
  /** Of calls that both allow: fields that leave in another form. */
  readonly fields: readonly FieldChange[]
  readonly count: number
  /** Of them, how many something other than policy had stopped, e.g. a limit. */
  readonly stopped: number
  readonly firstAt: number
  readonly lastAt: number
  readonly examples: readonly Example[]
}

export interface Example {
  /** Decision id. */
  readonly id: string
  /** Place in the log. */
  readonly index: number
  readonly at: number
  readonly instance: string
}

export interface ReplayReport {
  readonly log: {
    readonly origin: string
    readonly verified: boolean
    readonly statement: string
    readonly records: number
    readonly signed: number
  }
  /** Digests of the declarations that decided. */
  readonly recordedUnder: readonly string[]
  readonly draft: string
  readonly decisions: number
  readonly replayed: number
  /** Decided again by the declaration that decided: proof that the replay sees what the gateway saw. */
  readonly selfCheck: {
    readonly reproduced: number
    readonly of: number
    /** The first that were not. */
    readonly failures: readonly (Example & { readonly why: string })[]
  }
  readonly notReplayed: readonly {
    readonly reason: NotReplayed
    readonly count: number
    readonly examples: readonly Example[]
  }[]
  readonly unchanged: number
  readonly widened: number
  readonly narrowed: number
  /** Widened first, then the most frequent. */
  readonly changes: readonly ChangeGroup[]
  /** Groups beyond the first thousand. */
  readonly groupsLeftOut: number
}
