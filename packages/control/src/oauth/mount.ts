import { X509Certificate } from 'node:crypto'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Clock } from '@sallyport/base'
import { SallyportError } from '@sallyport/base'
import { createAuthorisationServer, isOauthPath, MAX_LIFETIME } from '@sallyport/oauth'
import type { AuthorisationServer, Peer } from '@sallyport/oauth'
import { certificatesFromPem, kindOf, parseSpiffeId } from '@sallyport/spiffe'
import type { Barrier } from '@sallyport/seal'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { certificateOf } from '@sallyport/transport'
import type { OperatorSet } from '@sallyport/wire'
import type { Acts } from '../domain/acts.ts'
import type { AlarmBell } from '../domain/alarms.ts'
import type { Backchannel } from '../domain/backchannel.ts'
import type { Consents } from '../domain/consents.ts'
import type { Events } from '../domain/events.ts'
import type { Publisher } from '../domain/publisher.ts'
import type { Quarantines } from '../domain/quarantine.ts'
import type { Sessions } from '../domain/sessions.ts'
import { SESSION_MINUTES } from '../domain/session-rules.ts'
import { checkSource } from '../operator/guard.ts'
import { sendProblem, setSecurityHeaders } from '../operator/http.ts'
import { Strangers } from '../operator/strangers.ts'
import type { PlaneRoute } from '../plane/routes.ts'
import { isSecure } from '../site/origin.ts'
import type { Store } from '../store/store.ts'
import type { Trust } from '../trust.ts'
import { createArtefacts } from './artefacts.ts'
import { createBackchannel } from './backchannel.ts'
import { consentPage } from './consent-page.ts'
import { CONSENT_SCRIPT } from './consent-script.ts'
import { CONSENT_STYLE } from './consent-style.ts'
import { createConsentDesk } from './consents.ts'
import type { ConsentDesk } from './consents.ts'
import { createGrants } from './grants.ts'
import { createTokenKeys } from './keys.ts'
import type { SigningKey } from './keys.ts'

export interface OauthDeps {
  readonly store: Store
  readonly clock: Clock
  readonly trust: Trust
  readonly publisher: Publisher
  readonly quarantine: Quarantines
  readonly events: Events
  readonly acts: Acts
  readonly alarms: Pick<AlarmBell, 'raise'>
  readonly sessions: Pick<Sessions, 'onEnded'>
  /** Seals what agents are told with. */
  readonly barrier: Pick<Barrier, 'encrypt' | 'decrypt'>
  readonly operatorSet: () => OperatorSet | undefined
  readonly onError: (error: unknown) => void
}

export interface Oauth {
  /** On the plane: certificates count. */
  readonly routes: readonly PlaneRoute[]
  /** At the issuer's own address, where nobody has a certificate: its paths here, all others as `rest` does. */
  beside(rest: RequestListener, origin: string): RequestListener
  readonly consents: Consents
  readonly backchannel: Backchannel
}

const OPERATOR = 'operator:'
/** Tokens of one client that are revoked and not expired: each goes to every gateway. */
const MAX_REVOKED = 64

/** Runs the authorisation server on what the control plane knows. */
export function createOauth(deps: OauthDeps): Oauth {
  const { store, clock, trust, publisher, quarantine } = deps
  const { trustDomain } = trust.pins
  const artefacts = createArtefacts(store, clock)
  const keys = createTokenKeys(deps)
  const strangers = new Strangers(clock)
  let made: { readonly key: SigningKey; readonly server: AuthorisationServer } | undefined

  const standing = (subject: string): boolean => {
    const index = publisher.index()
    if (subject.startsWith(OPERATOR)) {
      const name = subject.slice(OPERATOR.length)
      const keys = deps.operatorSet()?.keys ?? []
      return (
        index.network.operators.some((one) => one.name === name) &&
        keys.some(({ operator }) => operator === name)
      )
    }
    const [kind, name] = segmentsOf(subject)
    if (kind !== 'agent' || name === undefined || !index.findAgent(name)) return false
    return !quarantine.isQuarantined(subject) && !isCut(subject)
  }
  const isCut = (subject: string): boolean =>
    publisher.current().bundle.quarantined.some((one) => one.subject === subject)
  const revokedSerial = (serial: string): boolean =>
    publisher.current().bundle.revokedSerials.some((one) => one.serial === serial)

  const grants = createGrants({
    ...deps,
    standing,
    sessionMinutes: () => publisher.index().network.settings.sessionMinutes ?? SESSION_MINUTES,
    // With the last token made from it, the mark of the whole family may go.
    revoke: ({ jti, client }) =>
      revoke(deps, { jti, client, exp: Math.ceil(clock.now() / 1000) + MAX_LIFETIME }, Infinity),
  })
  const backchannel = createBackchannel({ ...deps, standing, server })

  async function server(): Promise<AuthorisationServer> {
    const key = await keys()
    if (made?.key !== key) {
      const fresh = createAuthorisationServer({
        issuer: trust.relyingParty.origin,
        trustDomain,
        clock,
        network: () => publisher.index(),
        ...{ artefacts, grants, questions: backchannel },
        signing: key,
        trust: () => publisher.current().bundle.tokens,
        standing,
        revokedSerial,
        keysOf: (spiffeId) => keysOf(deps, spiffeId, revokedSerial),
        revoke: (token) => revoke(deps, token),
        onError: deps.onError,
      })
      made = { key, server: fresh }
    }
    return made.server
  }

  const handle = async (
    request: IncomingMessage,
    response: ServerResponse,
    caller: VerifiedSvid | undefined,
  ): Promise<void> => {
    const peer = caller ? peerOf(request, caller) : undefined
    await (await server()).handle(request, response, peer)
  }
  const routes = (['GET', 'POST'] as const).map((method): PlaneRoute => ({
    method,
    path: /^\/(?:oauth2\/[a-z0-9/_-]{1,128}|\.well-known\/oauth-authorization-server)$/i,
    who: 'either',
    handle: ({ request, response, caller }) => handle(request, response, caller),
  }))
  const consents = createConsentDesk({ ...deps, artefacts, server })
  return {
    routes,
    consents,
    backchannel,
    beside: (rest, origin) => (request, response) => {
      const path = (request.url ?? '').split('?', 1)[0] ?? ''
      if (!isOauthPath(path)) {
        rest(request, response)
        return
      }
      setSecurityHeaders(response, origin)
      void atIssuer(request, response, origin)
    },
  }

  async function atIssuer(
    request: IncomingMessage,
    response: ServerResponse,
    origin: string,
  ): Promise<void> {
    try {
      checkSource(request, origin, false)
      // Whoever has no session and no certificate may cost a row in the database. On loopback everybody has one address.
      if (isSecure(origin)) strangers.admit(request.socket.remoteAddress ?? '')
      if (await atConsent(request, response, consents)) return
      await handle(request, response, undefined)
    } catch (error) {
      if (!(error instanceof SallyportError)) deps.onError(error)
      if (response.headersSent) response.destroy()
      else sendProblem(response, error, false)
    }
  }
}

/** The page of a request, to the browser that made it; its script and style, to any. */
async function atConsent(
  request: IncomingMessage,
  response: ServerResponse,
  desk: ConsentDesk,
): Promise<boolean> {
  const [path = ''] = (request.url ?? '').split('?', 1)
  const [, uid] = /^\/oauth2\/consent\/([A-Za-z0-9_-]{16,64})$/.exec(path) ?? []
  if (request.method !== 'GET') return false
  if (path === '/oauth2/consent.js') {
    response.setHeader('content-type', 'text/javascript; charset=utf-8')
    response.end(CONSENT_SCRIPT)
    return true
  }
  if (path === '/oauth2/consent.css') {
    response.setHeader('content-type', 'text/css; charset=utf-8')
    response.end(CONSENT_STYLE)
    return true
  }
  if (uid === undefined) return false
  const cookies = (request.headers.cookie ?? '').split(';').map((one) => one.trim())
  // Only the browser that was sent here has it: nobody can be led to a request that somebody else made.
  if (!cookies.includes(`_interaction=${uid}`)) {
    throw new SallyportError('SP_CONSENT_UNKNOWN', 'this browser has made no such request', {
      fix: 'start again in the program that asked you to sign in',
    })
  }
  response.setHeader('content-type', 'text/html; charset=utf-8')
  response.end(consentPage(uid, await desk.ticket(uid)))
  return true
}

function segmentsOf(subject: string): readonly string[] {
  try {
    return parseSpiffeId(subject).segments
  } catch {
    return []
  }
}

function peerOf({ socket }: IncomingMessage, { id, serial }: VerifiedSvid): Peer {
  const der = certificateOf(socket)
  if (der) return { id: id.uri, serial, certificate: new X509Certificate(der) }
  throw new SallyportError('SP_PLANE_IDENTITY', 'this call needs a certificate')
}

/** The public keys of the certificates that an instance has and may use. */
async function keysOf(
  { store, clock }: OauthDeps,
  spiffeId: string,
  revoked: (serial: string) => boolean,
): Promise<readonly Buffer[]> {
  if (kindOf(parseSpiffeId(spiffeId)) === undefined) return []
  const rows = await store.run((db) =>
    db
      .selectFrom('certificates')
      .select(['serial', 'chain'])
      .where('spiffe_id', '=', spiffeId)
      .where('not_after', '>', clock.now())
      .orderBy('issued_at', 'desc')
      .limit(8)
      .execute(),
  )
  return rows
    .filter(({ serial }) => !revoked(serial))
    .flatMap(({ chain }) => {
      const [leaf] = certificatesFromPem(chain)
      if (!leaf) return []
      return [new X509Certificate(leaf).publicKey.export({ format: 'der', type: 'spki' })]
    })
}

async function revoke(
  { publisher, clock }: OauthDeps,
  token: { readonly jti: string; readonly exp: number; readonly client: string },
  most = MAX_REVOKED,
): Promise<void> {
  await publisher.publish(async (tx) => {
    const now = clock.now()
    await tx
      .deleteFrom('revoked_tokens')
      .where('exp', '<=', Math.floor(now / 1000))
      .execute()
    const { count } = await tx
      .selectFrom('revoked_tokens')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .where('client', '=', token.client)
      .executeTakeFirstOrThrow()
    if (count >= most) {
      throw new SallyportError('SP_REVOCATION_FLOOD', 'too many tokens were revoked one by one', {
        fix: 'let them expire, or have the instance quarantined',
      })
    }
    const done = await tx
      .insertInto('revoked_tokens')
      .values({ ...token, at: now })
      .onConflict((conflict) => conflict.doNothing())
      .returning('jti')
      .executeTakeFirst()
    return { result: undefined, changed: done !== undefined }
  })
}
