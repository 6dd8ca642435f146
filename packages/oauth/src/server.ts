import type { IncomingMessage, ServerResponse } from 'node:http'
import { errorCode, SallyportError } from '@sallyport/base'
import { errors, Provider } from 'oidc-provider'
import { serving } from './call.ts'
import type { Peer } from './call.ts'
import { TOKEN_EXCHANGE } from './clients.ts'
import { configuration, PATH } from './configuration.ts'
import { decideBackchannel } from './backchannel.ts'
import type { BackchannelQuestion } from './backchannel.ts'
import { createConsents, oidcScopeOf } from './consent.ts'
import type { Consents } from './consent.ts'
import type { AuthorisationServerDeps } from './deps.ts'
import { EXCHANGE_PARAMETERS, Exchanges } from './exchange.ts'
import { readForm, rewritten } from './form.ts'
import type { Evidence } from './grants.ts'
import { introspect, revoke } from './inspect.ts'
import { endRefresh } from './kept.ts'
import { publicKeys } from './keys.ts'
import { systemOf } from './resource.ts'
import { TokenVerifier } from './verify.ts'

export interface AuthorisationServer {
  /**
   * Serves a request to a path that `isOauthPath` names. Never rejects.
   *
   * @param peer whose certificate the connection verified; undefined where it has none
   */
  handle(request: IncomingMessage, response: ServerResponse, peer: Peer | undefined): Promise<void>
  readonly consents: Consents
  /**
   * Hands a person's decision on a backchannel request over.
   *
   * @param evidence undefined where the person refused
   * @returns false where the request is there no longer
   */
  decide(question: BackchannelQuestion, evidence: Evidence | undefined): Promise<boolean>
}

const SERVED: ReadonlySet<string> = new Set(Object.values(PATH))
/** Where a person's browser goes on after consent. */
const RESUMED = /^\/oauth2\/auth\/[A-Za-z0-9_-]{16,64}$/

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
    // Behind this a path is found in any spelling; what is done for one here is done for the one that is meant.
    if (!SERVED.has(path) && !RESUMED.test(path)) {
      sendJson(response, 404, { error: 'invalid_request', error_description: 'nothing is here' })
      return
    }
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
      const token = form.get('token') ?? ''
      await revoke(token, peer, { ...deps, verifier: trusted() })
      await endRefresh(token, peer, deps)
      sendJson(response, 200, {})
      return
    }
    const asserts = form.has('client_assertion')
    claimClient(form, peer, asserts)
    const grant = form.get('grant_type')
    if (
      path === PATH.pushed ||
      path === PATH.backchannel ||
      (path === PATH.token && grant === 'client_credentials')
    ) {
      askForWhatIsDeclared(form, deps)
    }
    const call = { peer, asserts, mayAct: form.get('may_act') ?? undefined }
    const inner = rewritten(request, origin, url.pathname + url.search, form)
    await serving(call, () => callback(inner, response))
  }

  return {
    consents: createConsents(provider, deps),
    decide: (question, evidence) => decideBackchannel(provider, deps, question, evidence),
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
    const asked = form.get('scope') ?? ''
    const oidc = oidcScopeOf(asked)
    if (asked !== oidc) return
    const name = systemOf(trustDomain, form.get('resource') ?? '')
    const system = name === undefined ? undefined : network().findSystem(name)
    // Without a scope, all of the system: what no flow of the client declares is left out of it again.
    const operations = system?.operations.map((operation) => operation.name) ?? []
    if (operations.length > 0) form.set('scope', [oidc, ...operations].join(' ').trim())
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
