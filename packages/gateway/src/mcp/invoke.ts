import { canonicalJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import type { Operation, System } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import { RPC, rpcError, rpcResult } from '../adapters/jsonrpc.ts'
import type { RpcId, RpcRequest } from '../adapters/jsonrpc.ts'
import type { McpSession } from '../adapters/mcp-sessions.ts'
import type { Grant, Pipeline, Presented } from '../calls/pipeline.ts'
import { problemOf, sendJson } from '../edge/answer.ts'
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
import type { McpPins } from './pins.ts'
import type { Questions } from './questions.ts'
import type { Channel, ServerMessages } from './server-messages.ts'
import { ClientStream } from './session-stream.ts'

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
  result(release: ContentRelease, given: JsonObject, grant: Grant): Promise<unknown>
}

export interface InvocationParts {
  readonly pipeline: Pipeline
  readonly upstream: McpUpstream
  readonly tokeniser: Tokeniser
  readonly settings: GatewaySettings
  readonly stats: Stats
  readonly questions: Questions
  readonly messages: ServerMessages
  readonly pins: McpPins
  /** There is a session with the server. */
  onOpen(context: RequestContext, session: McpSession): Promise<void>
}

/** Takes a client's request through the doors, to the server and back. */
export class McpInvocations {
  readonly #parts: InvocationParts

  constructor(parts: InvocationParts) {
    this.#parts = parts
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
    let grant: Grant | undefined
    let stream: ClientStream | undefined
    try {
      const invocation = read()
      grant = await this.#authorise(context, system, invocation)
      stream = new ClientStream(res, grant.id)
      await this.#forward(context, session, rpc, invocation, grant, stream)
    } catch (error) {
      const refusal = grant ? callFailed(this.#parts, grant, error, signal) : toRefusal(error)
      if (grant && signal.aborted) this.#cancel(context, session, grant)
      const decision =
        refusal.decision ?? (await this.#parts.pipeline.refuseUntyped(caller, refusal, system.name))
      if (res.destroyed) return
      if (stream && signal.aborted) {
        // Nobody waits for the answer to what was given up (MCP 2025-11-25, basic/utilities/cancellation).
        stream.begin()
        stream.end()
        return
      }
      const noResource = refusal.code === 'SP_NO_OPERATION' && rpc.method.startsWith('resources/')
      const code = noResource
        ? RPC.noResource
        : refusal.status === 400 && !grant
          ? RPC.invalidParams
          : RPC.refused
      const body = rpcError(rpc.id, code, refusal.message, problemOf(refusal, decision))
      if (stream?.begun) {
        stream.send(body)
        stream.end()
      } else sendJson(res, { status: 200, body })
    }
  }

  async #authorise(
    { enforced, caller, request }: RequestContext,
    system: System,
    { operation, about, raw, method, params, presented, progressToken }: Invocation,
  ): Promise<Grant> {
    const { pipeline, tokeniser } = this.#parts
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
    grant: Grant,
    stream: ClientStream,
  ): Promise<void> {
    const { pipeline, upstream, messages, pins } = this.#parts
    const { res, request } = context
    const takesEvents = /text\/event-stream|text\/\*|\*\/\*/.test(request.headers.accept)
    const cut = new AbortController()
    const call = this.#call(context, session, grant, AbortSignal.any([context.signal, cut.signal]))
    const channel: Channel = {
      ...context,
      system: grant.typed.system,
      session,
      call: { grant, progressToken: invocation.progressToken },
      emit: (message) => {
        if (!takesEvents) return session.stream?.send(message) ?? false
        return stream.send(message)
      },
      reply: (message) => upstream.send(call, message),
    }
    await upstream.open(call)
    session.last = grant
    // What the server has to say in the meantime may come on a stream of its own.
    await this.#parts.onOpen(context, session)
    await pins.demand(call, session, grant.typed.operation)
    // In the order in which they came, and before the answer.
    let told = Promise.resolve()
    const given = await upstream.call({
      ...call,
      aside: (message) => {
        told = told.then(async () => {
          // A call that lasts is decided again whenever something of it comes.
          if (this.#holds(grant)) await messages.handle(channel, message)
          else cut.abort()
        })
      },
    })
    await told
    const release = new ContentRelease(pipeline, stream.begun ? this.#again(grant) : grant)
    const result = await invocation.result(release, given, grant)
    const body = rpcResult(rpc.id, result)
    const gone = res.destroyed
    pipeline.finish(grant, {
      status: 200,
      result: gone ? 'aborted' : 'completed',
      bytesOut: gone ? 0 : stream.bytes + Buffer.byteLength(body),
      released: gone ? {} : release.released,
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
      isWaiting: () => session.questions.size > 0,
    }
  }

  #holds(grant: Grant): boolean {
    try {
      return this.#parts.pipeline.redecide(grant).outcome.decision === 'allow'
    } catch {
      return false
    }
  }

  /** @throws Refusal where the call would not be allowed any more */
  #again(grant: Grant): Grant {
    const { enforced, outcome } = this.#parts.pipeline.redecide(grant)
    if (outcome.decision === 'allow') return { ...grant, enforced, outcome }
    throw new Refusal(outcome.code, 'the call is not permitted any more', {
      status: 403,
      outcome: 'forbidden',
    })
  }

  /** Tells the server that nobody waits any more. */
  #cancel(context: RequestContext, session: McpSession, grant: Grant): void {
    const { upstream, settings, questions } = this.#parts
    const signal = AbortSignal.timeout(settings.upstreamTimeoutMs)
    const params = { requestId: grant.id }
    upstream
      .send(askOf(questions, context, session, grant, signal), {
        jsonrpc: '2.0',
        method: 'notifications/cancelled',
        params,
      })
      // It is over for us in any case.
      .catch(() => undefined)
  }
}

/** A message to the server on behalf of a session, under a call that was granted to it. */
export function askOf(
  questions: Questions,
  { enforced, caller }: Pick<RequestContext, 'enforced' | 'caller'>,
  session: McpSession,
  grant: Grant,
  signal: AbortSignal,
): McpAsk {
  const { system, operation } = grant.typed
  return {
    session: session.id,
    caller: caller.instance,
    delegation: grant.call,
    system,
    decision: grant.id,
    operation: `${system.name}.${operation.name}`,
    abilities: questions.abilities({ enforced, caller, system }, session),
    signal,
  }
}
