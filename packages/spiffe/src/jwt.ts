import { verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import { SallyportError } from '@sallyport/base'

import type { TrustBundle } from './bundle.ts'
import { DerReader, readOne, readUnsigned, TAG } from './der-read.ts'
import { checkTrustDomain, parseSpiffeId } from './id.ts'
import type { SpiffeId } from './id.ts'
import { jwkOf, thumbprint } from './jwk.ts'
import type { JsonObject, PublicJwk } from './jwk.ts'
import { malformedToken, readJws, readObject, untrustedToken } from './jws.ts'
import { isP256 } from './p256.ts'

/** A P-256 key that signs where it is kept, at once or after a round trip. */
export interface JwtSigner {
  readonly publicKey: KeyObject
  /** ECDSA over SHA-256 of `data`, DER (RFC 3279, 2.2.3). */
  sign(data: Uint8Array): Buffer | Promise<Buffer>
}

/** What signs the JWT-SVIDs of one trust domain (ES256). */
export interface JwtAuthority {
  readonly trustDomain: string
  /** Names the key in the bundle; the thumbprint of RFC 7638. */
  readonly kid: string
  readonly publicJwk: PublicJwk
  /** ECDSA P-256 with SHA-256, as JOSE writes it: 64 bytes. */
  sign(data: Uint8Array): Promise<Buffer>
}

export interface JwtSvidRequest {
  readonly spiffeId: string
  /** At least one, each a text of its own. */
  readonly audience: readonly string[]
  /** Seconds of validity (default 300). */
  readonly ttlSeconds?: number
  /** Milliseconds since the epoch. */
  readonly now?: number
}

export interface IssuedJwtSvid {
  readonly token: string
  readonly kid: string
  /** Milliseconds since the epoch, whole seconds. */
  readonly issuedAt: number
  readonly expiresAt: number
}

/** A holder of a JWT-SVID; made by `verifyJwtSvid` only. */
export interface VerifiedJwtSvid {
  readonly id: SpiffeId
  readonly audience: readonly string[]
  readonly kid: string
  /** Milliseconds since the epoch; the token is valid before it. */
  readonly expiresAt: number
  readonly issuedAt?: number
  /** Every claim, as signed. */
  readonly claims: JsonObject
}

const DEFAULT_TTL_SECONDS = 300
const MAX_AUDIENCES = 32
const MAX_TEXT = 2048
const MAX_CLAIMS_BYTES = 8192
/** How far a clock may run behind the issuer's. Expiry has no such grace. */
const SKEW_MS = 60_000

/**
 * A JWT authority over a signer, whose key may sit in hardware. Each signature is verified before it leaves: one
 * that a failing device made is an error here, not at every verifier.
 *
 * @throws SallyportError `SP_SPIFFE_ID`, `SP_ISSUE_REFUSED` where the key is not P-256
 */
export function createJwtAuthority(trustDomain: string, signer: JwtSigner): JwtAuthority {
  checkTrustDomain(trustDomain)
  const { publicKey } = signer
  const publicJwk = isP256(publicKey) ? jwkOf(publicKey) : undefined
  if (!publicJwk) throw refuse('the key of the JWT authority is not a P-256 key')
  return {
    trustDomain,
    kid: thumbprint(publicJwk),
    publicJwk,
    async sign(data) {
      const der = await signer.sign(data)
      if (!verify('sha256', data, publicKey, der)) {
        throw refuse('the signer gave a signature that does not verify')
      }
      return joseSignature(der)
    },
  }
}

/**
 * Issues a JWT-SVID (JWT-SVID standard, sections 2 and 3): ES256, `sub`, `aud`, `exp`, `iat`, and `kid` in its header.
 *
 * @throws SallyportError `SP_ISSUE_REFUSED`, `SP_SPIFFE_ID`
 */
export async function issueJwtSvid(
  authority: JwtAuthority,
  request: JwtSvidRequest,
): Promise<IssuedJwtSvid> {
  const id = parseSpiffeId(request.spiffeId)
  if (id.trustDomain !== authority.trustDomain) throw refuse('the id is of another trust domain')
  if (id.path === '') throw refuse('the id has no path')
  const { audience } = request
  if (audience.length === 0) throw refuse('there is no audience')
  if (audience.length > MAX_AUDIENCES || !audience.every(isText)) {
    throw refuse('an audience is empty or too long, or there are too many')
  }
  const ttl = request.ttlSeconds ?? DEFAULT_TTL_SECONDS
  if (!Number.isFinite(ttl) || ttl < 1) throw refuse('the lifetime is under a second')
  const iat = Math.floor((request.now ?? Date.now()) / 1000)
  const exp = iat + Math.floor(ttl)
  const data = [
    { alg: 'ES256', kid: authority.kid, typ: 'JWT' },
    { sub: id.uri, aud: audience, exp, iat },
  ]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  const signature = await authority.sign(Buffer.from(data, 'latin1'))
  return {
    token: `${data}.${signature.toString('base64url')}`,
    kid: authority.kid,
    issuedAt: iat * 1000,
    expiresAt: exp * 1000,
  }
}

/**
 * Verifies a JWT-SVID (JWT-SVID standard, sections 2 to 4) against the bundle of exactly the trust domain that its
 * `sub` claims: compact serialisation, an algorithm of the standard that fits the key, no critical header, `typ`
 * absent, `JWT` or `JOSE`, a `kid` of the bundle, `aud` with the verifier's own name in it, not expired. `nbf` and
 * `iat`, where present, may lie a minute ahead.
 *
 * @param bundles by trust domain; a domain without an entry is foreign
 * @param options.audience the verifier's own name
 * @param options.now milliseconds since the epoch
 * @throws SallyportError `SP_JWT_SVID_MALFORMED`, `SP_SPIFFE_ID`, `SP_SVID_FOREIGN`, `SP_JWT_SVID_UNTRUSTED`,
 *   `SP_JWT_SVID_EXPIRED`, `SP_JWT_SVID_NOT_YET_VALID`, `SP_JWT_SVID_AUDIENCE`
 */
export function verifyJwtSvid(
  token: string,
  bundles: ReadonlyMap<string, TrustBundle>,
  options: { readonly audience: string; readonly now: number },
): VerifiedJwtSvid {
  const jws = readJws(token)
  const { kid } = jws.header
  if (!isText(kid)) throw malformedToken('no `kid`')
  const claims = readObject(jws.payload, MAX_CLAIMS_BYTES, 'payload')
  const { sub } = claims
  if (!isText(sub)) throw malformedToken('no `sub`')
  const id = parseSpiffeId(sub)
  if (id.path === '') throw malformedToken('a `sub` without a path')
  const bundle = bundles.get(id.trustDomain)
  if (!bundle || bundle.trustDomain !== id.trustDomain) {
    throw new SallyportError('SP_SVID_FOREIGN', 'the token is of a foreign trust domain', {
      detail: `no bundle for ${id.trustDomain}`,
    })
  }
  const key = bundle.jwtKeys.get(kid)
  if (!key) throw untrustedToken('a `kid` that the bundle of the trust domain does not hold')
  jws.verify(key)

  const exp = instant(claims, 'exp')
  if (exp === undefined) throw malformedToken('no `exp`')
  if (!(options.now < exp)) {
    throw new SallyportError('SP_JWT_SVID_EXPIRED', 'the token has expired', {
      detail: `valid until ${new Date(exp).toISOString()}`,
      fix: 'fetch a new token',
    })
  }
  const issuedAt = instant(claims, 'iat')
  for (const start of [issuedAt, instant(claims, 'nbf')]) {
    if (start !== undefined && start > options.now + SKEW_MS) {
      throw new SallyportError('SP_JWT_SVID_NOT_YET_VALID', 'the token is not yet valid', {
        detail: `valid from ${new Date(start).toISOString()}`,
        fix: 'check the clocks of both machines',
      })
    }
  }
  const audience = readAudience(claims)
  if (!audience.includes(options.audience)) {
    throw new SallyportError('SP_JWT_SVID_AUDIENCE', 'the token is for another audience', {
      fix: 'fetch a token whose audience is the service that is called',
    })
  }
  const verified = { id, audience, kid, expiresAt: exp, claims }
  return issuedAt === undefined ? verified : { ...verified, issuedAt }
}

/** An ECDSA signature of P-256 as JOSE writes it: r and s in 32 bytes each (RFC 7518, 3.4). */
function joseSignature(der: Buffer): Buffer {
  const pair = new DerReader(readOne(der, TAG.sequence).content)
  const r = readUnsigned(pair.next(TAG.integer))
  const s = readUnsigned(pair.next(TAG.integer))
  pair.end()
  const out = Buffer.alloc(64)
  r.copy(out, 32 - r.length)
  s.copy(out, 64 - s.length)
  return out
}

function readAudience(claims: JsonObject): readonly string[] {
  const { aud } = claims
  const list: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  if (list.length === 0 || list.length > MAX_AUDIENCES || !list.every(isText)) {
    throw malformedToken('an `aud` that is not one or a few texts')
  }
  return list
}

/** Latest NumericDate looked at, in seconds: the year 9999. */
const LATEST = 253_402_300_799

/** A NumericDate (RFC 7519, section 2), in milliseconds. */
function instant(claims: JsonObject, name: string): number | undefined {
  const value = claims[name]
  if (value === undefined) return undefined
  if (typeof value !== 'number' || value < 0 || value > LATEST) {
    throw malformedToken(`a \`${name}\` that is not a time`)
  }
  return value * 1000
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_TEXT
}

function refuse(message: string): SallyportError {
  return new SallyportError('SP_ISSUE_REFUSED', message)
}
