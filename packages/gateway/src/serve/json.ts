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

  /** @throws Refusal where nothing has left yet */
  async serve(context: RequestContext, grant: Grant, answer: UpstreamAnswer): Promise<void> {
    const { pipeline, settings, tokeniser, streams } = this.#parts
    const projection = ProjectionStream.of(pipeline.answers.plan(grant), tokeniser)
    const held: Buffer[] = []
    const most = pipeline.answers.watches(grant) ? settings.maxResponseBytes : HELD
    let size = 0
    let isEmpty = true
    let timer: NodeJS.Timeout | undefined
    try {
      for (;;) {
        // A short answer is here with its head.
        let value = pieceHere(answer.body, settings.maxStreamedBytes)
        if (value === undefined && !answer.body.isWhole) {
          // The idle timeout alone would let a slow upstream hold a call for ever.
          timer ??= setTimeout(() => {
            answer.body.destroy(new Error('the answer took too long'))
          }, settings.upstreamTimeoutMs)
          value = await nextPiece(answer.body, settings.maxStreamedBytes)
        }
        if (value === undefined) break
        if (isEmpty && !isJsonType(answer.contentType)) {
          answer.body.destroy()
          throw unusable('its content type is not JSON')
        }
        isEmpty = false
        const out = strictly(() => projection.push(value))
        if (out.length === 0) continue
        // What the projection hands out is good until its next piece.
        held.push(Buffer.from(out))
        size += out.length
        if (size < most) continue
        clearTimeout(timer)
        pipeline.answers.takeDown(grant)
        await pipeline.answers.commitReleased(grant, projection)
        const first = Buffer.concat(held)
        await streams.follow(context, grant, answer, (stream) =>
          this.#go(stream, projection, first),
        )
        return
      }
    } finally {
      clearTimeout(timer)
    }
    let body: Buffer | undefined
    if (!isEmpty) {
      const last = strictly(() => projection.finish())
      const [only] = held
      // Most answers are one piece, with nothing after it.
      body = last.length === 0 && only && held.length === 1 ? only : Buffer.concat([...held, last])
      pipeline.answers.takeDown(grant, body)
    }
    pipeline.answers.noteStrangers(grant, projection)
    const committing = pipeline.answers.commitReleased(grant, projection)
    if (committing) await committing
    this.#whole(context, grant, answer, body, projection)
    projection.free()
  }

  #whole(
    { res }: RequestContext,
    grant: Grant,
    { status }: UpstreamAnswer,
    body: Buffer | undefined,
    { released }: ProjectionStream,
  ): void {
    const { pipeline } = this.#parts
    if (res.destroyed) {
      const nothing = { bytesOut: 0, released: {}, forwarded: true }
      pipeline.finish(grant, { ...nothing, status, result: 'aborted' })
      return
    }
    // Recorded first: what has left is never without a record of it.
    const bytesOut = body?.length ?? 0
    pipeline.finish(grant, { status, result: 'completed', bytesOut, released, forwarded: true })
    sendJson(res, { status, body, decision: grant.id })
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
      if (stream.cutBy !== undefined || res.destroyed) return
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

/** @throws Refusal `SP_UPSTREAM_RESPONSE` for a text that is not strict JSON */
function strictly<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof Refusal || !(error instanceof SallyportError)) throw error
    throw unusable('it is not strict JSON', error)
  }
}
