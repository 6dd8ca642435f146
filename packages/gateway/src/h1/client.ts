import type { Duplex } from 'node:stream'
import type {
  AnswerControl,
  AnswerHandler,
  SentRequest,
  StreamedBody,
} from '../upstream/connections.ts'
import { BodyReader } from './body.ts'
import { Fault } from './fault.ts'
import { HeadReader, readAnswerHead } from './head.ts'
import type { HeadBounds } from './head.ts'
import { requestHead, writeTogether } from './write.ts'

/** Answers that only announce another, to one request. */
const MAX_INTERIM = 8
const IDLE_MS = 4000
const MAX_IDLE_MS = 30_000
/** The other side may close a moment before it said. */
const IDLE_MARGIN_MS = 1000

/** A `TLSSocket`, say. */
type Wire = Duplex & { setNoDelay(on: boolean): unknown }

/** Told what becomes of a connection. */
interface Owner {
  /** It can take the next request. */
  free(connection: ClientConnection): void
  gone(connection: ClientConnection): void
}

/** One request, from when it is asked for to the end of its answer. */
export class Call implements AnswerControl {
  readonly request: SentRequest
  readonly handler: AnswerHandler
  connection: ClientConnection | undefined

  constructor(request: SentRequest, handler: AnswerHandler) {
    this.request = request
    this.handler = handler
  }

  abort(reason: Error): void {
    this.connection?.abort(this, reason)
  }

  pause(): void {
    this.connection?.pause(this)
  }

  resume(): void {
    this.connection?.resume(this)
  }

  fail(error: Error): void {
    this.connection = undefined
    this.handler.onResponseError(this, error)
  }
}

/**
 * A connection to a server of HTTP/1.1 (RFC 9112): one request at a time, and nothing else than its answer is taken. Whatever puts
 * it out of step ends it.
 */
export class ClientConnection {
  readonly #socket: Wire
  readonly #host: string
  readonly #bounds: HeadBounds
  readonly #owner: Owner
  readonly #head: HeadReader
  #call: Call | undefined
  #body: BodyReader | undefined
  #interims = 0
  #close = false
  /** Whether anything of the call's request was written. */
  #hasSent = false
  /** Whether a body is still on its way that is sent as it comes. */
  #isSending = false
  #isPaused = false
  #isGone = false
  #idleMs = IDLE_MS
  /** `Keep-Alive` that this was read from. */
  #idleHint: string | string[] | undefined
  /** When it is given up; monotonic, milliseconds. */
  #deadline = Number.POSITIVE_INFINITY

  constructor(socket: Wire, host: string, bounds: HeadBounds, owner: Owner) {
    this.#socket = socket
    this.#host = host
    this.#bounds = bounds
    this.#owner = owner
    this.#head = new HeadReader(bounds)
    socket.setNoDelay(true)
    socket.on('data', (bytes: Buffer) => {
      this.take(bytes)
    })
    socket.on('error', (error) => {
      this.#lost(error)
    })
    const closed = (): void => {
      this.#lost(new Fault('closed'))
    }
    socket.on('end', closed)
    socket.on('close', closed)
  }

  /** Sends a request. The connection must be free. */
  start(call: Call): void {
    const { request } = call
    let head: string
    try {
      head = requestHead(request, this.#host)
    } catch (error) {
      this.#owner.free(this)
      call.fail(asError(error))
      return
    }
    this.#call = call
    call.connection = this
    this.#hasSent = false
    call.handler.onRequestStart(call)
    // Whoever asked had gone meanwhile.
    if (this.#call !== call) return
    this.#hasSent = true
    this.#deadline = performance.now() + request.headersTimeout
    const { body } = request
    if (body === null || body instanceof Uint8Array) writeTogether(this.#socket, head, body)
    else void this.#stream(call, head, body)
  }

  /** Sends a body as it comes. Never rejects: whatever stops it ends the connection before the body would have ended. */
  async #stream(call: Call, head: string, body: StreamedBody): Promise<void> {
    this.#isSending = true
    // Whoever makes the body has bounds for how long that takes.
    this.#deadline = Number.POSITIVE_INFINITY
    let left = body.size
    try {
      this.#socket.write(head, 'latin1')
      for await (const piece of body) {
        // Answered already, or given up.
        if (this.#call !== call) return
        left -= piece.length
        if (left < 0) break
        if (!this.#socket.write(piece)) await this.#drained()
      }
      if (left !== 0) throw new Fault('unwritable')
      if (this.#call !== call) return
      this.#isSending = false
      // What is answered already is bounded by its own pieces.
      if (!this.#body) this.#deadline = performance.now() + call.request.headersTimeout
    } catch (error) {
      if (this.#call === call) this.#lost(asError(error))
    }
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const over = (): void => {
        this.#socket.removeListener('drain', over)
        this.#socket.removeListener('close', over)
        resolve()
      }
      if (this.#isGone) {
        resolve()
        return
      }
      this.#socket.on('drain', over)
      this.#socket.on('close', over)
    })
  }

  abort(call: Call, reason: Error): void {
    if (this.#call !== call) return
    if (this.#hasSent) {
      this.#lost(reason)
      return
    }
    this.#call = undefined
    this.#owner.free(this)
    call.fail(reason)
  }

  pause(call: Call): void {
    if (this.#call !== call) return
    this.#isPaused = true
    this.#deadline = Number.POSITIVE_INFINITY
    this.#socket.pause()
  }

  resume(call: Call): void {
    if (this.#call !== call || !this.#isPaused) return
    this.#isPaused = false
    this.#deadline = performance.now() + call.request.bodyTimeout
    this.#socket.resume()
  }

  /** Ends what has waited for too long. */
  check(now: number): void {
    if (now <= this.#deadline) return
    this.#lost(new Fault(this.#body ? 'timeout-body' : 'timeout-head'))
  }

  /** @param reason what a call that is on it fails with */
  destroy(reason: Error): void {
    this.#lost(reason)
  }

  /** Takes what came, which stays as it is. */
  take(bytes: Buffer): void {
    if (this.#isGone) return
    try {
      this.#read(bytes)
    } catch (error) {
      this.#lost(asError(error))
    }
  }

  #read(bytes: Buffer): void {
    let rest = bytes
    const call = this.#call
    // Nobody asked, or an answer had an end and this stands behind it.
    if (!call) throw new Fault('unasked')
    while (!this.#body) {
      const head = this.#head.push(rest)
      if (!head) return
      rest = head.rest
      this.#begin(call, head.text)
      if (this.#call !== call) return
      if (!this.#body && rest.length === 0) return
    }
    const behind = this.#body.push(rest)
    if (this.#call !== call) return
    if (behind) this.#end(call, behind)
    else if (!this.#isPaused) this.#deadline = performance.now() + call.request.bodyTimeout
  }

  #begin(call: Call, text: string): void {
    const answer = readAnswerHead(text, call.request.method, this.#bounds)
    if (answer.status < 200) {
      // What would end with it is not the answer, and another can hardly follow.
      if (answer.close || ++this.#interims > MAX_INTERIM) throw new Fault('interim')
      return
    }
    this.#close = answer.close
    const hint = answer.headers['keep-alive']
    // A server says the same each time.
    if (hint !== this.#idleHint) {
      this.#idleHint = hint
      this.#idleMs = idleTime(hint)
    }
    this.#body = new BodyReader(answer.framing, this.#bounds, this.#piece)
    call.handler.onResponseStart(call, answer.status, answer.headers)
  }

  /** Of the answer to the call that is on it: one that was given up is not told any more. */
  readonly #piece = (bytes: Buffer): void => {
    const call = this.#call
    call?.handler.onResponseData(call, bytes)
  }

  #end(call: Call, behind: Buffer): void {
    // Its length was no truth, or two answers came for one request: neither is to be trusted.
    if (behind.length > 0) throw new Fault('behind-the-answer')
    this.#call = undefined
    call.connection = undefined
    this.#body = undefined
    this.#interims = 0
    this.#deadline = performance.now() + this.#idleMs
    // An answer that came before its request had left: the rest of the request is still on its way.
    const inStep =
      !this.#close && this.#idleMs > 0 && !this.#isSending && this.#socket.writableLength === 0
    if (this.#isPaused) {
      this.#isPaused = false
      this.#socket.resume()
    }
    // What came together with the answer and stands behind it is read first, and meets no call.
    if (inStep) setImmediate(this.#setFree)
    call.handler.onResponseEnd(call)
    if (!inStep) this.#lost(new Fault('closed'))
  }

  readonly #setFree = (): void => {
    if (!this.#isGone) this.#owner.free(this)
  }

  #lost(error: Error): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#deadline = Number.POSITIVE_INFINITY
    const call = this.#call
    this.#call = undefined
    this.#socket.destroy()
    this.#owner.gone(this)
    call?.fail(error)
  }
}

/** What `Keep-Alive: timeout=N` leaves, of an answer that says it. */
function idleTime(hint: string | string[] | undefined): number {
  const seconds =
    typeof hint === 'string' ? /(?:^|[ ,])timeout=(\d{1,5})/.exec(hint)?.[1] : undefined
  if (seconds === undefined) return IDLE_MS
  return Math.min(MAX_IDLE_MS, Math.max(0, Number(seconds) * 1000 - IDLE_MARGIN_MS))
}

const asError = (error: unknown): Error =>
  error instanceof Error ? error : new Error(String(error))
