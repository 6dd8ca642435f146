import { canonicalJson, SallyportError } from '@sallyport/base'
import { verifyPasskey, verifyQuorum } from '@sallyport/wire'
import type { OperatorSet, PasskeySignature, Statement } from '@sallyport/wire'

/**
 * Checks one signature of the operator who is signed in, over exactly the statement that the control plane asked for.
 *
 * @param codes `statement` where it is another one, `role` where the signer's pinned key has none of `roles`
 * @throws SallyportError these codes, `SP_OPERATORS_NONE`, or wire's `SP_SIGNATURE_*`
 */
export function checkSignature(input: {
  readonly set: OperatorSet | undefined
  readonly operator: string
  readonly expected: Statement
  readonly given: Statement
  readonly signature: PasskeySignature
  readonly roles: readonly string[]
  readonly codes: { readonly statement: string; readonly role: string }
}): OperatorSet {
  const { set, operator, expected, given, signature, roles, codes } = input
  if (!set) throw noOperators()
  if (canonicalJson(given) !== canonicalJson(expected) || signature.operator !== operator) {
    throw new SallyportError(codes.statement, 'the signed statement is not the one that was asked')
  }
  verifyPasskey(expected, signature, set, { requireUv: true })
  if (!hasRole(set, operator, roles)) {
    throw new SallyportError(codes.role, `\`${operator}\` may not sign this`, {
      fix: `an operator with the role ${roles.join(' or ')} has to`,
    })
  }
  return set
}

/** Whether any pinned key of the operator carries one of the roles. */
export function hasRole(set: OperatorSet, operator: string, roles: readonly string[]): boolean {
  return set.keys.some(
    (key) => key.operator === operator && key.roles.some((role) => roles.includes(role)),
  )
}

/** The different operators who signed so far, by the present set. */
export function signersOf(
  statement: Statement,
  signatures: readonly PasskeySignature[],
  set: OperatorSet,
  roles: readonly string[],
): readonly string[] {
  if (signatures.length === 0) return []
  try {
    return verifyQuorum(statement, signatures, set, { quorum: 1, roles })
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'SP_SIGNATURE_QUORUM') return []
    throw error
  }
}

export function noOperators(): SallyportError {
  return new SallyportError('SP_OPERATORS_NONE', 'no operator has enrolled a passkey yet', {
    fix: 'open the one-time link that the control plane printed',
  })
}
