import type { Clock } from '@sallyport/base'
import type { System } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import { readRpcMessage, RPC, rpcError, rpcResult } from '../adapters/jsonrpc.ts'
import type { RpcNotification, RpcRequest, RpcResponse } from '../adapters/jsonrpc.ts'
import type { McpSession, McpSessions } from '../adapters/mcp-sessions.ts'
import type { Audit } from '../audit/audit.ts'
import type { FollowUps } from '../calls/follow.ts'
import type { Pipeline } from '../calls/pipeline.ts'
import type { Standing } from '../calls/standing.ts'
import { problemOf, sendJson } from '../edge/answer.ts'
import { readJsonBody } from '../edge/body.ts'
import { McpInvocations, takesEvents } from '../mcp/invoke.ts'
import { abilitiesOf, hello, lists } from '../mcp/lists.ts'
import { McpMethods } from '../mcp/methods.ts'
import { McpPins } from '../mcp/pins.ts'
import { Questions } from '../mcp/questions.ts'
import { ServerMessages } from '../mcp/server-messages.ts'
import { McpStreams } from '../mcp/streams.ts'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Stats } from '../stats.ts'
import type { McpUpstream } from '../upstream/mcp.ts'
import type { BareContext, RequestContext } from './context.ts'
import { noOperation } from './http.ts'

export interface McpParts {
  readonly pipeline: Pipeline
  readonly followUps: FollowUps
  readonly upstream: McpUpstream
  readonly sessions: McpSessions
  readonly tokeniser: Tokeniser
  readonly settings: GatewaySettings
  readonly stats: Stats
  readonly audit: Audit
  readonly standing: Pick<Standing, 'recheckLasting'>
  readonly clock: Clock
}

/** Revisions of MCP spoken to clients, newest first. */
const VERSIONS = ['2025-11-25', '2025-06-18', '2025-03-26']
const PATH = 'mcp'

const refuse = (status: number, message: string): Refusal =>
  new Refusal(status === 404 ? 'SP_MCP_SESSION' : 'SP_MCP_MESSAGE', message, { status })

/** MCP systems (Streamable HTTP) at `/SYSTEM/mcp`: one JSON-RPC message a POST, a stream of the session's by GET. */
export class McpCalls {
  readonly #parts: McpParts
  readonly #methods: McpMethods
  readonly #streams: McpStreams
  readonly #invocations: McpInvocations

  constructor(parts: McpParts) {
    this.#parts = parts
    const questions = new Questions(parts)
    const pins = new McpPins(parts)
    const messages = new ServerMessages({ ...parts, questions, pins })
    this.#streams = new McpStreams({ ...parts, questions, messages })
    this.#invocations = new McpInvocations({
      ...parts,
      questions,
      messages,
      pins,
      onOpen: (session, by) => this.#streams.listenUpstream(session, by),
    })
    this.#methods = new McpMethods({ invocations: this.#invocations })
  }

  close(): void {
    this.#streams.close()
    this.#invocations.close()
  }

  /** Decides again whatever is under way. */
  recheck(): void {
    this.#invocations.recheck()
    this.#streams.recheck()
  }

  /** @throws Refusal for whatever is no JSON-RPC request that could be answered as one */
  async serve(context: RequestContext, system: System): Promise<void> {
    const { request, res } = context
    const { segments, query } = request.target
    if (segments.length !== 2 || segments[1] !== PATH || query.size > 0) throw noOperation()
    demandOrigin(request.headers.all)
    const { mcpVersion, accept } = request.headers
    if (mcpVersion !== undefined && !VERSIONS.includes(mcpVersion)) {
      throw refuse(400, '`mcp-protocol-version` names a version that is not supported')
    }
    switch (request.method) {
      case 'DELETE':
        this.#parts.sessions.close(this.#session(context, system).id)
        sendJson(res, { status: 204, body: undefined })
        return
      case 'GET':
        if (!takesEvents(context)) {
          throw refuse(406, '`accept` must name `text/event-stream`')
        }
        // No event of ours has an id: whoever states one took it from somewhere else.
        if (request.headers.all.has('last-event-id')) throw refuse(400, 'no event has such an id')
        await this.#streams.serve(context, this.#session(context, system))
        return
      case 'POST':
        if (!/application\/json|application\/\*|\*\/\*/.test(accept)) {
          throw refuse(406, '`accept` must name `application/json`')
        }
        await this.#post(context, system)
        return
      default:
        throw new Refusal('SP_REQUEST_METHOD', 'this system takes POST, GET and DELETE', {
          status: 405,
        })
    }
  }

  async #post(context: RequestContext, system: System): Promise<void> {
    const { request, res, req } = context
    const message = readRpcMessage(
      await readJsonBody(req, request, this.#parts.settings.maxBodyBytes),
    )
    if (message.kind === 'request' && message.method === 'initialize') {
      this.#initialize(context, system, message)
      return
    }
    const session = this.#session(context, system)
    if (message.kind !== 'request') {
      await (message.kind === 'response'
        ? this.#response(session, message)
        : this.#notification(session, message))
      sendJson(res, { status: 202, body: undefined })
      return
    }
    if (session.open.has(message.id)) throw refuse(400, 'the id of a request is in use')
    const given = new AbortController()
    const giveUp = (): void => {
      given.abort()
    }
    session.open.set(message.id, giveUp)
    // Linked by hand: `AbortSignal.any` takes as long as everything else here, and leaves work for the collector.
    const ends = [session.ended.signal, context.signal]
    for (const end of ends) end.addEventListener('abort', giveUp)
    if (context.signal.aborted) giveUp()
    const { signal } = given
    try {
      await this.#answer({ ...context, signal }, system, session, message)
    } finally {
      for (const end of ends) end.removeEventListener('abort', giveUp)
      session.open.delete(message.id)
    }
  }

  #initialize(context: RequestContext, system: System, message: RpcRequest): void {
    const { request, caller, res, enforced } = context
    if (request.headers.mcpSession !== undefined) {
      throw refuse(400, '`initialize` belongs to no session')
    }
    const version = versionFor(message)
    const session = this.#parts.sessions.open({
      instance: caller.instance,
      holder: caller.session,
      system: system.name,
      version,
      subject: caller.onBehalfOf?.subject,
      client: abilitiesOf(message.params),
    })
    sendJson(res, {
      status: 200,
      body: rpcResult(message.id, hello(enforced, caller.agent, system, version)),
      headers: { 'mcp-session-id': session.id },
    })
  }

  async #response(session: McpSession, message: RpcResponse): Promise<void> {
    const question = session.questions.get(message.id)
    if (!question) throw refuse(400, 'it answers nothing that was asked')
    await question.answer(message)
  }

  #notification(session: McpSession, { method, params }: RpcNotification): void {
    switch (method) {
      case 'notifications/initialized':
      case 'notifications/progress':
        return
      case 'notifications/cancelled': {
        const id = params['requestId']
        if (typeof id === 'string' || typeof id === 'number') session.open.get(id)?.()
        return
      }
      default:
        throw refuse(400, 'this notification is not accepted')
    }
  }

  /**
   * Tells of a refusal that came before any message was read, as the answer to the message.
   *
   * @throws Refusal the same, for whatever is no request that could be answered
   */
  async refuse(context: BareContext, system: System, refusal: Refusal): Promise<void> {
    const { request, req, res, caller } = context
    const { segments } = request.target
    if (request.method !== 'POST' || segments.length !== 2 || segments[1] !== PATH) throw refusal
    let message: RpcRequest | RpcNotification | RpcResponse
    try {
      message = readRpcMessage(await readJsonBody(req, request, this.#parts.settings.maxBodyBytes))
    } catch {
      throw refusal
    }
    if (message.kind !== 'request') throw refusal
    const decision = await this.#parts.pipeline.refuseUntyped(caller, refusal, system.name)
    if (res.destroyed) return
    const data = problemOf(refusal, decision)
    sendJson(res, { status: 200, body: rpcError(message.id, RPC.refused, refusal.message, data) })
  }

  #session({ request, caller }: RequestContext, system: System): McpSession {
    const { mcpSession } = request.headers
    if (mcpSession === undefined) throw refuse(400, '`mcp-session-id` is missing')
    const session = this.#parts.sessions.find(
      mcpSession,
      caller.instance,
      system.name,
      caller.onBehalfOf?.subject,
    )
    if (!session) throw refuse(404, 'there is no such session')
    return session
  }

  async #answer(
    context: RequestContext,
    system: System,
    session: McpSession,
    rpc: RpcRequest,
  ): Promise<void> {
    const { res, enforced, caller } = context
    const listed = lists(enforced, caller.agent, system, rpc)
    if (listed !== undefined) sendJson(res, { status: 200, body: listed })
    else if (!(await this.#methods.serve(context, system, session, rpc))) {
      const body = rpcError(rpc.id, RPC.methodNotFound, 'the method is not available')
      sendJson(res, { status: 200, body })
    }
  }
}

/**
 * Browsers name where a page comes from; no page of another place may speak here, under whatever name it has this one resolved
 * (DNS rebinding; MCP 2025-11-25, basic/transports, security warning).
 */
function demandOrigin(headers: ReadonlyMap<string, string>): void {
  const origin = headers.get('origin')
  if (origin === undefined) return
  const from = URL.canParse(origin) ? new URL(origin) : undefined
  const isHere = from?.host === headers.get('host')?.toLowerCase()
  if (isHere && /^(?:localhost|127\.0\.0\.1|\[::1\])$/.test(from?.hostname ?? '')) return
  throw new Refusal('SP_MCP_ORIGIN', 'pages of this origin may not call', { status: 403 })
}

function versionFor({ params }: RpcRequest): string {
  const asked = params['protocolVersion']
  if (typeof asked !== 'string') throw refuse(400, '`protocolVersion` is missing')
  return VERSIONS.includes(asked) ? asked : (VERSIONS[0] ?? asked)
}
