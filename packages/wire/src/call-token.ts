import { sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { newId, sha256Hex, SallyportError } from '@sallyport/base'
import { errors, jwtVerify } from 'jose'
import { demand, integer, members, onBehalfOfShape, text } from './shape.ts'
import type { CallToken } from './types.ts'

const TYPE = 'sallyport-call+jwt'
const LIFETIME_SECONDS = 30
/** How far ahead a gateway's clock may be. */
const SKEW_SECONDS = 5

const claimsShape = members<CallToken>(
  {
    iss: text(2048),
    sub: text(2048),
    aud: text(2048),
    iat: integer(),
    exp: integer(),
    jti: text(128),
    decision: text(128),
    operation: text(256),
    request: text(64, /^[0-9a-f]{64}$/),
  },
  { obo: onBehalfOfShape, mandate: text(128) },
)

/**
 * Signs a 30-second call token (JWS compact, RFC 7515; `typ` after RFC 8725 section 3.11) with the gateway's SVID key.
 *
 * @param now milliseconds since the epoch
 * @throws SallyportError `SP_CALL_TOKEN_KEY` where the key is neither P-256 nor Ed25519
 */
export async function issueCallToken(
  claims: Omit<CallToken, 'iat' | 'exp' | 'jti'>,
  privateKey: KeyObject,
  now: number,
): Promise<string> {
  const iat = Math.floor(now / 1000)
  const alg = algorithmOf(privateKey)
  const payload = { ...claims, iat, exp: iat + LIFETIME_SECONDS, jti: newId('call', now) }
  const signed = `${HEADERS[alg]}.${encoded(payload)}`
  const octets = Buffer.from(signed)
  // Every call has one: a job of Web Crypto would wait behind the syncs of the log, which takes longer than signing does.
  // The key is given by itself, and the form of RFC 7518 section 3.4 made here: options beside it cost as much as the signature.
  const signature =
    alg === 'EdDSA'
      ? sign(null, octets, privateKey)
      : sideBySide(sign('sha256', octets, privateKey))
  return `${signed}.${signature.toString('base64url')}`
}

const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

const HEADERS = {
  EdDSA: encoded({ alg: 'EdDSA', typ: TYPE }),
  ES256: encoded({ alg: 'ES256', typ: TYPE }),
}

const P256_BYTES = 32

/** R and S of a P-256 signature in DER (RFC 3279 section 2.2.3), each in 32 bytes (RFC 7518 section 3.4). */
function sideBySide(der: Buffer): Buffer {
  const both = Buffer.alloc(2 * P256_BYTES)
  // SEQUENCE and INTEGER are each a byte of type and a byte of length: no more than 72 bytes follow.
  let at = 2
  for (let end = P256_BYTES; end <= both.length; end += P256_BYTES) {
    const length = der.readUInt8(at + 1)
    const from = at + 2
    at = from + length
    // A leading zero says that the number is not negative.
    const digits = der.subarray(length > P256_BYTES ? from + 1 : from, at)
    digits.copy(both, end - digits.length)
  }
  if (at !== der.length) throw new SallyportError('SP_INTERNAL', 'a signature is not DER')
  return both
}

/**
 * Verifies a call token for exactly this request: signature with the algorithm of the given key, type, issuer, audience,
 * lifetime, request hash.
 *
 * @throws SallyportError `SP_CALL_TOKEN_INVALID`, `SP_CALL_TOKEN_EXPIRED`, `SP_CALL_TOKEN_REQUEST`
 */
export async function verifyCallToken(
  token: string,
  publicKey: KeyObject,
  expect: {
    readonly aud: string
    readonly iss: string
    readonly requestHash: string
    /** Milliseconds since the epoch. */
    readonly now: number
  },
): Promise<CallToken> {
  if (token.length > 8192) throw invalid('it is longer than 8192 characters')
  let payload: unknown
  try {
    const verified = await jwtVerify(token, publicKey, {
      algorithms: [algorithmOf(publicKey)],
      typ: TYPE,
      issuer: expect.iss,
      audience: expect.aud,
      currentDate: new Date(expect.now),
      requiredClaims: ['iat', 'exp', 'jti', 'sub'],
    })
    payload = verified.payload
  } catch (error) {
    if (error instanceof errors.JWTExpired) {
      throw new SallyportError('SP_CALL_TOKEN_EXPIRED', 'the call token has expired', {
        cause: error,
      })
    }
    throw invalid('it does not verify', error)
  }
  demand(claimsShape, payload, 'SP_CALL_TOKEN_INVALID', 'the call token is not valid')
  // The shape admits exactly the claims of a CallToken.
  const claims = payload as CallToken
  if (claims.exp - claims.iat > LIFETIME_SECONDS) throw invalid('it lives longer than 30 seconds')
  if (claims.iat > Math.floor(expect.now / 1000) + SKEW_SECONDS)
    throw invalid('it is from the future')
  if (claims.request !== expect.requestHash) {
    throw new SallyportError('SP_CALL_TOKEN_REQUEST', 'the call token was made for another request')
  }
  return claims
}

/** SHA-256 hex over `METHOD SP canonical-path SP sha256(body)`. */
export function requestHash(method: string, canonicalPath: string, body: Uint8Array): string {
  const digest = body.byteLength === 0 ? NO_BODY : sha256Hex(body)
  return sha256Hex(`${method} ${canonicalPath} ${digest}`)
}

const NO_BODY = sha256Hex('')

/** The algorithm follows from the key alone: a token never chooses it. */
function algorithmOf(key: KeyObject): 'ES256' | 'EdDSA' {
  let algorithm = algorithms.get(key)
  if (algorithm === undefined) algorithms.set(key, (algorithm = readAlgorithm(key)))
  return algorithm
}

/** A key is asked once: each asking reads its parameters anew. */
const algorithms = new WeakMap<KeyObject, 'ES256' | 'EdDSA'>()

function readAlgorithm(key: KeyObject): 'ES256' | 'EdDSA' {
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA'
  if (key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1') {
    return 'ES256'
  }
  throw new SallyportError('SP_CALL_TOKEN_KEY', 'call tokens are signed with P-256 or Ed25519 keys')
}

function invalid(why: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_CALL_TOKEN_INVALID', 'the call token is not valid', {
    detail: why,
    cause,
  })
}
