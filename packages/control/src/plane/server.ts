import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { errorCode, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { kindOf } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { assertFresh, createMtlsServer, peerOf } from '@sallyport/transport'
import type { IdentityHolder, MtlsServer } from '@sallyport/transport'
import type { Publisher } from '../domain/publisher.ts'
import type { Quarantines } from '../domain/quarantine.ts'
import { sendProblem } from './answer.ts'
import type { PlaneRoute } from './routes.ts'

const HANDSHAKE_MS = 5000
const HEADERS_MS = 5000
const REQUEST_MS = 30_000
/** Longer than a long poll; streams write every second. */
const IDLE_MS = 40_000

export interface PlaneDeps {
  readonly identity: IdentityHolder
  readonly clock: Clock
  readonly trustDomain: string
  readonly publisher: Publisher
  readonly quarantine: Quarantines
  readonly routes: readonly PlaneRoute[]
  readonly onGateway: (gateway: string, request: IncomingMessage) => void
  readonly onError: (error: unknown) => void
}

export interface Plane {
  listen(at: { readonly host: string; readonly port: number }): Promise<{
    host: string
    port: number
  }>
  close(): Promise<void>
}

/**
 * The plane API: TLS 1.3, SVIDs verified at the handshake and judged again on every request; without a certificate there is
 * enrolment and nothing else.
 */
export function createPlane(deps: PlaneDeps): Plane {
  const revoked = revocations(deps.publisher)
  const http = createServer(
    {
      headersTimeout: HEADERS_MS,
      requestTimeout: REQUEST_MS,
      keepAliveTimeout: 10_000,
      connectionsCheckingInterval: 1000,
      maxHeaderSize: 8192,
      insecureHTTPParser: false,
    },
    (request, response) => void serve(request, response),
  )
  http.setTimeout(IDLE_MS)

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined)
    try {
      const url = new URL(request.url ?? '/', 'http://plane')
      const route = find(deps.routes, request.method ?? '', url.pathname)
      const peer = peerOf(request.socket)
      const caller = admit(route, peer)
      const recheck = (): void => void admit(route, peer)
      if (caller && kindOf(caller.id)?.kind === 'gateway') deps.onGateway(caller.id.uri, request)
      await route.handle({ request, response, url, caller, recheck })
    } catch (error) {
      if (errorCode(error) === 'SP_INTERNAL') deps.onError(error)
      sendProblem(response, error)
    }
  }

  /** @throws SallyportError where this peer may not make this call now */
  function admit(route: PlaneRoute, peer: VerifiedSvid | undefined): VerifiedSvid | undefined {
    if (route.who === 'anonymous') return peer
    if (!peer && route.who === 'either') return undefined
    if (!peer) throw new SallyportError('SP_PLANE_IDENTITY', 'this call needs a certificate')
    assertFresh(peer, deps.clock.now())
    const kind = kindOf(peer.id)?.kind
    if (
      kind === undefined ||
      kind === 'control' ||
      (route.who === 'gateway' && kind !== route.who)
    ) {
      throw new SallyportError('SP_PLANE_KIND', 'this identity may not make this call')
    }
    const { retired = [] } = deps.publisher.current().bundle.roots ?? {}
    if (retired.includes(peer.root)) {
      throw new SallyportError('SP_SVID_UNTRUSTED', 'the root of this certificate was retired')
    }
    // One who is cut off may still ask whether it is.
    if (route.always === true) return peer
    if (deps.quarantine.isQuarantined(peer.id.uri)) {
      throw new SallyportError('SP_QUARANTINED', 'this identity is quarantined')
    }
    if (revoked(peer.serial)) {
      throw new SallyportError('SP_SVID_REVOKED', 'this certificate is revoked', {
        fix: 'enrol anew with a join token',
      })
    }
    return peer
  }

  const mtls: MtlsServer = createMtlsServer({
    identity: deps.identity,
    accept: (peer) => {
      const kind = kindOf(peer.id)?.kind
      if (peer.id.trustDomain !== deps.trustDomain) return 'another trust domain'
      return (kind !== undefined && kind !== 'control') || 'not an agent, service or gateway'
    },
    allowAnonymous: true,
    onConnection: (socket) => http.emit('connection', socket),
    handshakeTimeoutMs: HANDSHAKE_MS,
    clock: deps.clock,
  })
  return {
    async listen(at) {
      startTimeouts(http)
      const address = await mtls.listen(at)
      if (typeof address === 'string') {
        throw new SallyportError('SP_INTERNAL', 'the plane listens on a socket without port')
      }
      return { host: address.address, port: address.port }
    },
    async close() {
      http.closeAllConnections()
      await mtls.close()
      http.close()
    },
  }
}

/** Node arms the header and request timeouts when a server starts to listen; this one is handed its connections. */
function startTimeouts(http: Server): void {
  http.emit('listening')
}

function revocations(publisher: Publisher): (serial: string) => boolean {
  const read = (): Set<string> =>
    new Set(publisher.current().bundle.revokedSerials.map(({ serial }) => serial))
  let serials = read()
  publisher.onChange(() => {
    serials = read()
  })
  return (serial) => serials.has(serial)
}

function find(routes: readonly PlaneRoute[], method: string, path: string): PlaneRoute {
  const here = routes.filter((route) => route.path.test(path))
  const route = here.find((candidate) => candidate.method === method)
  if (route) return route
  throw here.length > 0
    ? new SallyportError('SP_PLANE_METHOD', 'this call is made with another method')
    : new SallyportError('SP_PLANE_ROUTE', 'there is no such call')
}
