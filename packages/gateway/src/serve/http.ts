import type { System } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import { forwardHttp, matchRoute, rawInput } from '../adapters/http.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import type { TypedCall } from '../calls/types.ts'
import { routeName } from '../inventory/names.ts'
import { Refusal } from '../refusal.ts'
import type { Strange } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Stats } from '../stats.ts'
import { addressed } from '../upstream/call-tokens.ts'
import { basePath, upstreamRefusal } from '../upstream/exchange.ts'
import type { Exchange, UpstreamAnswer } from '../upstream/exchange.ts'
import type { RequestContext } from './context.ts'
import type { EventStreams } from './events.ts'
import { Bodies, NOTHING } from './bodies.ts'
import { callFailed } from './failed.ts'
import { JsonAnswers } from './json.ts'
import { LabelledAnswers } from './labelled.ts'
import { LineAnswers } from './lines.ts'
import { typedInput } from './typed.ts'

export interface HttpParts {
  readonly pipeline: Pipeline
  readonly exchange: Exchange
  readonly streams: EventStreams
  readonly tokeniser: Tokeniser
  readonly settings: GatewaySettings
  readonly stats: Stats
}

const EVENTS = 'text/event-stream'

/** Calls to HTTP systems: `/SYSTEM/rest`. */
export class HttpCalls {
  readonly #parts: HttpParts
  readonly #bodies: Bodies
  readonly #json: JsonAnswers
  readonly #labelled: LabelledAnswers
  readonly #lines: LineAnswers

  constructor(parts: HttpParts) {
    this.#parts = parts
    this.#bodies = new Bodies(parts.settings)
    this.#json = new JsonAnswers(parts)
    this.#labelled = new LabelledAnswers(parts)
    this.#lines = new LineAnswers(parts)
  }

  /** @throws Refusal for whatever stops the call before an answer began */
  async serve(context: RequestContext, system: System): Promise<void> {
    const ends: (() => void)[] = []
    try {
      await this.#serve(context, system, ends)
    } finally {
      for (const end of ends) end()
    }
  }

  /** @param ends what is to be called once it is over */
  async #serve(context: RequestContext, system: System, ends: (() => void)[]): Promise<void> {
    const { pipeline, settings } = this.#parts
    const { caller, enforced, request } = context
    const typed = await this.#type(context, system, ends)
    const grant = await pipeline.authorise(enforced, caller, typed, request.headers)
    const { binding, kind } = typed.operation
    const wantsEvents = kind === 'read' && request.headers.accept.split(/[,;\s]+/).includes(EVENTS)
    const lines = binding.kind === 'http' ? (binding.lines ?? []) : []
    const lasts = wantsEvents || (kind === 'read' && lines.length > 0)
    let answer: UpstreamAnswer | undefined
    try {
      answer = await this.#parts.exchange.send({
        ...addressed(grant),
        accept: [...(wantsEvents ? [EVENTS] : []), ...lines, 'application/json'].join(', '),
        repeatable: kind === 'read',
        signal: context.signal,
        ...(lasts ? { idleMs: settings.maxStreamMs } : {}),
      })
      if (wantsEvents && answer.status === 200 && answer.contentType === EVENTS) {
        await this.#parts.streams.serve(context, grant, answer)
      } else await this.#answer(context, grant, answer)
    } catch (error) {
      throw callFailed(this.#parts, grant, error, context.signal, answer)
    }
  }

  async #type(context: RequestContext, system: System, ends: (() => void)[]): Promise<TypedCall> {
    const { caller, enforced, request, req } = context
    const { segments, query } = request.target
    const routes = enforced.routes.get(system.name) ?? []
    const match = matchRoute(routes, request.method, segments.slice(1))
    if (!match) {
      const name = routeName(routes, request.method, segments.slice(1))
      throw noOperation({ kind: 'operation', name })
    }
    const { operation } = match.route
    const declared = enforced.decider.index.findFlow(caller.agent, system.name, operation.name)
    // Nobody sends many bytes to what they may not call.
    const { value, files } =
      declared || !match.route.binding.body
        ? await this.#bodies.read(req, request, match.route, caller.session, ends)
        : NOTHING
    const { tokeniser } = this.#parts
    const input = typedInput(enforced, caller.agent, system, operation, tokeniser, () =>
      rawInput(match, { query, headers: request.headers.all }, value),
    )
    // Without a flow the input may be missing, and nothing is ever forwarded.
    const upstream = declared
      ? forwardHttp(match.route, input, basePath(system, ''), files)
      : { method: request.method, path: '/', body: undefined }
    return {
      ...{ system, operation, input, upstream: () => upstream },
      meanwhile: (going) => {
        this.#parts.exchange.prepare(going)
      },
    }
  }

  async #answer(context: RequestContext, grant: Grant, answer: UpstreamAnswer): Promise<void> {
    if (answer.status < 200 || answer.status > 299) {
      answer.body.destroy()
      throw upstreamRefusal(answer)
    }
    const { binding } = grant.typed.operation
    if (binding.kind === 'http' && binding.labelled) {
      await this.#labelled.serve(context, grant, answer, binding.labelled)
      return
    }
    const isOfLines = binding.kind === 'http' && binding.lines?.includes(answer.contentType)
    if (isOfLines) await this.#lines.serve(context, grant, answer)
    else await this.#json.serve(context, grant, answer)
  }
}

export const noOperation = (strange?: Strange): Refusal =>
  new Refusal('SP_NO_OPERATION', 'there is no such operation', {
    status: 403,
    outcome: 'not-permitted',
    ...(strange === undefined ? {} : { strange }),
  })
