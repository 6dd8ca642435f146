import type { A2aSystem, A2aVersion } from '@sallyport/network'
import type { OutcomeRecord } from '@sallyport/wire'
import { rpcResult } from '../adapters/jsonrpc.ts'
import type { RpcRequest } from '../adapters/jsonrpc.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { sumReleased } from '../calls/released.ts'
import type { Going } from '../calls/types.ts'
import { beginEvents, sendJson } from '../edge/answer.ts'
import type { Ending } from '../edge/ending.ts'
import { drained } from '../edge/message.ts'
import type { EdgeResponse } from '../edge/message.ts'
import { EventReader } from '../edge/sse.ts'
import type { RequestContext } from '../serve/context.ts'
import type { AnswerStream, EventStreams } from '../serve/events.ts'
import type { GatewaySettings } from '../settings.ts'
import { addressed } from '../upstream/call-tokens.ts'
import { parseUpstream, readPieces, unusable, upstreamRefusal } from '../upstream/exchange.ts'
import type { Exchange, UpstreamAnswer } from '../upstream/exchange.ts'
import { eventOf, rpcResultOf, taskOf } from './answers.ts'
import type { PeerEvent } from './answers.ts'
import type { Cards } from './cards.ts'
import type { Room } from './pushes.ts'
import type { Show } from './show.ts'
import type { Task, Tasks } from './tasks.ts'
import { written } from './tell.ts'

export interface PeersParts {
  readonly pipeline: Pipeline
  readonly exchange: Exchange
  readonly streams: EventStreams
  readonly cards: Cards
  readonly show: Show
  readonly tasks: Tasks
  readonly settings: GatewaySettings
}

/** A granted request to a peer. */
export interface PeerTurn {
  readonly context: RequestContext
  readonly grant: Grant
  readonly a2a: A2aSystem
  /** The task that it is about; absent where the peer may make one. */
  readonly task: Task | undefined
  /** What the caller calls the conversation. */
  readonly contextId: string | undefined
  /** For the place to push to that a message brings along. */
  readonly room: Room | undefined
  readonly stream: boolean
  /** Whether it says something, and the answer says which of several things it is. */
  readonly sends: boolean
  /** Of the caller, and the revision it speaks. */
  readonly rpc: RpcRequest
  readonly version: A2aVersion
}

const EVENTS = 'text/event-stream'

/** Speaks A2A to peers, and tells callers what of their answers may leave. */
export class Peers {
  readonly #parts: PeersParts

  constructor(parts: PeersParts) {
    this.#parts = parts
  }

  /** Asks, and answers the caller. @throws Refusal where nothing has left yet */
  async ask(turn: PeerTurn): Promise<void> {
    const { context, a2a, stream } = turn
    const grant = labelled(turn.grant, a2a)
    const answer = await this.#send(grant, a2a, context.signal, stream)
    try {
      if (stream) await this.#follow({ ...turn, grant }, answer)
      else await this.#whole({ ...turn, grant }, answer)
    } catch (error) {
      answer.body.destroy()
      throw error
    }
  }

  /** As `Exchange.prepare`. */
  prepare(going: Going): void {
    this.#parts.exchange.prepare(going)
  }

  /** Tells a peer something that it answers with nothing of interest. @throws Refusal */
  async told(grant: Grant, a2a: A2aSystem, signal: Ending): Promise<void> {
    const answer = await this.#send(grant, a2a, signal, false)
    rpcResultOf(await this.#parts.exchange.json(answer), grant.id)
  }

  /** Records the end of a call whose answer is whole, and sends it. */
  finished(
    grant: Grant,
    res: EdgeResponse,
    body: string,
    released: OutcomeRecord['released'] = {},
  ): void {
    const gone = res.destroyed
    this.#parts.pipeline.finish(grant, {
      status: 200,
      result: gone ? 'aborted' : 'completed',
      bytesOut: gone ? 0 : Buffer.byteLength(body),
      released: gone ? {} : released,
      forwarded: true,
    })
    if (!gone) sendJson(res, { status: 200, body, decision: grant.id })
  }

  async #send(
    grant: Grant,
    a2a: A2aSystem,
    signal: Ending,
    stream: boolean,
  ): Promise<UpstreamAnswer> {
    const { exchange, cards, settings } = this.#parts
    await cards.demand(grant, a2a, signal)
    const answer = await exchange.send({
      ...addressed(grant),
      accept: stream ? `${EVENTS}, application/json` : 'application/json',
      repeatable: false,
      // A peer may think as long as a model.
      headersMs: settings.modelTimeoutMs,
      idleMs: stream ? settings.maxStreamMs : settings.upstreamTimeoutMs,
      signal,
    })
    if (answer.status === 200) return answer
    answer.body.destroy()
    throw upstreamRefusal(answer)
  }

  async #whole(turn: PeerTurn, answer: UpstreamAnswer): Promise<void> {
    const { exchange, show, streams } = this.#parts
    const { grant, a2a, version, context, rpc, task, contextId, sends } = turn
    const result = rpcResultOf(await exchange.json(answer), grant.id)
    const event: PeerEvent = sends ? eventOf(result, a2a.speaks) : taskOf(result, a2a.speaks)
    if (event.kind !== 'task' && event.kind !== 'message') throw unusable('it is part of a stream')
    const of = show.taskOf(grant, event, task, contextId)
    this.#noted(turn, of)
    // A peer may think for minutes: what holds now is what its caller may have of it.
    const current = labelled(streams.again(grant), a2a)
    const shown = await show.event(grant, current, event, of, contextId)
    const body = rpcResult(rpc.id, written(shown.event, version, sends))
    const released = shown.released.reduce(sumReleased, {})
    this.finished(grant, context.res, body, released)
  }

  async #follow(turn: PeerTurn, answer: UpstreamAnswer): Promise<void> {
    const { exchange, streams } = this.#parts
    if (answer.contentType !== EVENTS) {
      rpcResultOf(await exchange.json(answer), turn.grant.id)
      throw unusable('it is no stream')
    }
    await streams.follow(turn.context, turn.grant, answer, (stream) => this.#pump(turn, stream))
  }

  async #pump(turn: PeerTurn, stream: AnswerStream): Promise<void> {
    const { settings } = this.#parts
    const { res, answer, grant } = stream
    const reader = new EventReader(settings.maxEventBytes)
    let task = turn.task
    let begun = false
    for await (const bytes of readPieces(answer.body, settings.maxStreamedBytes)) {
      for (const data of reader.push(bytes)) {
        const result = rpcResultOf(parseUpstream(data), grant.id)
        const shown = await this.#shown(turn, stream, eventOf(result, turn.a2a.speaks), task)
        task ??= shown.task
        if (stream.cutBy !== undefined || res.destroyed) return
        if (!begun) {
          this.#noted(turn, task)
          beginEvents(res, grant.id)
          begun = true
        }
        const text = `data: ${rpcResult(turn.rpc.id, written(shown.event, turn.version))}\n\n`
        stream.bytesOut += Buffer.byteLength(text)
        if (!res.write(text)) await drained(res, stream.gone.signal)
      }
    }
    if (!begun) throw unusable('its stream is empty')
  }

  async #shown(
    turn: PeerTurn,
    stream: AnswerStream,
    event: PeerEvent,
    task: Task | undefined,
  ): ReturnType<Show['event']> {
    const { enforced, outcome } = stream
    const current = { ...stream.grant, enforced, outcome: withTags(outcome, turn.a2a) }
    const shown = await this.#parts.show.event(stream.grant, current, event, task, turn.contextId)
    stream.released = shown.released.reduce(sumReleased, stream.released)
    return shown
  }

  #noted({ room, sends, grant, task: asked }: PeerTurn, task: Task | undefined): void {
    room?.settle(task)
    // Its peer took the message: the task goes on by this call.
    if (sends && asked) this.#parts.tasks.wentOn(asked, grant)
  }
}

/** What an agent says may be anything: the session is labelled as its declaration tells. */
const labelled = (grant: Grant, a2a: A2aSystem): Grant => ({
  ...grant,
  outcome: withTags(grant.outcome, a2a),
})

const withTags = (outcome: Grant['outcome'], { answerTags }: A2aSystem): Grant['outcome'] => ({
  ...outcome,
  labels: [...new Set([...outcome.labels, ...answerTags])].toSorted(),
})
