import { constants } from 'node:http2'
import type { ClientHttp2Stream, IncomingHttpHeaders, IncomingHttpStatusHeader } from 'node:http2'
import type { Clock } from '@sallyport/base'
import type { Ending } from '../edge/ending.ts'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import { AnswerBody } from '../upstream/answer-body.ts'
import { Breakers } from '../upstream/breakers.ts'
import type { Attempt } from '../upstream/breakers.ts'
import type { Addressed } from '../upstream/call-tokens.ts'
import { blame, failed, traceTowards, unusable } from '../upstream/exchange.ts'
import type { Exchange, UpstreamAnswer } from '../upstream/exchange.ts'
import { Frames, framed } from './frames.ts'
import type { Leased, Sessions } from './sessions.ts'
import { CONTENT_TYPE, GRPC, refusedBy } from './status.ts'

export interface UpstreamParts {
  readonly sessions: Sessions
  readonly exchange: Pick<Exchange, 'credential' | 'forget'>
  readonly settings: GatewaySettings
  readonly clock: Clock
}

/** One call on behalf of a caller; the body of its request is the message. */
export interface UpstreamCall extends Addressed {
  /** Milliseconds after which nobody waits for the whole of it. */
  readonly timeoutMs: number
  /** Bytes of one message of the answer. */
  readonly maxMessageBytes: number
  readonly signal: Ending
  /** Whether more messages follow: those go by `send`, and `endSending` says that there are no more. */
  readonly goesOn: boolean
}

/** An answer that has begun, or may not have yet: what it lacks shows in its body. */
export interface GrpcAnswer extends UpstreamAnswer {
  /**
   * The next messages, at least one; undefined where the system ended the call well.
   *
   * @throws Refusal `SP_UPSTREAM_REFUSED`, `SP_UPSTREAM_RESPONSE`, `SP_UPSTREAM_FAILED`, `SP_UPSTREAM_TIMEOUT`
   */
  next(): Promise<readonly Buffer[] | undefined>
  /**
   * Sends another message. Resolves when the system takes more; where it takes none any more, `next` says why.
   *
   * @returns false where it was not sent
   */
  send(message: Buffer): Promise<boolean>
  endSending(): void
}

const MAX_ATTEMPTS = 3
const { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM } = constants

/** Calls systems over gRPC: only what was authorised, with the credential of the gateway. */
export class GrpcUpstream {
  readonly #parts: UpstreamParts
  readonly #breakers: Breakers

  constructor(parts: UpstreamParts) {
    this.#parts = parts
    const { breakerFailures: after, breakerOpenMs: openMs } = parts.settings
    this.#breakers = new Breakers({ clock: parts.clock, after, openMs })
  }

  /**
   * Sends a call with its first message.
   *
   * @throws Refusal `SP_UPSTREAM_FAILED`, `SP_UPSTREAM_TIMEOUT`, `SP_UPSTREAM_OPEN`, `SP_CREDENTIAL_MISSING`
   */
  async start(call: UpstreamCall): Promise<GrpcAnswer> {
    const left = this.#breakers.enterBoth(call.system.name, call.caller)
    let told = false
    const came = (ofSystem: Attempt, ofCaller: Attempt): void => {
      if (!told) left(ofSystem, ofCaller)
      told = true
    }
    const wrong = (error: unknown): void => {
      const [ofSystem, ofCaller] = blame(error)
      if (call.signal.aborted) came('neither', 'neither')
      // Where its caller takes its time, or is cut off while it sends, that says nothing.
      else came(ofSystem, call.goesOn ? 'neither' : ofCaller)
    }
    try {
      const answering = await this.#send(call, () => {
        came('answered', 'answered')
      })
      return {
        ...answering,
        next: async () => {
          try {
            return await answering.next()
          } catch (error) {
            wrong(error)
            throw error
          }
        },
      }
    } catch (error) {
      wrong(error)
      throw error
    }
  }

  async #send(call: UpstreamCall, answered: () => void): Promise<GrpcAnswer> {
    const { system, request, signal, timeoutMs } = call
    const until = this.#parts.clock.monotonic() + timeoutMs
    const { session, credential } = await this.#lease(call)
    const traceparent = traceTowards(call)
    if (signal.aborted) throw failed(signal.reason)
    const message = request.body ?? Buffer.alloc(0)
    const left = Math.max(1, Math.ceil(until - this.#parts.clock.monotonic()))
    let stream: ClientHttp2Stream
    try {
      stream = session.request(
        {
          ':method': request.method,
          ':path': request.path,
          te: 'trailers',
          'content-type': CONTENT_TYPE,
          'grpc-accept-encoding': 'identity',
          // At most eight digits.
          'grpc-timeout': left > 99_999_999 ? `${Math.floor(left / 1000)}S` : `${left}m`,
          ...(traceparent === undefined ? {} : { traceparent }),
          ...credential,
        },
        { endStream: false },
      )
    } catch (error) {
      throw failed(error)
    }
    const reading = new Reading(stream, call, answered, (status) => {
      if (status === GRPC.UNAUTHENTICATED) this.#parts.exchange.forget(system)
    })
    if (call.goesOn) stream.write(framed(message))
    else stream.end(framed(message))
    return {
      ...{ status: 200, contentType: CONTENT_TYPE, retryAfter: undefined, mcpSession: undefined },
      headers: {},
      body: reading.body,
      next: () => reading.next(),
      send: (more) => sent(stream, framed(more)),
      endSending: () => {
        if (!stream.destroyed && !stream.closed) stream.end()
      },
    }
  }

  async #lease(call: UpstreamCall): Promise<Leased & { credential: Record<string, string> }> {
    const { sessions, exchange } = this.#parts
    for (let attempt = 1; ; attempt++) {
      let leased: Leased
      try {
        leased = await sessions.lease(call.caller, call.system)
      } catch (error) {
        throw failed(error)
      }
      const asked = exchange.credential(call, leased.tag)
      const credential = asked ? { [asked.header]: await asked.value } : {}
      // Certificates rotated meanwhile: the credential belongs to a connection that takes no more calls.
      const { closed, destroyed } = leased.session
      if ((closed || destroyed) && attempt < MAX_ATTEMPTS && !call.signal.aborted) continue
      return { ...leased, credential }
    }
  }
}

/** Reads the answer to one call. */
class Reading {
  readonly body: AnswerBody
  readonly #frames: Frames
  readonly #stream: ClientHttp2Stream
  readonly #ended: (status: number) => void
  #trailers: IncomingHttpHeaders | undefined

  constructor(
    stream: ClientHttp2Stream,
    { maxMessageBytes, timeoutMs, signal }: UpstreamCall,
    answered: () => void,
    ended: (status: number) => void,
  ) {
    this.#ended = ended
    this.#stream = stream
    this.#frames = new Frames(maxMessageBytes, (fault) =>
      unusable(fault === 'size' ? 'a message of it is too large' : `a message of it is ${fault}`),
    )
    let isOver = false
    const body = new AnswerBody({
      abort: () => {
        giveUp(stream)
      },
      pause: () => stream.pause(),
      resume: () => stream.resume(),
    })
    this.body = body
    const timer = setTimeout(() => {
      body.destroy(timedOut())
    }, timeoutMs).unref()
    const aborted = (): void => {
      const reason: unknown = signal.reason
      body.destroy(reason instanceof Error ? reason : new Error('the caller has gone'))
    }
    signal.addEventListener('abort', aborted)
    stream.on('response', (headers) => {
      answered()
      const wrong = wrongHead(headers)
      // What ends at once has its trailers there.
      if (headers['grpc-status'] !== undefined) this.#trailers = headers
      if (wrong) body.destroy(wrong)
    })
    stream.on('trailers', (headers) => {
      this.#trailers = headers
    })
    stream.on('data', (chunk: Buffer) => {
      body.push(chunk)
    })
    stream.on('end', () => {
      isOver = true
      body.end()
    })
    let cause: Error | undefined
    stream.on('error', (error: Error) => {
      cause = error
    })
    stream.on('close', () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
      const { rstCode } = stream
      const refused = rstCode === NGHTTP2_REFUSED_STREAM ? 'refused' : `reset with ${rstCode}`
      if (!isOver || rstCode !== 0) body.fail(cause ?? new Error(`the stream was ${refused}`))
    })
  }

  async next(): Promise<readonly Buffer[] | undefined> {
    for (;;) {
      const messages = this.#frames.push(await this.#piece())
      if (messages.length > 0) return messages
      if (this.body.isWhole) {
        this.#frames.end()
        // A system may answer before it has heard all.
        if (!this.#stream.writableEnded) giveUp(this.#stream)
        return this.#status()
      }
    }
  }

  /** Empty where there is nothing more. */
  async #piece(): Promise<Buffer> {
    try {
      return (await this.body.next()).value ?? Buffer.alloc(0)
    } catch (error) {
      throw error instanceof Refusal ? error : failed(error)
    }
  }

  #status(): undefined {
    const text = this.#trailers?.['grpc-status']
    // What is reset or loses its connection ends, too, as far as its bytes go.
    if (text === undefined) throw failed(new Error('the answer ended without a `grpc-status`'))
    if (typeof text !== 'string' || !/^(?:0|[1-9]\d?)$/.test(text)) {
      throw unusable('its `grpc-status` is none')
    }
    const status = Number(text)
    if (status === GRPC.OK) return undefined
    this.#ended(status)
    throw refusedBy(status)
  }
}

/**
 * Resets a stream. One whose caller had not said all must not look as if it had: `close` ends it well before it resets it, and servers on
 * Node take CANCEL for an end.
 */
function giveUp(stream: ClientHttp2Stream): void {
  if (stream.writableEnded) stream.close(NGHTTP2_CANCEL)
  else stream.destroy(new Error('the call was given up'))
}

/** Writes to a stream, and waits until it takes more or is gone. @returns false where it is gone before */
async function sent(stream: ClientHttp2Stream, bytes: Buffer): Promise<boolean> {
  if (stream.destroyed || stream.closed) return false
  if (stream.write(bytes)) return true
  await new Promise<void>((resolve) => {
    const done = (): void => {
      stream.removeListener('drain', done)
      stream.removeListener('close', done)
      resolve()
    }
    stream.on('drain', done)
    stream.on('close', done)
  })
  return true
}

const timedOut = (): Error =>
  Object.assign(new Error('the answer took too long'), { code: 'GRPC_TIMEOUT' })

function wrongHead(headers: IncomingHttpHeaders & IncomingHttpStatusHeader): Refusal | undefined {
  const status = headers[':status']
  if (status !== 200) {
    return new Refusal('SP_UPSTREAM_FAILED', 'the system could not handle the request', {
      status: 502,
      detail: `status ${status ?? 0}`,
    })
  }
  if (!/^application\/grpc(?:\+proto)?$/.test(headers['content-type'] ?? '')) {
    return unusable('its content type is not that of gRPC')
  }
  if ((headers['grpc-encoding'] ?? 'identity') !== 'identity') {
    return unusable('it is encoded, which was not asked for')
  }
  return undefined
}
