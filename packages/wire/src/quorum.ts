import { canonicalJson, errorCode, SallyportError } from '@sallyport/base'
import { verifyPasskey } from './passkey.ts'
import type {
  ApprovalStatement,
  OperatorSet,
  PasskeySignature,
  Signed,
  Statement,
} from './types.ts'

/**
 * The different operators who validly signed `statement` and hold one of `roles`, sorted. A person counts once however many
 * passkeys they used; signatures that do not verify count for nobody.
 *
 * @throws SallyportError `SP_SIGNATURE_QUORUM` where they are fewer than `quorum`
 */
export function verifyQuorum(
  statement: Statement,
  signatures: readonly PasskeySignature[],
  set: OperatorSet,
  options: { readonly quorum: number; readonly roles: readonly string[] },
): string[] {
  if (!Number.isSafeInteger(options.quorum) || options.quorum < 1) {
    throw new SallyportError('SP_SIGNATURE_QUORUM', 'a quorum is at least one operator')
  }
  const signers = new Set<string>()
  const discounted: string[] = []
  for (const signature of signatures.slice(0, MAX_SIGNATURES)) {
    try {
      verifyPasskey(statement, signature, set, { requireUv: true })
      if (holdsRole(set, signature, options.roles)) signers.add(signature.operator)
      else discounted.push(`${signature.operator}: none of the roles ${options.roles.join(', ')}`)
    } catch (error) {
      discounted.push(`${signature.operator}: ${errorCode(error)}`)
    }
  }
  if (signers.size < options.quorum) {
    throw new SallyportError(
      'SP_SIGNATURE_QUORUM',
      `${signers.size} of ${options.quorum} needed operators signed`,
      { detail: discounted.join('; ') },
    )
  }
  return [...signers].toSorted()
}

/** A signature costs a public-key operation; no honest bundle carries more. */
const MAX_SIGNATURES = 64

function holdsRole(
  set: OperatorSet,
  { operator, credentialId }: PasskeySignature,
  roles: readonly string[],
): boolean {
  const key = set.keys.find((k) => k.operator === operator && k.credentialId === credentialId)
  return key !== undefined && key.roles.some((role) => roles.includes(role))
}

/** The call that an approval must cover, as the enforcement point sees it. */
export interface ApprovedCall {
  readonly approvalId: string
  readonly instance: string
  readonly system: string
  readonly operation: string
  /** The canonical input, whole. */
  readonly input: unknown
  /** SHA-256 hex of the declaration in force. */
  readonly declarationDigest: string
  /** Milliseconds since the epoch. */
  readonly now: number
}

/**
 * The different operators whose valid signature approves exactly `call`, sorted: same arguments, instance, operation and
 * declaration, not expired, each by an approver or admin. Possibly none: the caller compares with what policy needs.
 *
 * @throws SallyportError `SP_SIGNATURE_DENIED` where an operator validly denied the very same call: a denial stays one
 */
export function verifyApprovals(
  signed: readonly Signed<ApprovalStatement>[],
  set: OperatorSet,
  call: ApprovedCall,
): string[] {
  const approvers = new Set<string>()
  for (const { statement, signatures } of signed.slice(0, MAX_SIGNATURES)) {
    if (!covers(statement, call)) continue
    let signers: string[]
    try {
      signers = verifyQuorum(statement, signatures, set, {
        quorum: 1,
        roles: ['approver', 'admin'],
      })
    } catch (error) {
      if (errorCode(error) === 'SP_SIGNATURE_QUORUM') continue
      throw error
    }
    if (statement.decision !== 'approve') {
      throw new SallyportError('SP_SIGNATURE_DENIED', 'an operator denied this call')
    }
    for (const signer of signers) approvers.add(signer)
  }
  return [...approvers].toSorted()
}

function covers(statement: ApprovalStatement, call: ApprovedCall): boolean {
  const { now, ...expected } = call
  const { approvalId, instance, system, operation, input, declarationDigest } = statement
  const covered = { approvalId, instance, system, operation, input, declarationDigest }
  return (
    statement.kind === 'approval' &&
    now < statement.expiresAt &&
    canonicalJson(covered) === canonicalJson(expected)
  )
}
