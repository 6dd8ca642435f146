import { canonicalJson, Roster } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import type { Operation, System } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import { RPC, rpcError, rpcResult } from '../adapters/jsonrpc.ts'
import type { RpcId, RpcRequest } from '../adapters/jsonrpc.ts'
import type { McpSession } from '../adapters/mcp-sessions.ts'
import type { Audit } from '../audit/audit.ts'
import type { Grant, Pipeline, Presented } from '../calls/pipeline.ts'
import { problemOf, sendJson } from '../edge/answer.ts'
import type { Ending } from '../edge/ending.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { RequestContext } from '../serve/context.ts'
import { callFailed } from '../serve/failed.ts'
import { noOperation } from '../serve/http.ts'
import { typedInput } from '../serve/typed.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Stats } from '../stats.ts'
import type { McpAsk, McpCall, McpUpstream } from '../upstream/mcp.ts'
import { mcpPath } from '../upstream/mcp-http.ts'
import { ContentRelease } from './content.ts'
import type { JsonObject } from './content.ts'
import { asker, kept, lastOf } from './kept.ts'
import type { Again, Asker, Kept } from './kept.ts'
import type { McpPins } from './pins.ts'
import type { Questions } from './questions.ts'
import { Remedies } from './remedies.ts'
import type { ServerMessages } from './server-messages.ts'
import { ClientStream } from './session-stream.ts'
import { Underway } from './underway.ts'

/** How often the person behind a client is asked for what one call needs. */
const MAX_ASKED = 3

type Input = Readonly<Record<string, CedarJson>>

/** A method of a client that goes to the server as one call of one operation. */
export interface Invocation {
  readonly operation: Operation
  /** Another operation that the caller must reach, too. */
  readonly about?: Operation
  /** Input as the client gave it. */
  readonly raw: unknown
  /** What goes to the server. */
  readonly method: string
  readonly params: (input: Input) => { readonly [key: string]: JsonValue | CedarJson }
  readonly presented: Presented
  readonly progressToken?: RpcId | undefined
  /** @returns the result for the client: of what the server gave, what may leave */
  result(release: ContentRelease, given: JsonObject, now: Again): Promise<unknown>
}

export interface InvocationParts {
  readonly pipeline: Pipeline
  readonly audit: Audit
  readonly upstream: McpUpstream
  readonly tokeniser: Tokeniser
  readonly settings: GatewaySettings
  readonly stats: Stats
  readonly questions: Questions
  readonly messages: ServerMessages
  readonly pins: McpPins
  /** There is a session with the server. */
  onOpen(session: McpSession, by: Kept): Promise<void>
}

/** Takes a client's request through the doors, to the server and back. */
export class McpInvocations {
  readonly #parts: InvocationParts
  readonly #remedies: Remedies
  readonly #underway = new Roster<Underway>()
  readonly #timer: NodeJS.Timeout

  constructor(parts: InvocationParts) {
    this.#parts = parts
    this.#remedies = new Remedies(parts.settings)
    this.#timer = setInterval(() => {
      this.recheck()
    }, parts.settings.streamRecheckMs).unref()
  }

  close(): void {
    clearInterval(this.#timer)
  }

  /** Decides every call again that its server is at, and stops those that no longer hold. */
  recheck(): void {
    for (const call of this.#underway) call.check()
  }

  /**
   * Answers a request of a client, by what may come back of it or by what refused it.
   *
   * @param read @throws Refusal where the request names nothing that could be decided
   */
  async serve(
    context: RequestContext,
    system: System,
    session: McpSession,
    rpc: RpcRequest,
    read: () => Invocation,
  ): Promise<void> {
    const { res, caller, signal } = context
    /** Begins with the first decision of which the client is told something. */
    const open: { stream?: ClientStream } = {}
    let call: Underway | undefined
    let place: number | undefined
    try {
      const invocation = read()
      const grant = await this.#granted(context, system, session, invocation, (text, decision) => {
        if (!takesEvents(context)) return session.stream?.send(text) ?? false
        return (open.stream ??= new ClientStream(res, decision)).send(text)
      })
      open.stream ??= new ClientStream(res, grant.id)
      call = new Underway(this.#parts.pipeline, grant, open.stream, signal)
      place = this.#underway.add(call)
      await this.#forward(context, session, rpc, invocation, call)
    } catch (error) {
      const refusal = call ? this.#failed(call, error, signal) : toRefusal(error)
      const decision =
        refusal.decision ?? (await this.#parts.pipeline.refuseUntyped(caller, refusal, system.name))
      if (res.destroyed) return
      const { stream } = open
      if (stream && signal.aborted && !call?.stoppedBy) {
        // Nobody waits for the answer to what was given up (MCP 2025-11-25, basic/utilities/cancellation).
        stream.begin()
        stream.end()
        return
      }
      const noResource = refusal.code === 'SP_NO_OPERATION' && rpc.method.startsWith('resources/')
      const code = noResource
        ? RPC.noResource
        : refusal.status === 400 && !call
          ? RPC.invalidParams
          : RPC.refused
      const body = rpcError(rpc.id, code, refusal.message, problemOf(refusal, decision))
      if (stream?.begun) {
        stream.send(body)
        stream.end()
      } else sendJson(res, { status: 200, body })
    } finally {
      if (place !== undefined) this.#underway.remove(place)
      call?.close()
    }
  }

  /** Records how a granted call ended that came to no result. @returns what its caller is told */
  #failed(call: Underway, error: unknown, signal: Ending): Refusal {
    const { grant, stream } = call
    // What may not go on has its connections broken off, too: whichever is noticed first.
    if (signal.aborted) call.check()
    const { stoppedBy, released } = call
    if (!stoppedBy) {
      const sent = { bytesOut: stream.bytes, released }
      return callFailed(this.#parts, grant, error, signal, undefined, sent)
    }
    const { pipeline, audit, stats } = this.#parts
    const { code, status } = stoppedBy
    stoppedBy.decision = grant.id
    stats.streamsCut++
    audit.event('stream-cut', {
      code,
      subject: grant.caller.instance,
      facts: { decision: grant.id },
    })
    pipeline.finish(grant, {
      ...{ status, result: 'cut', bytesOut: stream.bytes, released },
      forwarded: call.isSent,
    })
    return stoppedBy
  }

  /** Decides a call. Where it needs what the person behind its client may name, it is decided again with what they named. */
  async #granted(
    context: RequestContext,
    system: System,
    session: McpSession,
    invocation: Invocation,
    tell: (text: string, decision: string | undefined) => boolean,
  ): Promise<Grant> {
    let { presented } = invocation
    for (let asked = 0; ; asked++) {
      try {
        return await this.#authorise(context, system, { ...invocation, presented })
      } catch (error) {
        const canAsk = invocation.method === 'tools/call' && asked < MAX_ASKED
        if (!(error instanceof Refusal) || !canAsk) throw error
        const emit = (text: string): boolean => tell(text, error.decision)
        const named = await this.#remedies.ask({ session, signal: context.signal, emit }, error)
        if (!named) throw error
        presented = { ...presented, ...named }
      }
    }
  }

  async #authorise(
    { enforced, caller, request }: RequestContext,
    system: System,
    { operation, about, raw, method, params, presented, progressToken }: Invocation,
  ): Promise<Grant> {
    const { pipeline, tokeniser, upstream } = this.#parts
    const { index } = enforced.decider
    if (about && !index.findFlow(caller.agent, system.name, about.name)) throw noOperation()
    const input = typedInput(enforced, caller.agent, system, operation, tokeniser, () => raw)
    return pipeline.authorise(
      enforced,
      caller,
      {
        system,
        operation,
        input,
        upstream: (id) => {
          const meta = progressToken === undefined ? {} : { _meta: { progressToken: id } }
          const message = { jsonrpc: '2.0', id, method, params: { ...params(input), ...meta } }
          return {
            method: 'POST',
            path: mcpPath(system),
            body: Buffer.from(canonicalJson(message)),
          }
        },
        meanwhile: (going) => {
          upstream.prepare(going)
        },
      },
      {
        approval: presented.approval ?? request.headers.approval,
        mandate: presented.mandate ?? request.headers.mandate,
      },
    )
  }

  async #forward(
    context: RequestContext,
    session: McpSession,
    rpc: RpcRequest,
    invocation: Invocation,
    underway: Underway,
  ): Promise<void> {
    const { pipeline, upstream, messages, pins } = this.#parts
    const { res } = context
    const { grant, stream } = underway
    const call = this.#call(context, session, grant, underway.stopped)
    const channel = {
      ...context,
      session,
      emit: (message: string): boolean => {
        if (!takesEvents(context)) return session.stream?.send(message) ?? false
        return stream.send(message)
      },
      reply: (message: JsonObject) => upstream.send(call, message),
    }
    await upstream.open(call)
    session.last = lastOf(grant)
    // What the server has to say in the meantime may come on a stream of its own.
    await this.#parts.onOpen(session, kept(grant))
    const demand = (): Promise<void> => pins.demand(call, session, grant.typed.operation)
    await demand()
    const checked = { on: upstream.sessionOf(call), again: demand }
    // In the order in which they came, and before the answer.
    let told = Promise.resolve()
    underway.isSent = true
    const given = await upstream.call({
      ...{ ...call, checked },
      aside: (message) =>
        (told = told.then(async () => {
          // A call that lasts is decided again whenever something of it comes.
          const now = underway.check()
          if (!now) return
          await messages.handle(
            {
              ...channel,
              enforced: now.enforced,
              system: now.typed.system,
              call: {
                ...{ now, progressToken: invocation.progressToken },
                showed: (released) => {
                  underway.showed(released)
                },
              },
            },
            message,
          )
        })),
    })
    await told
    const now = underway.demand()
    const release = new ContentRelease(pipeline, now)
    const result = await invocation.result(release, given, now)
    const body = rpcResult(rpc.id, result)
    const gone = res.destroyed
    if (!gone) underway.showed(release.released)
    pipeline.finish(grant, {
      status: 200,
      result: gone ? 'aborted' : 'completed',
      bytesOut: stream.bytes + (gone ? 0 : Buffer.byteLength(body)),
      released: underway.released,
      forwarded: true,
    })
    if (gone) return
    if (stream.begun) {
      stream.send(body)
      stream.end()
    } else sendJson(res, { status: 200, body, decision: grant.id })
  }

  #call(
    context: RequestContext,
    session: McpSession,
    grant: Grant,
    signal: AbortSignal,
  ): Omit<McpCall, 'aside'> {
    const { operation } = grant.typed
    return {
      ...askOf(this.#parts.questions, context, session, grant, signal),
      request: grant.upstream,
      repeatable: operation.kind === 'read',
      isWaiting: () => [...session.questions.values()].some(({ holds }) => holds(grant.id)),
    }
  }
}

/** Whether a client reads an answer as a stream. */
export const takesEvents = ({ request }: Pick<RequestContext, 'request'>): boolean =>
  /text\/event-stream|text\/\*|\*\/\*/.test(request.headers.accept)

/** A message to the server on behalf of a session, under a call that was granted to it. */
export function askOf(
  questions: Questions,
  { enforced, caller }: Pick<RequestContext, 'enforced' | 'caller'>,
  session: McpSession,
  by: Asker,
  signal: AbortSignal,
): McpAsk {
  const { id, call, typed } = asker(by)
  const { system, operation } = typed
  return {
    session: session.id,
    caller: caller.instance,
    delegation: call,
    system,
    decision: id,
    operation: `${system.name}.${operation.name}`,
    trace: caller.trace,
    abilities: questions.abilities({ enforced, caller, system }, session),
    signal,
  }
}
