import { constants, performServerHandshake } from 'node:http2'
import type { ServerHttp2Session, ServerHttp2Stream, ServerOptions } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { Roster } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { GatewaySettings } from '../settings.ts'
import { Gone } from './ending.ts'
import type { Ending } from './ending.ts'
import { H2Request, H2Response } from './h2-message.ts'
import type { EdgeRequest, EdgeResponse } from './message.ts'

export interface H2Options {
  readonly settings: GatewaySettings
  readonly clock: Clock
  /** @param gone tells where the caller goes before its answer has */
  onRequest(req: EdgeRequest, res: EdgeResponse, gone: Ending): void
  /** A connection that was given up for what its peer sent. */
  onMalformed(socket: TLSSocket, code: string): void
}

const { NGHTTP2_CANCEL, NGHTTP2_ENHANCE_YOUR_CALM } = constants

const SWEEP_MS = 500
/** Frames of control and streams that end badly: so many at once, and so many a second in the long run. */
const TROUBLE_BURST = 200
const TROUBLE_PER_SECOND = 20

interface OpenStream {
  readonly stream: ServerHttp2Stream
  readonly req: H2Request
  readonly res: H2Response
  readonly startedAt: number
  /** When it was given up, monotonic, milliseconds. */
  givenUpAt: number | undefined
}

/** What is known of one session. Times are monotonic. */
interface Session {
  readonly socket: TLSSocket
  readonly streams: Roster<OpenStream>
  /** Until when it may have nothing open. */
  idleUntil: number
  requests: number
  /** Streams that were told of. */
  told: number
  /** Streams that were not, for their heads were none: as many as were counted. */
  untold: number
  trouble: number
  troubleAt: number
}

/** HTTP/2 (RFC 9113) on connections that the listener has verified: the same requests, bounded on every side. */
export class H2Edge {
  readonly #options: H2Options
  readonly #h2: ServerOptions
  readonly #sessions = new Map<ServerHttp2Session, Session>()
  readonly #timer: NodeJS.Timeout

  constructor(options: H2Options) {
    this.#options = options
    const { settings } = options
    this.#h2 = {
      maxSessionMemory: 8,
      maxHeaderListPairs: settings.maxHeaders + 4,
      maxSessionInvalidFrames: 16,
      maxSessionRejectedStreams: 64,
      maxOutstandingPings: 4,
      maxSettings: 16,
      streamResetBurst: TROUBLE_BURST,
      streamResetRate: TROUBLE_PER_SECOND,
      settings: {
        maxConcurrentStreams: settings.maxStreamsPerConnection,
        maxHeaderListSize: settings.maxHeaderBytes,
        enableConnectProtocol: false,
      },
    }
    this.#timer = setInterval(() => {
      this.#sweep()
    }, SWEEP_MS).unref()
  }

  close(): void {
    clearInterval(this.#timer)
    for (const session of this.#sessions.keys()) session.destroy()
  }

  /** Asks every session to go (GOAWAY): streams that are open end in peace. */
  drain(): void {
    for (const session of this.#sessions.keys()) session.close()
  }

  /** Takes over a socket that agreed on `h2`. */
  take(socket: TLSSocket): void {
    const { clock, settings } = this.#options
    const session = performServerHandshake(socket, this.#h2)
    const now = clock.monotonic()
    const open: Session = {
      socket,
      streams: new Roster(),
      idleUntil: now + settings.headersTimeoutMs,
      requests: 0,
      ...{ told: 0, untold: 0 },
      trouble: 0,
      troubleAt: now,
    }
    this.#sessions.set(session, open)
    session.on('stream', (stream, _headers, _flags, rawHeaders) => {
      this.#stream(session, open, stream, rawHeaders ?? [])
    })
    session.on('ping', () => {
      this.#trouble(session, open)
    })
    session.on('remoteSettings', () => {
      open.idleUntil = Math.max(open.idleUntil, clock.monotonic() + settings.keepAliveTimeoutMs)
      this.#trouble(session, open)
    })
    session.on('error', (error: NodeJS.ErrnoException) => {
      // A peer that went away did nothing wrong.
      if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') {
        this.#options.onMalformed(socket, error.code ?? 'ERR_HTTP2')
      }
      session.destroy()
    })
    session.on('close', () => {
      this.#sessions.delete(session)
      socket.destroy()
    })
  }

  #stream(
    session: ServerHttp2Session,
    open: Session,
    stream: ServerHttp2Stream,
    rawHeaders: readonly string[],
  ): void {
    const { clock, settings } = this.#options
    const { socket } = open
    // Whoever reads it learns of an error; until then, and after, it must not end the process.
    stream.on('error', () => undefined)
    open.told++
    if (stream.destroyed) {
      this.#trouble(session, open)
      return
    }
    const { servername } = socket as TLSSocket & { readonly servername?: unknown }
    const req = new H2Request(stream, rawHeaders, socket, {
      serverName: typeof servername === 'string' && servername !== '' ? servername : undefined,
      maxHeaderBytes: settings.maxHeaderBytes,
    })
    const res = new H2Response(stream)
    const startedAt = clock.monotonic()
    const place = open.streams.add({ stream, req, res, startedAt, givenUpAt: undefined })
    const gone = new Gone()
    stream.once('close', () => {
      open.streams.remove(place)
      // Of one that was reset before its answer was over, Node ends what is written, and finishes it.
      if (stream.aborted || !res.writableFinished) gone.abort()
      if (open.streams.size === 0) {
        open.idleUntil = clock.monotonic() + settings.keepAliveTimeoutMs
      }
      // Whoever reset it, and whatever the one that did was made to: what it began has cost its work.
      if (stream.rstCode !== 0) this.#trouble(session, open)
    })
    if (++open.requests >= settings.maxRequestsPerConnection) session.close()
    this.#options.onRequest(req, res, gone)
  }

  /** Counts what an honest peer seldom does, and cuts off whoever does it all the time. */
  #trouble(session: ServerHttp2Session, open: Session, times = 1): void {
    const now = this.#options.clock.monotonic()
    const forgiven = ((now - open.troubleAt) / 1000) * TROUBLE_PER_SECOND
    open.trouble = Math.max(0, open.trouble - forgiven) + times
    open.troubleAt = now
    if (open.trouble <= TROUBLE_BURST || session.destroyed) return
    this.#options.onMalformed(open.socket, 'H2_FLOOD')
    session.destroy(undefined, NGHTTP2_ENHANCE_YOUR_CALM)
    open.socket.destroy()
  }

  /**
   * A head that Node gives up, for its fields are too many or too large, cost what it took to read it, and nobody is told.
   * Streams have every other number, as all clients count; who skips some is taken to have begun them.
   */
  #countUntold(session: ServerHttp2Session, open: Session): void {
    const untold = Math.ceil((session.state.lastProcStreamID ?? 0) / 2) - open.told
    const more = untold - open.untold
    open.untold = untold
    if (more > 0) this.#trouble(session, open, more)
  }

  #sweep(): void {
    const { clock, settings } = this.#options
    const now = clock.monotonic()
    for (const [session, open] of this.#sessions) {
      this.#countUntold(session, open)
      let isStuck = false
      for (const one of open.streams) {
        const { stream, req, res, startedAt } = one
        const slowBody =
          !req.complete && !req.takesItsTime && now - startedAt > settings.requestTimeoutMs
        const slowReader =
          res.endedAt !== undefined && performance.now() - res.endedAt > settings.requestTimeoutMs
        if (!slowBody && !slowReader) continue
        if (one.givenUpAt === undefined) {
          one.givenUpAt = now
          stream.close(NGHTTP2_CANCEL)
        } else if (now - one.givenUpAt > settings.requestTimeoutMs) isStuck = true
      }
      // Whoever does not even take that a stream is given up takes nothing any more: what waits for them would wait for ever.
      if (isStuck) {
        session.destroy()
        open.socket.destroy()
        continue
      }
      if (open.streams.size === 0 && now > open.idleUntil) {
        session.close()
        // One that does not even answer a farewell.
        if (now > open.idleUntil + settings.headersTimeoutMs) session.destroy()
      }
    }
  }
}
