import type { System } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import { forwardHttp, matchRoute, rawInput } from '../adapters/http.ts'
import type { RouteMatch } from '../adapters/http.ts'
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
import type { ReadBody } from './bodies.ts'
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
const JSON_TYPE = 'application/json'

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
    const { caller, enforced, request } = context
    const match = this.#match(context, system)
    const { operation, binding } = match.route
    const { index } = enforced.decider
    const isDeclared = index.findFlow(caller.agent, system.name, operation.name) !== undefined
    // Nobody sends many bytes to what they may not call.
    if (!request.hasBody || (binding.body && !isDeclared)) {
      await this.#serve(context, this.#type(context, system, match, isDeclared, NOTHING))
      return
    }
    const ends: (() => void)[] = []
    try {
      const body = await this.#bodies.read(context.req, request, match.route, caller.session, ends)
      await this.#serve(context, this.#type(context, system, match, isDeclared, body))
    } finally {
      for (const end of ends) end()
    }
  }

  async #serve(context: RequestContext, typed: TypedCall): Promise<void> {
    const { pipeline, settings } = this.#parts
    const { caller, enforced, request } = context
    const grant = await pipeline.authorise(enforced, caller, typed, request.headers)
    const { binding, kind } = typed.operation
    const { accept } = request.headers
    // Most do not name it at all.
    const wantsEvents =
      kind === 'read' && accept.includes(EVENTS) && accept.split(/[,;\s]+/).includes(EVENTS)
    const lines = binding.kind === 'http' ? (binding.lines ?? []) : []
    const lasts = wantsEvents || (kind === 'read' && lines.length > 0)
    const forms =
      wantsEvents || lines.length > 0
        ? [...(wantsEvents ? [EVENTS] : []), ...lines, JSON_TYPE].join(', ')
        : JSON_TYPE
    let answer: UpstreamAnswer | undefined
    try {
      const repeatable = kind === 'read'
      const asked = { ...addressed(grant), accept: forms, repeatable, signal: context.signal }
      const { maxStreamMs: idleMs } = settings
      answer = await this.#parts.exchange.send(lasts ? { ...asked, idleMs } : asked)
      if (wantsEvents && answer.status === 200 && answer.contentType === EVENTS) {
        await this.#parts.streams.serve(context, grant, answer)
      } else await this.#answer(context, grant, answer)
    } catch (error) {
      throw callFailed(this.#parts, grant, error, context.signal, answer)
    }
  }

  /** @throws Refusal `SP_NO_OPERATION` */
  #match({ enforced, request }: RequestContext, system: System): RouteMatch {
    const routes = enforced.routes.get(system.name) ?? []
    const segments = request.target.segments.slice(1)
    const match = matchRoute(routes, request.method, segments)
    if (match) return match
    throw noOperation({ kind: 'operation', name: routeName(routes, request.method, segments) })
  }

  #type(
    { caller, enforced, request }: RequestContext,
    system: System,
    match: RouteMatch,
    isDeclared: boolean,
    { value, files }: ReadBody,
  ): TypedCall {
    const { tokeniser, exchange } = this.#parts
    const { operation } = match.route
    const input = typedInput(enforced, caller.agent, system, operation, tokeniser, () =>
      rawInput(match, { query: request.target.query, headers: request.headers.all }, value),
    )
    // Without a flow the input may be missing, and nothing is ever forwarded.
    const upstream = isDeclared
      ? forwardHttp(match.route, input, basePath(system, ''), files)
      : { method: request.method, path: '/', body: undefined }
    return {
      system,
      operation,
      input,
      upstream: () => upstream,
      meanwhile: (going) => {
        exchange.prepare(going)
      },
    }
  }

  #answer(context: RequestContext, grant: Grant, answer: UpstreamAnswer): Promise<void> {
    if (answer.status < 200 || answer.status > 299) {
      answer.body.destroy()
      throw upstreamRefusal(answer)
    }
    const { binding } = grant.typed.operation
    if (binding.kind === 'http' && binding.labelled) {
      return this.#labelled.serve(context, grant, answer, binding.labelled)
    }
    const isOfLines = binding.kind === 'http' && binding.lines?.includes(answer.contentType)
    return (isOfLines ? this.#lines : this.#json).serve(context, grant, answer)
  }
}

export const noOperation = (strange?: Strange): Refusal =>
  new Refusal('SP_NO_OPERATION', 'there is no such operation', {
    status: 403,
    outcome: 'not-permitted',
    ...(strange === undefined ? {} : { strange }),
  })
