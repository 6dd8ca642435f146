import { readFileSync } from 'node:fs'
import { parseJson } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
import {
  CallToolRequestSchema,
  ListToolsRequestSchema,
  ListToolsResultSchema,
} from '@modelcontextprotocol/sdk/types.js'
import type { CallToolResult, Tool } from '@modelcontextprotocol/sdk/types.js'
import { CaseBook } from './cases.ts'
import { isObject, Refusal } from './http.ts'
import type { Handler } from './http.ts'

/** The tools as the network declares them: one list for the declaration and the server. */
export function declaredTools(): readonly Tool[] {
  const file = new URL('../../mcp/case-store.json', import.meta.url)
  return ListToolsResultSchema.parse(parseJson(readFileSync(file))).tools
}

/**
 * The case store as an MCP server over Streamable HTTP, stateless: each POST is a session of its own, so no session id
 * can be carried from one caller to another.
 */
export function caseStore(clock: Clock): Handler {
  const tools = declaredTools()
  const book = new CaseBook(clock)
  const open = (): Server => {
    const server = new Server(
      { name: 'case-store', version: '1.0.0' },
      { capabilities: { tools: {} } },
    )
    server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: [...tools] }))
    server.setRequestHandler(CallToolRequestSchema, ({ params }) => {
      const declared = tools.find((tool) => tool.name === params.name)
      const run = Object.hasOwn(book.tools, params.name) ? book.tools[params.name] : undefined
      if (!declared || !run) return failure('no such tool')
      try {
        const input: JsonValue = parseJson(JSON.stringify(params.arguments ?? {}))
        if (!isObject(input)) throw new Refusal(400, 'the arguments are not an object')
        const known = declared.inputSchema.properties ?? {}
        if (Object.keys(input).some((name) => !Object.hasOwn(known, name))) {
          throw new Refusal(400, 'an argument is not known')
        }
        const result = run(input)
        return {
          content: [{ type: 'text', text: JSON.stringify(result) }],
          structuredContent: { ...result },
        }
      } catch (error) {
        if (error instanceof Refusal) return failure(error.message)
        throw error
      }
    })
    return server
  }
  return async (request) => {
    if (request.method !== 'POST') {
      return new Response(null, { status: 405, headers: { allow: 'POST' } })
    }
    const server = open()
    const transport = new WebStandardStreamableHTTPServerTransport({ enableJsonResponse: true })
    await server.connect(transport)
    const response = await transport.handleRequest(request)
    // Read whole before closing, which would cut the answer off.
    const body = await response.arrayBuffer()
    await server.close()
    const empty = body.byteLength === 0
    return new Response(empty ? null : body, { status: response.status, headers: response.headers })
  }
}

const failure = (message: string): CallToolResult => ({
  content: [{ type: 'text', text: message }],
  isError: true,
})
