import { constants, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { parseJson, SallyportError } from '@sallyport/base'

import { CURVES, isJsonObject } from './jwk.ts'
import type { JsonObject } from './jwk.ts'

/** A key that may verify, with what its JWK says it is for. */
export interface JwtKey {
  readonly publicKey: KeyObject
  /** The one algorithm it is for, where its JWK names one. */
  readonly alg?: string
}

export interface OpenedJws {
  readonly header: JsonObject
  readonly payload: Buffer
}

/** Longest token looked at, in characters. */
const MAX_TOKEN = 16_384
const MAX_HEADER_BYTES = 2048
const COMPACT = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)\.([A-Za-z0-9_-]+)$/

interface Algorithm {
  readonly hash: 'sha256' | 'sha384' | 'sha512'
  readonly keyType: 'rsa' | 'ec'
  /** JWK name of the only curve that fits (RFC 7518, 3.4). */
  readonly curve?: string
  readonly pss?: true
}

/** Every algorithm of the JWT-SVID standard, section 2.1, and none beside. */
const ALGORITHMS: ReadonlyMap<string, Algorithm> = new Map<string, Algorithm>([
  ['RS256', { hash: 'sha256', keyType: 'rsa' }],
  ['RS384', { hash: 'sha384', keyType: 'rsa' }],
  ['RS512', { hash: 'sha512', keyType: 'rsa' }],
  ['PS256', { hash: 'sha256', keyType: 'rsa', pss: true }],
  ['PS384', { hash: 'sha384', keyType: 'rsa', pss: true }],
  ['PS512', { hash: 'sha512', keyType: 'rsa', pss: true }],
  ['ES256', { hash: 'sha256', keyType: 'ec', curve: 'P-256' }],
  ['ES384', { hash: 'sha384', keyType: 'ec', curve: 'P-384' }],
  ['ES512', { hash: 'sha512', keyType: 'ec', curve: 'P-521' }],
])

/** @throws SallyportError `SP_JWT_SVID_MALFORMED`, always */
export function malformedToken(what: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_JWT_SVID_MALFORMED', 'the token is not an acceptable JWT-SVID', {
    detail: what,
    cause,
  })
}

/** @throws SallyportError `SP_JWT_SVID_UNTRUSTED`, always */
export function untrustedToken(what: string): SallyportError {
  return new SallyportError('SP_JWT_SVID_UNTRUSTED', 'the token is not trusted', { detail: what })
}

/**
 * Takes a compact JWS (RFC 7515, section 7.1) apart and checks its header, before any key is looked at.
 *
 * @throws SallyportError `SP_JWT_SVID_MALFORMED`
 */
export function readJws(token: string): OpenedJws & { verify(key: JwtKey): void } {
  if (token.length > MAX_TOKEN) throw malformedToken(`more than ${MAX_TOKEN} characters`)
  const match = COMPACT.exec(token)
  if (!match) throw malformedToken('not a JWS in compact serialisation')
  const [, protectedPart = '', payloadPart = '', signaturePart = ''] = match
  const header = readObject(decode(protectedPart), MAX_HEADER_BYTES, 'header')
  const { alg, typ } = header
  const algorithm = typeof alg === 'string' ? ALGORITHMS.get(alg) : undefined
  if (typeof alg !== 'string' || !algorithm)
    throw malformedToken('an algorithm that is not allowed')
  // No extension is understood here, so every critical one is unknown (RFC 7515, 4.1.11).
  if ('crit' in header) throw malformedToken('a critical header that is not understood')
  if (typ !== undefined && typ !== 'JWT' && typ !== 'JOSE') {
    throw malformedToken('a `typ` other than JWT or JOSE')
  }
  const signature = decode(signaturePart)
  return {
    header,
    payload: decode(payloadPart),
    verify(key) {
      const data = Buffer.from(`${protectedPart}.${payloadPart}`, 'latin1')
      if (!genuine(key, alg, algorithm, data, signature)) {
        throw untrustedToken('the signature does not verify')
      }
    },
  }
}

function genuine(
  key: JwtKey,
  alg: string,
  { hash, keyType, curve, pss }: Algorithm,
  data: Buffer,
  signature: Buffer,
): boolean {
  const { publicKey } = key
  if (key.alg !== undefined && key.alg !== alg) return false
  if (publicKey.asymmetricKeyType !== keyType) return false
  if (curve !== undefined) {
    const { name, bytes } = CURVES[curve] ?? { name: '', bytes: 0 }
    if (publicKey.asymmetricKeyDetails?.namedCurve !== name) return false
    if (signature.length !== 2 * bytes) return false
    return verify(hash, data, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)
  }
  if (
    signature.length * 8 !==
    Math.ceil((publicKey.asymmetricKeyDetails?.modulusLength ?? 0) / 8) * 8
  ) {
    return false
  }
  const padding = pss
    ? {
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      }
    : { padding: constants.RSA_PKCS1_PADDING }
  return verify(hash, data, { key: publicKey, ...padding }, signature)
}

/** @throws SallyportError `SP_JWT_SVID_MALFORMED` where the bytes are not one strict JSON object */
export function readObject(bytes: Buffer, maxBytes: number, what: string): JsonObject {
  let value
  try {
    value = parseJson(bytes, { maxBytes, maxDepth: 16 })
  } catch (cause) {
    throw malformedToken(`a ${what} that is not strict JSON`, cause)
  }
  if (!isJsonObject(value)) throw malformedToken(`a ${what} that is not an object`)
  return value
}

function decode(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64url')
  // Buffer.from ignores stray bits and lengths; writing it back shows whether it did.
  if (bytes.toString('base64url') !== text) throw malformedToken('a part that is not base64url')
  return bytes
}
