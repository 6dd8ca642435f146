import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { NetworkIndex } from '@sallyport/network'
import { errors } from 'oidc-provider'
import type { Context, Provider, TokenModel } from 'oidc-provider'
import validateDpop, { checkDpopReplay } from 'oidc-provider/lib/helpers/validate_dpop.js'
import { grantHash } from './artefacts.ts'
import { currentCall } from './call.ts'
import { certificateThumbprint, MAX_ACTORS, MAX_LIFETIME, presenterOf, scopesOf } from './claims.ts'
import type { AccessClaims, Act } from './claims.ts'
import { agentOf, isCertificateBound } from './clients.ts'
import { holds } from './inspect.ts'
import { covered, readPayments } from './payment.ts'
import type { Payment } from './payment.ts'
import { systemOf } from './resource.ts'
import { operationsFor } from './scopes.ts'
import { checkHolder } from './verify.ts'
import type { TokenVerifier } from './verify.ts'

export const EXCHANGE_PARAMETERS: readonly string[] = [
  'subject_token',
  'subject_token_type',
  'actor_token',
  'actor_token_type',
  'requested_token_type',
  'audience',
  'resource',
  'scope',
  'authorization_details',
  'may_act',
]
/** Stands for the resource of an exchange that names none: details are not accepted without one. */
export const SAME_RESOURCE = 'urn:sallyport:resource-of-the-subject-token'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
/** Tokens made of one another in turn. */
const MAX_PRIOR = MAX_ACTORS * 2

export interface ExchangeDeps {
  readonly trustDomain: string
  readonly clock: Clock
  readonly network: () => NetworkIndex
  readonly verifier: () => TokenVerifier
  readonly standing: (subject: string) => boolean
  readonly revokedSerial: (serial: string) => boolean
}

type Extra = Pick<AccessClaims, 'act' | 'details_by' | 'may_act' | 'prior' | 'serials'>

/**
 * Token exchange (RFC 8693): the holder of a token makes a narrower one, or the one that its holder named takes over and acts
 * for the same subject. Nothing widens: not the scope, not the audience, not the details, not the time.
 */
export class Exchanges {
  readonly #deps: ExchangeDeps
  readonly #made = new WeakMap<TokenModel, Extra>()
  readonly #consented = new WeakSet<TokenModel>()

  constructor(deps: ExchangeDeps) {
    this.#deps = deps
  }

  /** The details of this token are those that its subject signed; all others the client asked for by itself. */
  consented(token: TokenModel): void {
    this.#consented.add(token)
  }

  /** The claims of a token about to be signed that oidc-provider does not know of. */
  extraClaims({ oidc }: Context, token: TokenModel): Extra {
    const made = this.#made.get(token)
    if (made) return made
    const { accountId, grantId } = token
    const { clientId } = oidc.client
    const by = this.#consented.has(token) ? (accountId ?? clientId) : clientId
    return {
      // All that comes of one consent ends with it.
      ...(grantId === undefined ? {} : { prior: [grantHash(grantId)] }),
      // A code was given by a person to the client, which acts for that person from now on.
      ...(accountId === undefined ? {} : { act: { sub: clientId } }),
      ...(token.rar === undefined ? {} : { details_by: by }),
      ...this.#mayAct(),
      ...serialsOf([]),
    }
  }

  /** Serves the grant. @throws OAuth errors of oidc-provider */
  async serve(provider: Provider, ctx: Context): Promise<void> {
    const { client, params } = ctx.oidc
    const proof = await validateDpop(provider, ctx)
    const subject = await this.#subject(ctx, proof?.thumbprint)
    const extended = this.#extend(subject, client.clientId)
    const scope = this.#scope(subject, client.clientId, params['scope'])
    const details = detailsWithin(subject, params['authorization_details'])
    const extra = { ...extended, ...detailsBy(subject, details, client.clientId) }
    const now = Math.floor(this.#deps.clock.now() / 1000)
    const expiresIn = Math.min(MAX_LIFETIME, subject.exp - now)
    if (expiresIn < 1) throw new errors.InvalidGrant('the subject token has expired')
    const token = new provider.AccessToken({ client, accountId: subject.sub, expiresIn, scope })
    token.resourceServer = new provider.ResourceServer(subject.aud, {
      scope,
      audience: subject.aud,
      accessTokenTTL: expiresIn,
      accessTokenFormat: 'jwt',
      jwt: { sign: { alg: 'ES256' } },
    })
    if (details) token.rar = details.map((detail) => ({ ...detail }))
    if (proof) {
      await checkDpopReplay(provider, ctx, proof, client.clientId)
      token.setThumbprint('jkt', proof.thumbprint)
    }
    const agent = agentOf(client.clientId, this.#deps.trustDomain)
    if (agent && isCertificateBound(this.#deps.network(), agent.name)) {
      const { peer } = currentCall()
      if (!peer) throw new errors.InvalidGrant('mutual TLS client certificate not provided')
      token.setThumbprint('x5t', peer.certificate)
    }
    this.#made.set(token, extra)
    ctx.oidc.entity('AccessToken', token)
    ctx.body = {
      access_token: await token.save(),
      issued_token_type: ACCESS_TOKEN,
      token_type: token.tokenType,
      expires_in: expiresIn,
      scope,
      ...(details ? { authorization_details: details } : {}),
    }
  }

  /** The token that is exchanged, verified and the client's to exchange: without one there is nothing to fall back to. */
  async #subject(ctx: Context, proof: string | undefined): Promise<AccessClaims> {
    const { params, client } = ctx.oidc
    const { subject_token: token, subject_token_type: type } = params
    if (typeof token !== 'string' || token === '') {
      throw new errors.InvalidRequest('subject_token is missing')
    }
    if (
      type !== ACCESS_TOKEN ||
      (params['requested_token_type'] ?? ACCESS_TOKEN) !== ACCESS_TOKEN
    ) {
      throw new errors.InvalidRequest('only access tokens are exchanged, for access tokens')
    }
    if (params['actor_token'] !== undefined || params['actor_token_type'] !== undefined) {
      throw new errors.InvalidRequest('the actor is the client itself; it needs no actor_token')
    }
    const { verifier, clock } = this.#deps
    let claims: AccessClaims
    try {
      claims = await verifier().verify(token, undefined, clock.now())
      if (this.#isNamed(claims, client.clientId)) this.#checkNamed(claims)
      else checkHolder(claims, presenting(client.clientId, proof))
    } catch (cause) {
      if (!(cause instanceof SallyportError)) throw cause
      throw new errors.InvalidGrant('the subject token does not verify', { cause })
    }
    if (!holds(claims, this.#deps)) {
      throw new errors.InvalidGrant('the subject or an actor may not act now')
    }
    for (const name of ['resource', 'audience']) {
      const asked = params[name] === SAME_RESOURCE ? undefined : params[name]
      if ((asked ?? claims.aud) !== claims.aud) {
        throw new errors.InvalidTarget('the subject token is for another system')
      }
    }
    return claims
  }

  #isNamed({ may_act: named }: AccessClaims, clientId: string): boolean {
    if (named === undefined) return false
    return clientId === named.sub || clientId.startsWith(`${named.sub}/`)
  }

  #checkNamed(claims: AccessClaims): void {
    if (claims.cnf.spiffe_id !== undefined && claims.cnf.spiffe_id !== presenterOf(claims)) {
      throw new SallyportError('SP_ACCESS_TOKEN_HOLDER', 'the token is bound to somebody else')
    }
  }

  #extend(subject: AccessClaims, clientId: string): Extra {
    const prior = [...(subject.prior ?? []), subject.jti]
    const taken = presenterOf(subject) === clientId
    const act = taken
      ? subject.act
      : { sub: clientId, ...(subject.act ? { act: subject.act } : {}) }
    if (prior.length > MAX_PRIOR || depth(act) > MAX_ACTORS) {
      throw new errors.InvalidGrant(`more than ${MAX_ACTORS} would act for the subject`)
    }
    return {
      ...(act ? { act } : {}),
      ...this.#mayAct(),
      prior,
      ...serialsOf(subject.serials ?? []),
    }
  }

  #scope(subject: AccessClaims, clientId: string, asked: unknown): string {
    const { network, trustDomain } = this.#deps
    const granted = new Set(scopesOf(subject.scope))
    const wanted = typeof asked === 'string' ? scopesOf(asked) : undefined
    const wider = wanted?.find((name) => !granted.has(name))
    if (wider !== undefined) throw new errors.InvalidScope('the scope would be wider', wider)
    const system = systemOf(trustDomain, subject.aud) ?? ''
    const own = new Set(operationsFor(network(), clientId, trustDomain, system))
    const foreign = wanted?.find((name) => !own.has(name))
    if (foreign !== undefined) throw new errors.InvalidScope('no flow of the client', foreign)
    const scope = (wanted ?? [...granted]).filter((name) => own.has(name)).join(' ')
    if (scope === '')
      throw new errors.InvalidTarget('no flow leads from this client to that system')
    return scope
  }

  #mayAct(): Pick<AccessClaims, 'may_act'> {
    const { mayAct } = currentCall()
    if (mayAct === undefined) return {}
    const { trustDomain, standing } = this.#deps
    // An agent, for whichever instance of it comes, or one instance.
    const whole = `${mayAct}/any`
    const agent = agentOf(mayAct, trustDomain) ?? agentOf(whole, trustDomain)
    if (!agent || !standing(mayAct)) {
      throw new errors.InvalidRequest('may_act names no agent that may act')
    }
    return { may_act: { sub: mayAct } }
  }
}

function presenting(
  clientId: string,
  proof: string | undefined,
): { spiffeId: string; certificate?: string; proof?: string } {
  const { peer } = currentCall()
  return {
    spiffeId: clientId,
    ...(peer ? { certificate: certificateThumbprint(peer.certificate.raw) } : {}),
    ...(proof === undefined ? {} : { proof }),
  }
}

/** The certificates of a chain: those before, and the present client's. */
function serialsOf(before: readonly string[]): Pick<AccessClaims, 'serials'> {
  const { peer } = currentCall()
  const serials = new Set(peer ? [...before, peer.serial] : before)
  return serials.size === 0 ? {} : { serials: [...serials].slice(-(MAX_ACTORS + 1)) }
}

function detailsWithin(subject: AccessClaims, asked: unknown): readonly Payment[] | undefined {
  const granted = subject.authorization_details
  if (typeof asked !== 'string') return granted
  // Parsed and validated once before, by oidc-provider.
  const wanted = readPayments(JSON.parse(asked) as unknown)
  const scope = scopesOf(subject.scope)
  const wider = wanted.some(
    (detail) =>
      (granted && !covered(detail, granted)) ||
      detail.operations.some((operation) => !scope.includes(operation)),
  )
  if (wider) throw new errors.InvalidAuthorizationDetails('the details would be wider')
  return wanted
}

/** Whoever adds details where there were none limits themselves: that makes them nobody else's consent. */
function detailsBy(
  { authorization_details: granted, details_by: by }: AccessClaims,
  details: readonly Payment[] | undefined,
  client: string,
): Pick<AccessClaims, 'details_by'> {
  if (!details) return {}
  if (!granted) return { details_by: client }
  return by === undefined ? {} : { details_by: by }
}

function depth(act: Act | undefined): number {
  let count = 0
  for (let one = act; one; one = one.act) count++
  return count
}
