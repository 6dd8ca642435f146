import type { OperatorRole } from '@sallyport/network'
import type { PasskeySignature, ReviewStatement } from '@sallyport/wire'
import type { SessionView } from './sessions.ts'

export interface BreakGlassView {
  readonly id: string
  readonly operator: string
  readonly roles: readonly OperatorRole[]
  readonly reason: string
  /** Opened with it, closed with the review. */
  readonly incidentId: string
  /** Milliseconds since the epoch, as all times here. */
  readonly openedAt: number
  /** When it ended or will. */
  readonly endsAt: number
  readonly open: boolean
  readonly review?: { readonly by: string; readonly at: number; readonly text: string }
  /** When somebody else must have reviewed it. */
  readonly reviewBy: number
  readonly overdue: boolean
}

interface BreakGlassAct {
  readonly at: number
  readonly method: string
  readonly path: string
}

/**
 * Declared roles for an emergency: opened with a passkey and a reason, in one session, for minutes; everybody is told, every act is
 * listed, and somebody else reviews it. Signatures count as before: it gives nobody a vote in a quorum.
 */
export interface BreakGlass {
  /** Newest first. */
  list(): Promise<readonly BreakGlassView[]>
  get(
    id: string,
  ): Promise<(BreakGlassView & { readonly acts: readonly BreakGlassAct[] }) | undefined>
  /**
   * @param session has just shown its passkey, with user verification
   * @throws SallyportError `SP_BREAK_GLASS_UNDECLARED`, `SP_BREAK_GLASS_REASON`, `SP_BREAK_GLASS_OPEN`, `SP_AUDIT_UNAVAILABLE`
   */
  open(session: SessionView, reason: string): Promise<BreakGlassView>
  /** @throws SallyportError `SP_BREAK_GLASS_UNKNOWN` where none of this id is open */
  end(id: string, by: string): Promise<void>
  /**
   * What the reviewer signs: whose it was, everything that was done, and what was found.
   *
   * @throws SallyportError `SP_BREAK_GLASS_UNKNOWN`, `SP_BREAK_GLASS_SELF`, `SP_BREAK_GLASS_ROLE`, `SP_BREAK_GLASS_OPEN`,
   *   `SP_BREAK_GLASS_REASON`
   */
  reviewStatement(input: {
    readonly id: string
    readonly by: string
    readonly text: string
  }): Promise<ReviewStatement>
  /**
   * Takes a signed review; the audit log keeps it with its signature.
   *
   * @throws SallyportError as `reviewStatement`, `SP_BREAK_GLASS_STATEMENT`, `SP_SIGNATURE_*`, `SP_AUDIT_UNAVAILABLE`
   */
  review(input: {
    readonly id: string
    readonly by: string
    readonly statement: ReviewStatement
    readonly signature: PasskeySignature
  }): Promise<void>
  /**
   * Lists an act before it is done.
   *
   * @throws SallyportError `SP_STORE_UNAVAILABLE`, `SP_AUDIT_UNAVAILABLE` (not for acts that only narrow)
   */
  note(id: string, act: Omit<BreakGlassAct, 'at'> & { readonly narrows: boolean }): Promise<void>
}
