import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { sumReleased } from '../calls/released.ts'
import { beginJson } from '../edge/answer.ts'
import { drained } from '../edge/message.ts'
import type { GatewaySettings } from '../settings.ts'
import { parseUpstream, readPieces } from '../upstream/exchange.ts'
import type { UpstreamAnswer } from '../upstream/exchange.ts'
import { LineReader } from '../upstream/lines.ts'
import type { RequestContext } from './context.ts'
import type { AnswerStream, EventStreams } from './events.ts'

export interface LineParts {
  readonly pipeline: Pipeline
  readonly streams: EventStreams
  readonly settings: GatewaySettings
}

/** Answers of one JSON text a line: each is projected as it passes, by the decision that holds when it does. */
export class LineAnswers {
  readonly #parts: LineParts

  constructor(parts: LineParts) {
    this.#parts = parts
  }

  /** @throws Refusal where nothing has left yet */
  async serve(context: RequestContext, grant: Grant, answer: UpstreamAnswer): Promise<void> {
    const pump = (stream: AnswerStream): Promise<void> => this.#pump(stream)
    await this.#parts.streams.follow(context, grant, answer, pump, { isFixed: false })
  }

  async #pump(stream: AnswerStream): Promise<void> {
    const { maxEventBytes, maxStreamedBytes } = this.#parts.settings
    const reader = new LineReader(maxEventBytes)
    for await (const piece of readPieces(stream.answer.body, maxStreamedBytes)) {
      for (const line of reader.push(piece)) {
        if (!(await this.#line(stream, line))) return
      }
    }
    const last = reader.end()
    if (last) await this.#line(stream, last)
    this.#begin(stream)
  }

  /** @returns false where nothing more is to leave */
  async #line(stream: AnswerStream, line: Buffer): Promise<boolean> {
    const { pipeline, settings } = this.#parts
    const { grant, res } = stream
    const { enforced, outcome } = stream
    const projected = await pipeline.answers.release(
      { ...grant, enforced, outcome },
      parseUpstream(line),
    )
    if (stream.cutBy !== undefined) return false
    if (res.destroyed) throw new Error('the caller has gone')
    // Before the first line nothing has left: what is wrong with it is told in words.
    this.#begin(stream)
    stream.released = sumReleased(stream.released, projected.released)
    const text = `${JSON.stringify(projected.value ?? {})}\n`
    stream.bytesOut += Buffer.byteLength(text)
    if (res.write(text)) return true
    const patience = AbortSignal.timeout(settings.requestTimeoutMs)
    await drained(res, AbortSignal.any([stream.gone.signal, patience]))
    return true
  }

  #begin({ res, answer, grant }: AnswerStream): void {
    if (!res.headersSent && !res.destroyed) {
      beginJson(res, answer.status, grant.id, answer.contentType)
    }
  }
}
