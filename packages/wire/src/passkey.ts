import { hash, timingSafeEqual, verify } from 'node:crypto'
import { parseJson, SallyportError } from '@sallyport/base'
import { fromBase64url } from './base64url.ts'
import { readCbor } from './cbor.ts'
import { readCoseKey } from './cose.ts'
import type { CoseKey } from './cose.ts'
import { statementChallenge } from './statement.ts'
import type { OperatorSet, PasskeySignature, Statement } from './types.ts'

const USER_PRESENT = 0x01
const USER_VERIFIED = 0x04
const BACKUP_ELIGIBLE = 0x08
const BACKED_UP = 0x10
const ATTESTED_CREDENTIAL = 0x40
const EXTENSIONS = 0x80

/**
 * Verifies one operator's passkey signature over `statement` against the pinned set: a WebAuthn assertion (Web
 * Authentication Level 3, section 7.2) with the statement as challenge, the set's RP id and origin, user presence and
 * user verification. An approval counts only from the approver it names.
 *
 * The signature counter is not consulted: synced passkeys leave it at zero, and every statement carries its own nonce.
 *
 * @throws SallyportError `SP_SIGNATURE_*`
 */
export function verifyPasskey(
  statement: Statement,
  signature: PasskeySignature,
  set: OperatorSet,
  options: { readonly requireUv: true },
): void {
  const pinned = set.keys.find(
    (key) => key.operator === signature.operator && key.credentialId === signature.credentialId,
  )
  if (!pinned) throw refused('SP_SIGNATURE_UNKNOWN_KEY', 'no pinned passkey made this signature')
  if (statement.kind === 'approval' && statement.approver !== signature.operator) {
    throw refused('SP_SIGNATURE_APPROVER', 'the approval names another approver')
  }
  const clientData = decoded(signature.clientDataJSON)
  const authenticatorData = decoded(signature.authenticatorData)
  checkClientData(clientData, statementChallenge(statement), set.origin)
  checkAuthenticatorData(authenticatorData, set.rpId, options.requireUv)
  const signed = Buffer.concat([authenticatorData, hash('sha256', clientData, 'buffer')])
  if (
    !signatureHolds(readCoseKey(decoded(pinned.publicKey)), signed, decoded(signature.signature))
  ) {
    throw refused('SP_SIGNATURE_INVALID', 'the passkey signature does not verify')
  }
}

function decoded(text: string): Buffer {
  const bytes = fromBase64url(text)
  if (!bytes) throw refused('SP_SIGNATURE_FORMAT', 'the passkey signature is not base64url')
  return bytes
}

function checkClientData(bytes: Buffer, challenge: Buffer, origin: string): void {
  let client: unknown
  try {
    client = parseJson(bytes, { maxBytes: 8192, maxDepth: 8 })
  } catch (cause) {
    throw refused('SP_SIGNATURE_FORMAT', 'the passkey signature has malformed client data', cause)
  }
  if (typeof client !== 'object' || client === null || Array.isArray(client)) {
    throw refused('SP_SIGNATURE_FORMAT', 'the passkey signature has malformed client data')
  }
  // parseJson returned a plain object.
  const data = client as Readonly<Record<string, unknown>>
  if (data['type'] !== 'webauthn.get') {
    throw refused('SP_SIGNATURE_TYPE', 'the passkey signature was made for another ceremony')
  }
  if (data['challenge'] !== challenge.toString('base64url')) {
    throw refused('SP_SIGNATURE_CHALLENGE', 'the passkey signed another statement')
  }
  if (data['origin'] !== origin) {
    throw refused('SP_SIGNATURE_ORIGIN', 'the passkey signed on another origin')
  }
  if (data['crossOrigin'] === true || data['topOrigin'] !== undefined) {
    throw refused('SP_SIGNATURE_ORIGIN', 'the passkey signed inside a frame of another origin')
  }
}

function checkAuthenticatorData(bytes: Buffer, rpId: string, requireUv: boolean): void {
  if (bytes.length < 37) {
    throw refused('SP_SIGNATURE_FORMAT', 'the passkey signature has malformed authenticator data')
  }
  if (!timingSafeEqual(bytes.subarray(0, 32), hash('sha256', rpId, 'buffer'))) {
    throw refused('SP_SIGNATURE_RP', 'the passkey signed for another relying party')
  }
  const flags = bytes[32] ?? 0
  if ((flags & USER_PRESENT) === 0) {
    throw refused('SP_SIGNATURE_PRESENCE', 'nobody touched the authenticator')
  }
  if (requireUv && (flags & USER_VERIFIED) === 0) {
    throw refused('SP_SIGNATURE_VERIFICATION', 'the authenticator did not verify its user')
  }
  // Level 3, section 7.2 step 18: a credential that cannot be backed up cannot have been.
  const impossibleBackup = (flags & BACKED_UP) !== 0 && (flags & BACKUP_ELIGIBLE) === 0
  if (impossibleBackup || (flags & ATTESTED_CREDENTIAL) !== 0 || !extensionsEnd(bytes, flags)) {
    throw refused('SP_SIGNATURE_FORMAT', 'the passkey signature has malformed authenticator data')
  }
}

/** Whether nothing stands behind the fixed part but the extensions that the flags announce. */
function extensionsEnd(bytes: Buffer, flags: number): boolean {
  if ((flags & EXTENSIONS) === 0) return bytes.length === 37
  try {
    const { value, end } = readCbor(bytes, 37)
    return value instanceof Map && end === bytes.length
  } catch {
    return false
  }
}

function signatureHolds({ key, algorithm }: CoseKey, signed: Buffer, signature: Buffer): boolean {
  // Ed25519 hashes by itself; ES256 signatures come as ASN.1 from authenticators (section 6.5.5).
  return verify(algorithm === 'EdDSA' ? null : 'sha256', signed, key, signature)
}

function refused(code: string, message: string, cause?: unknown): SallyportError {
  return new SallyportError(code, message, { cause })
}
