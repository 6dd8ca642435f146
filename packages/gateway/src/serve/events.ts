import type { Hash } from 'node:crypto'
import { canonicalJson, Roster } from '@sallyport/base'
import type { Outcome } from '@sallyport/decide'
import type { OutcomeRecord } from '@sallyport/wire'
import type { Audit } from '../audit/audit.ts'
import { narrowed } from '../calls/narrowed.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { sumReleased } from '../calls/released.ts'
import { beginEvents } from '../edge/answer.ts'
import { drained } from '../edge/message.ts'
import type { EdgeResponse } from '../edge/message.ts'
import { EventReader } from '../edge/sse.ts'
import { declarationChanged, toRefusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Enforced } from '../state/bundles.ts'
import type { Stats } from '../stats.ts'
import { parseUpstream } from '../upstream/exchange.ts'
import type { UpstreamAnswer } from '../upstream/exchange.ts'
import type { RequestContext } from './context.ts'

/** Makes other events of an upstream's, where their protocol is not one of fields. */
export interface Rewriting {
  /** @returns what is written in an event's place, framed */
  event(data: string): readonly string[]
  /** @throws Refusal where the upstream stopped in the middle */
  end(): readonly string[]
}

export interface EventParts {
  readonly pipeline: Pipeline
  readonly audit: Audit
  readonly settings: GatewaySettings
  readonly stats: Stats
}

/** Every stream ends in it, and to write down where takes longer than all else about it. */
const GONE = new Error('the caller has gone')
/** Characters of events that are written together, about. */
const MAX_AT_ONCE = 65_536

/** One answer that goes on. */
export class AnswerStream {
  readonly grant: Grant
  readonly answer: UpstreamAnswer
  readonly res: EdgeResponse
  readonly fixed: boolean
  /** What holds now; the decision that opened the stream may have been replaced. */
  enforced: Enforced
  outcome: Outcome
  released: OutcomeRecord['released'] = {}
  bytesOut = 0
  cutBy: string | undefined
  /** Of an answer that is handed on as it comes: over what left. */
  hash: Hash | undefined
  /** Of a caller that goes on sending: the last call that was granted on it. */
  #latest: Grant | undefined
  /** Aborts when the answer can go no further. */
  readonly gone: AbortController = new AbortController()

  /** @param fixed whether it is projected by the decision it began with, and cannot be by another */
  constructor(grant: Grant, answer: UpstreamAnswer, res: EdgeResponse, fixed: boolean) {
    this.fixed = fixed
    this.grant = grant
    this.answer = answer
    this.res = res
    this.enforced = grant.enforced
    this.outcome = grant.outcome
  }

  /** The calls that have to hold for it to go on. */
  get calls(): readonly Grant[] {
    return this.#latest ? [this.grant, this.#latest] : [this.grant]
  }

  /** Its caller sent another message, which was granted: from now on answers show no more than either decision lets through. */
  goesOn(grant: Grant): void {
    this.#latest = grant
    this.outcome = narrowed(this.outcome, grant.outcome)
  }

  /** It holds, by decisions that were taken anew; what a message narrowed stays so. */
  holds(enforced: Enforced, outcomes: readonly Outcome[]): void {
    this.enforced = enforced
    const [opening = this.outcome, latest] = outcomes
    this.outcome = latest ? narrowed(this.outcome, narrowed(opening, latest)) : opening
  }

  cut(code: string): void {
    if (this.cutBy !== undefined) return
    this.cutBy = code
    this.res.destroy()
    this.answer.body.destroy()
  }
}

/** Streams of events: each event is projected, and the decision is taken anew while they last. */
export class EventStreams {
  readonly #parts: EventParts
  readonly #open = new Roster<AnswerStream>()
  readonly #timer: NodeJS.Timeout

  constructor(parts: EventParts) {
    this.#parts = parts
    this.#timer = setInterval(() => {
      this.recheck()
    }, parts.settings.streamRecheckMs).unref()
  }

  get size(): number {
    return this.#open.size
  }

  /** Decides every open stream again, and cuts those that no longer hold. */
  recheck(): void {
    for (const stream of this.#open) this.confirm(stream)
  }

  /** Decides one again, as before its end leaves. @returns false where it no longer holds, and was cut */
  confirm(stream: AnswerStream): boolean {
    try {
      this.#recheckOne(stream)
    } catch (error) {
      this.cut(stream, toRefusal(error).code)
    }
    return stream.cutBy === undefined
  }

  close(): void {
    clearInterval(this.#timer)
    for (const stream of this.#open) stream.cut('SP_GATEWAY_CLOSING')
  }

  /** Serves an event stream to its end. @throws Refusal where it could not begin */
  async serve(
    context: RequestContext,
    grant: Grant,
    answer: UpstreamAnswer,
    rewriting?: Rewriting,
  ): Promise<void> {
    await this.#parts.pipeline.answers.commitLabels(grant)
    const pump = (stream: AnswerStream): Promise<void> => {
      beginEvents(stream.res, grant.id)
      return rewriting ? this.#rewrite(stream, rewriting) : this.#pump(stream)
    }
    await this.#run(context.res, new AnswerStream(grant, answer, context.res, false), pump)
  }

  /**
   * Serves another answer that lasts, by `pump`; the decision is taken anew for it just so.
   *
   * @param how whether it is projected by the decision that it began with: where another one would project it otherwise
   *   it is cut then
   * @throws Refusal where it could not begin
   */
  async follow(
    { res }: RequestContext,
    grant: Grant,
    answer: UpstreamAnswer,
    pump: (stream: AnswerStream) => Promise<void>,
    { isFixed }: { readonly isFixed: boolean } = { isFixed: true },
  ): Promise<void> {
    await this.#run(res, new AnswerStream(grant, answer, res, isFixed), pump)
  }

  async #run(
    res: EdgeResponse,
    stream: AnswerStream,
    pump: (stream: AnswerStream) => Promise<void>,
  ): Promise<void> {
    const { pipeline, settings, stats } = this.#parts
    const { grant, answer } = stream
    res.once('close', () => {
      stream.gone.abort(GONE)
      // Most are over.
      if (!answer.body.isWhole) answer.body.destroy()
    })
    const deadline = setTimeout(() => {
      this.cut(stream, 'SP_STREAM_ENDED')
    }, settings.maxStreamMs).unref()
    const place = this.#open.add(stream)
    stats.streamsOpened++
    let result: OutcomeRecord['result'] = 'completed'
    try {
      this.#recheckOne(stream)
      await pump(stream)
    } catch (error) {
      // One that was cut before anything of it left is recorded as that, whatever broke with it.
      if (!res.headersSent && stream.cutBy === undefined) throw error
      result = res.destroyed ? 'aborted' : 'upstream-error'
      res.destroy()
      answer.body.destroy()
    } finally {
      clearTimeout(deadline)
      this.#open.remove(place)
      // Its caller may have gone before anybody listened for that: what nobody reads on would hold its connection for ever.
      if (!answer.body.isWhole) answer.body.destroy()
    }
    const { bytesOut, released, cutBy, hash } = stream
    pipeline.finish(grant, {
      status: answer.status,
      result: cutBy === undefined ? result : 'cut',
      bytesOut,
      ...(hash === undefined ? {} : { answerSha256: hash.digest('hex') }),
      released,
      forwarded: true,
    })
    res.end()
  }

  async #pump(stream: AnswerStream): Promise<void> {
    const { res, answer, grant } = stream
    const reader = new EventReader(this.#parts.settings.maxEventBytes)
    for await (const chunk of answer.body) {
      for (const data of reader.push(chunk)) {
        const { enforced, outcome } = stream
        const projected = await this.#parts.pipeline.answers.release(
          { ...grant, enforced, outcome },
          parseUpstream(data),
        )
        if (stream.cutBy !== undefined || res.destroyed) return
        stream.released = sumReleased(stream.released, projected.released)
        const text = `data: ${JSON.stringify(projected.value ?? {})}\n\n`
        stream.bytesOut += Buffer.byteLength(text)
        if (!res.write(text)) await drained(res, stream.gone.signal)
      }
    }
  }

  async #rewrite(stream: AnswerStream, rewriting: Rewriting): Promise<void> {
    const { res, answer } = stream
    const reader = new EventReader(this.#parts.settings.maxEventBytes)
    const { body } = answer
    for (;;) {
      // What is here is taken without waiting.
      const chunk = body.take() ?? (await body.next()).value
      if (chunk === undefined) break
      let text = ''
      try {
        for (const data of reader.push(chunk)) {
          text += rewriting.event(data).join('')
          if (text.length < MAX_AT_ONCE) continue
          const full = text
          text = ''
          await this.#write(stream, full)
        }
      } finally {
        // What came before an event that cannot be used has been let through.
        if (text !== '') await this.#write(stream, text)
      }
      if (stream.cutBy !== undefined || res.destroyed) return
    }
    await this.#write(stream, rewriting.end().join(''))
  }

  async #write(stream: AnswerStream, text: string): Promise<void> {
    const { res, cutBy, gone } = stream
    if (text === '' || cutBy !== undefined || res.destroyed) return
    stream.bytesOut += Buffer.byteLength(text)
    if (!res.write(text)) await drained(res, gone.signal)
  }

  /**
   * Decides a granted call again, for an answer that is whole and may have taken its time.
   *
   * @returns the call, by what holds now
   * @throws Refusal where its caller may not have the answer any more
   */
  again(grant: Grant): Grant {
    const { enforced, outcome } = this.#parts.pipeline.still.demand(grant)
    // It is an answer to an operation as it was declared then.
    if (enforced.decider.digest !== grant.enforced.decider.digest) {
      throw declarationChanged()
    }
    return { ...grant, enforced, outcome }
  }

  /** Cuts a stream, and says so in the log. */
  cut(stream: AnswerStream, code: string): void {
    if (stream.cutBy !== undefined) return
    const { audit, stats } = this.#parts
    stream.cut(code)
    stats.streamsCut++
    audit.event('stream-cut', {
      code,
      subject: stream.grant.caller.instance,
      facts: { decision: stream.grant.id },
    })
  }

  /** @throws Refusal where it may not go on */
  #recheckOne(stream: AnswerStream): void {
    const { grant, calls, fixed } = stream
    const decided = calls.map((call) => this.#parts.pipeline.still.demand(call))
    const [opening] = decided
    if (!opening) return
    const { enforced, outcome } = opening
    // Messages of one stream are read by one declaration.
    const changed = calls.length > 1 && enforced.decider.digest !== grant.enforced.decider.digest
    if (changed || (fixed && !projectsAlike(grant, enforced, outcome))) {
      throw declarationChanged()
    }
    stream.holds(
      enforced,
      decided.map((one) => one.outcome),
    )
  }
}

/** Whether another decision lets the same of an answer through, in the same form. */
function projectsAlike(began: Grant, enforced: Enforced, outcome: Outcome): boolean {
  return (
    enforced.decider.digest === began.enforced.decider.digest &&
    canonicalJson(outcome.projection) === canonicalJson(began.outcome.projection)
  )
}
