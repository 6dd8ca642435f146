import type { CallMandate, DecisionCode, Need } from './types.ts'

/** Approvals that a *needs* may ask for at most. */
const MAX_APPROVALS = 3

/** Given by some person to the caller itself. Nobody can have such names: a policy that asks for a certain one is not met. */
const ANY_MANDATE: CallMandate = { id: '?', delegator: 'operator:?', depth: 1, task: '?' }
const MANDATE: Need = Object.freeze({ kind: 'mandate', count: 1 })

/** What evidence can turn into an allow. */
const MENDED: ReadonlySet<DecisionCode> = new Set([
  'SP_DENIED_FORBIDDEN',
  'SP_DENIED_NOT_PERMITTED',
  'SP_DENIED_PARTIAL',
])

/** What a denied call brought, and whether any policy reads a mandate. */
interface Given {
  readonly approvers: readonly string[]
  readonly mandate: CallMandate | undefined
  readonly readsMandates: boolean
}

/** Whether the same call would be allowed with other evidence. */
type WouldAllow = (approvers: readonly string[], mandate: CallMandate | undefined) => boolean

/** The least evidence under which a call would be allowed that was denied by this code; none where none would do. */
export function needsOf(
  code: DecisionCode,
  { approvers, mandate, readsMandates }: Given,
  wouldAllow: WouldAllow,
): readonly Need[] {
  if (!MENDED.has(code)) return []
  const approvals = approvalsOf(approvers, (more) => wouldAllow(more, mandate))
  if (!readsMandates || mandate !== undefined || approvals[0]?.count === 1) return approvals
  if (wouldAllow(approvers, ANY_MANDATE)) return [MANDATE]
  if (approvals.length > 0) return approvals
  const both = approvalsOf(approvers, (more) => wouldAllow(more, ANY_MANDATE))
  return both.length > 0 ? [...both, MANDATE] : []
}

/** How a call ends that needs these. */
export const codeOf = (needs: readonly Need[]): DecisionCode =>
  needs.includes(MANDATE) ? 'SP_NEEDS_MANDATE' : 'SP_NEEDS_APPROVAL'

/** The smallest number of approvals that would do. */
function approvalsOf(
  given: readonly string[],
  wouldAllow: (approvers: readonly string[]) => boolean,
): readonly Need[] {
  const approvers = new Set(given)
  while (approvers.size < MAX_APPROVALS) {
    // No operator can have such a name: a policy that asks for a certain person is not met by it.
    approvers.add(`?${approvers.size + 1}`)
    if (wouldAllow([...approvers])) return [{ kind: 'approval', count: approvers.size }]
  }
  return []
}
