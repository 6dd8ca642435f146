import type { Approval, BreakGlass, Incident, SessionInfo, SessionListing } from '../api/types.ts'
import { operatorOf } from './format.ts'

const RANK = { viewer: 0, responder: 1, approver: 2, admin: 3 } as const

/** Whether the operator holds a role, or one above it. The server decides; this only spares a pointless press. */
function holds(session: SessionInfo, role: keyof typeof RANK): boolean {
  return session.operator?.roles.some((held) => RANK[held] >= RANK[role]) ?? false
}

const withoutPasskey = ({ method }: SessionInfo, needs: string): string =>
  `You signed in ${method === 'oidc' ? 'at an identity provider' : 'with a code'}. ${needs}: sign out, and in again with it.`

/** Why this operator cannot end a session. */
export function whyNotEnd(session: SessionInfo, other: SessionListing): string {
  if (other.current || other.operator === session.operator?.name) return ''
  return holds(session, 'responder') ? '' : 'Ending it needs the role responder, approver or admin.'
}

/** Why this operator cannot confirm that another signs in by a code. */
export function whyNotConfirm(session: SessionInfo, operator: string): string {
  if (session.method !== 'passkey') return withoutPasskey(session, 'Confirming needs your passkey')
  if (!holds(session, 'approver')) return 'Confirming needs the role approver or admin.'
  return operator === session.operator?.name ? 'Nobody confirms their own recovery.' : ''
}

/** Why this operator cannot review a break-glass. */
export function whyNotReview(session: SessionInfo, glass: BreakGlass): string {
  if (glass.operator === session.operator?.name) return 'It waits for a review by somebody else.'
  if (session.method !== 'passkey') return withoutPasskey(session, 'Reviewing needs your passkey')
  if (session.breakGlass) return 'Reviewing takes roles that you have without break-glass.'
  return holds(session, 'approver') ? '' : 'Reviewing needs the role approver or admin.'
}

/** Why this operator cannot quarantine; empty when nothing stands in the way. */
export function whyNotContain(session: SessionInfo): string {
  return holds(session, 'responder')
    ? ''
    : 'Quarantine needs the role responder, approver or admin.'
}

/** Why this operator cannot release. */
export function whyNotRelease(session: SessionInfo): string {
  if (session.method !== 'passkey') {
    return withoutPasskey(session, 'Releasing needs your passkey')
  }
  return holds(session, 'approver') ? '' : 'Releasing needs the role approver or admin.'
}

/** Why this operator cannot sign a change of the declaration or of the operators that `signed` have signed already. */
export function whyNotSign(session: SessionInfo, signed: readonly string[]): string {
  if (signed.includes(session.operator?.name ?? '')) {
    return 'You have signed it. It needs another person.'
  }
  if (session.method !== 'passkey') {
    return withoutPasskey(session, 'Signing needs your passkey')
  }
  return holds(session, 'admin') ? '' : 'Signing needs the role admin.'
}

/** Why this operator cannot start or stop a shadow. */
export function whyNotShadow(session: SessionInfo): string {
  if (session.method !== 'passkey') {
    return withoutPasskey(session, 'This needs your passkey')
  }
  return holds(session, 'admin') ? '' : 'Starting a shadow needs the role admin.'
}

/** Why this operator cannot decide this request at `now`. */
export function whyNotDecide(session: SessionInfo, approval: Approval, now: number): string {
  switch (approval.status) {
    case 'approved':
    case 'used':
      return 'It is approved already.'
    case 'denied':
      return 'It was denied.'
    case 'expired':
      return 'It expired. The agent can ask again.'
    case 'pending':
  }
  if (approval.expiresAt <= now) return 'It expired. The agent can ask again.'
  const signed = approval.statements.some(
    ({ statement }) => statement.approver === session.operator?.name,
  )
  if (signed) return 'You have signed it. It needs another person.'
  if (session.method !== 'passkey') {
    return withoutPasskey(session, 'Approving needs your passkey')
  }
  if (!holds(session, 'approver')) return 'Deciding needs the role approver or admin.'
  if (!approval.canDecide)
    return approval.reason ?? 'The control plane does not let you decide this one.'
  return ''
}

/** Why this operator cannot close an incident as a false alarm. */
export function whyNotClose(session: SessionInfo, { status, subject }: Incident): string {
  if (status === 'closed') return 'It is closed.'
  if (status === 'contained') return 'It ends with the release of its subject.'
  if (operatorOf(subject) !== undefined) return 'It ends with the review of the break-glass.'
  if (session.method !== 'passkey') return withoutPasskey(session, 'Closing needs your passkey')
  return holds(session, 'responder') ? '' : 'Closing needs the role responder, approver or admin.'
}

/** Why this operator cannot give a mandate. */
export function whyNotGive(session: SessionInfo): string {
  if (session.method !== 'passkey') {
    return withoutPasskey(session, 'Giving a mandate needs your passkey')
  }
  return holds(session, 'approver') ? '' : 'Giving a mandate needs the role approver or admin.'
}

/** Why this operator cannot end a mandate. */
export function whyNotRevoke(session: SessionInfo): string {
  return holds(session, 'responder')
    ? ''
    : 'Ending a mandate needs the role responder, approver or admin.'
}

/** Why this operator cannot prepare, put in use or retire what signs identities. */
export function whyNotSucceed(session: SessionInfo): string {
  return holds(session, 'admin') ? '' : 'Roots and signing certificates need the role admin.'
}

/** Why this operator cannot prepare another root, which a quorum is then asked to sign. */
export function whyNotPrepareRoot(session: SessionInfo): string {
  const why = whyNotSucceed(session)
  if (why !== '') return why
  return session.method === 'passkey'
    ? ''
    : withoutPasskey(session, 'Preparing a root needs your passkey')
}

/** Why this operator cannot end what instances hold, or have a partner's bundle fetched. */
export function whyNotRespond(session: SessionInfo): string {
  return holds(session, 'responder') ? '' : 'This needs the role responder, approver or admin.'
}
