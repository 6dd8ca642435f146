import { hash } from 'node:crypto'
import { canonicalJson } from '@sallyport/base'
import type { Statement } from './types.ts'

/**
 * What a passkey signs: SHA-256 over the statement's canonical JSON (RFC 8785), 32 bytes, used as the WebAuthn
 * challenge. Every member is covered, so any change voids the signature.
 *
 * @throws SallyportError `SP_JSON_UNREPRESENTABLE` where a member is not JSON
 */
export function statementChallenge(statement: Statement): Buffer {
  return hash('sha256', canonicalJson(statement), 'buffer')
}
