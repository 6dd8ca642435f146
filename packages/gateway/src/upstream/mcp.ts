import { parseJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { System } from '@sallyport/network'
import { isObject } from '../adapters/jsonrpc.ts'
import type { UpstreamRequest } from '../calls/types.ts'
import { EventReader } from '../edge/sse.ts'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import { parseUpstream, unusable, upstreamRefusal } from './exchange.ts'
import type { Exchange, ExchangeRequest, UpstreamAnswer } from './exchange.ts'

/** The revision of MCP that this gateway speaks to servers. */
const VERSION = '2025-06-18'
const ACCEPT = 'application/json, text/event-stream'
const MAX_SESSIONS = 4096
const MAX_TEXT = 4 * 1024 * 1024

/** What the server opened for one caller. */
interface Session {
  readonly id: string | undefined
  readonly version: string
}

export interface ToolCall {
  readonly caller: string
  readonly delegation: ExchangeRequest['delegation']
  readonly system: System
  readonly decision: string
  readonly operation: string
  readonly request: UpstreamRequest
  readonly repeatable: boolean
  readonly signal: AbortSignal
}

/** A `tools/call` result as the server gave it: not yet fit for anyone's eyes. */
export interface ToolResult {
  readonly isError: boolean
  /** `structuredContent`, or the one text content where that is JSON. */
  readonly data: JsonValue | undefined
}

/**
 * A client of MCP servers (Streamable HTTP, 2025-06-18). Sessions are opened and kept by the gateway, one for each caller and
 * system: no caller ever learns a server's session id, or reaches another's session.
 */
export class McpUpstream {
  readonly #exchange: Exchange
  readonly #settings: GatewaySettings
  readonly #sessions = new Map<string, Promise<Session>>()

  constructor(exchange: Exchange, settings: GatewaySettings) {
    this.#exchange = exchange
    this.#settings = settings
  }

  /** @throws Refusal `SP_UPSTREAM_*` */
  async call(call: ToolCall): Promise<ToolResult> {
    const answer = await this.#post(call, await this.#session(call))
    if (answer.status !== 404) return this.#result(call, answer)
    answer.body.destroy()
    // The server forgot the session (MCP, session management, rule 3): open another, once.
    this.#sessions.delete(keyOf(call))
    return this.#result(call, await this.#post(call, await this.#session(call)))
  }

  /** Forgets the sessions of an instance, or of every instance below a subject. */
  cut(subject: string): void {
    for (const key of this.#sessions.keys()) {
      if (key.startsWith(`${subject} `) || key.startsWith(`${subject}/`)) this.#sessions.delete(key)
    }
  }

  #session(call: ToolCall): Promise<Session> {
    const key = keyOf(call)
    let session = this.#sessions.get(key)
    if (session) return session
    const oldest = this.#sessions.keys().next().value
    if (this.#sessions.size >= MAX_SESSIONS && oldest !== undefined) this.#sessions.delete(oldest)
    session = this.#initialize(call)
    this.#sessions.set(key, session)
    session.catch(() => {
      this.#sessions.delete(key)
    })
    return session
  }

  async #initialize(call: ToolCall): Promise<Session> {
    const body = rpcBody({
      jsonrpc: '2.0',
      id: 'init',
      method: 'initialize',
      params: {
        protocolVersion: VERSION,
        capabilities: {},
        clientInfo: { name: 'sallyport-gateway', version: '0' },
      },
    })
    // Not bound to the first caller's patience: others may wait for the same session.
    const own = { ...call, signal: AbortSignal.timeout(this.#settings.upstreamTimeoutMs) }
    const answer = await this.#post({ ...own, request: { ...call.request, body } }, undefined)
    const result = await this.#rpcResult(answer, 'init')
    const version = result['protocolVersion']
    if (typeof version !== 'string' || !/^\d{4}-\d\d-\d\d$/.test(version)) {
      throw unusable('it names no protocol version')
    }
    const session = { id: answer.mcpSession, version }
    const done = rpcBody({ jsonrpc: '2.0', method: 'notifications/initialized' })
    const accepted = await this.#post({ ...own, request: { ...call.request, body: done } }, session)
    accepted.body.destroy()
    return session
  }

  #post(call: ToolCall, session: Session | undefined): Promise<UpstreamAnswer> {
    return this.#exchange.send({
      ...call,
      accept: ACCEPT,
      headers: {
        ...(session === undefined ? {} : { 'mcp-protocol-version': session.version }),
        ...(session?.id === undefined ? {} : { 'mcp-session-id': session.id }),
      },
    })
  }

  async #result(call: ToolCall, answer: UpstreamAnswer): Promise<ToolResult> {
    const result = await this.#rpcResult(answer, call.decision)
    const { structuredContent, content, isError } = result
    return { isError: isError === true, data: structuredContent ?? textJson(content) }
  }

  async #rpcResult(
    answer: UpstreamAnswer,
    id: string,
  ): Promise<{ readonly [key: string]: JsonValue }> {
    if (answer.status !== 200) {
      answer.body.destroy()
      throw upstreamRefusal(answer)
    }
    const message =
      answer.contentType === 'text/event-stream'
        ? await this.#fromEvents(answer, id)
        : await this.#exchange.json(answer)
    if (!isObject(message) || message['jsonrpc'] !== '2.0' || message['id'] !== id) {
      throw unusable('it is not the answer to the request')
    }
    const { result, error } = message
    if (isObject(error)) {
      throw new Refusal('SP_UPSTREAM_REFUSED', 'the system refused the request', {
        status: 422,
        detail: `JSON-RPC error ${JSON.stringify(error['code'])}`,
      })
    }
    if (!isObject(result)) throw unusable('it has no result')
    return result
  }

  /** The response among the events of a stream; notifications are dropped, requests to the client go unanswered. */
  async #fromEvents(answer: UpstreamAnswer, id: string): Promise<JsonValue | undefined> {
    const reader = new EventReader(this.#settings.maxResponseBytes)
    let size = 0
    const timer = setTimeout(() => {
      answer.body.destroy(new Error('the answer took too long'))
    }, this.#settings.upstreamTimeoutMs)
    try {
      for await (const chunk of answer.body) {
        // Without an encoding set, a body yields buffers.
        const bytes = chunk as Buffer
        size += bytes.length
        if (size > this.#settings.maxResponseBytes) throw unusable('it is too large')
        for (const data of reader.push(bytes)) {
          const message = parseUpstream(data)
          if (isObject(message) && message['id'] === id && message['method'] === undefined) {
            return message
          }
        }
      }
    } catch (error) {
      throw error instanceof Refusal ? error : unusable('its stream broke off', error)
    } finally {
      clearTimeout(timer)
      answer.body.destroy()
    }
    return undefined
  }
}

/** One for each subject that the caller acts for, too: what a server keeps of one is not the other's. */
const keyOf = ({ caller, delegation: { onBehalfOf }, system }: ToolCall): string =>
  `${caller} ${JSON.stringify([system.name, system.upstream, onBehalfOf?.subject ?? null])}`

const rpcBody = (message: unknown): Buffer => Buffer.from(JSON.stringify(message))

/** Servers before structured content put their JSON into a text. */
function textJson(content: JsonValue | undefined): JsonValue | undefined {
  const only = Array.isArray(content) && content.length === 1 ? content[0] : undefined
  const text = isObject(only) && only['type'] === 'text' ? only['text'] : undefined
  if (typeof text !== 'string') return undefined
  try {
    return parseJson(text, { maxBytes: MAX_TEXT })
  } catch {
    return undefined
  }
}
