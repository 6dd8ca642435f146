import type { Operation, System } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import { forwardHttp, matchRoute, rawInput } from '../adapters/http.ts'
import type { Route, RouteMatch } from '../adapters/http.ts'
import { inputOf, statedBody } from '../adapters/raw.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import type { TypedCall } from '../calls/types.ts'
import { demandNoExpectation } from '../edge/headers.ts'
import { routeName } from '../inventory/names.ts'
import { Refusal } from '../refusal.ts'
import type { Strange } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Stats } from '../stats.ts'
import { addressed } from '../upstream/call-tokens.ts'
import { basePath, unusable, upstreamRefusal } from '../upstream/exchange.ts'
import type { Exchange, ExchangeRequest, UpstreamAnswer } from '../upstream/exchange.ts'
import type { RequestContext } from './context.ts'
import type { EventStreams } from './events.ts'
import { BytesAnswers, typesAsked } from './bytes.ts'
import { Bodies, NOTHING } from './bodies.ts'
import type { ReadBody } from './bodies.ts'
import { callFailed } from './failed.ts'
import { JsonAnswers } from './json.ts'
import { LabelledAnswers } from './labelled.ts'
import { LineAnswers } from './lines.ts'
import { typedInput } from './typed.ts'
import type { Upload } from './upload.ts'
import type { Uploads } from './uploads.ts'

export interface HttpParts {
  readonly pipeline: Pipeline
  readonly exchange: Exchange
  readonly streams: EventStreams
  readonly uploads: Uploads
  readonly tokeniser: Tokeniser
  readonly settings: GatewaySettings
  readonly stats: Stats
}

const EVENTS = 'text/event-stream'
const JSON_TYPE = 'application/json'
const NO_ROUTES: readonly Route[] = []

/** In which forms an answer may come. */
interface Forms {
  readonly wantsEvents: boolean
  /** Whether it may last. */
  readonly lasts: boolean
  /** As the system is asked for them. */
  readonly forms: string
}

const JUST_JSON: Forms = { wantsEvents: false, lasts: false, forms: JSON_TYPE }

/** Calls to HTTP systems: `/SYSTEM/rest`. */
export class HttpCalls {
  readonly #parts: HttpParts
  readonly #bodies: Bodies
  readonly #uploads: Uploads
  readonly #json: JsonAnswers
  readonly #labelled: LabelledAnswers
  readonly #lines: LineAnswers
  readonly #bytes: BytesAnswers
  readonly #meanwhile: NonNullable<TypedCall['meanwhile']>

  constructor(parts: HttpParts) {
    this.#parts = parts
    this.#bodies = new Bodies(parts.settings)
    this.#uploads = parts.uploads
    this.#json = new JsonAnswers(parts)
    this.#labelled = new LabelledAnswers(parts)
    this.#lines = new LineAnswers(parts)
    this.#bytes = new BytesAnswers(parts)
    this.#meanwhile = (going) => {
      parts.exchange.prepare(going)
    }
  }

  /** @throws Refusal for whatever stops the call before an answer began, at once or later */
  serve(context: RequestContext, system: System): Promise<void> {
    const { caller, enforced, request } = context
    const match = this.#match(context, system)
    const { operation, binding } = match.route
    const { index } = enforced.decider
    const isDeclared = index.findFlow(caller.agent, system.name, operation.name) !== undefined
    if (binding.body?.kind === 'raw') {
      if (isDeclared) return this.#withRaw(context, system, match)
    } else demandNoExpectation(request.headers)
    // Nobody sends many bytes to what they may not call.
    return !request.hasBody || (binding.body && !isDeclared)
      ? this.#serve(context, this.#type(context, system, match, isDeclared, NOTHING))
      : this.#withBody(context, system, match, isDeclared)
  }

  async #withBody(
    context: RequestContext,
    system: System,
    match: RouteMatch,
    isDeclared: boolean,
  ): Promise<void> {
    const { req, request, caller } = context
    const ends: (() => void)[] = []
    try {
      const body = await this.#bodies.read(req, request, match.route, caller.session, ends)
      await this.#serve(context, this.#type(context, system, match, isDeclared, body))
    } finally {
      for (const end of ends) end()
    }
  }

  async #withRaw(context: RequestContext, system: System, match: RouteMatch): Promise<void> {
    const { request, caller } = context
    const stated = statedBody(request, this.#parts.settings.maxRawBodyBytes)
    if (stated && stated.sha256 === undefined && system.upstream.kind === 'service') {
      throw new Refusal('SP_REQUEST_DIGEST', 'the request body needs a `content-digest`', {
        status: 400,
        close: true,
        detail: 'a service of the network is told which bytes the call is for',
      })
    }
    const body = stated ? { ...NOTHING, value: inputOf(stated) } : NOTHING
    const leave = this.#uploads.enter(caller.session)
    try {
      await this.#serve(context, this.#type(context, system, match, true, body))
    } finally {
      leave()
    }
  }

  async #serve(context: RequestContext, typed: TypedCall): Promise<void> {
    const { pipeline } = this.#parts
    const { caller, enforced, request } = context
    const grant = await pipeline.authorise(enforced, caller, typed, request.headers)
    if (grant.upstream.raw) await this.#uploads.run(context, grant, this.#forward)
    else await this.#forward(context, grant)
  }

  /** Sends what was granted, and gives out its answer. */
  readonly #forward = async (
    context: RequestContext,
    grant: Grant,
    upload?: Upload,
  ): Promise<void> => {
    const { settings } = this.#parts
    const { request, signal } = context
    const { typed } = grant
    const { kind } = typed.operation
    const { wantsEvents, lasts, forms } = formsOf(typed.operation, request.headers.accept)
    let answer: UpstreamAnswer | undefined
    try {
      const {
        caller: instance,
        delegation,
        system,
        decision,
        operation,
        request: sent,
        trace,
      } = addressed(grant)
      // Written out: for each call, a spread of so many costs more than the rest of this does.
      const asked: ExchangeRequest = {
        caller: instance,
        delegation,
        system,
        decision,
        operation,
        request: sent,
        trace,
        accept: forms,
        repeatable: kind === 'read',
        signal,
      }
      const { maxStreamMs: idleMs } = settings
      const sending = lasts ? { ...asked, idleMs } : asked
      answer = await this.#parts.exchange.send(
        upload ? { ...sending, streamed: upload, signal: upload.signal } : sending,
      )
      if (upload && !upload.isWhole) throw early(answer)
      if (wantsEvents && answer.status === 200 && answer.contentType === EVENTS) {
        await this.#parts.streams.serve(context, grant, answer)
      } else {
        const answering = this.#answer(context, grant, answer)
        if (answering) await answering
      }
    } catch (error) {
      if (!upload) throw callFailed(this.#parts, grant, error, signal, answer)
      const aborted = signal.aborted || upload.isLeft
      throw callFailed(this.#parts, grant, upload.failure ?? error, { aborted }, answer)
    }
  }

  /** @throws Refusal `SP_NO_OPERATION` */
  #match({ enforced, request }: RequestContext, system: System): RouteMatch {
    const routes = enforced.routes.get(system.name) ?? NO_ROUTES
    const { method, target } = request
    const match = matchRoute(routes, method, target.segments, 1)
    if (match) return match
    const name = routeName(routes, method, target.segments.slice(1))
    throw noOperation({ kind: 'operation', name })
  }

  #type(
    { caller, enforced, request }: RequestContext,
    system: System,
    match: RouteMatch,
    isDeclared: boolean,
    { value, files }: ReadBody,
  ): TypedCall {
    const { tokeniser } = this.#parts
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
      meanwhile: this.#meanwhile,
    }
  }

  #answer(
    context: RequestContext,
    grant: Grant,
    answer: UpstreamAnswer,
  ): Promise<void> | undefined {
    if (answer.status < 200 || answer.status > 299) {
      answer.body.destroy()
      throw upstreamRefusal(answer)
    }
    const { binding } = grant.typed.operation
    if (binding.kind === 'http' && binding.bytes) {
      return this.#bytes.serve(context, grant, answer, binding.bytes)
    }
    if (binding.kind === 'http' && binding.labelled) {
      return this.#labelled.serve(context, grant, answer, binding.labelled)
    }
    const isOfLines = binding.kind === 'http' && binding.lines?.includes(answer.contentType)
    return (isOfLines ? this.#lines : this.#json).serve(context, grant, answer)
  }
}

function formsOf({ binding, kind }: Operation, accept: string): Forms {
  if (binding.kind === 'http' && binding.bytes) {
    return { ...JUST_JSON, forms: typesAsked(binding.bytes, accept).join(', ') }
  }
  // Most do not name it at all.
  const wantsEvents =
    kind === 'read' && accept.includes(EVENTS) && accept.split(/[,;\s]+/).includes(EVENTS)
  const lines = binding.kind === 'http' ? binding.lines : undefined
  if (!wantsEvents && (lines === undefined || lines.length === 0)) return JUST_JSON
  return {
    wantsEvents,
    lasts: kind === 'read',
    forms: [...(wantsEvents ? [EVENTS] : []), ...(lines ?? []), JSON_TYPE].join(', '),
  }
}

/** An answer to a request that is not whole yet: what it refused counts, and what it made of the rest nobody can say. */
const early = (answer: UpstreamAnswer): Refusal =>
  answer.status > 299
    ? upstreamRefusal(answer)
    : unusable('it came before the request body was whole')

export const noOperation = (strange?: Strange): Refusal =>
  new Refusal('SP_NO_OPERATION', 'there is no such operation', {
    status: 403,
    outcome: 'not-permitted',
    ...(strange === undefined ? {} : { strange }),
  })
