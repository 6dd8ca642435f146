import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { ControlContext } from '../domain/context.ts'
import type { Seen } from '../domain/sessions.ts'
import { isSecure } from '../site/origin.ts'
import { serveFile } from './files.ts'
import { checkCsrf, checkSource, sessionCookie, sessionSetCookie } from './guard.ts'
import { readBody, sendJson, sendProblem, setSecurityHeaders } from './http.ts'
import { KnownSessions } from './known.ts'
import { IdentityProviders } from './oidc.ts'
import { openApi } from './openapi.ts'
import { authorise } from './route.ts'
import type { ApiCall, Principal, Route } from './route.ts'
import { Router } from './router.ts'
import { approvalRoutes } from './routes/approvals.ts'
import { backchannelRoutes } from './routes/backchannel.ts'
import { consentRoutes } from './routes/consents.ts'
import { authorityRoutes } from './routes/authority.ts'
import { custodyRoutes } from './routes/custody.ts'
import { breakGlassRoutes } from './routes/break-glass.ts'
import { declarationRoutes } from './routes/declaration.ts'
import { federationRoutes } from './routes/federation.ts'
import { incidentRoutes } from './routes/incidents.ts'
import { inventoryRoutes } from './routes/inventory.ts'
import { keyRoutes } from './routes/keys.ts'
import { mandateRoutes } from './routes/mandates.ts'
import { foreignRoutes } from './routes/foreign.ts'
import { peopleRoutes } from './routes/people.ts'
import { quarantineRoutes } from './routes/quarantine.ts'
import { readRoutes } from './routes/reads.ts'
import { recoveryRoutes } from './routes/recovery.ts'
import { sessionRoutes, signInWith } from './routes/session.ts'
import { signedInRoutes } from './routes/signed-in.ts'
import { any, check } from './schema.ts'
import { Streams } from './stream.ts'
import { Strangers } from './strangers.ts'
import { TotpDoor } from './totp.ts'

const DEFAULT_MAX_BYTES = 65_536

export interface OperatorApi {
  /** For a server on loopback, or one over TLS: the console's files and `/api`, for browsers. */
  readonly consoleHandler: RequestListener
  /** For an `http.Server` on the admin socket (`listenPrivately`): reads and narrowing acts, without a session. */
  readonly adminHandler: RequestListener
  /** Ends every event stream, so that servers can close. */
  close(): void
}

export interface OperatorApiOptions {
  /** What browsers are at, e.g. `http://localhost:7400`; default the context's `consoleUrl`. */
  readonly origin?: string
  /** The built console; default the context's. */
  readonly staticDir?: string
  /** Told of errors that are not the caller's doing. */
  readonly onError?: (error: unknown) => void
}

/**
 * The operator API (ARCHITECTURE.md): one table of routes that dispatches, authorises, checks input and describes itself at
 * `/api/openapi.json`.
 */
export function createOperatorApi(
  context: ControlContext,
  options: OperatorApiOptions = {},
): OperatorApi {
  const origin = new URL(options.origin ?? context.consoleUrl).origin
  const staticDir = options.staticDir ?? context.staticDir
  const known = new KnownSessions()
  const streams = new Streams(context)
  const totp = new TotpDoor(context)
  const providers = new IdentityProviders(context, origin, options.onError ?? (() => undefined))
  // On loopback everybody has the same address, and is a user of this machine.
  const strangers = isSecure(origin) ? new Strangers(context.clock) : undefined
  const routes: Route[] = [
    ...sessionRoutes(context, totp),
    ...signedInRoutes(context),
    ...breakGlassRoutes(context),
    ...recoveryRoutes(context),
    ...federationRoutes(providers, signInWith(context)),
    ...readRoutes(context),
    ...incidentRoutes(context),
    ...inventoryRoutes(context),
    ...approvalRoutes(context),
    ...consentRoutes(context),
    ...backchannelRoutes(context),
    ...quarantineRoutes(context),
    ...declarationRoutes(context),
    ...peopleRoutes(context),
    ...custodyRoutes(context),
    ...keyRoutes(context),
    ...authorityRoutes(context),
    ...mandateRoutes(context),
    ...foreignRoutes(context),
    {
      method: 'GET',
      path: '/api/events',
      summary: 'Server-sent events; `Last-Event-ID` resumes',
      access: { role: 'viewer', act: 'read', local: true },
      answer: any(
        'decision, approval, agent, quarantine, incident, revision, risk, session, alarm; reset: load afresh',
      ),
      stream: (call, response) => streams.open(call, response),
    },
    {
      method: 'GET',
      path: '/api/openapi.json',
      summary: 'This document',
      access: { role: 'anyone', act: 'read', local: true },
      answer: any('OpenAPI 3.1'),
      handle: async () => document,
    },
  ]
  const document = openApi(routes, origin)
  const router = new Router(routes)

  const answer = async (
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    principal: Principal,
  ): Promise<void> => {
    const { route, params } = router.find(request.method ?? '', url.pathname)
    authorise(route.access, principal)
    // A page that only listens is not in use.
    if (principal.kind === 'operator' && !('stream' in route)) {
      await context.sessions.touch(principal.view)
    }
    if (route.method === 'POST' && principal.kind === 'operator') {
      checkCsrf(request, principal.view.csrf)
    }
    if (principal.kind === 'operator' && principal.view.breakGlass && !('stream' in route)) {
      const { method, access } = route
      const narrows = access.act === 'narrow'
      await context.breakGlass.note(principal.view.breakGlass.id, {
        ...{ method, path: url.pathname, narrows },
      })
    }
    const call: ApiCall = {
      principal,
      seen: seenIn(request),
      params,
      query: readQuery(url, route),
      body: await bodyOf(request, route),
      lastEventId: lastEventId(request),
      setSession(secret) {
        if (secret !== undefined) known.meet(secret)
        response.setHeader('set-cookie', sessionSetCookie(secret, origin))
      },
    }
    if ('stream' in route) await route.stream(call, response)
    else sendJson(response, 200, await route.handle(call))
  }

  const guarded =
    (act: (request: IncomingMessage, response: ServerResponse) => Promise<void>) =>
    (request: IncomingMessage, response: ServerResponse): void => {
      act(request, response).catch((error: unknown) => {
        if (!(error instanceof SallyportError)) options.onError?.(error)
        if (response.headersSent) response.destroy()
        else sendProblem(response, error, OPERATOR_CALLS.has(request))
      })
    }

  return {
    consoleHandler: guarded(async (request, response) => {
      setSecurityHeaders(response, origin)
      const url = pathOf(request)
      const api = url.pathname === '/api' || url.pathname.startsWith('/api/')
      checkSource(request, origin, api)
      if (!api) {
        await serveFile(staticDir, request, response, url.pathname)
        return
      }
      const secret = sessionCookie(request, origin)
      const admit = (): void => strangers?.admit(seenIn(request).address)
      const met = secret !== undefined && known.has(secret)
      // Looking a cookie up costs the database a read, so a made-up one is rationed first.
      if (!met) admit()
      const principal = await principalOf(context, secret, seenIn(request))
      if (principal.kind === 'operator') {
        OPERATOR_CALLS.add(request)
        known.meet(principal.secret)
      } else if (met) {
        known.forget(secret)
        admit()
      }
      await answer(request, response, url, principal)
    }),
    adminHandler: guarded(async (request, response) => {
      setSecurityHeaders(response)
      OPERATOR_CALLS.add(request)
      await answer(request, response, pathOf(request), { kind: 'local' })
    }),
    close: () => streams.close(),
  }
}

/** Requests whose sender may read the detail of errors. */
const OPERATOR_CALLS = new WeakSet<IncomingMessage>()

async function principalOf(
  { sessions }: ControlContext,
  secret: string | undefined,
  seen: Seen,
): Promise<Principal> {
  const view = secret === undefined ? undefined : await sessions.find(secret, seen)
  if (secret === undefined || !view) return { kind: 'nobody' }
  return { kind: 'operator', secret, view }
}

const seenIn = ({ headers, socket }: IncomingMessage): Seen => ({
  userAgent: headers['user-agent'] ?? '',
  address: socket.remoteAddress ?? '',
})

function pathOf(request: IncomingMessage): URL {
  const target = request.url ?? ''
  // Origin form only (RFC 9112, section 3.2.1): an absolute target would name a host of its own.
  if (!target.startsWith('/') || target.startsWith('//') || target.length > 8192) {
    throw new SallyportError('SP_API_NOT_FOUND', 'there is nothing at this address')
  }
  return new URL(target, 'http://localhost')
}

function readQuery(url: URL, route: Route): Record<string, string> {
  const query: Record<string, string> = {}
  for (const [name, value] of url.searchParams) {
    if (Object.hasOwn(query, name)) {
      throw new SallyportError('SP_API_INPUT', `the query names \`${name.slice(0, 64)}\` twice`)
    }
    // An empty one is one that was not filled in.
    if (value !== '') query[name] = value
  }
  const shape = route.query ?? {
    type: 'object',
    properties: {},
    required: [],
    additionalProperties: false,
  }
  check(shape, query, 'query')
  return query
}

async function bodyOf(
  request: IncomingMessage,
  route: Route,
): Promise<Readonly<Record<string, JsonValue>>> {
  if (!route.body) return {}
  const body = await readBody(request, route.maxBytes ?? DEFAULT_MAX_BYTES)
  check(route.body, body, 'body')
  return body
}

function lastEventId(request: IncomingMessage): string | undefined {
  const value = request.headers['last-event-id']
  return typeof value === 'string' && value !== '' ? value : undefined
}
