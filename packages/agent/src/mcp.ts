import { canonicalJson, parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

import type { CallAnswer, CallRequest } from './call.ts'
import { isObject, refusedFrom } from './refused.ts'
import type { JsonObject } from './refused.ts'

const PROTOCOL_VERSION = '2025-06-18'
const NEWEST_KNOWN: ReadonlySet<string> = new Set(['2025-11-25', PROTOCOL_VERSION, '2025-03-26'])
/** The JSON-RPC error code under which the gateway puts its problem object. */
const REFUSED = -32_001
const MAX_PAGES = 100

export interface McpTool {
  readonly name: string
  readonly description?: string
  readonly inputSchema: JsonValue
}

export interface McpToolResult {
  readonly content: readonly JsonValue[]
  readonly structuredContent?: JsonValue
  readonly isError: boolean
}

interface How {
  readonly traceparent?: string | undefined
  readonly signal?: AbortSignal | undefined
}

/** A small Model Context Protocol client over Streamable HTTP; made by `AgentClient.mcp`. */
export class McpClient {
  readonly #path: string
  readonly #send: (request: CallRequest) => Promise<CallAnswer>
  #id = 0
  #session: string | undefined
  #version: string | undefined
  #ready: Promise<void> | undefined

  constructor(path: string, send: (request: CallRequest) => Promise<CallAnswer>) {
    this.#path = path
    this.#send = send
  }

  /** The tools that this caller may see, all pages of them. */
  async listTools(): Promise<readonly McpTool[]> {
    const tools: McpTool[] = []
    let cursor: string | undefined
    for (let page = 0; page < MAX_PAGES; page++) {
      const result = await this.#call('tools/list', cursor === undefined ? {} : { cursor })
      const listed = result['tools']
      if (!Array.isArray(listed)) throw broken('`tools/list` names no tools')
      for (const tool of listed) tools.push(toolOf(tool))
      const next = result['nextCursor']
      if (typeof next !== 'string') return tools
      cursor = next
    }
    throw broken('`tools/list` does not end')
  }

  /**
   * Calls a tool.
   *
   * @throws RefusedError where the gateway refuses it
   * @throws SallyportError `SP_MCP_ERROR` for a JSON-RPC error of the server, `SP_MCP_INVALID`
   */
  async callTool(
    name: string,
    input: JsonObject,
    options: {
      readonly approval?: string
      readonly mandate?: string
      /** The trace that the call is part of (W3C Trace Context). */
      readonly traceparent?: string
      readonly signal?: AbortSignal
    } = {},
  ): Promise<McpToolResult> {
    const { approval, mandate, traceparent, signal } = options
    const meta = {
      ...(approval === undefined ? {} : { 'sallyport/approval': approval }),
      ...(mandate === undefined ? {} : { 'sallyport/mandate': mandate }),
    }
    const params = {
      ...{ name, arguments: input },
      ...(Object.keys(meta).length === 0 ? {} : { _meta: meta }),
    }
    const result = await this.#call('tools/call', params, { traceparent, signal })
    const { content, structuredContent } = result
    return {
      content: Array.isArray(content) ? content : [],
      ...(structuredContent === undefined ? {} : { structuredContent }),
      isError: result['isError'] === true,
    }
  }

  async #call(method: string, params: JsonObject, how: How = {}): Promise<JsonObject> {
    this.#ready ??= this.#initialize()
    try {
      await this.#ready
    } catch (error) {
      this.#ready = undefined
      throw error
    }
    return (await this.#post(method, params, how)).result
  }

  async #initialize(): Promise<void> {
    const { result, answer } = await this.#post('initialize', {
      protocolVersion: PROTOCOL_VERSION,
      capabilities: {},
      clientInfo: { name: 'sallyport-agent', version: '0.1.0' },
    })
    const version = result['protocolVersion']
    if (typeof version !== 'string' || !NEWEST_KNOWN.has(version)) {
      throw broken('the server speaks no protocol version that is known here')
    }
    this.#version = version
    this.#session = answer.headers.get('mcp-session-id') ?? undefined
    await this.#send({
      method: 'POST',
      path: this.#path,
      headers: this.#headers(),
      body: { jsonrpc: '2.0', method: 'notifications/initialized' },
    })
  }

  #headers(): Record<string, string> {
    return {
      accept: 'application/json, text/event-stream',
      ...(this.#version === undefined ? {} : { 'mcp-protocol-version': this.#version }),
      ...(this.#session === undefined ? {} : { 'mcp-session-id': this.#session }),
    }
  }

  async #post(
    method: string,
    params: JsonObject,
    { traceparent, signal }: How = {},
  ): Promise<{ result: JsonObject; answer: CallAnswer }> {
    const id = ++this.#id
    const answer = await this.#send({
      method: 'POST',
      path: this.#path,
      headers: { ...this.#headers(), ...(traceparent === undefined ? {} : { traceparent }) },
      body: { jsonrpc: '2.0', id, method, params },
      ...(signal ? { signal } : {}),
    })
    const message = replyTo(id, answer)
    const { error, result } = message
    if (isObject(error)) {
      const refused = error['code'] === REFUSED ? refusedFrom(error['data'], 403) : undefined
      if (refused) throw refused
      throw new SallyportError('SP_MCP_ERROR', 'the MCP server answered with an error', {
        detail: canonicalJson(error).slice(0, 500),
      })
    }
    if (!isObject(result)) throw broken('the answer has neither result nor error')
    return { result, answer }
  }
}

/** The one JSON-RPC response with this id: the whole body, or an event of a stream. */
function replyTo(id: number, answer: CallAnswer): JsonObject {
  const messages = typeof answer.body === 'string' ? eventsOf(answer.body) : [answer.body]
  for (const message of messages) {
    if (isObject(message) && message['id'] === id && ('result' in message || 'error' in message)) {
      return message
    }
  }
  throw broken(`no response to the request, status ${answer.status}`)
}

/** Data of each event of a server-sent event stream (WHATWG HTML, 9.2), as JSON. */
function eventsOf(text: string): JsonValue[] {
  const messages: JsonValue[] = []
  for (const block of text.replaceAll('\r\n', '\n').split('\n\n')) {
    const data = block
      .split('\n')
      .filter((line) => line.startsWith('data:'))
      .map((line) => line.slice(line.startsWith('data: ') ? 6 : 5))
    if (data.some((line) => line !== '')) {
      messages.push(parseJson(data.join('\n'), { maxBytes: 16 * 1_048_576 }))
    }
  }
  return messages
}

function toolOf(value: JsonValue): McpTool {
  if (!isObject(value) || typeof value['name'] !== 'string') throw broken('a tool without a name')
  const description = value['description']
  return {
    name: value['name'],
    ...(typeof description === 'string' ? { description } : {}),
    inputSchema: value['inputSchema'] ?? {},
  }
}

function broken(message: string): SallyportError {
  return new SallyportError('SP_MCP_INVALID', `the MCP server broke the protocol: ${message}`)
}
