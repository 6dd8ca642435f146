import type { FieldTreatment } from '@sallyport/decide'

/** A condition that is left over when all that is known has been put into a policy. */
export interface Clause {
  readonly policy: string
  /** Cedar; `true` where nothing is left. */
  readonly cedar: string
  /** The same for people: parts that must all hold. */
  readonly words: readonly string[]
}

/** What some requests of one kind come to, whatever of them is unknown. */
export interface Judgement {
  /** `if`: each completion for which one of `ways` holds and none of `stops` holds, or fails, is allowed, and no other. */
  readonly verdict: 'always' | 'if' | 'never'
  readonly ways: readonly Clause[]
  readonly stops: readonly Clause[]
  /** Of a `never`. */
  readonly why?: Why
}

interface Why {
  readonly kind: 'no-flow' | 'no-permit' | 'forbidden' | 'error'
  /** The forbids, or the policies that cannot be evaluated. */
  readonly policies: readonly string[]
}

/** Whether an agent can call an operation. */
export interface CallAnswer {
  readonly agent: string
  /** `SYSTEM.OPERATION` */
  readonly operation: string
  /** Of the flow. */
  readonly purpose?: string
  /** `approval`: never without one, but with. */
  readonly answer: 'always' | 'if' | 'approval' | 'never'
  /** Fewest approvals that an `approval` takes, where any operators will do. */
  readonly approvals?: number
  /** Without an approval. */
  readonly plain: Judgement
  /** With approvals, where they make a difference; conditions read `context.evidence`. */
  readonly approved?: Judgement
}

/** The first treatment whose conditions hold is the one; the last has none. */
export interface FieldAnswer {
  /** `DATASET.FIELD` */
  readonly field: string
  readonly treatments: readonly {
    readonly treatment: FieldTreatment
    readonly judgement: Judgement
  }[]
}

export interface OperationAnswer extends CallAnswer {
  /** Of what an allowed call returns. A treatment that an obligation asks for is not in it. */
  readonly fields: readonly FieldAnswer[]
  /** `@obligation`s of the permits. */
  readonly obligations: readonly string[]
}
