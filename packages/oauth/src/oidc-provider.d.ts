/** The part of oidc-provider 9.13 that is used here; the package brings no types. */
declare module 'oidc-provider' {
  import type { X509Certificate } from 'node:crypto'
  import type { IncomingMessage, ServerResponse } from 'node:http'

  interface ClientModel {
    readonly clientId: string
  }

  interface ResourceServerInfo {
    readonly scope: string
    readonly audience: string
    readonly accessTokenTTL: number
    readonly accessTokenFormat: 'jwt'
    readonly jwt: { readonly sign: { readonly alg: 'ES256' } }
  }

  interface TokenModel {
    readonly kind: string
    readonly clientId: string
    readonly accountId?: string
    readonly grantId?: string
    readonly expiration: number
    readonly tokenType: string
    scope?: string | undefined
    rar?: readonly Readonly<Record<string, unknown>>[] | undefined
    resourceServer: unknown
    setThumbprint(kind: 'jkt', thumbprint: string): void
    setThumbprint(kind: 'x5t', certificate: X509Certificate): void
    save(): Promise<string>
  }

  interface BackchannelModel {
    readonly jti: string
    readonly accountId: string
    readonly clientId: string
    readonly params: Readonly<Record<string, unknown>>
    /** Seconds that are left. */
    readonly expiration: number
    destroy(): Promise<void>
  }

  interface Context {
    readonly req: IncomingMessage
    body: unknown
    type: string
    readonly oidc: {
      readonly client: ClientModel
      readonly params: Record<string, string | readonly string[] | undefined>
      /** What a person decided, as it was handed over. */
      readonly result?: { readonly consent?: { readonly grantId?: string } }
      readonly provider: Provider
      entity(name: string, value: unknown): void
    }
  }

  /** A JWT access token before it is signed. */
  interface StructuredToken {
    header: Record<string, unknown> | undefined
    readonly payload: Record<string, unknown>
  }

  interface Adapter {
    upsert(
      id: string,
      payload: Readonly<Record<string, unknown>>,
      expiresIn?: number,
    ): Promise<void>
    find(id: string): Promise<Record<string, unknown> | undefined>
    findByUid(uid: string): Promise<Record<string, unknown> | undefined>
    findByUserCode(userCode: string): Promise<Record<string, unknown> | undefined>
    consume(id: string): Promise<void>
    destroy(id: string): Promise<void>
    revokeByGrantId(grantId: string): Promise<void>
  }

  interface GrantModel {
    addResourceScope(resource: string, scope: string): void
    addOIDCScope(scope: string): void
    save(): Promise<string>
  }

  interface InteractionModel {
    readonly uid: string
    /** Seconds since the epoch. */
    readonly exp: number
    readonly returnTo: string
    readonly params: Readonly<Record<string, unknown>>
    result?: Readonly<Record<string, unknown>>
    save(ttl: number): Promise<string>
  }

  /** Checked by oidc-provider itself when it starts. */
  type Configuration = Readonly<Record<string, unknown>>

  class Provider {
    constructor(issuer: string, configuration: Configuration)
    /** Of the request that is being served. */
    static readonly ctx: Context | undefined
    proxy: boolean
    readonly issuer: string
    callback(): (request: IncomingMessage, response: ServerResponse) => Promise<void>
    on(event: string, listener: (ctx: Context, error: Error) => void): this
    registerGrantType(
      name: string,
      handler: (ctx: Context) => Promise<void>,
      parameters: readonly string[],
      duplicates?: readonly string[],
    ): void
    readonly Interaction: {
      find(uid: string): Promise<InteractionModel | undefined>
    }
    readonly AccessToken: new (input: {
      readonly client: ClientModel
      readonly accountId: string
      readonly expiresIn: number
      readonly scope: string
    }) => TokenModel
    readonly ResourceServer: new (identifier: string, info: ResourceServerInfo) => unknown
    readonly Grant: {
      new (input: { readonly accountId: string; readonly clientId: string }): GrantModel
      find(id: string): Promise<GrantModel | undefined>
    }
  }

  type OAuthError = new (description: string, options?: { readonly cause?: unknown }) => Error

  const errors: {
    readonly InvalidRequest: new (description: string) => Error
    readonly InvalidGrant: OAuthError
    readonly InvalidTarget: OAuthError
    readonly InvalidScope: new (description: string, scope?: string) => Error
    readonly InvalidClientAuth: OAuthError
    readonly InvalidAuthorizationDetails: OAuthError
    readonly AccessDenied: OAuthError
    readonly InvalidBindingMessage: OAuthError
    readonly ExpiredToken: OAuthError
    readonly SlowDown: OAuthError
  }

  export { errors, Provider }
  export type {
    Adapter,
    BackchannelModel,
    ClientModel,
    Configuration,
    Context,
    ResourceServerInfo,
    StructuredToken,
    TokenModel,
    X509Certificate,
  }
}

declare module 'oidc-provider/lib/helpers/validate_dpop.js' {
  import type { Context, Provider } from 'oidc-provider'

  interface Proof {
    readonly thumbprint: string
    readonly jti: string
  }

  /** @returns undefined where the request carries no proof */
  export default function validateDpop(provider: Provider, ctx: Context): Promise<Proof | undefined>
  export function checkDpopReplay(
    provider: Provider,
    ctx: Context,
    proof: Proof,
    clientId: string,
  ): Promise<void>
}
