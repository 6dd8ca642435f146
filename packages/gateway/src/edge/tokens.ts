import type { Clock } from '@sallyport/base'
import { errorCode, SallyportError } from '@sallyport/base'
import { cedarInput } from '@sallyport/decide'
import type { System } from '@sallyport/network'
import {
  actorsOf,
  certificateThumbprint,
  checkHolder,
  DpopGuard,
  paymentsAllow,
  presenterOf,
  resourceMetadataUri,
  scopesOf,
  systemUri,
  TokenVerifier,
} from '@sallyport/oauth/verify'
import type { AccessClaims } from '@sallyport/oauth/verify'
import type { Caller, TypedCall } from '../calls/types.ts'
import { foreignEvidence, Refusal } from '../refusal.ts'
import type { Bundles } from '../state/bundles.ts'
import type { CanonicalRequest } from './canonical.ts'

/** What of a request and its connection a token is judged by. */
export interface TokenRequest {
  readonly request: CanonicalRequest
  readonly caller: Caller
  /** DER of the certificate that the connection verified: asked for where there is a token to bind to it, which is seldom. */
  readonly certificate: () => Buffer | undefined
  /** The system that is called; undefined for calls to the gateway itself, which take no token. */
  readonly system: System | undefined
}

/** Clients of vendors do not run without a key: this one says that they have none. */
const NO_KEY: ReadonlySet<string | undefined> = new Set([
  'Bearer sallyport',
  // RFC 7617: `sallyport:`, for those that send their key as a user name.
  'Basic c2FsbHlwb3J0Og==',
])

const keyless = (authorization: string | undefined): string | undefined =>
  NO_KEY.has(authorization) ? undefined : authorization

const OPERATOR = 'operator:'

/**
 * Access tokens beside the certificate, which stays what proves the caller. A token can add for whom it calls, and takes away
 * whatever it does not name; a bad one refuses the call.
 */
export class Tokens {
  readonly #bundles: Bundles
  readonly #clock: Clock
  readonly #trustDomain: string
  readonly #verifier = new TokenVerifier()
  readonly #proofs = new DpopGuard()

  constructor(bundles: Bundles, clock: Clock, trustDomain: string) {
    this.#bundles = bundles
    this.#clock = clock
    this.#trustDomain = trustDomain
  }

  /** Whether a request presents anything of a token, or calls what needs one; else there is nothing to accept or to refuse. */
  concern(
    { authorization, dpop }: CanonicalRequest['headers'],
    system: System | undefined,
  ): boolean {
    return authorization !== undefined || dpop !== undefined || system?.onBehalfOf !== undefined
  }

  /**
   * The caller with what its token says, where it presents one.
   *
   * @returns the caller itself, at once, where it presents none and needs none
   * @throws Refusal `SP_ACCESS_TOKEN_*`, `SP_DPOP_*`, at once or later
   */
  accept(asked: TokenRequest): Promise<Caller> | Caller {
    const { caller, system, request } = asked
    const { dpop } = request.headers
    const authorization = keyless(request.headers.authorization)
    if (caller.agent.includes('@') && (authorization ?? dpop) !== undefined) throw foreignEvidence()
    if (authorization === undefined) {
      if (dpop !== undefined) throw this.#refusal('SP_DPOP_PROOF', system, 'a proof of no token')
      if (system?.onBehalfOf === undefined) return caller
      throw this.#refusal('SP_ACCESS_TOKEN_REQUIRED', system, 'no token')
    }
    return this.#accept(asked, authorization, dpop)
  }

  async #accept(
    asked: TokenRequest,
    authorization: string,
    dpop: string | undefined,
  ): Promise<Caller> {
    const { caller, system } = asked
    try {
      const token = await this.#verify(asked, authorization, dpop)
      this.check(token)
      if (system?.onBehalfOf === 'person' && !token.sub.startsWith(OPERATOR)) {
        throw new SallyportError('SP_ACCESS_TOKEN_REQUIRED', 'this system is for people')
      }
      // The one for whom an agent acts; who acts for nobody but itself says no more than its certificate.
      const actors = actorsOf(token)
      const onBehalfOf = actors.length === 0 ? {} : { onBehalfOf: { subject: token.sub, actors } }
      return { ...caller, ...onBehalfOf, token }
    } catch (error) {
      if (error instanceof SallyportError && /^SP_(?:ACCESS_TOKEN|DPOP|AUTHOR)/.test(error.code)) {
        throw this.#refusal(errorCode(error), system, error.detail ?? error.message)
      }
      throw error
    }
  }

  /**
   * Judges a token that was accepted by what holds now: time, revocation, and everybody in its chain.
   *
   * @throws SallyportError `SP_ACCESS_TOKEN_EXPIRED`, `SP_ACCESS_TOKEN_REVOKED`, `SP_ACCESS_TOKEN_SUBJECT`
   */
  check(token: AccessClaims): void {
    this.#verifier.trust(this.#bundles.tokens)
    this.#verifier.check(token, this.#clock.now())
    const everyone = [token.sub, presenterOf(token), ...actorsOf(token)]
    const cut = token.serials?.some((serial) => this.#bundles.isRevoked(serial)) ?? false
    if (cut || !everyone.every((subject) => this.#stands(subject))) {
      throw new SallyportError(
        'SP_ACCESS_TOKEN_SUBJECT',
        'somebody for whom or through whom the token was given may not act now',
      )
    }
  }

  /**
   * Demands that a token is for this very operation, and for this payment where it names payments.
   *
   * @throws Refusal `SP_ACCESS_TOKEN_SCOPE`
   */
  demandScope({ token }: Caller, { system, operation, input }: TypedCall): void {
    if (!token) return
    const named = scopesOf(token.scope).includes(operation.name)
    // Payments are in minor units: a decimal is no number of them, and none allows it.
    const typed = cedarInput(operation, input)
    if (named && paymentsAllow(token.authorization_details, operation.name, typed)) return
    throw this.#refusal('SP_ACCESS_TOKEN_SCOPE', system, `not for ${operation.name}`)
  }

  async #verify(
    { request, caller, certificate, system }: TokenRequest,
    authorization: string,
    dpop: string | undefined,
  ): Promise<AccessClaims> {
    const now = this.#clock.now()
    const [, scheme = '', token = ''] = /^(Bearer|DPoP) ([\w.~+/=-]+)$/i.exec(authorization) ?? []
    if (token === '') throw invalid('it is neither `Bearer` nor `DPoP` with a token')
    if (system === undefined) throw invalid('this call takes no token')
    this.#verifier.trust(this.#bundles.tokens)
    const audience = systemUri(this.#trustDomain, system.name)
    const claims = await this.#verifier.verify(token, audience, now)
    const proves = scheme.toLowerCase() === 'dpop'
    // Neither may stand in for the other (RFC 9449, section 7.1).
    if (proves !== (claims.cnf.jkt !== undefined)) throw invalid('the scheme is not the token’s')
    if (proves !== (dpop !== undefined)) {
      throw new SallyportError(
        'SP_DPOP_PROOF',
        'the proof of possession is missing, or for nothing',
      )
    }
    const proof =
      dpop === undefined
        ? {}
        : {
            proof: await this.#proofs.verify(
              dpop,
              {
                method: request.method,
                url: this.#urlOf(request),
                token,
                caller: caller.instance,
              },
              now,
            ),
          }
    const der = certificate()
    checkHolder(claims, {
      spiffeId: caller.instance,
      ...(der ? { certificate: certificateThumbprint(der) } : {}),
      ...proof,
    })
    return claims
  }

  /** The address that a proof names: the system's URI and the rest of the path, whatever gateway was dialled. */
  #urlOf({ target }: CanonicalRequest): string {
    const path = target.segments.map(encodeURIComponent).join('/')
    return systemUri(this.#trustDomain, path)
  }

  #stands(subject: string): boolean {
    const { enforced } = this.#bundles
    if (!enforced) return false
    const { index } = enforced.decider
    if (subject.startsWith(OPERATOR)) {
      const name = subject.slice(OPERATOR.length)
      const keys = enforced.operators?.keys ?? []
      // Whoever lost every passkey is out, whatever is declared.
      return (
        index.network.operators.some((one) => one.name === name) &&
        keys.some(({ operator }) => operator === name)
      )
    }
    const prefix = `spiffe://${this.#trustDomain}/agent/`
    const [name = '', instance, ...more] = subject.slice(prefix.length).split('/')
    return (
      subject.startsWith(prefix) &&
      instance !== undefined &&
      more.length === 0 &&
      index.findAgent(name) !== undefined &&
      !this.#bundles.isQuarantined(subject)
    )
  }

  /** 401 with how to come by a token (RFC 6750, section 3; RFC 9449, section 7.1; RFC 9728, section 5.1). */
  #refusal(code: string, system: System | undefined, detail: string): Refusal {
    const error = ERRORS[code] ?? 'invalid_token'
    const scheme = code.startsWith('SP_DPOP_') ? 'DPoP' : 'Bearer'
    const parts = [
      ...(code === 'SP_ACCESS_TOKEN_REQUIRED' ? [] : [`error="${error}"`]),
      ...(scheme === 'DPoP' ? ['algs="ES256 EdDSA"'] : []),
      ...(system
        ? [`resource_metadata="${resourceMetadataUri(this.#trustDomain, system.name)}"`]
        : []),
    ]
    return new Refusal(code, MESSAGES[code] ?? 'the access token is not accepted', {
      status: code === 'SP_ACCESS_TOKEN_SCOPE' ? 403 : 401,
      detail,
      headers: {
        'www-authenticate': `${scheme} ${parts.join(', ')}`,
        ...(scheme === 'DPoP' ? { 'dpop-nonce': this.#proofs.nonce(this.#clock.now()) } : {}),
      },
    })
  }
}

const invalid = (detail: string): SallyportError =>
  new SallyportError('SP_ACCESS_TOKEN_INVALID', 'the access token is not valid', { detail })

const ERRORS: Readonly<Record<string, string>> = {
  SP_ACCESS_TOKEN_SCOPE: 'insufficient_scope',
  SP_DPOP_PROOF: 'invalid_dpop_proof',
  SP_DPOP_NONCE: 'use_dpop_nonce',
}

const MESSAGES: Readonly<Record<string, string>> = {
  SP_ACCESS_TOKEN_REQUIRED: 'this system needs a token that a person gave',
  SP_ACCESS_TOKEN_SCOPE: 'the access token is not for this call',
  SP_DPOP_PROOF: 'the proof of possession is not accepted',
  SP_DPOP_NONCE: 'the proof of possession needs a fresh nonce',
}
