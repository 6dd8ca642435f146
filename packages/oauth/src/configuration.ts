import { randomBytes } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { errors } from 'oidc-provider'
import type { Adapter, Context, StructuredToken, TokenModel } from 'oidc-provider'
import { keptArtefacts } from './kept.ts'
import { backchannel } from './backchannel.ts'
import { currentCall } from './call.ts'
import { MAX_LIFETIME, scopesOf } from './claims.ts'
import { findClient, TOKEN_EXCHANGE } from './clients.ts'
import type { AuthorisationServerDeps } from './deps.ts'
import { SAME_RESOURCE } from './exchange.ts'
import type { Exchanges } from './exchange.ts'
import { readPayment, readPayments } from './payment.ts'
import { systemOf, systemUri } from './resource.ts'
import { MAX_REFRESH } from './grants.ts'
import { operationsFor } from './scopes.ts'

/** Where the authorisation server answers. */
export const PATH = {
  token: '/oauth2/token',
  authorization: '/oauth2/auth',
  pushed: '/oauth2/par',
  introspection: '/oauth2/introspect',
  revocation: '/oauth2/revoke',
  jwks: '/oauth2/jwks',
  backchannel: '/oauth2/backchannel',
  metadata: '/.well-known/oauth-authorization-server',
} as const

/** What oidc-provider is told to do, and above all what not. */
export function configuration(
  deps: AuthorisationServerDeps,
  exchanges: Exchanges,
): Readonly<Record<string, unknown>> {
  const { clock, trustDomain, issuer, signing } = deps
  const asking = backchannel(deps)
  const details = (
    ctx: Context,
    token: TokenModel,
    source: { readonly rar?: unknown } | undefined,
  ): unknown => {
    if (source?.rar === undefined) return requestedDetails(ctx)
    exchanges.consented(token)
    return source.rar
  }
  return {
    adapter: (name: string): Adapter => {
      const adapter = keptArtefacts(name, deps)
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
    scopes: ['openid', 'offline_access'],
    claims: {},
    pkce: { required: () => true },
    clientBasedCORS: () => false,
    routes: {
      token: PATH.token,
      jwks: PATH.jwks,
      authorization: PATH.authorization,
      pushed_authorization_request: PATH.pushed,
      backchannel_authentication: PATH.backchannel,
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
      Grant: MAX_REFRESH + 60,
      Interaction: 600,
      Session: 600,
      IdToken: MAX_LIFETIME,
      BackchannelAuthenticationRequest: (ctx: Context | undefined) => asking.wait(ctx),
      // From the first one on: what is handed out in its place ends no later.
      RefreshToken: (_ctx: unknown, { iiat }: { readonly iiat?: number }) =>
        Math.max(1, MAX_REFRESH - (iiat === undefined ? 0 : Math.floor(Date.now() / 1000) - iiat)),
    },
    rotateRefreshToken: () => true,
    features: {
      ciba: asking.feature,
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      clientCredentials: { enabled: true },
      mTLS: {
        enabled: true,
        tlsClientAuth: true,
        certificateBoundAccessTokens: true,
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
