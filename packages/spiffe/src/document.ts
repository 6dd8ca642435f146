import { createPublicKey, X509Certificate } from 'node:crypto'

import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

import { TrustBundle } from './bundle.ts'
import { parseCertificate } from './certificate.ts'
import type { Certificate } from './certificate.ts'
import { isJsonObject, jwkOf, readPublicJwk } from './jwk.ts'
import type { JsonObject } from './jwk.ts'
import type { JwtKey } from './jws.ts'

/** A bundle as trust domains publish it (SPIFFE Trust Domain and Bundle, section 4). */
export interface BundleDocument {
  readonly bundle: TrustBundle
  /** Grows with every change. */
  readonly sequence?: number
  /** How soon the publisher would like to be asked again. */
  readonly refreshHintSeconds?: number
}

const MAX_BYTES = 1_048_576
const MAX_KEYS = 256

/**
 * Reads a bundle document: a JWK set with `x509-svid` keys (the first certificate of `x5c`) and `jwt-svid` keys (by
 * `kid`). Elements of an unknown `kty` or `use` are ignored, and so are `x509-svid` elements without a certificate; an
 * empty `keys` trusts nothing. Anything else that is wrong refuses the whole document.
 *
 * @param trustDomain whose bundle it is: the document does not say
 * @throws SallyportError `SP_BUNDLE_DOCUMENT`, `SP_SPIFFE_ID`, `SP_SVID_MALFORMED`, or what the profile says of a root
 */
export function readBundleDocument(trustDomain: string, text: string | Uint8Array): BundleDocument {
  let document: JsonValue
  try {
    document = parseJson(text, { maxBytes: MAX_BYTES, maxDepth: 16 })
  } catch (cause) {
    throw invalid('it is not strict JSON of a bounded size', cause)
  }
  if (!isJsonObject(document)) throw invalid('it is not an object')
  const { keys } = document
  if (!Array.isArray(keys)) throw invalid('`keys` is not a list')
  if (keys.length > MAX_KEYS) throw invalid(`it holds more than ${MAX_KEYS} keys`)
  const authorities: Certificate[] = []
  const jwtKeys = new Map<string, JwtKey>()
  // Array.isArray gives up the type of the members; each is JSON.
  for (const jwk of keys as readonly JsonValue[]) {
    if (!isJsonObject(jwk)) throw invalid('a key is not an object')
    if (jwk['kty'] !== 'EC' && jwk['kty'] !== 'RSA') continue
    if (jwk['use'] === 'x509-svid') {
      const authority = readAuthority(jwk)
      if (authority) authorities.push(authority)
    } else if (jwk['use'] === 'jwt-svid') {
      const [kid, key] = readJwtKey(jwk)
      if (jwtKeys.has(kid)) throw invalid(`two keys are named \`${kid.slice(0, 64)}\``)
      jwtKeys.set(kid, key)
    }
  }
  const sequence = readCount(document, 'spiffe_sequence')
  const hint = readCount(document, 'spiffe_refresh_hint')
  return {
    bundle: TrustBundle.of(trustDomain, authorities, jwtKeys),
    ...(sequence === undefined ? {} : { sequence }),
    ...(hint === undefined ? {} : { refreshHintSeconds: hint }),
  }
}

/** Writes a bundle document. */
export function writeBundleDocument(document: BundleDocument): string {
  const { authorities, jwtKeys } = document.bundle
  const keys = [
    ...authorities.map(({ raw, spki }) => ({
      use: 'x509-svid',
      ...jwkOf(createPublicKey({ key: spki, format: 'der', type: 'spki' })),
      x5c: [raw.toString('base64')],
    })),
    ...[...jwtKeys].map(([kid, { publicKey, alg }]) => ({
      use: 'jwt-svid',
      kid,
      ...(alg === undefined ? {} : { alg }),
      ...jwkOf(publicKey),
    })),
  ]
  return JSON.stringify({
    keys,
    ...(document.sequence === undefined ? {} : { spiffe_sequence: document.sequence }),
    ...(document.refreshHintSeconds === undefined
      ? {}
      : { spiffe_refresh_hint: document.refreshHintSeconds }),
  })
}

function readAuthority(jwk: JsonObject): Certificate | undefined {
  const { x5c } = jwk
  if (!Array.isArray(x5c) || x5c.length === 0) return undefined
  const first: unknown = x5c[0]
  if (typeof first !== 'string') throw invalid('an `x5c` that is not texts')
  const raw = Buffer.from(first, 'base64')
  if (raw.toString('base64') !== first) throw invalid('an `x5c` that is not base64')
  const certificate = parseCertificate(raw)
  const key = readPublicJwk(jwk)
  if (typeof key === 'string') throw invalid(key)
  // RFC 7517, 4.7: both must name the same key, or two readers could trust different ones.
  if (!key.equals(new X509Certificate(raw).publicKey)) {
    throw invalid('a key that is not its certificate’s')
  }
  return certificate
}

function readJwtKey(jwk: JsonObject): [string, JwtKey] {
  const { kid, alg } = jwk
  if (typeof kid !== 'string' || kid === '' || kid.length > 2048) {
    throw invalid('a JWT key without `kid`')
  }
  if (alg !== undefined && typeof alg !== 'string') throw invalid('an `alg` that is not a text')
  const publicKey = readPublicJwk(jwk)
  if (typeof publicKey === 'string') throw invalid(publicKey)
  return [kid, alg === undefined ? { publicKey } : { publicKey, alg }]
}

function readCount(document: JsonObject, name: string): number | undefined {
  const value = document[name]
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw invalid(`\`${name}\` is not a whole number`)
  }
  return value
}

function invalid(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_BUNDLE_DOCUMENT', 'the bundle document is not acceptable', {
    detail,
    fix: 'have the other trust domain publish a JWK set as SPIFFE defines it',
    cause,
  })
}
