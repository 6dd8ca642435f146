import { SallyportError } from '@sallyport/base'
import { ProjectionStream } from '@sallyport/decide'
import type { Tokeniser } from '@sallyport/redact'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { beginJson, sendJson } from '../edge/answer.ts'
import { drained } from '../edge/message.ts'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import { isJsonType, nextPiece, pieceHere, unusable } from '../upstream/exchange.ts'
import type { UpstreamAnswer } from '../upstream/exchange.ts'
import type { RequestContext } from './context.ts'
import type { AnswerStream, EventStreams } from './events.ts'

export interface JsonParts {
  readonly pipeline: Pipeline
  readonly streams: EventStreams
  readonly tokeniser: Tokeniser
  readonly settings: GatewaySettings
}

/** Bytes that are held back, so that whatever is found wrong before them is told in words and not by breaking off. */
const HELD = 65_536

/** Answers of JSON, projected as they come: one that is short leaves whole, a longer one in pieces. */
export class JsonAnswers {
  readonly #parts: JsonParts

  constructor(parts: JsonParts) {
    this.#parts = parts
  }

  /** @throws Refusal where nothing has left yet, at once or later */
  serve(context: RequestContext, grant: Grant, answer: UpstreamAnswer): Promise<void> | undefined {
    const { pipeline, settings, tokeniser } = this.#parts
    const projection = ProjectionStream.of(pipeline.answers.plan(grant), tokeniser)
    const most = pipeline.answers.watches(grant) ? settings.maxResponseBytes : HELD
    // A short answer is here with its head, all of it, and in one piece.
    const first = pieceHere(answer.body, settings.maxStreamedBytes)
    if (first === undefined || !answer.body.isWhole) {
      return this.#inPieces(context, grant, answer, projection, most, first)
    }
    const out = this.#push(projection, answer, first)
    if (out.length >= most)
      return this.#follow(context, grant, answer, projection, Buffer.from(out))
    // What the projection hands out is good until its next piece.
    return this.#end(context, grant, answer, projection, out.length === 0 ? [] : [Buffer.from(out)])
  }

  async #inPieces(
    context: RequestContext,
    grant: Grant,
    answer: UpstreamAnswer,
    projection: ProjectionStream,
    most: number,
    first: Buffer | undefined,
  ): Promise<void> {
    const { maxStreamedBytes, upstreamTimeoutMs } = this.#parts.settings
    const held: Buffer[] = []
    let size = 0
    let isEmpty = true
    let timer: NodeJS.Timeout | undefined
    try {
      for (let value = first; ; value = undefined) {
        value ??= pieceHere(answer.body, maxStreamedBytes)
        if (value === undefined && !answer.body.isWhole) {
          // The idle timeout alone would let a slow upstream hold a call for ever.
          timer ??= setTimeout(() => {
            answer.body.destroy(new Error('the answer took too long'))
          }, upstreamTimeoutMs)
          value = await nextPiece(answer.body, maxStreamedBytes)
        }
        if (value === undefined) break
        isEmpty = false
        const out = this.#push(projection, answer, value)
        if (out.length === 0) continue
        // What the projection hands out is good until its next piece.
        held.push(Buffer.from(out))
        size += out.length
        if (size < most) continue
        clearTimeout(timer)
        await this.#follow(context, grant, answer, projection, Buffer.concat(held))
        return
      }
    } finally {
      clearTimeout(timer)
    }
    await this.#end(context, grant, answer, projection, isEmpty ? undefined : held)
  }

  /** @throws Refusal `SP_UPSTREAM_RESPONSE` */
  #push(projection: ProjectionStream, answer: UpstreamAnswer, piece: Buffer): Buffer {
    if (!isJsonType(answer.contentType)) {
      answer.body.destroy()
      throw unusable('its content type is not JSON')
    }
    try {
      return projection.push(piece)
    } catch (error) {
      throw notStrict(error)
    }
  }

  /** An answer too long to be held: its beginning leaves, and the rest as it comes. */
  async #follow(
    context: RequestContext,
    grant: Grant,
    answer: UpstreamAnswer,
    projection: ProjectionStream,
    first: Buffer,
  ): Promise<void> {
    const { pipeline, streams } = this.#parts
    pipeline.answers.takeDown(grant)
    await pipeline.answers.commitReleased(grant, projection)
    await streams.follow(context, grant, answer, (stream) => this.#go(stream, projection, first))
  }

  /** An answer that is whole. @param held what was projected of it; undefined where it has no body at all */
  #end(
    context: RequestContext,
    grant: Grant,
    answer: UpstreamAnswer,
    projection: ProjectionStream,
    held: Buffer[] | undefined,
  ): Promise<void> | undefined {
    const { answers } = this.#parts.pipeline
    let body: Buffer | undefined
    if (held) {
      body = wholeOf(held, projection)
      answers.takeDown(grant, body)
    }
    answers.noteStrangers(grant, projection)
    const committing = answers.commitReleased(grant, projection)
    if (committing) {
      return committing.then(() => {
        this.#whole(context, grant, answer, body, projection)
      })
    }
    this.#whole(context, grant, answer, body, projection)
    return undefined
  }

  #whole(
    { res }: RequestContext,
    grant: Grant,
    { status }: UpstreamAnswer,
    body: Buffer | undefined,
    projection: ProjectionStream,
  ): void {
    const { pipeline } = this.#parts
    if (res.destroyed) {
      const nothing = { bytesOut: 0, released: {}, forwarded: true }
      pipeline.finish(grant, { ...nothing, status, result: 'aborted' })
    } else {
      // Recorded first: what has left is never without a record of it.
      const bytesOut = body?.length ?? 0
      const { released } = projection
      pipeline.finish(grant, { status, result: 'completed', bytesOut, released, forwarded: true })
      sendJson(res, { status, body, decision: grant.id })
    }
    projection.free()
  }

  /** The rest of an answer, in pieces. Whatever goes wrong from here on breaks it off. */
  async #go(stream: AnswerStream, projection: ProjectionStream, first: Buffer): Promise<void> {
    const { res, grant, answer } = stream
    const { maxStreamedBytes } = this.#parts.settings
    beginJson(res, answer.status, grant.id)
    await this.#send(stream, projection, first)
    for (;;) {
      const value = await nextPiece(answer.body, maxStreamedBytes)
      if (value === undefined) break
      await this.#send(stream, projection, Buffer.from(projection.push(value)))
      if (stream.cutBy !== undefined) return
      if (res.destroyed) throw new Error('the caller has gone')
    }
    await this.#send(stream, projection, Buffer.from(projection.finish()))
    this.#parts.pipeline.answers.noteStrangers(stream.grant, projection)
  }

  async #send(stream: AnswerStream, projection: ProjectionStream, bytes: Buffer): Promise<void> {
    const { pipeline, settings } = this.#parts
    if (projection.hasReleased) await pipeline.answers.commitReleased(stream.grant, projection)
    stream.released = projection.released
    if (bytes.length === 0 || stream.cutBy !== undefined || stream.res.destroyed) return
    stream.bytesOut += bytes.length
    if (stream.res.write(bytes)) return
    const patience = AbortSignal.timeout(settings.requestTimeoutMs)
    await drained(stream.res, AbortSignal.any([stream.gone.signal, patience]))
  }
}

/** Most answers are one piece, with nothing after it. @throws Refusal `SP_UPSTREAM_RESPONSE` */
function wholeOf(held: Buffer[], projection: ProjectionStream): Buffer {
  let last: Buffer
  try {
    last = projection.finish()
  } catch (error) {
    throw notStrict(error)
  }
  const [only] = held
  return last.length === 0 && only && held.length === 1 ? only : Buffer.concat([...held, last])
}

/** What a text is told to be that is not strict JSON; anything else is what it is. */
function notStrict(error: unknown): unknown {
  if (error instanceof Refusal || !(error instanceof SallyportError)) return error
  return unusable('it is not strict JSON', error)
}
