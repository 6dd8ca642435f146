import { createPublicKey, hash } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { canonicalJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

/** A public key as JSON (RFC 7517; RFC 7518, sections 6.2.1 and 6.3.1): nothing but its key parameters. */
export type PublicJwk =
  | { readonly kty: 'EC'; readonly crv: string; readonly x: string; readonly y: string }
  | { readonly kty: 'RSA'; readonly n: string; readonly e: string }

export type JsonObject = { readonly [member: string]: JsonValue }

/** Whether a JSON value is an object. */
export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Bytes of a coordinate on each curve that a JWT-SVID may be signed on. */
export const CURVES: Readonly<Record<string, { readonly name: string; readonly bytes: number }>> = {
  'P-256': { name: 'prime256v1', bytes: 32 },
  'P-384': { name: 'secp384r1', bytes: 48 },
  'P-521': { name: 'secp521r1', bytes: 66 },
}

const WEAKEST_RSA = 2048
const LARGEST_RSA = 8192

/** The parameters of a public EC or RSA key, and of no other kind. */
export function jwkOf(key: KeyObject): PublicJwk | undefined {
  const { kty, crv, x, y, n, e } = key.export({ format: 'jwk' })
  if (kty === 'EC' && crv !== undefined && x !== undefined && y !== undefined) {
    return { kty, crv, x, y }
  }
  return kty === 'RSA' && n !== undefined && e !== undefined ? { kty, n, e } : undefined
}

/** The key's thumbprint (RFC 7638): what names it where nobody chose another name. */
export function thumbprint(jwk: PublicJwk): string {
  return hash('sha256', canonicalJson(jwk), 'base64url')
}

/**
 * Reads the public key out of a JWK of kind EC or RSA, strictly: exactly the canonical parameters, the point on its
 * curve, RSA of 2048 to 8192 bits with an odd exponent of at least 3, no private parameter beside them.
 *
 * @returns the key, or in words what is wrong
 */
export function readPublicJwk(jwk: JsonObject): KeyObject | string {
  const names = jwk['kty'] === 'EC' ? ['crv', 'x', 'y'] : ['n', 'e']
  if (jwk['kty'] !== 'EC' && jwk['kty'] !== 'RSA') return 'a key that is neither EC nor RSA'
  if (['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'].some((name) => name in jwk)) {
    return 'a private key where a public one belongs'
  }
  const given: Record<string, string> = { kty: jwk['kty'] }
  for (const name of names) {
    const value = jwk[name]
    if (typeof value !== 'string') return `a key without \`${name}\``
    given[name] = value
  }
  if (given['kty'] === 'EC' && !CURVES[given['crv'] ?? '']) return 'a key on an unknown curve'
  let key: KeyObject
  try {
    key = createPublicKey({ format: 'jwk', key: given })
  } catch {
    return 'a key that cannot be read'
  }
  // What cannot be written back as it stood has a second spelling, and so a second thumbprint.
  const again = jwkOf(key)
  if (!again || canonicalJson(again) !== canonicalJson(given)) return 'a key not in its one form'
  const { modulusLength, publicExponent } = key.asymmetricKeyDetails ?? {}
  if (modulusLength !== undefined) {
    if (modulusLength < WEAKEST_RSA) return `an RSA key of fewer than ${WEAKEST_RSA} bits`
    if (modulusLength > LARGEST_RSA) return `an RSA key of more than ${LARGEST_RSA} bits`
    if (publicExponent === undefined || publicExponent < 3n || publicExponent % 2n === 0n) {
      return 'an RSA key with an even or too small exponent'
    }
  }
  return key
}
