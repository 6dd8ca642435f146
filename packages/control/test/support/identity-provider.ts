import { generateKeyPairSync, randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, SignJWT } from 'jose'
import { Provider } from 'oidc-provider'

interface Grant {
  addOIDCScope(scope: string): void
  save(): Promise<string>
}
interface Asked {
  readonly oidc: {
    readonly client?: { readonly clientId: string }
    readonly account?: { readonly accountId: string }
    readonly provider: { readonly Grant: new (of: object) => Grant }
  }
}
// The package has no types; these are the members that its documentation names.
const OidcProvider = Provider as unknown as new (
  issuer: string,
  configuration: object,
) => {
  callback(): RequestListener
  interactionFinished(
    request: IncomingMessage,
    response: ServerResponse,
    result: object,
  ): Promise<void>
}

export const CLIENT = 'sallyport'

interface Account {
  readonly subject: string
  readonly groups: unknown
}

/** A real OpenID Connect provider (`oidc-provider`) on loopback, whose login page is pressed by whoever is `who`. */
export class RealProvider {
  readonly issuer: string
  readonly #server: Server
  who: Account = { subject: 'u-1', groups: [] }

  private constructor(server: Server, port: number) {
    this.#server = server
    this.issuer = `http://localhost:${port}`
  }

  static async start(redirectUri: string, secret: string): Promise<RealProvider> {
    const server = createServer()
    const real = new RealProvider(server, await listening(server))
    const provider = new OidcProvider(real.issuer, {
      clients: [
        {
          client_id: CLIENT,
          client_secret: secret,
          redirect_uris: [redirectUri],
          response_types: ['code'],
          grant_types: ['authorization_code'],
        },
      ],
      claims: { openid: ['sub', 'groups'], profile: ['name'] },
      conformIdTokenClaims: false,
      cookies: { keys: [randomBytes(16).toString('hex')] },
      jwks: { keys: [{ ...(await exportJWK(p256().privateKey)), alg: 'ES256', use: 'sig' }] },
      clientDefaults: { id_token_signed_response_alg: 'ES256' },
      pkce: { required: () => true },
      features: { devInteractions: { enabled: false } },
      interactions: {
        url: (_: unknown, { uid }: { readonly uid: string }) => `/interaction/${uid}`,
      },
      findAccount: (_: unknown, accountId: string) => ({
        accountId,
        claims: () => ({ sub: accountId, groups: real.who.groups, name: 'Una Real' }),
      }),
      loadExistingGrant: async (ctx: Asked) => {
        const { client, account } = ctx.oidc
        const grant = new ctx.oidc.provider.Grant({
          clientId: client?.clientId ?? '',
          accountId: account?.accountId ?? '',
        })
        grant.addOIDCScope('openid profile')
        await grant.save()
        return grant
      },
    })
    const oidc = provider.callback()
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      if (request.url?.startsWith('/interaction/')) {
        const login = { accountId: real.who.subject }
        void provider.interactionFinished(request, response, { login })
      } else oidc(request, response)
    })
    return real
  }

  /** What a browser does with the address: follows it to the console, keeping cookies. @returns the query it comes back with */
  async visit(url: string): Promise<string> {
    const cookies = new Map<string, string>()
    let at = url
    for (let hop = 0; hop < 10; hop++) {
      const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
      const answer = await fetch(at, { redirect: 'manual', headers: { cookie } })
      for (const set of answer.headers.getSetCookie()) {
        const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(set) ?? []
        cookies.set(name, value)
      }
      const to = answer.headers.get('location')
      if (to === null) throw new Error(`no way on: ${answer.status} ${await answer.text()}`)
      at = new URL(to, at).href
      if (!at.startsWith(this.issuer)) return new URL(at).search
    }
    throw new Error('round in circles')
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

export interface Token {
  header: Record<string, unknown> & { alg: string }
  claims: Record<string, unknown>
  /** What signs it; undefined leaves the signature empty. */
  key: KeyObject | Uint8Array | undefined
}

/** A provider that signs whatever it is told to. */
export class HostileProvider {
  readonly issuer: string
  readonly keys: { readonly publicKey: KeyObject; readonly privateKey: KeyObject } = p256()
  readonly #server: Server
  /** Members of the discovery document to replace. */
  metadata: Record<string, unknown> = {}
  /** Sent as discovery document as it is. */
  elsewhere: string | undefined
  bend: (token: Token) => Token = (token) => token
  /** Bytes that the token endpoint adds. */
  padding = 0
  #nonce = ''

  private constructor(server: Server, port: number) {
    this.#server = server
    this.issuer = `http://localhost:${port}`
  }

  static async start(): Promise<HostileProvider> {
    const server = createServer()
    const provider = new HostileProvider(server, await listening(server))
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      provider.#answer(request, response).catch((error: unknown) => {
        response.statusCode = 500
        response.end(String(error))
      })
    })
    return provider
  }

  /** The query that this provider sends a browser back with. */
  visit(url: string): string {
    const asked = new URL(url).searchParams
    this.#nonce = asked.get('nonce') ?? ''
    return new URLSearchParams({
      code: 'c-1',
      state: asked.get('state') ?? '',
      iss: this.issuer,
    }).toString()
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const json = (body: unknown): void => {
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify(body))
    }
    switch (new URL(request.url ?? '/', this.issuer).pathname) {
      case '/.well-known/openid-configuration':
        if (this.elsewhere !== undefined) {
          response.writeHead(302, { location: this.elsewhere }).end()
          return
        }
        return json({
          issuer: this.issuer,
          authorization_endpoint: `${this.issuer}/auth`,
          token_endpoint: `${this.issuer}/token`,
          userinfo_endpoint: `${this.issuer}/me`,
          jwks_uri: `${this.issuer}/jwks`,
          response_types_supported: ['code'],
          subject_types_supported: ['public'],
          id_token_signing_alg_values_supported: ['ES256'],
          authorization_response_iss_parameter_supported: true,
          ...this.metadata,
        })
      case '/jwks':
        return json({
          keys: [
            { ...(await exportJWK(this.keys.publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' },
          ],
        })
      case '/me':
        return json({ sub: 'u-1', groups: ['secops'] })
      default: {
        const now = Math.floor(Date.now() / 1000)
        const token = this.bend({
          header: { alg: 'ES256', kid: 'k1' },
          claims: {
            iss: this.issuer,
            aud: CLIENT,
            sub: 'u-1',
            nonce: this.#nonce,
            iat: now,
            exp: now + 60,
            groups: ['secops'],
          },
          key: this.keys.privateKey,
        })
        return json({
          access_token: 'a',
          token_type: 'Bearer',
          id_token: await signedToken(token),
          padding: 'x'.repeat(this.padding),
        })
      }
    }
  }
}

async function signedToken({ header, claims, key }: Token): Promise<string> {
  if (key !== undefined) return new SignJWT(claims).setProtectedHeader(header).sign(key)
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part(header)}.${part(claims)}.`
}

export function p256(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' })
}

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  // Listening on TCP, so the address is an object.
  return (server.address() as AddressInfo).port
}
