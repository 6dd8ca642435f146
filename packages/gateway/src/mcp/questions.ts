import { canonicalJson } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import type { System } from '@sallyport/network'
import { isRpcId, RPC } from '../adapters/jsonrpc.ts'
import type { RpcId, RpcResponse } from '../adapters/jsonrpc.ts'
import type { McpSession } from '../adapters/mcp-sessions.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import type { Caller } from '../calls/types.ts'
import { Pace } from '../edge/pace.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Enforced } from '../state/bundles.ts'
import { ContentRelease } from './content.ts'
import type { JsonObject } from './content.ts'
import { readElicitation } from './elicitation.ts'
import { offerOf } from './offer.ts'
import { readSampling } from './sampling.ts'

/** Something that a server asked, made fit to be decided and shown. */
export interface Asked {
  readonly input: Readonly<Record<string, string | number>>
  /** @returns what the client is asked; undefined where nothing is left to ask */
  shown(release: ContentRelease): Promise<JsonObject | undefined>
  /** @returns what the server is told; undefined where the client's result is none that was asked for */
  told(result: JsonObject): JsonObject | undefined
}

/** A question that waits for the client. */
export interface Question {
  /** Whether a call cannot go on before it is answered. */
  readonly holds: (call: string) => boolean
  /** @throws Refusal `SP_MCP_MESSAGE` where it is no answer to it */
  answer(response: RpcResponse): Promise<void>
  giveUp(): void
}

export interface QuestionContext {
  readonly enforced: Enforced
  readonly caller: Caller
  readonly system: System
  readonly session: McpSession
  /** In whose stream it came. */
  readonly call?: { readonly now: { readonly id: string } }
  /** Tells the client. @returns false where it does not listen */
  emit(message: string): boolean
  /** Tells the server. */
  reply(message: JsonObject): Promise<void>
}

export interface QuestionParts {
  readonly pipeline: Pipeline
  readonly settings: GatewaySettings
  readonly clock: Clock
}

/** Of one session, at once. */
export const MAX_QUESTIONS = 8
/** Of one system to one caller: each is a decision, and a record of it. */
const PACE = { perSecond: 1, burst: 32 }

/**
 * What servers ask of clients: `sampling/createMessage` and `elicitation/create`. Each is a call of the operation that is
 * declared for it, decided before the client hears of it, and shown as its content is classified.
 */
export class Questions {
  readonly #parts: QuestionParts
  readonly #pace: Pace
  #next = 0

  constructor(parts: QuestionParts) {
    this.#parts = parts
    this.#pace = new Pace(PACE.perSecond, PACE.burst, parts.clock)
  }

  /** Which of them the server may be told that the client takes. */
  abilities(
    { enforced, caller, system }: Pick<QuestionContext, 'enforced' | 'caller' | 'system'>,
    { client }: Pick<McpSession, 'client'>,
  ): Record<string, JsonValue> {
    const { index } = enforced.decider
    const offer = offerOf(system)
    const reaches = (service: 'sampling' | 'elicitation'): boolean => {
      const operation = offer.service(service)
      return operation
        ? index.findFlow(caller.agent, system.name, operation.name) !== undefined
        : false
    }
    const hosts = offer.service('elicitation')?.binding.hosts ?? []
    const elicitation = {
      ...(client.form ? { form: {} } : {}),
      ...(client.url && hosts.length > 0 ? { url: {} } : {}),
    }
    return {
      ...(client.sampling && reaches('sampling') ? { sampling: {} } : {}),
      ...(Object.keys(elicitation).length > 0 && reaches('elicitation') ? { elicitation } : {}),
    }
  }

  /** Takes a request of a server to its answer. Never rejects. */
  async ask(context: QuestionContext, message: JsonObject): Promise<void> {
    const { id, method } = message
    if (!isRpcId(id)) return
    const fail = (code: number, text: string): Promise<void> =>
      context.reply({ jsonrpc: '2.0', id, error: { code, message: text } })
    try {
      if (method === 'ping') await context.reply({ jsonrpc: '2.0', id, result: {} })
      else if (method === 'sampling/createMessage' || method === 'elicitation/create') {
        await this.#ask(context, id, method, message)
      } else await fail(RPC.methodNotFound, 'the method is not available')
    } catch (error) {
      const { message: text, code } = toRefusal(error)
      await fail(RPC.refused, `${text} (${code})`).catch(() => undefined)
    }
  }

  async #ask(
    context: QuestionContext,
    id: RpcId,
    method: 'sampling/createMessage' | 'elicitation/create',
    { params }: JsonObject,
  ): Promise<void> {
    const { pipeline } = this.#parts
    const { enforced, caller, system, session } = context
    const service = method === 'elicitation/create' ? 'elicitation' : 'sampling'
    const operation = offerOf(system).service(service)
    const offered = this.abilities(context, session)
    if (!operation || offered[service] === undefined) throw unasked()
    demandRoom(session)
    if (!this.#pace.admits(`${caller.session} ${system.name}`)) throw tooOften()
    const asked =
      service === 'sampling'
        ? readSampling(params)
        : readElicitation(params, operation.binding.hosts ?? [], session.client)
    const own = `ask_${++this.#next}`
    const grant = await pipeline.authorise(
      enforced,
      caller,
      {
        system,
        operation,
        input: asked.input,
        // What is decided is what the server asks: it goes to the client, and nowhere else.
        upstream: () => ({
          method: 'POST',
          path: '/',
          body: Buffer.from(
            canonicalJson({ jsonrpc: '2.0', id: own, method, params: params ?? {} }),
          ),
        }),
      },
      { approval: undefined, mandate: undefined },
    )
    try {
      const release = new ContentRelease(pipeline, grant)
      const shown = await asked.shown(release)
      // Others may have been asked meanwhile, or the session may have ended: then nobody would give this one up.
      demandRoom(session)
      if (!shown)
        throw new Refusal('SP_MCP_QUESTION', 'nothing of the question may be shown', FORBIDDEN)
      this.#wait(context, id, own, grant, asked, release.released)
      const text = JSON.stringify({ jsonrpc: '2.0', id: own, method, params: shown })
      if (!context.emit(text)) session.questions.get(own)?.giveUp()
    } catch (error) {
      this.#finish(grant, toRefusal(error).status, 'cut', {})
      throw error
    }
  }

  /** Keeps the question until the client answers it, or nobody will. */
  #wait(
    context: QuestionContext,
    id: RpcId,
    own: string,
    grant: Grant,
    asked: Asked,
    released: ContentRelease['released'],
  ): void {
    const { pipeline, settings } = this.#parts
    const { session } = context
    const settle = (): void => {
      clearTimeout(timer)
      session.questions.delete(own)
    }
    const refuse = (): void => {
      const error = { code: RPC.refused, message: 'the client gave no answer' }
      context.reply({ jsonrpc: '2.0', id, error }).catch(() => undefined)
    }
    const giveUp = (): void => {
      if (!session.questions.has(own)) return
      settle()
      this.#finish(grant, 504, 'aborted', released)
      refuse()
    }
    const timer = setTimeout(giveUp, settings.modelTimeoutMs).unref()
    const { call, system } = context
    // A program does not say which call it asks for.
    const mayBeAny = system.upstream.kind === 'program'
    session.questions.set(own, {
      holds: (one) => mayBeAny || one === call?.now.id,
      giveUp,
      answer: async ({ result }) => {
        const told = result && asked.told(result)
        if (result && !told) throw notAsked()
        settle()
        try {
          // Meanwhile the session may have read what must not go there.
          pipeline.still.demand(grant)
        } catch (error) {
          this.#finish(grant, toRefusal(error).status, 'cut', released)
          refuse()
          throw error
        }
        this.#finish(grant, 200, 'completed', released)
        if (told) await context.reply({ jsonrpc: '2.0', id, result: told })
        else refuse()
      },
    })
  }

  #finish(
    grant: Grant,
    status: number,
    result: 'completed' | 'cut' | 'aborted',
    released: ContentRelease['released'],
  ): void {
    this.#parts.pipeline.finish(grant, { status, result, bytesOut: 0, released, forwarded: true })
  }
}

const FORBIDDEN = { status: 403, outcome: 'forbidden' } as const

const unasked = (): Refusal =>
  new Refusal('SP_MCP_QUESTION', 'the client cannot be asked this', FORBIDDEN)

function demandRoom({ questions, ended }: McpSession): void {
  if (ended.signal.aborted || questions.size >= MAX_QUESTIONS) throw unasked()
}

const tooOften = (): Refusal =>
  new Refusal('SP_MCP_QUESTION', 'the system asks too often', { status: 429, outcome: 'limited' })

const notAsked = (): Refusal =>
  new Refusal('SP_MCP_MESSAGE', 'the result is none that was asked for', { status: 400 })
