import { sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { newId, parseJson, sha256Hex, SallyportError } from '@sallyport/base'
import { fromBase64url } from './base64url.ts'
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
 * @param aside whether to sign in another thread: half the time of this one, but waited for behind what else is asked of threads
 * @throws SallyportError `SP_CALL_TOKEN_KEY` where the key is neither P-256 nor Ed25519
 */
export async function issueCallToken(
  claims: Omit<CallToken, 'iat' | 'exp' | 'jti'>,
  privateKey: KeyObject,
  now: number,
  aside = false,
): Promise<string> {
  const iat = Math.floor(now / 1000)
  const alg = algorithmOf(privateKey)
  const payload = { ...claims, iat, exp: iat + LIFETIME_SECONDS, jti: newId('call', now) }
  const signed = `${HEADERS[alg]}.${encoded(payload)}`
  const octets = Buffer.from(signed)
  const digest = alg === 'EdDSA' ? null : 'sha256'
  // The key is given by itself, and the form of RFC 7518 section 3.4 made here: options beside it cost as much as the signature.
  const made = aside
    ? await signAside(digest, octets, privateKey)
    : sign(digest, octets, privateKey)
  const signature = alg === 'EdDSA' ? made : sideBySide(made)
  return `${signed}.${signature.toString('base64url')}`
}

const signAside = promisify<string | null, Buffer, KeyObject, Buffer>(sign)

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

/** The same signature as DER has it: each number in as few bytes as it takes, with a zero before where it would be negative. */
function asDer(both: Buffer): Buffer {
  const numbers = [both.subarray(0, P256_BYTES), both.subarray(P256_BYTES)].map((digits) => {
    let from = 0
    while (from < P256_BYTES - 1 && digits[from] === 0) from++
    const short = digits.subarray(from)
    const sign = short.readUInt8() > 0x7f ? [0] : []
    return Buffer.concat([Buffer.from([0x02, short.length + sign.length, ...sign]), short])
  })
  const content = Buffer.concat(numbers)
  return Buffer.concat([Buffer.from([0x30, content.length]), content])
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
  if (octets.length !== 2 * P256_BYTES) throw invalid('its signature is too long or too short')
  const signed = Buffer.from(token.slice(0, header.length + 1 + payload.length))
  const isGood =
    alg === 'EdDSA'
      ? verify(null, signed, publicKey, octets)
      : verify('sha256', signed, publicKey, asDer(octets))
  if (!isGood) throw invalid('it does not verify')
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
