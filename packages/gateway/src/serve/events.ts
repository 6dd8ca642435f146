import type { Clock } from '@sallyport/base'
import type { Outcome } from '@sallyport/decide'
import type { OutcomeRecord } from '@sallyport/wire'
import type { Audit } from '../audit/audit.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { beginEvents } from '../edge/answer.ts'
import { drained } from '../edge/message.ts'
import type { EdgeResponse } from '../edge/message.ts'
import { EventReader } from '../edge/sse.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Bundles, Enforced } from '../state/bundles.ts'
import type { Liveness } from '../state/liveness.ts'
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
  readonly bundles: Bundles
  readonly liveness: Liveness
  readonly settings: GatewaySettings
  readonly stats: Stats
  readonly clock: Clock
}

/** One answer that goes on. */
class EventStream {
  readonly grant: Grant
  readonly answer: UpstreamAnswer
  readonly res: EdgeResponse
  /** What holds now; the decision that opened the stream may have been replaced. */
  enforced: Enforced
  outcome: Outcome
  released: Record<string, { records: number; maxWholeClass: string }> = {}
  bytesOut = 0
  cutBy: string | undefined
  /** Aborts when the answer can go no further. */
  readonly gone = new AbortController()

  constructor(grant: Grant, answer: UpstreamAnswer, res: EdgeResponse) {
    this.grant = grant
    this.answer = answer
    this.res = res
    this.enforced = grant.enforced
    this.outcome = grant.outcome
  }

  cut(code: string): void {
    if (this.cutBy !== undefined) return
    this.cutBy = code
    this.res.destroy()
    this.answer.body.destroy()
  }
}

const CLASSES = ['public', 'internal', 'confidential', 'restricted']

/** Streams of events: each event is projected, and the decision is taken anew while they last. */
export class EventStreams {
  readonly #parts: EventParts
  readonly #open = new Set<EventStream>()
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
    for (const stream of this.#open) {
      try {
        this.#recheckOne(stream)
      } catch (error) {
        this.#cut(stream, toRefusal(error).code)
      }
    }
  }

  close(): void {
    clearInterval(this.#timer)
    for (const stream of this.#open) stream.cut('SP_GATEWAY_CLOSING')
  }

  /** Serves an event stream to its end. @throws Refusal where it could not begin */
  async serve(
    { res }: RequestContext,
    grant: Grant,
    answer: UpstreamAnswer,
    rewriting?: Rewriting,
  ): Promise<void> {
    const { pipeline, settings, stats } = this.#parts
    const stream = new EventStream(grant, answer, res)
    await pipeline.commitLabels(grant)
    res.once('close', () => {
      stream.gone.abort()
      answer.body.destroy()
    })
    const deadline = setTimeout(() => {
      this.#cut(stream, 'SP_STREAM_ENDED')
    }, settings.maxStreamMs).unref()
    this.#open.add(stream)
    stats.streamsOpened++
    let result: OutcomeRecord['result'] = 'completed'
    try {
      this.#recheckOne(stream)
      beginEvents(res, grant.id)
      await (rewriting ? this.#rewrite(stream, rewriting) : this.#pump(stream))
    } catch (error) {
      if (!res.headersSent) throw error
      result = res.destroyed ? 'aborted' : 'upstream-error'
      res.destroy()
      answer.body.destroy()
    } finally {
      clearTimeout(deadline)
      this.#open.delete(stream)
    }
    const { bytesOut, released, cutBy } = stream
    pipeline.finish(grant, {
      status: 200,
      result: cutBy === undefined ? result : 'cut',
      bytesOut,
      released,
      forwarded: true,
    })
    res.end()
  }

  async #pump(stream: EventStream): Promise<void> {
    const { res, answer, grant } = stream
    const reader = new EventReader(this.#parts.settings.maxEventBytes)
    for await (const chunk of answer.body) {
      // Without an encoding set, a body yields buffers.
      for (const data of reader.push(chunk as Buffer)) {
        const { enforced, outcome } = stream
        const projected = await this.#parts.pipeline.release(
          { ...grant, enforced, outcome },
          parseUpstream(data),
        )
        if (stream.cutBy !== undefined || res.destroyed) return
        add(stream.released, projected.released)
        const text = `data: ${JSON.stringify(projected.value ?? {})}\n\n`
        stream.bytesOut += Buffer.byteLength(text)
        if (!res.write(text)) await drained(res, stream.gone.signal)
      }
    }
  }

  async #rewrite(stream: EventStream, rewriting: Rewriting): Promise<void> {
    const { res, answer } = stream
    const reader = new EventReader(this.#parts.settings.maxEventBytes)
    const write = async (events: readonly string[]): Promise<void> => {
      for (const text of events) {
        if (stream.cutBy !== undefined || res.destroyed) return
        stream.bytesOut += Buffer.byteLength(text)
        if (!res.write(text)) await drained(res, stream.gone.signal)
      }
    }
    for await (const chunk of answer.body) {
      // Without an encoding set, a body yields buffers.
      for (const data of reader.push(chunk as Buffer)) await write(rewriting.event(data))
    }
    await write(rewriting.end())
  }

  #recheckOne(stream: EventStream): void {
    const { pipeline, liveness, bundles, clock } = this.#parts
    const { caller } = stream.grant
    const alive = liveness.isLive(caller.instance, clock.now(), (serial) =>
      bundles.isRevoked(serial),
    )
    if (!alive) throw new Refusal('SP_SVID_EXPIRED', 'the identity has ended', { status: 401 })
    const { enforced, outcome } = pipeline.redecide(stream.grant)
    if (outcome.decision !== 'allow') {
      this.#cut(stream, outcome.code)
      return
    }
    stream.enforced = enforced
    stream.outcome = outcome
  }

  #cut(stream: EventStream, code: string): void {
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
}

function add(
  total: Record<string, { records: number; maxWholeClass: string }>,
  more: OutcomeRecord['released'],
): void {
  for (const [dataset, { records, maxWholeClass }] of Object.entries(more)) {
    const before = total[dataset]
    const higher =
      before && CLASSES.indexOf(before.maxWholeClass) > CLASSES.indexOf(maxWholeClass)
        ? before.maxWholeClass
        : maxWholeClass
    total[dataset] = { records: (before?.records ?? 0) + records, maxWholeClass: higher }
  }
}
