import type { H2Response } from '../edge/h2-message.ts'
import type { EdgeResponse } from '../edge/message.ts'
import type { Refusal } from '../refusal.ts'
import { framed } from './frames.ts'
import { CONTENT_TYPE, GRPC, trailersFor } from './status.ts'

/** The answer to one call, which ends with how it went, also where it is cut. */
export class GrpcReply implements EdgeResponse {
  readonly #res: H2Response
  readonly #decision: string
  /** Why it ends, where that is not well. */
  why: () => Refusal

  constructor(res: H2Response, decision: string, why: () => Refusal) {
    this.#res = res
    this.#decision = decision
    this.why = why
  }

  get headersSent(): boolean {
    return this.#res.headersSent
  }

  get destroyed(): boolean {
    return this.#res.destroyed
  }

  get writableEnded(): boolean {
    return this.#res.writableEnded
  }

  get writableFinished(): boolean {
    return this.#res.writableFinished
  }

  get shouldKeepAlive(): boolean {
    return this.#res.shouldKeepAlive
  }

  writeContinue(): void {
    // Calls of gRPC never wait to be told.
  }

  set shouldKeepAlive(keep: boolean) {
    this.#res.shouldKeepAlive = keep
  }

  writeHead(): void {
    if (this.headersSent) return
    this.#res.writeHeadBeforeTrailers({
      'content-type': CONTENT_TYPE,
      'grpc-accept-encoding': 'identity',
      'sallyport-decision': this.#decision,
    })
  }

  flushHeaders(): void {
    // `writeHead` has sent them.
  }

  /** @param message without its frame */
  write(message: Buffer): boolean {
    this.writeHead()
    return this.#res.write(framed(message))
  }

  /** Ends it well. */
  end(): void {
    this.writeHead()
    this.#res.endWithTrailers({ 'grpc-status': String(GRPC.OK) })
  }

  /** Ends it, and says that it is not whole. */
  destroy(): void {
    if (this.#res.destroyed || this.#res.writableEnded) return
    this.writeHead()
    const why = this.why()
    this.#res.endWithTrailers(trailersFor(why, why.decision ?? this.#decision))
  }

  once(event: 'close' | 'drain', listener: () => void): void {
    this.#res.once(event, listener)
  }

  removeListener(event: 'close' | 'drain', listener: () => void): void {
    this.#res.removeListener(event, listener)
  }
}
