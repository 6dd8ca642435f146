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
  const signed = `${encoded({ alg, typ: TYPE })}.${encoded(payload)}`
  // Every call has one: a job of Web Crypto would wait behind the syncs of the log, which takes longer than signing does.
  // RFC 7518 section 3.4: R and S side by side. RFC 8037 section 3.1: no digest beside Ed25519's own.
  const signature = sign(alg === 'EdDSA' ? null : 'sha256', Buffer.from(signed), {
    key: privateKey,
    dsaEncoding: 'ieee-p1363',
  })
  return `${signed}.${signature.toString('base64url')}`
}

const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

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
  return sha256Hex(`${method} ${canonicalPath} ${sha256Hex(body)}`)
}

/** The algorithm follows from the key alone: a token never chooses it. */
function algorithmOf(key: KeyObject): 'ES256' | 'EdDSA' {
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
