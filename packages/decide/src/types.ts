import type { CedarExplanation, CedarJson, PolicyCover, PolicyPoints } from '@sallyport/cedar'
import type { Limit, NetworkIndex } from '@sallyport/network'

/** What a principal can add to turn *needs* into *allow*. */
export interface Evidence {
  /** Operators whose verified approval covers exactly this call, by name. */
  readonly approvals: readonly string[]
}

/** For whom the caller acts, where that is proven; absent means for nobody but itself. */
export interface OnBehalfOf {
  /** The person or agent at the beginning of the delegation. */
  readonly subject: string
  /** Everybody who acts for the subject, the caller first (RFC 8693 section 4.1). */
  readonly actors: readonly string[]
}

/** The verified mandate that covers a call, as policies read it. */
export interface CallMandate {
  readonly id: string
  /** Who gave the mandate at the root of the chain: `operator:NAME`, or an agent's SPIFFE id. */
  readonly delegator: string
  /** Hops from the root to the caller, 1 for a mandate that the root gave the caller itself. */
  readonly depth: number
  /** What the caller was told to do, in the words of the mandate it presents. */
  readonly task: string
}

/** A payment that somebody agreed to and that covers a call, as policies read it (RFC 9396). */
export interface CallPayment {
  /** At most this much in one call, in minor units of the currency. */
  readonly amount: number
  /** ISO 4217. */
  readonly currency: string
  /** Who is paid. */
  readonly creditor: string
  /** Who agreed: `operator:NAME`, or the SPIFFE id of an agent that is not the caller. */
  readonly by: string
}

/** One call, canonical and typed: what is authorised, logged and forwarded. */
export interface Call {
  /** The verified SPIFFE id of the calling instance. */
  readonly instance: string
  /** Agent NAME out of that id. */
  readonly agent: string
  readonly system: string
  readonly operation: string
  /** Typed by the operation's input schema; tokens already restored. */
  readonly input: Readonly<Record<string, CedarJson>>
  /** Wall clock, milliseconds since the epoch. */
  readonly time: number
  /** Only from a declared PROXY protocol peer or a directly accepted socket; otherwise absent. */
  readonly source?: string
  readonly evidence: Evidence
  readonly onBehalfOf?: OnBehalfOf
  readonly payment?: CallPayment
  readonly mandate?: CallMandate
}

export interface SessionState {
  /** Data tags and `untrusted` that the session has touched. */
  readonly labels: readonly string[]
  /** 0–100; already replaced by the declared stale value where it is too old. */
  readonly risk: number
}

/** An approval by so many different operators, none of them the requester; or a mandate (then `count` is 1). */
export interface Need {
  readonly kind: 'approval' | 'mandate'
  readonly count: number
}

export type FieldTreatment = 'whole' | 'mask' | 'tokenise' | 'drop'

/** Data set → field → treatment. A field that is not named is dropped. */
export type Projection = Readonly<Record<string, Readonly<Record<string, FieldTreatment>>>>

export type DecisionCode =
  | 'SP_ALLOWED'
  | 'SP_DENIED_FORBIDDEN'
  | 'SP_DENIED_NOT_PERMITTED'
  | 'SP_DENIED_PARTIAL'
  | 'SP_DENIED_POLICY_ERROR'
  | 'SP_NEEDS_APPROVAL'
  | 'SP_NEEDS_MANDATE'
  | 'SP_NO_FLOW'

export interface Outcome {
  readonly decision: 'allow' | 'deny' | 'needs'
  readonly code: DecisionCode
  /** Determining policy ids; for operators only. */
  readonly reasons: readonly string[]
  /** Policies that could not be evaluated; for operators only. */
  readonly errors: readonly { readonly policyId: string; readonly message: string }[]
  /** Of a `needs`: the smallest evidence under which this very call would be allowed. */
  readonly needs: readonly Need[]
  /** Of an allow. */
  readonly projection: Projection
  /** Limits to be reserved before the call is forwarded. */
  readonly limits: readonly Limit[]
  /** Tags of the fields that an allow may return: the labels to commit. */
  readonly labels: readonly string[]
  /** Highest class that an allow may return whole. */
  readonly maxClass: 'public' | 'internal' | 'confidential' | 'restricted'
}

/** The full why, for operators: computed on demand. */
export interface OutcomeExplanation {
  readonly outcome: Outcome
  /** One sentence: what decided it. */
  readonly summary: string
  /** What would have to change for the call to be allowed, as sentences. */
  readonly remedies: readonly string[]
  readonly cedar: CedarExplanation
}

/** A declaration, ready to decide calls. Immutable: a new declaration makes a new one. */
export interface Decider {
  /** SHA-256 hex of the canonical declaration. */
  readonly digest: string
  /** Lookups in the network decided by. */
  readonly index: NetworkIndex
  /** Never throws: whatever goes wrong denies. */
  decide(call: Call, session: SessionState): Outcome
  /** The same outcome with its full why, for operators only. Never throws. */
  explain(call: Call, session: SessionState): OutcomeExplanation
  /** What a thorough test of each policy sees come out both ways. */
  points(): readonly PolicyPoints[]
  /**
   * What the policies came to whose scope covers a request: one list for the call itself and, where it is allowed, one
   * for each question about a field it may return. Evidence that the call does not bring is not assumed. For tests.
   *
   * @throws SallyportError where the call cannot be put to the policies
   */
  cover(call: Call, session: SessionState): readonly (readonly PolicyCover[])[]
  /** SHA-256 hex of everything beside the call that its decision read: entities, labels, risk, delegation, payment, mandate. */
  stateDigest(call: Call, session: SessionState): string
}
