import { createHash } from 'node:crypto'
import type { BytesAnswer } from '@sallyport/network'
import { dispositionOf } from '../adapters/disposition.ts'
import { isPlainType } from '../adapters/raw.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { beginBytes } from '../edge/answer.ts'
import { drained } from '../edge/message.ts'
import type { GatewaySettings } from '../settings.ts'
import { single } from '../upstream/ask.ts'
import { undecodable } from '../upstream/decode.ts'
import { nextPiece, unusable } from '../upstream/exchange.ts'
import type { UpstreamAnswer } from '../upstream/exchange.ts'
import type { RequestContext } from './context.ts'
import type { AnswerStream, EventStreams } from './events.ts'

export interface BytesParts {
  readonly pipeline: Pipeline
  readonly streams: EventStreams
  readonly settings: GatewaySettings
}

/** What an answer says of its body before any of it is here. */
interface StatedAnswer {
  /** Undefined of one that has no body. */
  readonly type: string | undefined
  /** Bytes; undefined where it comes in chunks. */
  readonly size: number | undefined
  /** Bytes that it may have at most. */
  readonly most: number
  readonly disposition: string | undefined
}

/** Of these all or nothing leaves, and it was decided that all of them may. */
const ALL = { hasReleased: true }

/**
 * Answers that are handed on as they come. They are counted and hashed as they pass, and the last piece is held back until all of it has
 * turned out to be what was declared and the decision still stands: of anything else the caller never has the end.
 */
export class BytesAnswers {
  readonly #parts: BytesParts

  constructor(parts: BytesParts) {
    this.#parts = parts
  }

  /** @throws Refusal where nothing has left yet: `SP_UPSTREAM_RESPONSE`, `SP_UPSTREAM_ENCODING`, or as `Answers.commitReleased` */
  async serve(
    context: RequestContext,
    grant: Grant,
    answer: UpstreamAnswer,
    declared: BytesAnswer,
  ): Promise<void> {
    const { pipeline, streams, settings } = this.#parts
    const stated = statedAnswer(answer, declared, settings.maxRawAnswerBytes)
    pipeline.answers.takeDown(grant)
    await pipeline.answers.commitReleased(grant, ALL)
    await streams.follow(context, grant, answer, (stream) => this.#pump(stream, stated))
  }

  async #pump(stream: AnswerStream, stated: StatedAnswer): Promise<void> {
    const { answer } = stream
    let held: Buffer | undefined
    while (stream.cutBy === undefined) {
      const piece = await nextPiece(answer.body, stated.most)
      if (piece === undefined) break
      if (held) await this.#send(stream, stated, held)
      held = piece
    }
    if (stated.size !== undefined && answer.body.taken !== stated.size) {
      throw unusable('it is not as long as it says')
    }
    if (!this.#parts.streams.confirm(stream)) return
    if (held) await this.#send(stream, stated, held)
    else this.#begin(stream, stated)
  }

  async #send(stream: AnswerStream, stated: StatedAnswer, piece: Buffer): Promise<void> {
    if (stream.cutBy !== undefined) return
    const { res } = stream
    if (res.destroyed) throw new Error('the caller has gone')
    this.#begin(stream, stated)
    stream.hash?.update(piece)
    stream.bytesOut += piece.length
    if (res.write(piece)) return
    const patience = setTimeout(() => res.destroy(), this.#parts.settings.requestTimeoutMs)
    try {
      await drained(res, stream.gone.signal)
    } finally {
      clearTimeout(patience)
    }
  }

  /** With the first piece: what is wrong before that is told in words. */
  #begin(stream: AnswerStream, { type, disposition }: StatedAnswer): void {
    const { res, grant, answer } = stream
    if (stream.hash || res.destroyed) return
    stream.hash = createHash('sha256')
    const { $: dataset } = grant.typed.operation.returns
    if (dataset !== undefined && dataset !== 'public') {
      stream.released = { [dataset]: { records: 1, maxWholeClass: grant.outcome.maxClass } }
    }
    beginBytes(res, answer.status, grant.id, type, disposition)
  }
}

/**
 * @param most bytes that any such answer may have
 * @throws Refusal `SP_UPSTREAM_RESPONSE`, `SP_UPSTREAM_ENCODING` for what was not declared, or has no end that can be told
 */
function statedAnswer(
  { status, contentType, headers }: UpstreamAnswer,
  { types, maxBytes }: BytesAnswer,
  most: number,
): StatedAnswer {
  const bound = Math.min(maxBytes, most)
  // Nobody asks for a part.
  if (status === 206 || headers['content-range'] !== undefined) {
    throw unusable('it is a part of an answer')
  }
  const coding = headers['content-encoding']
  if (coding !== undefined && single(coding)?.trim().toLowerCase() !== 'identity') {
    throw undecodable('it is encoded, and was asked for as it is')
  }
  if (status === 204) return { type: undefined, size: 0, most: 0, disposition: undefined }
  if (!isPlainType(contentType) || !types.some((type) => covers(type, contentType))) {
    throw unusable('its content type is not one that is declared')
  }
  const size = sizeOf(headers)
  if (size !== undefined && size > bound) throw unusable('it is too large')
  const disposition = dispositionOf(single(headers['content-disposition']))
  return { type: contentType, size, most: bound, disposition }
}

/** @returns undefined where it comes in chunks. @throws Refusal `SP_UPSTREAM_RESPONSE` where it ends with its connection, or nobody knows */
function sizeOf(headers: UpstreamAnswer['headers']): number | undefined {
  const length = headers['content-length']
  const coding = single(headers['transfer-encoding'])
  if (length === undefined && coding?.toLowerCase() === 'chunked') return undefined
  const text = single(length)
  if (coding !== undefined || text === undefined || !/^\d{1,15}$/.test(text)) {
    throw unusable('it does not say where it ends')
  }
  return Number(text)
}

const covers = (declared: string, type: string): boolean =>
  declared.endsWith('/*') ? type.startsWith(declared.slice(0, -1)) : declared === type

/** The declared types that a caller asks for by name; all of them where it names none. */
export function typesAsked({ types }: BytesAnswer, accept: string): readonly string[] {
  const named = accept.split(/[,;\s]+/)
  const asked = types.filter((type) => named.includes(type))
  return asked.length > 0 ? asked : types
}
