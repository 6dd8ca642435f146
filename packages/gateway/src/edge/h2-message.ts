import { EventEmitter } from 'node:events'
import { constants } from 'node:http2'
import type { ServerHttp2Stream } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { Refusal } from '../refusal.ts'
import { readH2Head } from './h2-head.ts'
import type { H2Head } from './h2-head.ts'
import type { EdgeRequest, EdgeResponse } from './message.ts'

const { NGHTTP2_NO_ERROR } = constants

interface H2Facts {
  /** What the TLS handshake asked for, where it did. */
  readonly serverName: string | undefined
  readonly maxHeaderBytes: number
}

/** One request of an HTTP/2 session. */
export class H2Request implements EdgeRequest {
  readonly httpVersion = '2.0'
  readonly socket: TLSSocket
  readonly hasMore: boolean
  rawTrailers: string[] = []
  /** Whether its body may take as long as whoever reads it lets it. */
  takesItsTime = false
  /** Why the head cannot be read; thrown to whoever asks for it. */
  readonly #head: H2Head | Refusal
  readonly #stream: ServerHttp2Stream
  /** Bytes of DATA that the head announced. */
  readonly #announced: number | undefined

  constructor(
    stream: ServerHttp2Stream,
    list: readonly string[],
    socket: TLSSocket,
    { serverName, maxHeaderBytes }: H2Facts,
  ) {
    this.#stream = stream
    this.socket = socket
    this.hasMore = !stream.endAfterHeaders
    this.#head = attempt(() => readH2Head(list, serverName, maxHeaderBytes))
    this.#announced = announcedLength(this.#head)
    stream.on('trailers', (_headers, _flags, given?: readonly string[]) => {
      this.rawTrailers = [...(given ?? ['?', ''])]
    })
  }

  get method(): string {
    return this.#read().method
  }

  get url(): string {
    return this.#read().url
  }

  get rawHeaders(): readonly string[] {
    return this.#read().rawHeaders
  }

  get complete(): boolean {
    return this.#stream.readableEnded || !this.hasMore
  }

  /** @throws Refusal for DATA that is not as long as announced (RFC 9113 section 8.1.1), or that a reset ended */
  async *[Symbol.asyncIterator](): AsyncGenerator {
    let size = 0
    // Whoever stops reading still has to answer.
    for await (const chunk of this.#stream.iterator({ destroyOnReturn: false })) {
      // Without an encoding set, a stream yields buffers.
      size += (chunk as Buffer).length
      if (this.#announced !== undefined && size > this.#announced) throw this.#disagrees()
      yield chunk
    }
    // RST_STREAM with NO_ERROR reads as an end where it came before anyone read; END_STREAM alone says that the body is whole.
    if (this.#stream.aborted) {
      throw new Refusal('SP_REQUEST_BODY', 'the request was broken off', { status: 400 })
    }
    if (this.#announced !== undefined && size !== this.#announced) throw this.#disagrees()
  }

  #disagrees(): Refusal {
    return new Refusal('SP_REQUEST_BODY', 'the request body is not as long as announced', {
      status: 400,
    })
  }

  #read(): H2Head {
    if (this.#head instanceof Refusal) throw this.#head
    return this.#head
  }
}

function attempt(read: () => H2Head): H2Head | Refusal {
  try {
    return read()
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
}

function announcedLength(head: H2Head | Refusal): number | undefined {
  if (head instanceof Refusal) return undefined
  const at = head.rawHeaders.indexOf('content-length')
  // What is no plain number is refused with the rest of the headers.
  return at < 0 || at % 2 === 1 ? undefined : Number(head.rawHeaders[at + 1])
}

/** The answer to one request of an HTTP/2 session. */
export class H2Response extends EventEmitter implements EdgeResponse {
  readonly #stream: ServerHttp2Stream
  #keepAlive = true
  #broken = false
  /** Monotonic, milliseconds; set once the answer is all written. */
  endedAt: number | undefined

  constructor(stream: ServerHttp2Stream) {
    super()
    this.#stream = stream
    stream.on('close', () => this.emit('close'))
    stream.on('drain', () => this.emit('drain'))
  }

  get headersSent(): boolean {
    return this.#stream.headersSent
  }

  get destroyed(): boolean {
    return this.#broken || this.#stream.destroyed || this.#stream.closed
  }

  get writableEnded(): boolean {
    return this.#stream.writableEnded
  }

  get writableFinished(): boolean {
    return this.#stream.writableFinished
  }

  get shouldKeepAlive(): boolean {
    return this.#keepAlive
  }

  set shouldKeepAlive(keep: boolean) {
    this.#keepAlive = keep
  }

  writeContinue(): void {
    if (!this.destroyed) this.#stream.additionalHeaders({ ':status': 100 })
  }

  writeHead(status: number, headers: Record<string, string | number>): void {
    // Streams are framed apart from each other: one that was refused does not put the others out of step.
    const { connection: _ofTheConnection, ...rest } = headers
    if (this.destroyed) return
    this.#stream.respond({ ':status': status, ...rest })
    // Who they are is no longer so, or has a successor: what is in flight may end, and nothing new begins.
    if (status === 401 || !this.#keepAlive) this.#stream.session?.close()
  }

  flushHeaders(): void {
    // `respond` has sent them.
  }

  /** Of an answer that ends with trailers: with `endWithTrailers`, and with nothing else. */
  writeHeadBeforeTrailers(headers: Record<string, string>): void {
    if (this.destroyed) return
    this.#stream.respond({ ':status': 200, ...headers }, { waitForTrailers: true })
    if (!this.#keepAlive) this.#stream.session?.close()
  }

  endWithTrailers(trailers: Record<string, string>): void {
    const stream = this.#stream
    if (this.destroyed || stream.writableEnded) return
    this.endedAt = performance.now()
    stream.once('wantTrailers', () => {
      if (stream.destroyed) return
      stream.sendTrailers(trailers)
      // A body that nobody reads on is not waited for (RFC 9113 section 8.1); at once, nghttp2 would drop the trailers.
      setImmediate(() => {
        if (!stream.readableEnded) stream.close(NGHTTP2_NO_ERROR)
      })
    })
    stream.end()
  }

  /** An answer that is nothing but its trailers. */
  writeOnlyTrailers(trailers: Record<string, string>): void {
    if (this.destroyed) return
    this.endedAt = performance.now()
    const stream = this.#stream
    stream.respond({ ':status': 200, ...trailers }, { endStream: true })
    if (!this.#keepAlive) stream.session?.close()
    if (stream.readableEnded) return
    // A body that nobody read is not waited for (RFC 9113 section 8.1).
    if (stream.writableFinished) stream.close(NGHTTP2_NO_ERROR)
    else stream.once('finish', () => stream.close(NGHTTP2_NO_ERROR))
  }

  write(bytes: string | Uint8Array): boolean {
    return this.destroyed || this.#stream.write(bytes)
  }

  end(bytes?: string | Uint8Array): void {
    if (this.destroyed || this.#stream.writableEnded) return
    this.endedAt = performance.now()
    const stream = this.#stream
    stream.end(bytes)
    // A body that nobody read is not waited for (RFC 9113 section 8.1).
    stream.once('finish', () => {
      if (!stream.readableEnded) stream.close(NGHTTP2_NO_ERROR)
    })
  }

  destroy(): void {
    this.#broken = true
    // `close` would end the stream well before it resets it.
    this.#stream.destroy(new Error('the answer was broken off'))
  }
}
