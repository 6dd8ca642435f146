import type { Grant } from '../calls/pipeline.ts'
import { sumReleased } from '../calls/released.ts'
import type { H2Response } from '../edge/h2-message.ts'
import { drained } from '../edge/message.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { RequestContext } from '../serve/context.ts'
import type { AnswerStream } from '../serve/events.ts'
import { unusable } from '../upstream/exchange.ts'
import type { GrpcParts } from './calls.ts'
import { releaseMessage, typeMessage } from './messages.ts'
import type { Method } from './methods.ts'
import { GrpcReply } from './reply.ts'
import type { Sent } from './sending.ts'
import type { GrpcAnswer } from './upstream.ts'

/** What a caller sends behind its first message. */
export interface More {
  readonly messages: AsyncIterator<Buffer, void>
  readonly sent: Sent
  /** To be called when it sends no more, or nobody listens. */
  leave(): void
}

/** A call that was granted and lasts: messages come, or go, for as long as its decision holds. */
interface Lasting {
  readonly context: RequestContext
  readonly res: H2Response
  readonly grant: Grant
  readonly method: Method
  readonly answer: GrpcAnswer
  readonly more: More | undefined
}

/** Calls with streams of messages: each message of an answer is projected, and each of a caller decided, for itself. */
export class LastingCalls {
  readonly #parts: GrpcParts

  constructor(parts: GrpcParts) {
    this.#parts = parts
  }

  /** @throws Refusal for whatever stops the call before an answer began */
  async serve(call: Lasting): Promise<void> {
    const { context, res, grant, answer, more } = call
    const { streams } = this.#parts
    let failure: Refusal | undefined
    let open: AnswerStream | undefined
    const reply = new GrpcReply(res, grant.id, () => failure ?? cutBy(open?.cutBy))
    const pump = async (stream: AnswerStream): Promise<void> => {
      open = stream
      const turn = new Turn(stream, reply)
      const idle = more && this.#watch(stream, turn)
      try {
        if (more) {
          this.#listen(call, more, turn, idle).catch(async (error: unknown) => {
            if (turn.isOver) return
            failure = await this.#recorded(call, error)
            if (!turn.isOver) streams.cut(stream, failure.code)
          })
        }
        await this.#pump(call, turn, idle)
      } catch (error) {
        failure ??= stream.cutBy === undefined ? toRefusal(error) : cutBy(stream.cutBy)
        throw error
      } finally {
        turn.end()
        clearTimeout(idle)
      }
    }
    try {
      await streams.follow({ ...context, res: reply }, grant, answer, pump, { isFixed: false })
    } finally {
      more?.leave()
    }
  }

  /** A call whose caller could send and does not is not held for ever. */
  #watch(stream: AnswerStream, turn: Turn): NodeJS.Timeout {
    return setTimeout(() => {
      if (!turn.isOver) this.#parts.streams.cut(stream, 'SP_STREAM_ENDED')
    }, this.#parts.settings.sendingIdleMs).unref()
  }

  /** Messages of the system, to the caller. */
  async #pump(call: Lasting, turn: Turn, idle: NodeJS.Timeout | undefined): Promise<void> {
    const { answer, method } = call
    const { settings, pipeline } = this.#parts
    const { stream, reply } = turn
    let count = 0
    for (let got = await answer.next(); got; got = await answer.next()) {
      for (const message of got) {
        if (++count > 1 && !method.binding.serverStreams) throw unusable('it has several messages')
        idle?.refresh()
        const { enforced, outcome, grant } = stream
        const now = { ...grant, enforced, outcome }
        const shown = await releaseMessage(pipeline, now, method, message)
        if (turn.isOver) return
        stream.released = sumReleased(stream.released, shown.released)
        stream.bytesOut += shown.bytes.length
        if (reply.write(shown.bytes)) continue
        const patience = AbortSignal.timeout(settings.requestTimeoutMs)
        await drained(reply, AbortSignal.any([stream.gone.signal, patience]))
      }
    }
    if (count === 0 && !method.binding.serverStreams) throw unusable('it has no message')
  }

  /** Messages of the caller, to the system: none before it was decided, and that is durable. */
  async #listen(
    { context, grant, method, answer, more }: Lasting,
    { messages, sent }: More,
    turn: Turn,
    idle: NodeJS.Timeout | undefined,
  ): Promise<void> {
    const { pipeline, streams, tokeniser } = this.#parts
    const { caller, request } = context
    const { stream } = turn
    for (;;) {
      const { done, value: message } = await messages.next()
      if (turn.isOver) return
      if (done === true || message === undefined) break
      idle?.refresh()
      sent.count(message)
      await sent.turn(stream.gone.signal)
      // What opened the stream must still hold, by the declaration that its messages are read by.
      const { enforced } = streams.again(grant)
      const typed = typeMessage({ enforced, caller }, method, tokeniser, message)
      const granted = await pipeline.authorise(enforced, caller, typed, request.headers)
      let forwarded = false
      if (!turn.isOver) {
        stream.goesOn(granted)
        forwarded = await answer.send(granted.upstream.body ?? Buffer.alloc(0))
      }
      const nothing = { status: 200, bytesOut: 0, released: {} }
      const result = forwarded ? 'completed' : 'cut'
      pipeline.finish(granted, { ...nothing, result, forwarded })
      if (turn.isOver) return
    }
    clearTimeout(idle)
    more?.leave()
    answer.endSending()
  }

  /** What stopped the messages of a caller, with the record of it. */
  async #recorded({ context, method }: Lasting, error: unknown): Promise<Refusal> {
    const refusal = toRefusal(error)
    try {
      const { system } = method
      refusal.decision ??= await this.#parts.pipeline.refuseUntyped(
        context.caller,
        refusal,
        system.name,
      )
    } catch (cause) {
      return toRefusal(cause)
    }
    return refusal
  }
}

/** One pass of messages, until it is over: from then on nothing is forwarded, and nothing is told. */
class Turn {
  readonly stream: AnswerStream
  readonly reply: GrpcReply
  #hasEnded = false

  constructor(stream: AnswerStream, reply: GrpcReply) {
    this.stream = stream
    this.reply = reply
  }

  get isOver(): boolean {
    return this.#hasEnded || this.stream.cutBy !== undefined || this.reply.destroyed
  }

  end(): void {
    this.#hasEnded = true
  }
}

/** What the caller of a stream is told where it was cut. */
function cutBy(code: string | undefined): Refusal {
  const ended = code === 'SP_STREAM_ENDED' || code === 'SP_GATEWAY_CLOSING'
  return new Refusal(code ?? 'SP_UPSTREAM_FAILED', 'the stream was cut', {
    status: ended ? 503 : code === 'SP_SVID_EXPIRED' ? 401 : 403,
  })
}
