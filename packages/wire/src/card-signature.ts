import { canonicalJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { errors, flattenedVerify, importJWK } from 'jose'

/** RFC 7518, section 3.1, and RFC 8037: signatures that anyone can verify; never a shared secret, never none. */
const ALGORITHMS = [
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
  'PS256',
  'PS384',
  'PS512',
  'RS256',
]

/**
 * Whether one of the keys signed a card (A2A 1.0, section 8.4: JWS over its canonical form, RFC 8785, without what is empty).
 */
export async function isCardSigned(
  card: { readonly [key: string]: JsonValue },
  signatures: JsonValue | undefined,
  keys: readonly Readonly<Record<string, unknown>>[],
): Promise<boolean> {
  if (!Array.isArray(signatures)) return false
  const payload = Buffer.from(canonicalJson(withoutEmpty(card) ?? {})).toString('base64url')
  for (const one of signatures.slice(0, MAX_SIGNATURES)) {
    const { protected: head, signature } = isObject(one) ? one : {}
    if (typeof head !== 'string' || typeof signature !== 'string') continue
    for (const key of keys) {
      try {
        const { protectedHeader } = await flattenedVerify(
          { payload, protected: head, signature },
          await importJWK(key, typeof key['alg'] === 'string' ? key['alg'] : algOf(key)),
          { algorithms: ALGORITHMS },
        )
        // A key stands for its own signatures.
        if (protectedHeader?.kid === key['kid']) return true
      } catch (error) {
        if (!(error instanceof errors.JOSEError || error instanceof TypeError)) throw error
      }
    }
  }
  return false
}

const MAX_SIGNATURES = 8

const algOf = (key: Readonly<Record<string, unknown>>): string =>
  key['kty'] === 'OKP'
    ? 'EdDSA'
    : key['kty'] === 'RSA'
      ? 'RS256'
      : ({ 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512' }[String(key['crv'])] ?? 'ES256')

function withoutEmpty(value: JsonValue): JsonValue | undefined {
  if (value === '' || value === null) return undefined
  if (Array.isArray(value)) {
    const kept = value.map(withoutEmpty).filter((one) => one !== undefined)
    return kept.length > 0 ? kept : undefined
  }
  if (!isObject(value)) return value
  const kept = Object.entries(value).flatMap(([name, member]) => {
    const left = withoutEmpty(member)
    return left === undefined ? [] : [[name, left] as const]
  })
  return kept.length > 0 ? Object.fromEntries(kept) : undefined
}

const isObject = (value: JsonValue | undefined): value is { readonly [key: string]: JsonValue } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
