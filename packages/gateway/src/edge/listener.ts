import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '@sallyport/base'
import type { TrustBundle, VerifiedSvid } from '@sallyport/spiffe'
import { createMtlsServer } from '@sallyport/transport'
import type { IdentityHolder, MtlsServer, RefusedFacts } from '@sallyport/transport'
import type { GatewaySettings } from '../settings.ts'
import { BalancedDoor } from './balanced.ts'
import { Gone } from './ending.ts'
import type { Ending } from './ending.ts'
import { H2Edge } from './h2.ts'
import { IdleSweep } from './idle.ts'
import type { Quiet } from './idle.ts'
import type { EdgeRequest, EdgeResponse } from './message.ts'

export interface ListenerOptions {
  /** Addresses and ranges of balancers that say where connections come from; with it nobody else may connect. */
  readonly proxyFrom?: readonly string[]
  readonly identity: IdentityHolder
  readonly settings: GatewaySettings
  readonly clock: Clock
  /** Bundles of other trust domains, of this moment. */
  foreign(): ReadonlyMap<string, TrustBundle>
  admits(svid: VerifiedSvid): boolean | string
  onConnected(svid: VerifiedSvid): void
  onRefused(facts: RefusedFacts): void
  /** @param gone tells where the caller goes before its answer has */
  onRequest(req: EdgeRequest, res: EdgeResponse, gone: Ending): void
  /** A client that takes this for a proxy, and the host and port that it wants to reach. */
  onElsewhere(svid: VerifiedSvid, authority: string): void
  /** Bytes that are not HTTP as accepted here. */
  onMalformed(svid: VerifiedSvid | undefined, code: string): void
}

/** Of an HTTP/1.1 connection: the answer that is being given, and the requests that wait for that. */
interface Line extends Quiet {
  answer: ServerResponse | undefined
  /** Since when that is all written and not taken, as far as it was looked at; monotonic, milliseconds. */
  untakenSince: number | undefined
  /** What is being answered, or was last. */
  latest: EdgeRequest | undefined
  readonly waiting: [IncomingMessage, ServerResponse][]
}

export interface Address {
  readonly host: string
  readonly port: number
}

/** Requests of a connection that may wait for answers before them. */
const MAX_AHEAD = 16

const MALFORMED = 'HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'

/** Where agents come in: mutual TLS, then HTTP/1.1 or HTTP/2, by ALPN, as strictly as Node's parsers go, bounded on every side. */
export class Listener {
  readonly #options: ListenerOptions
  readonly #http: Server
  readonly #h2: H2Edge
  readonly #mtls: MtlsServer
  readonly #peers = new Map<TLSSocket, VerifiedSvid>()
  readonly #lines = new WeakMap<Duplex, Line>()
  readonly #idle: IdleSweep
  #isDraining = false
  #balanced: BalancedDoor | undefined

  constructor(options: ListenerOptions) {
    this.#options = options
    const { settings, identity, clock } = options
    this.#idle = new IdleSweep(settings.keepAliveTimeoutMs, clock, () => {
      for (const socket of this.#peers.keys()) {
        const line = this.#lines.get(socket)
        if (!line) continue
        if (this.#isUntaken(line)) socket.destroy()
        else this.#idle.look(socket, line, line.answer !== undefined)
      }
    })
    this.#http = this.#createHttp()
    this.#h2 = new H2Edge({
      settings,
      clock,
      onRequest: (req, res, gone) => {
        options.onRequest(req, res, gone)
      },
      onMalformed: (socket, code) => {
        options.onMalformed(this.#peers.get(socket), code)
      },
    })
    this.#mtls = createMtlsServer({
      identity,
      clock,
      alpn: ['h2', 'http/1.1'],
      handshakeTimeoutMs: settings.handshakeTimeoutMs,
      maxConnections: settings.maxConnections,
      foreign: () => options.foreign(),
      accept: (peer) => {
        if (this.#tooManyOf(peer)) return 'the trust domain has too many connections'
        if (this.#mtls.sockets.of(peer.id.uri).length >= settings.maxConnectionsPerInstance) {
          return 'the instance has too many connections'
        }
        return options.admits(peer)
      },
      onRefused: (facts) => {
        options.onRefused(facts)
      },
      onConnection: (socket, peer) => {
        // Whoever was still shaking hands when the gateway began to stop goes elsewhere, with nothing of a call sent.
        if (!peer || this.#isDraining) {
          socket.destroy()
          return
        }
        this.#peers.set(socket, peer)
        socket.once('close', () => this.#peers.delete(socket))
        options.onConnected(peer)
        if (socket.alpnProtocol === 'h2') this.#h2.take(socket)
        else this.#http.emit('connection', socket)
      },
    })
  }

  get connections(): number {
    return this.#peers.size
  }

  /** @param shared with other gateways of this machine, on the same port */
  async listen(at: Address, shared: boolean): Promise<Address> {
    const { proxyFrom: from, settings } = this.#options
    if (from !== undefined) {
      this.#balanced = new BalancedDoor({
        ...{ from, settings, mtls: this.#mtls },
        onRefused: (facts) => {
          this.#options.onRefused(facts)
        },
      })
      return this.#balanced.listen(at, shared)
    }
    const address = await this.#mtls.listen(at, shared)
    if (typeof address === 'string') throw new Error('a TCP listener has a TCP address')
    return { host: address.address, port: address.port }
  }

  /** Takes no new connections and lets those there are end: idle ones at once, the others with their next answer. */
  drain(): void {
    this.#isDraining = true
    this.#balanced?.stop()
    this.#mtls.stopListening()
    this.#http.closeIdleConnections()
    this.#h2.drain()
  }

  /** Cuts every connection of an instance, or of every instance below a subject. @returns how many */
  cut(subject: string): number {
    return this.#mtls.sockets.cut(subject)
  }

  /** Cuts the connections that were opened with these certificates. @returns how many */
  cutSerials(serials: readonly string[]): number {
    const revoked = new Set(serials)
    let count = 0
    for (const [socket, { serial }] of this.#peers) {
      if (!revoked.has(serial)) continue
      socket.destroy()
      count++
    }
    return count
  }

  /** Cuts the connections whose certificates end at these roots. @returns how many */
  cutRoots(roots: readonly string[]): number {
    const retired = new Set(roots)
    let count = 0
    for (const [socket, { root }] of this.#peers) {
      if (!retired.has(root)) continue
      socket.destroy()
      count++
    }
    return count
  }

  /** Another trust domain names its instances as it likes: all of them together may have a quarter of the connections. */
  #tooManyOf({ id: { trustDomain } }: VerifiedSvid): boolean {
    const { identity, settings } = this.#options
    if (trustDomain === identity.current().trustDomain) return false
    let open = 0
    for (const { id } of this.#peers.values()) if (id.trustDomain === trustDomain) open++
    return open >= settings.maxConnections / 4
  }

  async close(): Promise<void> {
    this.#balanced?.stop()
    this.#http.close(() => undefined)
    this.#h2.close()
    this.#idle.stop()
    await this.#mtls.close()
  }

  #createHttp(): Server {
    const { settings } = this.#options
    const onRequest = (req: IncomingMessage, res: ServerResponse): void => {
      this.#inTurn(req, res)
    }
    const http = createServer({
      insecureHTTPParser: false,
      requireHostHeader: true,
      joinDuplicateHeaders: false,
      maxHeaderSize: settings.maxHeaderBytes,
      headersTimeout: settings.headersTimeoutMs,
      requestTimeout: settings.requestTimeoutMs,
      // Node would set and clear a timer for every request: `IdleSweep` looks at all connections at once.
      keepAliveTimeout: 0,
      connectionsCheckingInterval: Math.max(100, Math.min(1000, settings.headersTimeoutMs / 4)),
      noDelay: true,
      // A request without a body is no stream that somebody has to end.
      optimizeEmptyRequests: true,
    })
    http.maxHeadersCount = settings.maxHeaders
    http.maxRequestsPerSocket = settings.maxRequestsPerConnection
    http.on('request', onRequest)
    // Both would be answered by Node itself; they are refused like any other header that is not accepted.
    http.on('checkContinue', onRequest)
    http.on('checkExpectation', onRequest)
    http.on('connect', ({ url = '' }: IncomingMessage, socket: Duplex) => {
      // Sockets here are those that `onConnection` handed over.
      const peer = this.#peers.get(socket as TLSSocket)
      if (peer) this.#options.onElsewhere(peer, url)
      this.#malformed(socket, 'HPE_CONNECT')
    })
    http.on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => {
      // Whoever reads its body has bounds of their own for it, and Node says this once of each request.
      const latest = this.#lines.get(socket)?.latest
      if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && latest?.takesItsTime && !latest.complete) {
        return
      }
      if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy()
      else this.#malformed(socket, error.code ?? 'HPE_UNKNOWN')
    })
    // Node begins to enforce the timeouts above when a server starts to listen, which this one never does itself.
    http.emit('listening')
    return http
  }

  /**
   * Node gives out a request that was sent ahead while the one before it is still being answered. It waits here: what follows
   * an answer that ends its connection may be no request at all, and is not looked at.
   */
  #inTurn(req: IncomingMessage, res: ServerResponse): void {
    const { socket } = req
    let line = this.#lines.get(socket)
    if (!line) {
      line = {
        ...{ answer: undefined, untakenSince: undefined, latest: undefined, waiting: [] },
        ...{ heard: 0, wasBusy: false, quietSince: 0 },
      }
      this.#lines.set(socket, line)
    }
    if (line.answer === undefined) this.#take(line, req, res)
    else if (line.waiting.length < MAX_AHEAD) line.waiting.push([req, res])
    else {
      // Sockets here are those that `onConnection` handed over.
      this.#options.onMalformed(this.#peers.get(socket as TLSSocket), 'too many requests ahead')
      socket.destroy()
    }
  }

  #take(line: Line, req: IncomingMessage, res: ServerResponse): void {
    const { socket } = req
    line.answer = res
    line.untakenSince = undefined
    line.latest = req
    const gone = new Gone()
    // Node emits it once.
    res.on('close', () => {
      line.answer = undefined
      if (!res.writableFinished) gone.abort()
      if (!socket.writable || socket.destroyed) return
      const next = line.waiting.shift()
      if (next) this.#take(line, ...next)
    })
    this.#idle.announce(res)
    this.#options.onRequest(req, res, gone)
  }

  /** Whether a caller has not taken the last of its answer for as long as its request might have taken. */
  #isUntaken(line: Line): boolean {
    // One that was taken is not there any more.
    if (line.answer?.writableEnded !== true) return false
    const { clock, settings } = this.#options
    const now = clock.monotonic()
    line.untakenSince ??= now
    return now - line.untakenSince > settings.requestTimeoutMs
  }

  #malformed(socket: Duplex, code: string): void {
    // Sockets here are those that `onConnection` handed over.
    this.#options.onMalformed(this.#peers.get(socket as TLSSocket), code)
    socket.end(MALFORMED)
    // What else arrives on it is not looked at.
    setTimeout(() => socket.destroy(), 100).unref()
  }
}
