import { createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { fromBase64url } from './base64url.ts'
import { readCbor } from './cbor.ts'
import type { CborValue } from './cbor.ts'

/** A passkey's public key with the one algorithm it may be used with. */
export interface CoseKey {
  readonly key: KeyObject
  readonly algorithm: 'ES256' | 'EdDSA' | 'RS256'
}

/**
 * Whether gateways will be able to verify with a passkey's public key: to be asked before it is enrolled.
 *
 * @param publicKey COSE key, base64url
 * @throws SallyportError `SP_SIGNATURE_KEY`
 */
export function assertPasskeyKey(publicKey: string): void {
  const bytes = fromBase64url(publicKey)
  if (!bytes) throw unusable('it is not base64url')
  readCoseKey(bytes)
}

type Parameters = ReadonlyMap<number | string, CborValue>

/**
 * Reads a COSE_Key (RFC 9052 section 7, RFC 9053) of the three kinds that WebAuthn authenticators use: ES256 on
 * P-256, EdDSA on Ed25519, RS256 with at least 2048 bits. The algorithm comes from the key, never from the signature.
 *
 * @throws SallyportError `SP_SIGNATURE_KEY`
 */
export function readCoseKey(bytes: Buffer): CoseKey {
  let parsed: CborValue
  try {
    const { value, end } = readCbor(bytes)
    if (end !== bytes.length) throw new RangeError('cose: bytes behind the key')
    parsed = value
  } catch (error) {
    throw unusable('it is not a COSE key', error)
  }
  if (!(parsed instanceof Map)) throw unusable('it is not a map')
  // The reader makes maps with number and string keys only.
  const key = parsed as Parameters
  try {
    const type = key.get(1)
    const algorithm = key.get(3)
    if (type === 2 && algorithm === -7) return ellipticCurve(key)
    if (type === 1 && algorithm === -8) return edwards(key)
    if (type === 3 && algorithm === -257) return rsa(key)
    throw unusable('its type and algorithm are not among ES256, EdDSA, RS256')
  } catch (error) {
    if (error instanceof SallyportError) throw error
    throw unusable('its numbers do not make a key', error)
  }
}

function ellipticCurve(key: Parameters): CoseKey {
  if (key.get(-1) !== 1) throw unusable('its curve is not P-256')
  const jwk = { kty: 'EC', crv: 'P-256', x: octets(key, -2, 32), y: octets(key, -3, 32) }
  return { key: createPublicKey({ key: jwk, format: 'jwk' }), algorithm: 'ES256' }
}

function edwards(key: Parameters): CoseKey {
  if (key.get(-1) !== 6) throw unusable('its curve is not Ed25519')
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: octets(key, -2, 32) }
  return { key: createPublicKey({ key: jwk, format: 'jwk' }), algorithm: 'EdDSA' }
}

function rsa(key: Parameters): CoseKey {
  const jwk = { kty: 'RSA', n: octets(key, -1), e: octets(key, -2) }
  const made = createPublicKey({ key: jwk, format: 'jwk' })
  const { modulusLength = 0, publicExponent = 0n } = made.asymmetricKeyDetails ?? {}
  if (modulusLength < 2048 || modulusLength > 8192)
    throw unusable('its modulus is not 2048 to 8192 bits')
  if (publicExponent < 3n || publicExponent % 2n === 0n) throw unusable('its exponent is not odd')
  return { key: made, algorithm: 'RS256' }
}

function octets(key: Parameters, label: number, length?: number): string {
  const value = key.get(label)
  if (!Buffer.isBuffer(value) || (length !== undefined && value.length !== length)) {
    throw unusable(`its parameter ${label} is missing or has the wrong length`)
  }
  return value.toString('base64url')
}

function unusable(why: string, cause?: unknown): SallyportError {
  return new SallyportError(
    'SP_SIGNATURE_KEY',
    'the passkey has a public key that cannot be used',
    {
      detail: why,
      cause,
    },
  )
}
