import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { classRank } from '@sallyport/network'
import type { Outcome } from '@sallyport/decide'
import type { LlmModel, LlmSystem, Operation, System } from '@sallyport/network'
import { standIns } from '@sallyport/redact'
import type { StandIns, Tokeniser } from '@sallyport/redact'
import type { Clock } from '@sallyport/base'
import type { Audit } from '../audit/audit.ts'
import type { Grant, Pipeline, Presented } from '../calls/pipeline.ts'
import { sendJson } from '../edge/answer.ts'
import { readJsonBody } from '../edge/body.ts'
import { plain } from '../inventory/plain.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { RequestContext } from '../serve/context.ts'
import type { EventStreams } from '../serve/events.ts'
import { callFailed } from '../serve/failed.ts'
import { noOperation } from '../serve/http.ts'
import { typedInput } from '../serve/typed.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Stats } from '../stats.ts'
import { addressed } from '../upstream/call-tokens.ts'
import { basePath, unusable, upstreamRefusal } from '../upstream/exchange.ts'
import type { Exchange, UpstreamAnswer } from '../upstream/exchange.ts'
import { isObject } from '../adapters/jsonrpc.ts'
import { AnswerFilter } from './answer.ts'
import { beyond, charactersOf, demandLimit, estimatedTokens, spending, usageOf } from './budget.ts'
import type { Usage } from './budget.ts'
import { notAllowed, redactPrompt } from './prompt.ts'
import type { About, ReadValues } from './read-values.ts'
import { eventRewriter } from './streams.ts'
import { readModelRequest, surfaceAt } from './surfaces.ts'
import type { ModelRequest, Surface } from './surfaces.ts'
import { Taken } from './taken.ts'
import { Vaults } from './vaults.ts'

export interface LlmParts {
  readonly pipeline: Pipeline
  readonly exchange: Exchange
  readonly streams: EventStreams
  readonly audit: Audit
  readonly tokeniser: Tokeniser
  readonly readValues: ReadValues
  /** 32 secret bytes, from which each instance's own are derived. */
  readonly key: Uint8Array
  readonly settings: GatewaySettings
  readonly stats: Stats
  readonly clock: Clock
}

/** One model that is asked, and where. */
interface Candidate {
  readonly system: System
  readonly llm: LlmSystem
  readonly model: LlmModel
}

/** One model that is asked one thing for one caller. */
interface Asking {
  readonly standIns: StandIns
  readonly context: RequestContext
  readonly candidate: Candidate
  readonly surface: Surface
  readonly asked: ModelRequest
  readonly presented: Presented
}

const EVENTS = 'text/event-stream'
const ANTHROPIC_VERSION = '2023-06-01'
const DAY_MS = 86_400_000

/** Calls to models, in the wire format of their vendors: `/SYSTEM/v1/…`. */
export class LlmCalls {
  readonly #parts: LlmParts
  readonly #vaults: Vaults
  /** Since the epoch, and how reviews of vendors write it. */
  #day = { number: -1, text: '' }

  constructor(parts: LlmParts) {
    this.#parts = parts
    this.#vaults = new Vaults(parts.key)
  }

  /** @throws Refusal for whatever stops the call before an answer began */
  async serve(context: RequestContext, system: System): Promise<void> {
    const { request, req, res, signal } = context
    const { llm } = system
    const { segments, query } = request.target
    const path = segments.slice(1)
    if (!llm || query.size > 0) throw noOperation()
    if (request.method === 'GET' && path.join('/') === 'v1/models') {
      this.#list(context, system, llm)
      return
    }
    const surface = surfaceAt(llm.dialect, path)
    if (!surface || request.method !== 'POST') throw noOperation()
    const body = await readJsonBody(req, request, this.#parts.settings.maxPromptBytes)
    const asked = readModelRequest(surface, body)
    let failure: Refusal | undefined
    for (const candidate of candidates(context, system, llm, asked.model)) {
      try {
        // Approvals and mandates are for the call that they were given for.
        const presented = failure ? NOTHING : request.headers
        await this.#ask(context, candidate, surface, asked, presented)
        return
      } catch (error) {
        const refusal = toRefusal(error)
        if (failure === undefined && (!isOutage(refusal) || signal.aborted)) throw refusal
        if (res.headersSent) throw refusal
        failure ??= refusal
      }
    }
    throw failure ?? noOperation()
  }

  /** The models that some flow leads the caller to, as declared. */
  #list({ res, enforced, caller }: RequestContext, system: System, llm: LlmSystem): void {
    const { index } = enforced.decider
    const reached = system.operations.some(({ name }) =>
      index.findFlow(caller.agent, system.name, name),
    )
    if (!reached) throw noOperation()
    const data = llm.models.map(({ name }) =>
      llm.dialect === 'anthropic'
        ? { type: 'model', id: name, display_name: name, created_at: '1970-01-01T00:00:00Z' }
        : { id: name, object: 'model', created: 0, owned_by: llm.vendor.name },
    )
    const page = llm.dialect === 'anthropic' ? { has_more: false } : { object: 'list' }
    sendJson(res, { status: 200, body: JSON.stringify({ ...page, data }) })
  }

  async #ask(
    context: RequestContext,
    candidate: Candidate,
    surface: Surface,
    asked: ModelRequest,
    presented: Presented,
  ): Promise<void> {
    void this.#parts.readValues.forget()
    const { vault, close } = this.#vaults.open(context.caller.session)
    const { llm, model } = candidate
    const taken = new Taken(
      () => asked.body(model, llm.outputLimit),
      this.#parts.readValues.anybodys(),
    )
    const form = llm.standIns === 'form' && { isTaken: (text: string) => taken.has(text) }
    try {
      const standing = standIns(vault, form || undefined)
      await this.#askWith({ standIns: standing, context, candidate, surface, asked, presented })
    } finally {
      close()
    }
  }

  async #askWith(asking: Asking): Promise<void> {
    const { pipeline, exchange, settings, readValues } = this.#parts
    const { standIns: standing, context, candidate, surface, asked } = asking
    const { caller } = context
    const { system, llm } = candidate
    const tags = new Set(llm.answerTags)
    const told = new Set<About>()
    const { grant, most } = await this.#authorise(asking, (about, above) => {
      told.add(about)
      if (above) for (const tag of about.tags) tags.add(tag)
    })
    let usage: Usage | undefined
    let said = (): number => 0
    const counted: Grant = {
      ...grant,
      outcome: labelled(grant.outcome, tags),
      reserved: {
        settle: (commit) => {
          const took = usage ?? beyond(most, said())
          grant.reserved.settle(commit, took && { ...spending(candidate.model, took) })
        },
      },
    }
    const filter = new AnswerFilter({
      standIns: standing,
      others: readValues.ofOthers(caller.session, told),
    })
    let answer: UpstreamAnswer | undefined
    try {
      answer = await exchange.send({
        ...addressed(grant),
        accept: asked.stream ? `${EVENTS}, application/json` : 'application/json',
        ...(llm.dialect === 'anthropic'
          ? { headers: { 'anthropic-version': ANTHROPIC_VERSION } }
          : {}),
        // What was answered and lost is paid for all the same.
        repeatable: false,
        signal: context.signal,
        headersMs: settings.modelTimeoutMs,
        idleMs: settings.modelTimeoutMs,
      })
      if (answer.status < 200 || answer.status > 299) {
        answer.body.destroy()
        throw upstreamRefusal(answer)
      }
      if (asked.stream) {
        if (answer.contentType !== EVENTS) {
          answer.body.destroy()
          throw unusable('it is no event stream')
        }
        said = () => filter.characters
        const rewriter = eventRewriter(surface.name, { filter, wantsUsage: asked.wantsUsage })
        await this.#parts.streams.serve(context, counted, answer, {
          event: (data) => {
            const events = rewriter.event(data)
            if (surface.limits.length > 0) demandLimit(most, filter.characters)
            usage = rewriter.usage
            return events
          },
          end: () => rewriter.end(),
        })
      } else {
        const body = await exchange.json(answer)
        if (!isObject(body)) throw unusable('it is not an object')
        usage = usageOf(body['usage'], surface.limits.length === 0)
        said = () => charactersOf(surface, body)
        await pipeline.answers.commitReleased(counted, { hasReleased: true })
        this.#finish(context, counted, answer.status, filter.whole(body))
      }
    } catch (error) {
      throw callFailed(this.#parts, counted, asUnusable(error), context.signal, answer)
    } finally {
      if (filter.withheld > 0) {
        this.#parts.audit.boundedEvent('model-output-withheld', {
          code: 'SP_LLM_WITHHELD',
          subject: caller.instance,
          facts: { decision: grant.id, system: system.name, count: filter.withheld },
        })
      }
    }
  }

  async #authorise(
    { standIns: standing, context, candidate, surface, asked, presented }: Asking,
    found: (about: About, above: boolean) => void,
  ): Promise<{ readonly grant: Grant; readonly most: Usage }> {
    const { pipeline, tokeniser, readValues } = this.#parts
    const { enforced, caller } = context
    const { system, llm, model } = candidate
    const operation = operationFor(system, surface)
    const declared = enforced.decider.index.findFlow(caller.agent, system.name, operation.name)
    // Without a flow nothing is looked at, and nothing is ever forwarded.
    if (!declared) {
      const upstream = () => ({ method: 'POST', path: '/', body: undefined })
      const typed = { system, operation, input: {}, upstream }
      const grant = await pipeline.authorise(enforced, caller, typed, presented)
      return { grant, most: { input: 0, output: 0 } }
    }
    this.#demandReview(llm)
    if (readValues.isIncomplete(caller.session, llm.mayRead)) {
      throw new Refusal(
        'SP_LLM_UNTRACKED',
        'it is not known any more what this instance has read',
        { status: 403, outcome: 'forbidden' },
      )
    }
    const { body, count } = redactPrompt(asked.body(model, llm.outputLimit), {
      llm,
      known: readValues.above(caller.session, llm.mayRead, found),
      standIns: standing,
    })
    if (count > 0 && llm.above === 'deny') throw notAllowed()
    const bytes = Buffer.from(JSON.stringify(body))
    const most = {
      input: estimatedTokens(bytes.length),
      output: asked.maxOutput(model.maxOutputTokens),
    }
    const raw = {
      model: model.name,
      ...spending(model, most),
      stream: asked.stream,
      tools: [...new Set(asked.tools)],
      redacted: count,
    }
    const input = typedInput(enforced, caller.agent, system, operation, tokeniser, () => raw)
    const path = `${basePath(system, '/v1')}/${surface.path.slice(1).join('/')}`
    const upstream = () => ({ method: 'POST', path, body: bytes })
    const typed = { system, operation, input, upstream }
    return { grant: await pipeline.authorise(enforced, caller, typed, presented), most }
  }

  /** As `YYYY-MM-DD`. */
  #today(): string {
    const number = Math.floor(this.#parts.clock.now() / DAY_MS)
    if (number !== this.#day.number) {
      this.#day = { number, text: new Date(number * DAY_MS).toISOString().slice(0, 10) }
    }
    return this.#day.text
  }

  #demandReview({ vendor }: LlmSystem): void {
    const today = this.#today()
    if (today >= vendor.reviewed && today <= vendor.reviewBy) return
    throw new Refusal('SP_LLM_REVIEW_EXPIRED', 'the review of the vendor is not in force', {
      status: 403,
      outcome: 'forbidden',
      detail: `${vendor.name}: ${vendor.reviewed} to ${vendor.reviewBy}`,
    })
  }

  #finish({ res }: RequestContext, grant: Grant, status: number, body: JsonValue): void {
    const { pipeline } = this.#parts
    const bytes = Buffer.from(JSON.stringify(body))
    const gone = res.destroyed
    pipeline.finish(grant, {
      status,
      result: gone ? 'aborted' : 'completed',
      bytesOut: gone ? 0 : bytes.length,
      released: {},
      forwarded: true,
    })
    if (!gone) sendJson(res, { status, body: bytes, decision: grant.id })
  }
}

/** A decision with more labels for the answer. */
function labelled(outcome: Outcome, tags: ReadonlySet<string>): Outcome {
  if (tags.size === 0) return outcome
  return { ...outcome, labels: [...new Set([...outcome.labels, ...tags])].toSorted() }
}

/** What cannot be looked through to its end is the fault of whoever said it: here the vendor. */
const asUnusable = (error: unknown): unknown =>
  error instanceof SallyportError && error.code === 'SP_REDACT_ENDLESS'
    ? unusable('it holds a secret that does not end')
    : error

const NOTHING: Presented = { approval: undefined, mandate: undefined }

/** The model that was asked for, and those that may stand in for it; none whose vendor may read less. */
function candidates(
  { enforced, caller }: RequestContext,
  system: System,
  llm: LlmSystem,
  name: string,
): Candidate[] {
  const model = llm.models.find((one) => one.name === name)
  if (!model) throw noOperation({ kind: 'operation', name: `model ${plain.model(name)}` })
  if (!model.fallback) return [{ system, llm, model }]
  const others = model.fallback.flatMap((wanted): Candidate[] => {
    const slash = wanted.indexOf('/')
    const other = enforced.decider.index.findSystem(wanted.slice(0, slash))
    const found = other?.llm?.models.find((one) => one.name === wanted.slice(slash + 1))
    if (!other?.llm || !found || other.llm.dialect !== llm.dialect) return []
    // A token is for the system that was called; one that demands a token has got none.
    const tokened = caller.token !== undefined || other.onBehalfOf !== undefined
    if (other.name !== system.name && tokened) return []
    const less = classRank(other.llm.mayRead) < classRank(llm.mayRead)
    return less ? [] : [{ system: other, llm: other.llm, model: found }]
  })
  return [{ system, llm, model }, ...others]
}

/** Whether another model may be asked instead: the vendor did not answer, and what it was asked was right. */
const isOutage = ({ code, status }: Refusal): boolean =>
  code === 'SP_UPSTREAM_FAILED' ||
  code === 'SP_UPSTREAM_OPEN' ||
  code === 'SP_UPSTREAM_TIMEOUT' ||
  (code === 'SP_UPSTREAM_REFUSED' && status === 429)

function operationFor(system: System, surface: Surface): Operation {
  const found = system.operations.find(
    ({ binding }) => binding.kind === 'llm' && binding.surface === surface.name,
  )
  if (!found) throw noOperation()
  return found
}
