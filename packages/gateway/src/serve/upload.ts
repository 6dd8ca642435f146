import { createHash } from 'node:crypto'
import { otherDigest } from '../adapters/raw.ts'
import type { PassedBody } from '../calls/grant.ts'
import type { RawBody } from '../calls/types.ts'
import type { EdgeRequest } from '../edge/message.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { StreamedBody } from '../upstream/connections.ts'
import type { BareContext } from './context.ts'

/** Bytes that a caller has to send within the time that a whole request may take, unless fewer are left. */
const PACE_BYTES = 65_536

type Bounds = Pick<GatewaySettings, 'requestTimeoutMs' | 'upstreamTimeoutMs' | 'maxStreamMs'>

/**
 * One body on its way to its system. It is counted and hashed as it passes, and its last piece is held back until all of it has turned
 * out to be what was authorised: of anything else the system never sees the end.
 */
export class Upload implements StreamedBody, PassedBody {
  readonly size: number
  /** Why it was broken off. */
  failure: Refusal | undefined
  /** Whether all of it came, was right, and was handed on. */
  isWhole = false
  bytes = 0
  /** Whether its caller left it in the middle. */
  isLeft = false
  readonly #req: EdgeRequest
  readonly #context: BareContext
  readonly #stated: RawBody
  readonly #bounds: Bounds
  readonly #confirm: () => void
  readonly #hash = createHash('sha256')
  /** Aborts when it was broken off, or its caller has gone. */
  readonly #gone = new AbortController()
  readonly #timer: NodeJS.Timeout
  /** For how long its caller may still be waited for, and what came since that was set. */
  #patienceMs: number
  #pace = 0
  #waiting: PromiseWithResolvers<IteratorResult<unknown>> | undefined

  /**
   * @param stated what was authorised of it
   * @param confirm is called when all of it is here, before its end is handed on, and when its caller goes; what it throws breaks it off
   */
  constructor(context: BareContext, stated: RawBody, bounds: Bounds, confirm: () => void) {
    this.#context = context
    this.#req = context.req
    this.#stated = stated
    this.#bounds = bounds
    this.#confirm = confirm
    this.size = stated.size
    this.#patienceMs = bounds.requestTimeoutMs
    context.req.takesItsTime = true
    context.signal.addEventListener('abort', this.#left)
    this.#timer = setTimeout(() => {
      this.cut(slow('the request body took too long'))
    }, bounds.maxStreamMs).unref()
  }

  /** For whoever sends it, and waits for the answer. */
  get signal(): AbortSignal {
    return this.#gone.signal
  }

  /** Of what has gone on. */
  get sha256(): string {
    return this.#hash.copy().digest('hex')
  }

  readonly #left = (): void => {
    try {
      // Whom a narrowing cuts has not gone of their own accord.
      this.#confirm()
    } catch (error) {
      this.cut(toRefusal(error))
    }
    this.isLeft ||= !this.failure
    this.cut(broken())
  }

  /** Breaks it off, and the request of which it is part. The first reason stands. */
  cut(reason: Refusal): void {
    if (this.failure) return
    this.failure = reason
    this.#waiting?.reject(reason)
    this.#gone.abort(reason)
  }

  /** Lets go of what it held, when nobody sends it any more. */
  close(): void {
    clearTimeout(this.#timer)
    this.#context.signal.removeEventListener('abort', this.#left)
    // Of a loop that waits for more, which nobody would take.
    this.#waiting?.reject(broken())
  }

  /** Its pieces, once. @throws Refusal for whatever breaks it off */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    try {
      yield* this.#pieces()
    } catch (error) {
      this.cut(toRefusal(error))
      throw this.failure ?? error
    }
  }

  async *#pieces(): AsyncGenerator<Buffer, void, undefined> {
    const { request, res } = this.#context
    if (request.headers.expectsContinue) res.writeContinue()
    let held: Buffer | undefined
    let come = 0
    if (request.hasBody) {
      // Not left as a loop would leave it, which would end the connection that the answer still has to travel on.
      const pieces = this.#req[Symbol.asyncIterator]()
      for (;;) {
        const piece = await this.#next(pieces)
        if (!piece) break
        come += piece.length
        if (come > this.size) throw notAsAnnounced()
        if (held) yield* this.#pass(held)
        held = piece
      }
    }
    if (come !== this.size) throw notAsAnnounced()
    if (this.#req.rawTrailers.length > 0) {
      throw new Refusal('SP_REQUEST_HEADER', 'trailers are not accepted', { status: 400 })
    }
    this.#demandDigest(held)
    this.#confirm()
    if (this.failure) throw this.failure
    this.isWhole = true
    if (held) yield* this.#pass(held)
  }

  /** Hands a piece on, and waits until the system takes more. */
  *#pass(piece: Buffer): Generator<Buffer, void, undefined> {
    if (this.failure) throw this.failure
    this.#hash.update(piece)
    this.bytes += piece.length
    const patience = setTimeout(() => {
      const message = 'the system did not take the request body in time'
      this.cut(new Refusal('SP_UPSTREAM_TIMEOUT', message, { status: 504 }))
    }, this.#bounds.upstreamTimeoutMs)
    try {
      yield piece
    } finally {
      clearTimeout(patience)
    }
  }

  /** @param last what was not handed on yet. @throws Refusal `SP_REQUEST_DIGEST` */
  #demandDigest(last: Buffer | undefined): void {
    const { sha256 } = this.#stated
    if (sha256 === undefined) return
    const whole = this.#hash.copy()
    if (last) whole.update(last)
    if (whole.digest('hex') !== sha256) throw otherDigest()
  }

  /** The next piece; undefined where that was all. @throws Refusal where it was broken off meanwhile, or by its caller */
  async #next(pieces: AsyncIterator<unknown>): Promise<Buffer | undefined> {
    if (this.failure) throw this.failure
    const waiting = Promise.withResolvers<IteratorResult<unknown>>()
    this.#waiting = waiting
    pieces.next().then(waiting.resolve, (error: unknown) => {
      this.isLeft ||= !this.failure && (!(error instanceof Refusal) || this.#context.res.destroyed)
      waiting.reject(error instanceof Refusal ? error : broken())
    })
    const since = performance.now()
    const patience = setTimeout(() => {
      this.cut(slow('the request body comes too slowly'))
    }, this.#patienceMs)
    let next: IteratorResult<unknown>
    try {
      next = await waiting.promise
    } finally {
      clearTimeout(patience)
    }
    if (next.done) return undefined
    // Without an encoding set, a request yields buffers.
    const piece = next.value as Buffer
    // A byte now and then would hold a place for ever.
    this.#patienceMs -= performance.now() - since
    this.#pace += piece.length
    if (this.#pace >= PACE_BYTES) {
      this.#pace = 0
      this.#patienceMs = this.#bounds.requestTimeoutMs
    }
    return piece
  }
}

const slow = (message: string): Refusal =>
  new Refusal('SP_REQUEST_SLOW', message, { status: 408, close: true })

const broken = (): Refusal =>
  new Refusal('SP_REQUEST_BODY', 'the request was broken off', { status: 400, close: true })

const notAsAnnounced = (): Refusal =>
  new Refusal('SP_REQUEST_BODY', 'the request body is not as long as announced', {
    status: 400,
    close: true,
  })
