import type { KeyObject } from 'node:crypto'
import { newId, parseJson, sha256Hex, SallyportError } from '@sallyport/base'
import { fromBase64url } from './base64url.ts'
import { algorithmOf, SIGNATURE_BYTES, signOctets, verifyOctets } from './call-signature.ts'
import { demand, integer, members, oneOf, onBehalfOfShape, text } from './shape.ts'
import type { CallToken } from './types.ts'

const TYPE = 'sallyport-call+jwt'
const MAX_LENGTH = 8192
const MAX_DEPTH = 8
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

/** What a token says of itself is these two, and nothing beside them: `crit`, `jwk` or `kid` would ask for something. */
const headerShape = members<{ readonly alg: string; readonly typ: string }>(
  { alg: oneOf('ES256', 'EdDSA'), typ: oneOf(TYPE) },
  {},
)

/**
 * Signs a 30-second call token (JWS compact, RFC 7515; `typ` after RFC 8725 section 3.11) with the gateway's SVID key.
 *
 * @param now milliseconds since the epoch
 * @throws SallyportError `SP_CALL_TOKEN_KEY` where the key is neither P-256 nor Ed25519
 */
export function issueCallToken(
  claims: Omit<CallToken, 'iat' | 'exp' | 'jti'>,
  privateKey: KeyObject,
  now: number,
): string {
  return signedCallToken(unsignedCallToken(claims, privateKey, now), privateKey)
}

/**
 * A token that lacks its signature: header and payload, in ASCII. Whoever signs those octets with the key (`signOctets`) has a token of them by
 * a dot and the signature in base64url.
 *
 * @param now milliseconds since the epoch: the token lives for 30 seconds from here on
 * @throws SallyportError `SP_CALL_TOKEN_KEY`
 */
export function unsignedCallToken(
  claims: Omit<CallToken, 'iat' | 'exp' | 'jti'>,
  privateKey: KeyObject,
  now: number,
): string {
  const iat = Math.floor(now / 1000)
  const payload = { ...claims, iat, exp: iat + LIFETIME_SECONDS, jti: newId('call', now) }
  return `${HEADERS[algorithmOf(privateKey)]}.${encoded(payload)}`
}

/** @throws SallyportError `SP_CALL_TOKEN_KEY` */
export function signedCallToken(unsigned: string, privateKey: KeyObject): string {
  return `${unsigned}.${signOctets(Buffer.from(unsigned), privateKey).toString('base64url')}`
}

const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

const HEADERS = {
  EdDSA: encoded({ alg: 'EdDSA', typ: TYPE }),
  ES256: encoded({ alg: 'ES256', typ: TYPE }),
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
  if (token.length > MAX_LENGTH) throw invalid(`it is longer than ${MAX_LENGTH} characters`)
  const payload = verified(token, publicKey)
  demand(claimsShape, payload, 'SP_CALL_TOKEN_INVALID', 'the call token is not valid')
  // The shape admits exactly the claims of a CallToken.
  const claims = payload as CallToken
  if (claims.iss !== expect.iss) throw invalid('it is of another gateway')
  if (claims.aud !== expect.aud) throw invalid('it is for another service')
  if (claims.exp <= Math.floor(expect.now / 1000)) {
    throw new SallyportError('SP_CALL_TOKEN_EXPIRED', 'the call token has expired')
  }
  if (claims.exp - claims.iat > LIFETIME_SECONDS) throw invalid('it lives longer than 30 seconds')
  if (claims.iat > Math.floor(expect.now / 1000) + SKEW_SECONDS)
    throw invalid('it is from the future')
  if (claims.request !== expect.requestHash) {
    throw new SallyportError('SP_CALL_TOKEN_REQUEST', 'the call token was made for another request')
  }
  return claims
}

/**
 * The payload of a JWS in its compact form (RFC 7515 section 5.2) of this type and this key. By hand, because each call has one: a
 * job of Web Crypto takes more than twice as long as the signature, and is waited for.
 *
 * @throws SallyportError `SP_CALL_TOKEN_INVALID`
 */
function verified(token: string, publicKey: KeyObject): unknown {
  const alg = algorithmOf(publicKey)
  const [header = '', payload = '', signature = '', more] = token.split('.')
  const [head, content, octets] = [header, payload, signature].map(fromBase64url)
  if (!head || !content || !octets || more !== undefined) throw invalid('it is no compact JWS')
  if (octets.length !== SIGNATURE_BYTES) throw invalid('its signature is too long or too short')
  const signed = Buffer.from(token.slice(0, header.length + 1 + payload.length))
  if (!verifyOctets(signed, publicKey, octets)) throw invalid('it does not verify')
  const stated = json(head)
  demand(headerShape, stated, 'SP_CALL_TOKEN_INVALID', 'the call token is not valid')
  // The shape admits exactly this.
  if ((stated as { readonly alg: string }).alg !== alg) throw invalid('it names another algorithm')
  return json(content)
}

function json(bytes: Buffer): unknown {
  try {
    return parseJson(bytes, { maxBytes: MAX_LENGTH, maxDepth: MAX_DEPTH })
  } catch (error) {
    throw invalid('it is not strict JSON', error)
  }
}

/** SHA-256 hex over `METHOD SP canonical-path SP sha256(body)`. */
export function requestHash(method: string, canonicalPath: string, body: Uint8Array): string {
  return requestHashOf(method, canonicalPath, body.byteLength === 0 ? NO_BODY : sha256Hex(body))
}

/** The same by the SHA-256, hex, of the body. */
export const requestHashOf = (method: string, canonicalPath: string, digest: string): string =>
  sha256Hex(`${method} ${canonicalPath} ${digest}`)

const NO_BODY = sha256Hex('')

function invalid(why: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_CALL_TOKEN_INVALID', 'the call token is not valid', {
    detail: why,
    cause,
  })
}
