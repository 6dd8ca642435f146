import { createHmac, hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from 'jose'
import type { JWK } from 'jose'

/** Seconds that a nonce is handed out for; it is accepted for one such span more. */
const SPAN = 60
const MAX_PROOF = 4096
const ALGORITHMS = ['ES256', 'EdDSA', 'Ed25519']

/** What a proof must be made for. */
export interface ProofTarget {
  readonly method: string
  /** Without query and fragment, each segment of its path encoded. */
  readonly url: string
  /** The access token that it comes with. */
  readonly token: string
  /** Who shows it, by a certificate: what is remembered of one takes no room from others. */
  readonly caller: string
}

/** Of the room, the part that one caller may take. */
const SHARE = 4

/**
 * Verifies proofs of possession (RFC 9449, section 4.3) with nonces of its own: one made for another process is worth nothing
 * here, so that what was used is remembered here alone.
 */
export class DpopGuard {
  readonly #secret = randomBytes(32)
  readonly #max: number
  /** Hash of `jti` and key, the oldest first → when it is forgotten, in seconds, and who showed it. */
  readonly #used = new Map<string, { readonly until: number; readonly caller: string }>()
  readonly #shares = new Map<string, number>()

  /** @param max how many used proofs are remembered; while there is no room, none is accepted */
  constructor(max = 262_144) {
    this.#max = max
  }

  /** The nonce that proofs carry now. @param now milliseconds since the epoch */
  nonce(now: number): string {
    return this.#nonceOf(Math.floor(now / 1000 / SPAN))
  }

  /**
   * @returns the thumbprint of the key that signed (RFC 7638)
   * @throws SallyportError `SP_DPOP_PROOF`; `SP_DPOP_NONCE` where a fresh nonce would mend it
   */
  async verify(proof: string, target: ProofTarget, now: number): Promise<string> {
    if (proof.length > MAX_PROOF) throw refuse('it is too long')
    let payload: Readonly<Record<string, unknown>>
    let jwk: JWK | undefined
    try {
      const verified = await jwtVerify(proof, EmbeddedJWK, {
        algorithms: ALGORITHMS,
        typ: 'dpop+jwt',
        currentDate: new Date(now),
      })
      payload = verified.payload
      jwk = verified.protectedHeader.jwk
    } catch (cause) {
      throw refuse('it does not verify', cause)
    }
    const { jti, htm, htu, ath, nonce } = payload
    if (jwk === undefined) throw refuse('it has no key')
    if (typeof jti !== 'string' || jti === '' || jti.length > 256) throw refuse('it has no `jti`')
    if (htm !== target.method) throw refuse('it is for another method')
    if (typeof htu !== 'string' || bare(htu) !== target.url)
      throw refuse('it is for another address')
    if (ath !== hash('sha256', target.token, 'base64url')) throw refuse('it is for another token')
    const thumbprint = await calculateJwkThumbprint(jwk)
    const span = Math.floor(now / 1000 / SPAN)
    const fresh =
      typeof nonce === 'string' && [span, span - 1].some((n) => same(nonce, this.#nonceOf(n)))
    if (!fresh) {
      throw new SallyportError('SP_DPOP_NONCE', 'the proof needs the nonce of this gateway', {
        fix: 'make a new proof with the nonce of the header `DPoP-Nonce`',
      })
    }
    // The nonce bounds its age, so that what is remembered is bounded too.
    this.#use(
      hash('sha256', `${thumbprint} ${jti}`, 'base64url'),
      { until: (span + 2) * SPAN, caller: target.caller },
      now,
    )
    return thumbprint
  }

  #use(key: string, use: { readonly until: number; readonly caller: string }, now: number): void {
    if (this.#used.has(key)) throw refuse('it was used before')
    if (!this.#hasRoom(use.caller)) {
      for (const [old, { until, caller }] of this.#used) {
        // Those behind it were shown later.
        if (until * 1000 > now) break
        this.#used.delete(old)
        const left = (this.#shares.get(caller) ?? 1) - 1
        if (left > 0) this.#shares.set(caller, left)
        else this.#shares.delete(caller)
      }
      if (!this.#hasRoom(use.caller)) throw refuse('too many proofs come at once')
    }
    this.#used.set(key, use)
    this.#shares.set(use.caller, (this.#shares.get(use.caller) ?? 0) + 1)
  }

  #hasRoom(caller: string): boolean {
    return (
      this.#used.size < this.#max && (this.#shares.get(caller) ?? 0) < Math.ceil(this.#max / SHARE)
    )
  }

  #nonceOf(span: number): string {
    return createHmac('sha256', this.#secret).update(`dpop nonce ${span}`).digest('base64url')
  }
}

function bare(url: string): string | undefined {
  const parsed = URL.parse(url)
  if (!parsed) return undefined
  parsed.hash = ''
  parsed.search = ''
  try {
    // Which characters are escaped is the client's choice; what they say is not.
    const segments = parsed.pathname
      .split('/')
      .map((one) => encodeURIComponent(decodeURIComponent(one)))
    return parsed.origin + segments.join('/')
  } catch {
    return undefined
  }
}

function same(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}

function refuse(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_DPOP_PROOF', 'the proof of possession is not valid', {
    detail,
    cause,
  })
}
