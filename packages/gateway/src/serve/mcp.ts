import { canonicalJson } from '@sallyport/base'
import type { McpBinding, Operation, System } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import { isObject, readRpc, RPC, rpcError, rpcResult } from '../adapters/jsonrpc.ts'
import type { RpcNotification, RpcRequest } from '../adapters/jsonrpc.ts'
import type { McpSession, McpSessions } from '../adapters/mcp-sessions.ts'
import type { Grant, Pipeline, Presented } from '../calls/pipeline.ts'
import { problemOf, sendJson } from '../edge/answer.ts'
import { readJsonBody } from '../edge/body.ts'
import { plain } from '../inventory/plain.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Stats } from '../stats.ts'
import type { McpUpstream } from '../upstream/mcp.ts'
import type { BareContext, RequestContext } from './context.ts'
import { callFailed } from './failed.ts'
import { noOperation } from './http.ts'
import { typedInput } from './typed.ts'

export interface McpParts {
  readonly pipeline: Pipeline
  readonly upstream: McpUpstream
  readonly sessions: McpSessions
  readonly tokeniser: Tokeniser
  readonly settings: GatewaySettings
  readonly stats: Stats
}

/** Revisions of MCP spoken to clients, newest first. */
const VERSIONS = ['2025-11-25', '2025-06-18', '2025-03-26']
const PATH = 'mcp'
/** Characters of a chain of mandates, as a token. */
const MAX_MANDATE = 65_536

const refuse = (status: number, message: string): Refusal =>
  new Refusal(status === 404 ? 'SP_MCP_SESSION' : 'SP_MCP_MESSAGE', message, { status })

type McpOperation = Operation & { readonly binding: McpBinding }

/** MCP systems (Streamable HTTP): `POST /SYSTEM/mcp`, one JSON-RPC message each, answered with JSON. */
export class McpCalls {
  readonly #parts: McpParts

  constructor(parts: McpParts) {
    this.#parts = parts
  }

  /** @throws Refusal for whatever is no JSON-RPC request that could be answered as one */
  async serve(context: RequestContext, system: System): Promise<void> {
    const { request, res, caller } = context
    const { sessions, settings } = this.#parts
    const { segments, query } = request.target
    if (segments.length !== 2 || segments[1] !== PATH || query.size > 0) throw noOperation()
    const { mcpSession, mcpVersion, accept } = request.headers
    if (request.method === 'DELETE') {
      const own = this.#session(context, system)
      sessions.close(own.id)
      sendJson(res, { status: 204, body: undefined })
      return
    }
    if (request.method !== 'POST') {
      throw new Refusal('SP_REQUEST_METHOD', 'this system takes POST only', { status: 405 })
    }
    if (!/application\/json|application\/\*|\*\/\*/.test(accept)) {
      throw refuse(406, '`accept` must name `application/json`')
    }
    if (mcpVersion !== undefined && !VERSIONS.includes(mcpVersion)) {
      throw refuse(400, '`mcp-protocol-version` names a version that is not supported')
    }
    const message = readRpc(await readJsonBody(context.req, request, settings.maxBodyBytes))
    if (message.kind === 'notification') {
      this.#session(context, system)
      if (!['notifications/initialized', 'notifications/cancelled'].includes(message.method)) {
        throw refuse(400, 'this notification is not accepted')
      }
      sendJson(res, { status: 202, body: undefined })
      return
    }
    if (message.method === 'initialize') {
      if (mcpSession !== undefined) throw refuse(400, '`initialize` belongs to no session')
      const version = versionFor(message)
      const session = sessions.open(
        caller.instance,
        system.name,
        version,
        caller.onBehalfOf?.subject,
      )
      sendJson(res, {
        status: 200,
        body: rpcResult(message.id, hello(system, version)),
        headers: { 'mcp-session-id': session.id },
      })
      return
    }
    const session = this.#session(context, system)
    if (session.open.has(message.id)) throw refuse(400, 'the id of a request is in use')
    session.open.add(message.id)
    try {
      await this.#answer(context, system, message)
    } finally {
      session.open.delete(message.id)
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
    let message: RpcRequest | RpcNotification
    try {
      message = readRpc(await readJsonBody(req, request, this.#parts.settings.maxBodyBytes))
    } catch {
      throw refusal
    }
    if (message.kind === 'notification') throw refusal
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

  async #answer(context: RequestContext, system: System, rpc: RpcRequest): Promise<void> {
    const { res } = context
    switch (rpc.method) {
      case 'ping':
        sendJson(res, { status: 200, body: rpcResult(rpc.id, {}) })
        return
      case 'tools/list':
        sendJson(res, { status: 200, body: this.#list(context, system, rpc) })
        return
      case 'tools/call':
        await this.#call(context, system, rpc)
        return
      default:
        sendJson(res, {
          status: 200,
          body: rpcError(rpc.id, RPC.methodNotFound, 'the method is not available'),
        })
    }
  }

  /** The tools that some flow leads the caller to, as declared: whatever the server says of itself. */
  #list({ enforced, caller }: RequestContext, system: System, { id, params }: RpcRequest): string {
    if (params['cursor'] !== undefined) {
      return rpcError(id, RPC.invalidParams, 'there is no such page')
    }
    const { index } = enforced.decider
    const tools = mcpOperations(system)
      .filter(({ name }) => index.findFlow(caller.agent, system.name, name))
      .map(({ binding, description }) => ({
        name: binding.tool,
        ...(binding.title === undefined ? {} : { title: binding.title }),
        description,
        inputSchema: binding.inputSchema,
      }))
    return rpcResult(id, { tools })
  }

  async #call(context: RequestContext, system: System, rpc: RpcRequest): Promise<void> {
    const { res, caller } = context
    let grant: Grant | undefined
    try {
      const { operation, args, presented } = readToolCall(system, rpc)
      grant = await this.#authorise(context, system, operation, args, presented)
      await this.#forward(context, rpc, grant)
    } catch (error) {
      const refusal = grant
        ? callFailed(this.#parts, grant, error, context.signal)
        : toRefusal(error)
      const decision =
        refusal.decision ?? (await this.#parts.pipeline.refuseUntyped(caller, refusal, system.name))
      const code = refusal.status === 400 && !grant ? RPC.invalidParams : RPC.refused
      const data = problemOf(refusal, decision)
      if (!res.destroyed) {
        sendJson(res, { status: 200, body: rpcError(rpc.id, code, refusal.message, data) })
      }
    }
  }

  #authorise(
    { enforced, caller, request }: RequestContext,
    system: System,
    operation: McpOperation,
    args: unknown,
    presented: Presented,
  ): Promise<Grant> {
    const { pipeline, tokeniser } = this.#parts
    const input = typedInput(enforced, caller.agent, system, operation, tokeniser, () => args)
    const { tool } = operation.binding
    const path = upstreamPath(system)
    return pipeline.authorise(
      enforced,
      caller,
      {
        system,
        operation,
        input,
        upstream: (id) => {
          const params = { name: tool, arguments: input }
          const message = { jsonrpc: '2.0', id, method: 'tools/call', params }
          return { method: 'POST', path, body: Buffer.from(canonicalJson(message)) }
        },
      },
      {
        approval: presented.approval ?? request.headers.approval,
        mandate: presented.mandate ?? request.headers.mandate,
      },
    )
  }

  async #forward(context: RequestContext, rpc: RpcRequest, grant: Grant): Promise<void> {
    const { pipeline, upstream } = this.#parts
    const { res } = context
    const { system, operation } = grant.typed
    const result = await upstream.call({
      caller: context.caller.instance,
      delegation: grant.call,
      system,
      decision: grant.id,
      operation: `${system.name}.${operation.name}`,
      request: grant.upstream,
      repeatable: operation.kind === 'read',
      signal: context.signal,
    })
    // What a tool says of its failure is text that nothing classifies.
    const { value, released } = result.isError
      ? { value: undefined, released: {} }
      : await pipeline.answers.release(grant, result.data)
    const text = result.isError ? 'the tool reported an error' : JSON.stringify(value ?? {})
    const body = rpcResult(rpc.id, {
      content: [{ type: 'text', text }],
      ...(result.isError || !isObject(value) ? {} : { structuredContent: value }),
      isError: result.isError,
    })
    const gone = res.destroyed
    pipeline.finish(grant, {
      status: 200,
      result: gone ? 'aborted' : 'completed',
      bytesOut: gone ? 0 : Buffer.byteLength(body),
      released: gone ? {} : released,
      forwarded: true,
    })
    if (!gone) sendJson(res, { status: 200, body, decision: grant.id })
  }
}

/** Reads the parameters of `tools/call`. @throws Refusal `SP_MCP_MESSAGE`, `SP_NO_OPERATION` */
function readToolCall(
  system: System,
  { params }: RpcRequest,
): { operation: McpOperation; args: unknown; presented: Presented } {
  const { name, arguments: args, _meta: meta } = params
  for (const member of Object.keys(params)) {
    if (!['name', 'arguments', '_meta'].includes(member)) {
      throw refuse(400, '`params` has a member that is not accepted')
    }
  }
  if (typeof name !== 'string') throw refuse(400, '`name` is not a text')
  if (args !== undefined && !isObject(args)) throw refuse(400, '`arguments` is not an object')
  if (meta !== undefined && !isObject(meta)) throw refuse(400, '`_meta` is not an object')
  const approval = meta?.['sallyport/approval']
  if (approval !== undefined && typeof approval !== 'string') {
    throw refuse(400, '`sallyport/approval` is not a text')
  }
  const mandate = meta?.['sallyport/mandate']
  if (mandate !== undefined && (typeof mandate !== 'string' || mandate.length > MAX_MANDATE)) {
    throw refuse(400, '`sallyport/mandate` is no text, or too long')
  }
  const operation = mcpOperations(system).find(({ binding }) => binding.tool === name)
  if (!operation) throw noOperation({ kind: 'operation', name: `tool ${plain.tool(name)}` })
  return { operation, args: args ?? {}, presented: { approval, mandate } }
}

const mcpOperations = (system: System): McpOperation[] =>
  system.operations.flatMap((operation) => {
    const { binding } = operation
    return binding.kind === 'mcp' ? [{ ...operation, binding }] : []
  })

function versionFor({ params }: RpcRequest): string {
  const asked = params['protocolVersion']
  if (typeof asked !== 'string') throw refuse(400, '`protocolVersion` is missing')
  return VERSIONS.includes(asked) ? asked : (VERSIONS[1] ?? asked)
}

const hello = (system: System, protocolVersion: string): unknown => ({
  protocolVersion,
  capabilities: { tools: {} },
  serverInfo: { name: `sallyport/${system.name}`, version: '0' },
})

/** An external server's URL is its endpoint; a service of the network serves MCP where the gateway does. */
function upstreamPath({ upstream }: System): string {
  return upstream.kind === 'external' ? new URL(upstream.url).pathname : `/${PATH}`
}
