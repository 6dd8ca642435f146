import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { constants, performServerHandshake } from 'node:http2'
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { createMtlsServer, peerOf } from '@sallyport/transport'
import type { IdentityHolder, MtlsServer, RefusedFacts, Target } from '@sallyport/transport'
import type { Clock } from '@sallyport/base'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import { AUTH_REQUEST_PATH, readAuthRequest } from './auth-request.ts'
import type { PointAnswer, PointChecks } from './checks.ts'
import { CHECK_PATH, readCheckRequest, writeCheckResponse } from './ext-authz.ts'

export interface PointListenerOptions {
  readonly identity: IdentityHolder
  readonly settings: GatewaySettings
  readonly clock: Clock
  readonly checks: PointChecks
  onRefused(facts: RefusedFacts): void
}

/** gRPC: whether compressed, and how long (gRPC over HTTP2, "Length-Prefixed-Message"). */
const PREFIX = 5
const GRPC_OK = '0'
const GRPC_INVALID_ARGUMENT = '3'
const GRPC_UNIMPLEMENTED = '12'

/** Where enforcement points ask: mutual TLS, then gRPC (Envoy, Istio) or HTTP/1.1 (nginx), by ALPN. Nobody else is let in. */
export class PointListener {
  readonly #options: PointListenerOptions
  readonly #http: Server
  readonly #mtls: MtlsServer
  readonly #sessions = new Set<ServerHttp2Session>()

  constructor(options: PointListenerOptions) {
    this.#options = options
    const { settings, identity, clock, checks } = options
    this.#http = createServer(
      {
        insecureHTTPParser: false,
        // A percent-encoded certificate is among them.
        maxHeaderSize: 2 * settings.maxHeaderBytes,
        headersTimeout: settings.headersTimeoutMs,
        requestTimeout: settings.requestTimeoutMs,
        keepAliveTimeout: settings.keepAliveTimeoutMs,
        noDelay: true,
      },
      (req, res) => {
        void this.#authRequest(req, res)
      },
    )
    // Node begins to enforce the timeouts above when a server starts to listen, which this one never does itself.
    this.#http.emit('listening')
    this.#mtls = createMtlsServer({
      identity,
      clock,
      alpn: ['h2', 'http/1.1'],
      // nginx names no protocol when it asks another server.
      alpnImplied: true,
      handshakeTimeoutMs: settings.handshakeTimeoutMs,
      maxConnections: settings.maxConnections,
      accept: (peer) => checks.admits(peer),
      onRefused: (facts) => {
        options.onRefused(facts)
      },
      onConnection: (socket, peer) => {
        if (!peer) socket.destroy()
        else if (socket.alpnProtocol !== 'h2') this.#http.emit('connection', socket)
        else {
          const session = performServerHandshake(socket, {
            maxSessionMemory: 64,
            settings: { maxConcurrentStreams: 1000 },
          })
          this.#sessions.add(session)
          session.on('close', () => this.#sessions.delete(session))
          session.on('error', () => session.destroy())
          session.on('stream', (stream, headers) => {
            void this.#check(stream, peer, headers)
          })
        }
      },
    })
  }

  /** @param shared with other gateways of this machine, where it is a port */
  async listen(at: Target, shared: boolean): Promise<Target> {
    const address = await this.#mtls.listen(at, shared)
    return typeof address === 'string'
      ? { path: address }
      : { host: address.address, port: address.port }
  }

  /** Takes no new connections and lets those there are end. */
  drain(): void {
    this.#mtls.stopListening()
    this.#http.closeIdleConnections()
    for (const session of this.#sessions) session.close()
  }

  /** Cuts every connection of an instance, or of every instance below a subject. @returns how many */
  cut(subject: string): number {
    return this.#mtls.sockets.cut(subject)
  }

  async close(): Promise<void> {
    this.#http.close(() => undefined)
    for (const session of this.#sessions) session.destroy()
    await this.#mtls.close()
  }

  async #authRequest(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const peer = peerOf(req.socket)
    if (!peer || req.url !== AUTH_REQUEST_PATH || req.method !== 'GET') {
      res.writeHead(404, { 'content-length': 0 }).end()
      return
    }
    const answer = await this.#options.checks.check(peer, () => readAuthRequest(req.rawHeaders))
    const decision = answer.decision === '' ? {} : { 'sallyport-decision': answer.decision }
    // nginx knows two denials; anything else is an error to it, and closed, too.
    if (answer.allowed) res.writeHead(200, { ...decision, 'content-length': 0 }).end()
    else {
      res.writeHead(answer.status === 401 ? 401 : 403, {
        ...decision,
        'sallyport-code': answer.code,
        'content-type': 'application/problem+json',
        'content-length': Buffer.byteLength(answer.body),
      })
      res.end(answer.body)
    }
  }

  async #check(
    stream: ServerHttp2Stream,
    peer: VerifiedSvid,
    headers: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    stream.on('error', () => undefined)
    if (headers[':method'] !== 'POST' || headers[':path'] !== CHECK_PATH) {
      grpc(stream, GRPC_UNIMPLEMENTED)
      return
    }
    let message: Buffer
    try {
      message = await messageOf(stream, 2 * this.#options.settings.maxBodyBytes)
    } catch {
      grpc(stream, GRPC_INVALID_ARGUMENT)
      return
    }
    const answer: PointAnswer = await this.#options.checks.check(peer, () =>
      readCheckRequest(message),
    )
    grpc(stream, GRPC_OK, writeCheckResponse(answer))
  }
}

/** The one message of a unary call. @throws Refusal where it is compressed, cut short, too long, or not the only one */
async function messageOf(stream: ServerHttp2Stream, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of stream) {
    // Without an encoding set, a stream yields buffers.
    const bytes = chunk as Buffer
    size += bytes.length
    if (size > maxBytes) throw unreadable()
    chunks.push(bytes)
  }
  const all = Buffer.concat(chunks)
  if (size < PREFIX || all[0] !== 0 || all.readUInt32BE(1) !== size - PREFIX) throw unreadable()
  return all.subarray(PREFIX)
}

const unreadable = (): Refusal =>
  new Refusal('SP_POINT_REQUEST', 'the question cannot be read', { status: 400 })

function grpc(stream: ServerHttp2Stream, status: string, message?: Buffer): void {
  if (stream.destroyed || stream.closed) return
  const head = { ':status': 200, 'content-type': 'application/grpc' }
  if (message === undefined) {
    stream.respond({ ...head, 'grpc-status': status }, { endStream: true })
    // What is still on its way is not read.
    stream.close(constants.NGHTTP2_NO_ERROR)
    return
  }
  stream.respond(head, { waitForTrailers: true })
  stream.once('wantTrailers', () => {
    stream.sendTrailers({ 'grpc-status': status })
  })
  const prefix = Buffer.alloc(PREFIX)
  prefix.writeUInt32BE(message.length, 1)
  stream.end(Buffer.concat([prefix, message]))
}
