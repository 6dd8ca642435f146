import type { ApprovalStatement, PasskeySignature, Signed } from '@sallyport/wire'

export type ApprovalStatus = 'pending' | 'approved' | 'denied' | 'expired' | 'used'

export interface ApprovalView {
  readonly id: string
  readonly status: ApprovalStatus
  readonly agent: string
  readonly instance: string
  readonly system: string
  readonly operation: string
  /** The canonical input, whole. */
  readonly input: unknown
  /** Different operators needed. */
  readonly count: number
  /** Milliseconds since the epoch. */
  readonly requestedAt: number
  readonly expiresAt: number
  readonly decisionId: string
  readonly declarationDigest: string
  readonly statements: readonly Signed<ApprovalStatement>[]
}

export interface ApprovalRequest {
  readonly decisionId: string
  readonly instance: string
  readonly agent: string
  readonly system: string
  readonly operation: string
  readonly input: unknown
  readonly count: number
  readonly declarationDigest: string
}

export interface Approvals {
  /**
   * The open approval for exactly this call by this instance under this declaration, made where there is none.
   *
   * @throws SallyportError `SP_APPROVAL_REQUEST`, `SP_APPROVAL_STALE`
   */
  request(request: ApprovalRequest): Promise<{ approvalId: string; expiresAt: number }>
  list(filter?: { readonly status?: ApprovalStatus }): Promise<readonly ApprovalView[]>
  get(id: string): Promise<ApprovalView | undefined>
  /** Approvals asked for by this decision, or used for it. */
  ofDecision(decisionId: string): Promise<readonly ApprovalView[]>
  /**
   * Whether this operator may still decide it, and if not, why, for the console. Looks at roles in the pinned operator
   * set, self-approval, expiry and an earlier statement.
   */
  canDecide(
    approval: ApprovalView,
    operator: string,
  ): Promise<{ readonly canDecide: boolean; readonly reason?: string }>
  /**
   * The exact statement that `operator` is to sign. Deterministic: the same for the same approval, operator and decision.
   *
   * @throws SallyportError `SP_APPROVAL_UNKNOWN`, `SP_APPROVAL_SELF`, `SP_APPROVAL_CLOSED`, `SP_APPROVAL_STALE`, `SP_APPROVAL_ROLE`
   */
  statement(id: string, operator: string, decision: 'approve' | 'deny'): Promise<ApprovalStatement>
  /**
   * Records one operator's signed decision. The last approval needed makes it approved; one denial makes it denied, for good.
   *
   * @param input.operator who is signed in: the statement and the signature must be theirs
   * @throws SallyportError as `statement`, and `SP_APPROVAL_STATEMENT` (not what was asked), `SP_SIGNATURE_*`
   */
  decide(input: {
    readonly id: string
    readonly operator: string
    readonly statement: ApprovalStatement
    readonly signature: PasskeySignature
  }): Promise<ApprovalView>
  /**
   * Uses it up, once, for one decision.
   *
   * @throws SallyportError `SP_APPROVAL_USED`, `SP_APPROVAL_UNKNOWN`, `SP_APPROVAL_CLOSED`
   */
  use(id: string, decisionId: string): Promise<void>
}
