import { createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { sha256Hex, SallyportError } from '@sallyport/base'
import type { TokenTrust } from '@sallyport/wire'
import { errors, jwtVerify } from 'jose'
import { actorsOf, consentTo, presenterOf, readClaims, scopesOf, TOKEN_TYPE } from './claims.ts'
import type { AccessClaims } from './claims.ts'

export { certificateThumbprint } from './claims.ts'
export { DpopGuard } from './dpop.ts'
export { paymentsAllow } from './payment.ts'
export { resourceMetadataUri, systemUri } from './resource.ts'
export { actorsOf, consentTo, presenterOf, scopesOf }
export type { AccessClaims }

const MAX_TOKEN = 8192
/** Seconds that the issuer's clock may be ahead. */
const SKEW = 5

/** Who presents a token: what the connection and the request prove. */
export interface Presenter {
  /** SPIFFE id of the verified certificate. */
  readonly spiffeId?: string
  /** Thumbprint of the certificate: SHA-256 of its DER, base64url. */
  readonly certificate?: string
  /** Thumbprint of the key whose proof came with this request. */
  readonly proof?: string
}

/**
 * Verifies access tokens (RFC 9068, section 4) by the keys that the signed bundle names. What was verified once is remembered
 * until the trust changes; time, holder and standing are judged anew by whoever asks.
 */
export class TokenVerifier {
  readonly #max: number
  #trust: TokenTrust | undefined
  #keys: ReadonlyMap<string, { readonly key: KeyObject; readonly notAfter: number }> = new Map()
  #revoked: ReadonlySet<string> = new Set()
  readonly #known = new Map<string, { readonly claims: AccessClaims; readonly notAfter: number }>()

  /** @param max how many verified tokens are remembered */
  constructor(max = 4096) {
    this.#max = max
  }

  /** Takes what the newest bundle says; undefined where it names no issuer: then no token is valid. */
  trust(trust: TokenTrust | undefined): void {
    if (trust === this.#trust) return
    const before = this.#trust
    this.#trust = trust
    this.#revoked = new Set(trust?.revoked.map(({ jti }) => jti))
    if (before && trust && sameKeys(before, trust)) return
    this.#known.clear()
    this.#keys = new Map(
      trust?.keys.map(({ kid, key, notAfter }) => [kid, { key: readKey(key), notAfter }]),
    )
  }

  /**
   * Verifies signature, type, issuer, audience and time, and that neither the token nor one that it was made from is revoked.
   *
   * @param audience the URI that the token must be for, and for nothing else
   * @param now milliseconds since the epoch
   * @throws SallyportError `SP_ACCESS_TOKEN_INVALID`, `SP_ACCESS_TOKEN_EXPIRED`, `SP_ACCESS_TOKEN_AUDIENCE`,
   *   `SP_ACCESS_TOKEN_REVOKED`
   */
  async verify(token: string, audience: string | undefined, now: number): Promise<AccessClaims> {
    if (token.length > MAX_TOKEN) throw invalid('it is too long')
    const digest = sha256Hex(token)
    let known = this.#known.get(digest)
    if (!known) {
      const keys = this.#keys
      known = await this.#verify(token, now)
      // While that ran, the keys may have changed. A newer list of what is revoked is judged by below.
      if (keys !== this.#keys) throw invalid('its issuer changed meanwhile')
      if (this.#known.size >= this.#max) this.#forget(now)
      this.#known.set(digest, known)
    }
    this.check(known.claims, now)
    if (!(now <= known.notAfter)) throw invalid('its key is no longer in use')
    if (audience !== undefined && known.claims.aud !== audience) {
      throw new SallyportError('SP_ACCESS_TOKEN_AUDIENCE', 'the access token is for another system')
    }
    return known.claims
  }

  /**
   * Judges a verified token again, as its use goes on.
   *
   * @throws SallyportError `SP_ACCESS_TOKEN_EXPIRED`, `SP_ACCESS_TOKEN_REVOKED`
   */
  check({ exp, iat, jti, prior = [] }: AccessClaims, now: number): void {
    // Written so that a clock that reads NaN fails too.
    if (!(now < exp * 1000)) {
      throw new SallyportError('SP_ACCESS_TOKEN_EXPIRED', 'the access token has expired', {
        fix: 'ask for a new one',
      })
    }
    if (!(now >= (iat - SKEW) * 1000)) throw invalid('it is from the future')
    if (this.#revoked.has(jti) || prior.some((one) => this.#revoked.has(one))) {
      throw new SallyportError('SP_ACCESS_TOKEN_REVOKED', 'the access token was revoked')
    }
  }

  async #verify(
    token: string,
    now: number,
  ): Promise<{ readonly claims: AccessClaims; readonly notAfter: number }> {
    const trust = this.#trust
    if (!trust) throw invalid('nobody issues access tokens here')
    let notAfter = 0
    let payload: Readonly<Record<string, unknown>>
    try {
      const verified = await jwtVerify(
        token,
        ({ kid }) => {
          const entry = kid === undefined ? undefined : this.#keys.get(kid)
          if (!entry) throw invalid('its key is not known')
          notAfter = entry.notAfter
          return entry.key
        },
        {
          algorithms: ['ES256'],
          typ: TOKEN_TYPE,
          issuer: trust.issuer,
          currentDate: new Date(now),
          requiredClaims: ['sub', 'aud', 'iat', 'exp', 'jti', 'client_id', 'cnf'],
        },
      )
      payload = verified.payload
    } catch (error) {
      if (error instanceof errors.JWTExpired) {
        throw new SallyportError('SP_ACCESS_TOKEN_EXPIRED', 'the access token has expired', {
          fix: 'ask for a new one',
          cause: error,
        })
      }
      if (error instanceof SallyportError) throw error
      throw invalid('it does not verify', error)
    }
    return { claims: readClaims(payload), notAfter }
  }

  /** Drops what has expired; of the rest, the oldest. */
  #forget(now: number): void {
    for (const [digest, { claims }] of this.#known) {
      if (claims.exp * 1000 <= now) this.#known.delete(digest)
    }
    for (const digest of this.#known.keys()) {
      if (this.#known.size < this.#max) return
      this.#known.delete(digest)
    }
  }
}

/**
 * Demands that whoever presents a token is the one it is bound to, by every name that it gives.
 *
 * @throws SallyportError `SP_ACCESS_TOKEN_HOLDER`
 */
export function checkHolder(claims: AccessClaims, presenter: Presenter): void {
  const { cnf } = claims
  const bound = [
    [cnf.spiffe_id, presenter.spiffeId],
    [cnf['x5t#S256'], presenter.certificate],
    [cnf.jkt, presenter.proof],
  ].filter(([wanted]) => wanted !== undefined)
  if (bound.length === 0 || bound.some(([wanted, is]) => wanted !== is)) throw stranger()
  // Bound to a key alone, it still belongs to who acts: the key could have been lent.
  if (presenter.spiffeId !== undefined && presenterOf(claims) !== presenter.spiffeId) {
    throw stranger()
  }
}

const stranger = (): SallyportError =>
  new SallyportError('SP_ACCESS_TOKEN_HOLDER', 'the access token belongs to somebody else')

function sameKeys(a: TokenTrust, b: TokenTrust): boolean {
  return a.issuer === b.issuer && JSON.stringify(a.keys) === JSON.stringify(b.keys)
}

function readKey(spki: string): KeyObject {
  const key = createPublicKey({
    key: Buffer.from(spki, 'base64url'),
    format: 'der',
    type: 'spki',
  })
  if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key
  throw invalid('a key of its issuer is not P-256')
}

function invalid(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_ACCESS_TOKEN_INVALID', 'the access token is not valid', {
    detail,
    cause,
  })
}
