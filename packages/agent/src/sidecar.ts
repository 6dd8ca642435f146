import { rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Server } from 'node:net'
import { pipeline } from 'node:stream/promises'

import { SallyportError } from '@sallyport/base'
import type { Target } from '@sallyport/transport'
import type { Dispatcher } from 'undici'

import { createClient } from './client.ts'
import type { AgentClient } from './client.ts'
import type { Identity } from './identity.ts'
import { listenPrivately } from './private-socket.ts'

export interface SidecarOptions {
  /** The agent's identity as it is now; asked for at every call. */
  readonly identity: () => Promise<Identity>
  readonly gateway: Target
}

/** The agent's own way to the gateway for programs that speak plain HTTP: it adds the identity, and nothing else. */
export interface Sidecar {
  /** Listens on a Unix socket of its owner only. @throws SallyportError `SP_LAUNCH_FAILED` */
  listen(path: string): Promise<void>
  /** Takes what comes in on a listener that only the agent can reach. */
  accept(listener: Server): void
  /** Ends every call and connection, at once and for good. */
  cut(): void
}

const MAX_CONNECTIONS = 256

/** Of one connection each, not of the message (RFC 9110, section 7.6.1); and what undici writes itself. */
const OF_CONNECTION: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization'],
  ...['te', 'trailer', 'transfer-encoding', 'upgrade', 'host', 'expect'],
])

/**
 * A sidecar. What it is sent goes to the gateway over mutual TLS as it is, and comes back as it is, both ways streamed. It decides
 * nothing: whoever reaches it is the agent.
 */
export function createSidecar({ identity, gateway }: SidecarOptions): Sidecar {
  let made: { readonly of: Identity; readonly client: AgentClient } | undefined
  let severed = false
  const paths: string[] = []
  const listeners: Server[] = []
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    void handle(request, response)
  })
  server.maxConnections = MAX_CONNECTIONS

  const dispatcher = async (): Promise<Dispatcher> => {
    const of = await identity()
    if (made?.of !== of) {
      // Enrolled anew: what ran under the identity before has ended with it.
      void made?.client.close()
      made = { of, client: createClient({ identity: of, gateway }) }
    }
    return made.client.dispatcher()
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? ''
    const gone = new AbortController()
    response.once('close', () => {
      gone.abort()
    })
    try {
      if (severed) throw new SallyportError('SP_CLIENT_CLOSED', 'its ways out are closed')
      if (!path.startsWith('/')) {
        throw new SallyportError('SP_REQUEST_TARGET', 'a sidecar is no proxy: ask it for a path', {
          fix: 'use its address as the base of addresses, not as `HTTP_PROXY`',
        })
      }
      demandProgram(request)
      const answer = await (
        await dispatcher()
      ).request({
        method: methodOf(request),
        path,
        headers: forwarded(request.rawHeaders),
        body: hasBody(request) ? request : null,
        signal: gone.signal,
        responseHeaders: 'raw',
      })
      // Asked for in this form above.
      const raw = answer.headers as unknown as readonly string[]
      response.writeHead(answer.statusCode, forwarded(raw))
      await pipeline(answer.body, response)
    } catch (error) {
      if (response.headersSent) response.destroy()
      else if (!response.destroyed) sendProblem(response, error)
    }
  }

  return {
    async listen(path) {
      await listenPrivately(server, path, 'the socket of the sidecar')
      paths.push(path)
    },
    accept(listener) {
      listeners.push(listener)
      listener.maxConnections = MAX_CONNECTIONS
      listener.on('connection', (socket) => {
        if (severed) socket.destroy()
        else server.emit('connection', socket)
      })
    },
    cut() {
      if (severed) return
      severed = true
      for (const listener of listeners) listener.close()
      server.close()
      server.closeAllConnections()
      for (const path of paths) rmSync(path, { force: true })
      void made?.client.close()
    },
  }
}

/** Names of loopback, and no name that somebody else has resolved to it. */
const OWN_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?$/i

/**
 * Whoever reaches a sidecar is the agent, and a browser that the agent runs reaches it for every page that it shows: pages say so.
 * The gateway cannot see it, since the host that was called is not passed on.
 *
 * @throws SallyportError `SP_SIDECAR_PAGE`
 */
function demandProgram({ headers, socket }: IncomingMessage): void {
  const { host = '', origin } = headers
  const site = headers['sec-fetch-site']
  // No browser calls by a Unix socket, and there the host says nothing.
  const named = socket.remoteAddress === undefined || OWN_HOST.test(host)
  const here = origin === undefined || origin === `http://${host}`
  if (named && here && (site === undefined || site === 'none' || site === 'same-origin')) return
  throw new SallyportError('SP_SIDECAR_PAGE', 'pages of other places may not call', {
    fix: 'call from the program of the agent, by the address that it was given',
  })
}

// What it is, the gateway judges.
const methodOf = ({ method = 'GET' }: IncomingMessage): Dispatcher.HttpMethod => method

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0

/** Names and values in turn, without those of one connection. */
function forwarded(raw: readonly (string | Buffer)[]): string[] {
  const all = raw.map(String)
  const named = all.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
  const dropped = new Set(OF_CONNECTION)
  // What `connection` names is of the connection, too.
  for (const [i, name] of named.entries()) {
    if (name !== 'connection') continue
    for (const one of (all[2 * i + 1] ?? '').split(',')) dropped.add(one.trim().toLowerCase())
  }
  return named.flatMap((name, i) => (dropped.has(name) ? [] : [name, all[2 * i + 1] ?? '']))
}

/** What it refuses by itself; otherwise the gateway cannot be reached. */
const STATUS: ReadonlyMap<string, number> = new Map([
  ['SP_REQUEST_TARGET', 400],
  ['SP_SIDECAR_PAGE', 403],
])

/** As RFC 9457 has it, so that a program can tell what the sidecar says from what the gateway says by its code alone. */
function sendProblem(response: ServerResponse, error: unknown): void {
  const known =
    error instanceof SallyportError
      ? error
      : new SallyportError('SP_UNREACHABLE', 'the gateway cannot be reached', { cause: error })
  const status = STATUS.get(known.code) ?? 503
  const body = JSON.stringify({ title: known.message, status, code: known.code, fix: known.fix })
  response.writeHead(status, {
    'content-type': 'application/problem+json',
    'content-length': Buffer.byteLength(body),
    connection: 'close',
  })
  response.end(body)
}
