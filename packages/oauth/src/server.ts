import { randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '@sallyport/base'
import { errorCode, SallyportError } from '@sallyport/base'
import type { NetworkIndex } from '@sallyport/network'
import type { TokenTrust } from '@sallyport/wire'
import { errors, Provider } from 'oidc-provider'
import type { Adapter, Context, StructuredToken, TokenModel } from 'oidc-provider'
import { ArtefactAdapter } from './artefacts.ts'
import type { Artefacts } from './artefacts.ts'
import { currentCall, serving } from './call.ts'
import type { Peer } from './call.ts'
import { MAX_LIFETIME, scopesOf } from './claims.ts'
import { findClient, TOKEN_EXCHANGE } from './clients.ts'
import { createConsents } from './consent.ts'
import type { Consents } from './consent.ts'
import { EXCHANGE_PARAMETERS, Exchanges, SAME_RESOURCE } from './exchange.ts'
import { readForm, rewritten } from './form.ts'
import { introspect, revoke } from './inspect.ts'
import type { RevokedToken } from './inspect.ts'
import { publicKeys } from './keys.ts'
import { readPayment, readPayments } from './payment.ts'
import { systemOf, systemUri } from './resource.ts'
import { operationsFor } from './scopes.ts'
import { TokenVerifier } from './verify.ts'

export interface AuthorisationServerDeps {
  /** An origin, exactly as tokens have it in `iss`: it does not change while tokens live. */
  readonly issuer: string
  readonly trustDomain: string
  readonly clock: Clock
  readonly network: () => NetworkIndex
  readonly artefacts: Artefacts
  /** Signs access tokens (P-256); its public half must be in `trust` before the first one is issued. */
  readonly signing: { readonly kid: string; readonly privateKey: KeyObject }
  readonly trust: () => TokenTrust | undefined
  /** Whether an agent's SPIFFE id or an `operator:NAME` is declared and not cut off. */
  readonly standing: (subject: string) => boolean
  /** Whether a certificate is revoked. */
  readonly revokedSerial: (serial: string) => boolean
  /** SPKI DER of the certificates that an instance has and may use. */
  readonly keysOf: (spiffeId: string) => Promise<readonly Buffer[]>
  /** Makes a token count no more, wherever it is presented; resolves when that is published. */
  readonly revoke: (token: RevokedToken) => Promise<void>
  readonly onError: (error: unknown) => void
}

export interface AuthorisationServer {
  /**
   * Serves a request to a path that `isOauthPath` names. Never rejects.
   *
   * @param peer whose certificate the connection verified; undefined where it has none
   */
  handle(request: IncomingMessage, response: ServerResponse, peer: Peer | undefined): Promise<void>
  readonly consents: Consents
}

const PATH = {
  token: '/oauth2/token',
  authorization: '/oauth2/auth',
  pushed: '/oauth2/par',
  introspection: '/oauth2/introspect',
  revocation: '/oauth2/revoke',
  jwks: '/oauth2/jwks',
  metadata: '/.well-known/oauth-authorization-server',
} as const

/** Whether the authorisation server answers at a path, on the plane and at its issuer alike. */
export function isOauthPath(path: string): boolean {
  return path.startsWith('/oauth2/') || path === PATH.metadata
}

/**
 * The OAuth 2.1 authorisation server of the network. It issues short tokens for one system each, bound to who asks, and
 * nothing that works without the holder.
 */
export function createAuthorisationServer(deps: AuthorisationServerDeps): AuthorisationServer {
  const { issuer, clock, trustDomain } = deps
  const origin = new URL(issuer)
  const verifier = new TokenVerifier()
  const trusted = (): TokenVerifier => {
    verifier.trust(deps.trust())
    return verifier
  }
  const exchanges = new Exchanges({ ...deps, verifier: trusted })
  const provider = new Provider(issuer, configuration(deps, exchanges))
  // What it takes for forwarded is written by `rewritten` alone, so that every URL is the issuer's.
  provider.proxy = true
  provider.on('server_error', (_ctx, error) => deps.onError(error))
  provider.registerGrantType(
    TOKEN_EXCHANGE,
    (ctx) => exchanges.serve(provider, ctx),
    EXCHANGE_PARAMETERS,
  )
  const callback = provider.callback()

  async function serve(
    request: IncomingMessage,
    response: ServerResponse,
    peer: Peer | undefined,
  ): Promise<void> {
    const url = new URL(request.url ?? '/', issuer)
    const path = url.pathname
    if (path === PATH.jwks && request.method === 'GET') {
      sendJson(response, 200, publicKeys(deps.trust(), clock.now()))
      return
    }
    if (request.method !== 'POST') {
      const call = { peer, asserts: false, mayAct: undefined }
      if (path === PATH.authorization) askForWhatIsDeclared(url.searchParams, deps)
      const inner = rewritten(request, origin, url.pathname + url.search)
      // A request starts without whoever signed in before it, so that each is somebody's own decision.
      if (path === PATH.authorization) delete inner.headers.cookie
      await serving(call, () => callback(inner, response))
      return
    }
    const form = await readForm(request)
    const names = [...form.keys()]
    if (new Set(names).size < names.length) {
      throw new errors.InvalidRequest('a parameter stands twice')
    }
    if (path === PATH.introspection) {
      const token = form.get('token') ?? ''
      sendJson(response, 200, await introspect(token, peer, { ...deps, verifier: trusted() }))
      return
    }
    if (path === PATH.revocation) {
      await revoke(form.get('token') ?? '', peer, { ...deps, verifier: trusted() })
      sendJson(response, 200, {})
      return
    }
    const asserts = form.has('client_assertion')
    claimClient(form, peer, asserts)
    const grant = form.get('grant_type')
    if (path === PATH.pushed || (path === PATH.token && grant === 'client_credentials')) {
      askForWhatIsDeclared(form, deps)
    }
    const call = { peer, asserts, mayAct: form.get('may_act') ?? undefined }
    const inner = rewritten(request, origin, url.pathname + url.search, form)
    await serving(call, () => callback(inner, response))
  }

  return {
    consents: createConsents(provider, deps),
    async handle(request, response, peer) {
      try {
        await serve(request, response, peer)
      } catch (error) {
        sendError(response, error, deps.onError)
      }
    },
  }

  function claimClient(form: URLSearchParams, peer: Peer | undefined, asserts: boolean): void {
    const claimed = form.getAll('client_id')
    if (!peer) return
    // Whoever it says it is, it is who its certificate says.
    if (claimed.some((name) => name !== peer.id)) {
      throw new errors.InvalidClientAuth('client_id is not the identity of the connection')
    }
    if (claimed.length === 0 && !asserts) form.set('client_id', peer.id)
  }

  function askForWhatIsDeclared(form: URLSearchParams, { network }: AuthorisationServerDeps): void {
    if (form.has('scope')) return
    const name = systemOf(trustDomain, form.get('resource') ?? '')
    const system = name === undefined ? undefined : network().findSystem(name)
    // Without a scope, all of the system: what no flow of the client declares is left out of it again.
    const operations = system?.operations.map((operation) => operation.name) ?? []
    if (operations.length > 0) form.set('scope', operations.join(' '))
  }
}

function configuration(
  deps: AuthorisationServerDeps,
  exchanges: Exchanges,
): Readonly<Record<string, unknown>> {
  const { clock, trustDomain, issuer, signing } = deps
  const details = (
    ctx: Context,
    _token: TokenModel,
    source: { readonly rar?: unknown } | undefined,
  ): unknown => source?.rar ?? requestedDetails(ctx)
  return {
    adapter: (name: string): Adapter => {
      const adapter = new ArtefactAdapter(name, deps.artefacts, clock)
      if (name === 'Client') adapter.find = (id) => findClient(id, deps)
      return adapter
    },
    jwks: {
      keys: [
        {
          ...signing.privateKey.export({ format: 'jwk' }),
          kid: signing.kid,
          alg: 'ES256',
          use: 'sig',
        },
      ],
    },
    clientAuthMethods: ['tls_client_auth', 'private_key_jwt'],
    clientDefaults: { id_token_signed_response_alg: 'ES256', response_types: ['code'] },
    enabledJWA: {
      clientAuthSigningAlgValues: ['ES256', 'EdDSA'],
      idTokenSigningAlgValues: ['ES256'],
      dPoPSigningAlgValues: ['ES256', 'EdDSA'],
    },
    clockTolerance: 5,
    responseTypes: ['code'],
    scopes: [],
    claims: {},
    pkce: { required: () => true },
    clientBasedCORS: () => false,
    routes: {
      token: PATH.token,
      jwks: PATH.jwks,
      authorization: PATH.authorization,
      pushed_authorization_request: PATH.pushed,
      backchannel_authentication: '/oauth2/backchannel',
      end_session: '/oauth2/end',
      code_verification: '/oauth2/device',
    },
    discovery: {
      introspection_endpoint: issuer + PATH.introspection,
      introspection_endpoint_auth_methods_supported: ['tls_client_auth'],
      revocation_endpoint: issuer + PATH.revocation,
      revocation_endpoint_auth_methods_supported: ['tls_client_auth'],
    },
    ttl: {
      AccessToken: MAX_LIFETIME,
      ClientCredentials: MAX_LIFETIME,
      AuthorizationCode: 60,
      Grant: 600,
      Interaction: 600,
      Session: 600,
    },
    features: {
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      clientCredentials: { enabled: true },
      mTLS: {
        enabled: true,
        tlsClientAuth: true,
        getCertificate: () => currentCall().peer?.certificate,
        certificateAuthorized: () => currentCall().peer !== undefined,
        certificateSubjectMatches: (_ctx: Context, property: string, expected: string) =>
          property === 'tls_client_auth_san_uri' && currentCall().peer?.id === expected,
      },
      dPoP: {
        enabled: true,
        nonceSecret: randomBytes(32),
        requireNonce: () => true,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: ({ oidc }: Context, _client: unknown, granted?: unknown) => {
          if (granted !== undefined) return granted
          if (oidc.params['grant_type'] === TOKEN_EXCHANGE) return SAME_RESOURCE
          // A token for no system in particular would be one for each.
          throw new errors.InvalidTarget('resource is missing')
        },
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx: Context, resource: string, client: { clientId: string }) => {
          const system = systemOf(trustDomain, resource)
          const operations =
            system === undefined
              ? []
              : operationsFor(deps.network(), client.clientId, trustDomain, system)
          if (system === undefined || operations.length === 0) {
            throw new errors.InvalidTarget('no flow leads from this client to that system')
          }
          return {
            scope: operations.join(' '),
            audience: systemUri(trustDomain, system),
            accessTokenTTL: MAX_LIFETIME,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg: 'ES256' } },
          }
        },
      },
      richAuthorizationRequests: {
        enabled: true,
        types: { payment: { validate: (_ctx: Context, detail: unknown) => checkDetail(detail) } },
        authorizationDetailsForGrantSource: (ctx: Context) => requestedDetails(ctx),
        authorizationDetailsForAccessToken: details,
        authorizationDetailsForIntrospection: (_ctx: Context, token: TokenModel) => token.rar,
      },
      pushedAuthorizationRequests: { enabled: true },
    },
    assertJwtClientAuthClaimsAndHeader: (
      _ctx: Context,
      claims: { aud?: unknown; exp?: unknown },
    ) => {
      // One issuer, as one text: an assertion for several could be replayed by any of them.
      if (claims.aud !== issuer) {
        throw new errors.InvalidClientAuth('`aud` is not the issuer, as one text')
      }
      if (Number(claims.exp) * 1000 - clock.now() > MAX_LIFETIME * 1000) {
        throw new errors.InvalidClientAuth('the assertion lives too long')
      }
    },
    interactions: {
      url: (_ctx: Context, { uid }: { readonly uid: string }) => consentUrl(issuer, uid),
    },
    // Only what the person granted in this very request.
    loadExistingGrant: ({ oidc }: Context) => {
      const grantId = oidc.result?.consent?.grantId
      return grantId === undefined ? undefined : oidc.provider.Grant.find(grantId)
    },
    renderError: (ctx: Context, { error, error_description: why }: Record<string, string>) => {
      ctx.type = 'text/plain; charset=utf-8'
      ctx.body = `${error}: ${why ?? ''}\n`
    },
    findAccount: (_ctx: Context, sub: string) =>
      deps.standing(sub) ? { accountId: sub, claims: () => ({ sub }) } : undefined,
    extraTokenClaims: (ctx: Context, token: TokenModel) => exchanges.extraClaims(ctx, token),
    formats: {
      customizers: {
        jwt: (_ctx: Context, token: TokenModel, structured: StructuredToken) =>
          bind(token, structured),
      },
    },
  }
}

/** Where a person decides on a request. */
function consentUrl(issuer: string, uid: string): string {
  return `${issuer}/oauth2/consent/${uid}`
}

/** Every token is bound to its holder; what could be bound to nobody is not issued. */
function bind(token: TokenModel, { payload }: StructuredToken): void {
  const { peer } = currentCall()
  if (peer && peer.id !== token.clientId) {
    throw new errors.InvalidClientAuth('the client is not the identity of the connection')
  }
  // Narrowed to an object or undefined by what oidc-provider builds.
  const cnf = (payload['cnf'] ?? {}) as Readonly<Record<string, unknown>>
  const bound = peer ? { ...cnf, spiffe_id: peer.id } : cnf
  if (Object.keys(bound).length === 0) {
    throw new errors.InvalidRequest('a proof of possession or a certificate is needed')
  }
  if (typeof payload['scope'] !== 'string') {
    throw new errors.InvalidScope('nothing of the scope is declared for this client')
  }
  checkDetails(payload['authorization_details'], scopesOf(payload['scope']))
  payload['cnf'] = bound
}

/** What a token says of payments is about operations that it is for. */
function checkDetails(details: unknown, scope: readonly string[]): void {
  if (details === undefined) return
  const known = readPayments(details).flatMap(({ operations }) => operations)
  if (known.every((operation) => scope.includes(operation))) return
  throw new errors.InvalidAuthorizationDetails('the details name operations outside the scope')
}

function requestedDetails({ oidc }: Context): unknown {
  const text = oidc.params['authorization_details']
  // Parsed and validated once before, by oidc-provider.
  return typeof text === 'string' ? (JSON.parse(text) as unknown) : undefined
}

function checkDetail(detail: unknown): void {
  try {
    readPayment(detail)
  } catch (error) {
    const why = error instanceof SallyportError ? error.detail : undefined
    throw new errors.InvalidAuthorizationDetails(why ?? 'the details are not valid')
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const text = Buffer.from(JSON.stringify(body))
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': text.length,
    'cache-control': 'no-store',
  })
  response.end(text)
}

/** RFC 6749, section 5.2. */
function sendError(
  response: ServerResponse,
  error: unknown,
  onError: (error: unknown) => void,
): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const { status, name, description } = oauthError(error)
  if (status >= 500) onError(error)
  sendJson(response, status, { error: name, error_description: description })
}

function oauthError(error: unknown): { status: number; name: string; description: string } {
  if (error instanceof Error && 'error' in error && 'statusCode' in error) {
    const { statusCode, error: name } = error
    const told = 'error_description' in error ? error.error_description : ''
    return { status: Number(statusCode), name: String(name), description: String(told) }
  }
  const code = errorCode(error)
  if (code === 'SP_STORE_UNAVAILABLE') {
    return { status: 503, name: 'temporarily_unavailable', description: code }
  }
  if (error instanceof SallyportError && code !== 'SP_INTERNAL') {
    return { status: 400, name: 'invalid_request', description: `${error.message} [${code}]` }
  }
  return { status: 500, name: 'server_error', description: code }
}
