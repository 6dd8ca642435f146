/** The server that the MCP conformance suite describes, by the official SDK: what the suite asks is what it answers. */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Server } from '@modelcontextprotocol/sdk/server/index.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import {
  CallToolRequestSchema,
  CompleteRequestSchema,
  CreateMessageResultSchema,
  ElicitResultSchema,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListToolsRequestSchema,
  ReadResourceRequestSchema,
  SetLevelRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from '@modelcontextprotocol/sdk/types.js'
import type { CallToolResult, JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import { OFFER } from './mcp-offer.ts'

const PNG =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=='
const WAV = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA='

const text = (said: string): CallToolResult => ({ content: [{ type: 'text', text: said }] })
const image = { type: 'image', data: PNG, mimeType: 'image/png' } as const

const CHOICES = [
  { const: 'value1', title: 'First' },
  { const: 'value2', title: 'Second' },
  { const: 'value3', title: 'Third' },
]
const OPTIONS = ['option1', 'option2', 'option3']

const FORMS: Readonly<Record<string, Record<string, unknown>>> = {
  test_elicitation: {
    username: { type: 'string', description: "User's response" },
    email: { type: 'string', description: "User's email address" },
  },
  test_elicitation_sep1034_defaults: {
    name: { type: 'string', default: 'John Doe' },
    age: { type: 'integer', default: 30 },
    score: { type: 'number', default: 95.5 },
    status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
    verified: { type: 'boolean', default: true },
  },
  test_elicitation_sep1330_enums: {
    untitledSingle: { type: 'string', enum: OPTIONS },
    titledSingle: { type: 'string', oneOf: CHOICES },
    legacyEnum: {
      type: 'string',
      enum: ['opt1', 'opt2', 'opt3'],
      enumNames: ['Option One', 'Option Two', 'Option Three'],
    },
    untitledMulti: { type: 'array', items: { type: 'string', enum: OPTIONS } },
    titledMulti: { type: 'array', items: { anyOf: CHOICES } },
  },
}

function serve(): Server {
  const server = new Server(
    { name: 'conformance', version: '1' },
    {
      capabilities: {
        tools: {},
        resources: { subscribe: true },
        prompts: {},
        completions: {},
        logging: {},
      },
    },
  )
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: [...OFFER.tools] }))
  server.setRequestHandler(ListResourcesRequestSchema, () => ({ resources: [...OFFER.resources] }))
  server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({
    resourceTemplates: [...OFFER.resourceTemplates],
  }))
  server.setRequestHandler(ListPromptsRequestSchema, () => ({ prompts: [...OFFER.prompts] }))
  server.setRequestHandler(SetLevelRequestSchema, () => ({}))
  server.setRequestHandler(SubscribeRequestSchema, () => ({}))
  server.setRequestHandler(UnsubscribeRequestSchema, () => ({}))
  server.setRequestHandler(CompleteRequestSchema, () => ({
    completion: { values: ['paris', 'park', 'party'], total: 3, hasMore: false },
  }))
  server.setRequestHandler(ReadResourceRequestSchema, ({ params: { uri } }) => {
    if (uri === 'test://static-binary') {
      return { contents: [{ uri, mimeType: 'image/png', blob: PNG }] }
    }
    const [, id] = /^test:\/\/template\/([^/]+)\/data$/.exec(uri) ?? []
    const said = id === undefined ? 'This is the content of the static text resource.' : undefined
    const data = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id ?? ''}` })
    const mimeType = said === undefined ? 'application/json' : 'text/plain'
    return { contents: [{ uri, mimeType, text: said ?? data }] }
  })
  server.setRequestHandler(GetPromptRequestSchema, ({ params: { name, arguments: args = {} } }) => {
    const say = (said: string) => ({
      role: 'user' as const,
      content: { type: 'text' as const, text: said },
    })
    const uri = args['resourceUri'] ?? ''
    switch (name) {
      case 'test_prompt_with_arguments':
        return {
          messages: [
            say(
              `Prompt with arguments: arg1='${args['arg1'] ?? ''}', arg2='${args['arg2'] ?? ''}'`,
            ),
          ],
        }
      case 'test_prompt_with_embedded_resource': {
        const resource = {
          uri,
          mimeType: 'text/plain',
          text: 'Embedded resource content for testing.',
        }
        return {
          messages: [
            { role: 'user' as const, content: { type: 'resource' as const, resource } },
            say('Please process the embedded resource above.'),
          ],
        }
      }
      case 'test_prompt_with_image':
        return {
          messages: [
            { role: 'user' as const, content: image },
            say('Please analyze the image above.'),
          ],
        }
      default:
        return { messages: [say('This is a simple prompt for testing.')] }
    }
  })
  server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
    const { name, arguments: args = {}, _meta: meta } = params
    const form = FORMS[name]
    if (form) {
      const message = typeof args['message'] === 'string' ? args['message'] : 'Please answer'
      const requestedSchema = { type: 'object', properties: form, required: [] }
      const result = await extra.sendRequest(
        { method: 'elicitation/create', params: { message, requestedSchema } },
        ElicitResultSchema,
      )
      const content = JSON.stringify(result.content ?? {})
      return text(`Elicitation completed: action=${result.action}, content=${content}`)
    }
    switch (name) {
      case 'test_image_content':
        return { content: [image] }
      case 'test_audio_content':
        return { content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }] }
      case 'test_embedded_resource':
        return {
          content: [
            {
              type: 'resource',
              resource: {
                uri: 'test://embedded-resource',
                mimeType: 'text/plain',
                text: 'This is an embedded resource content.',
              },
            },
          ],
        }
      case 'test_multiple_content_types':
        return {
          content: [
            { type: 'text', text: 'Multiple content types test:' },
            image,
            {
              type: 'resource',
              resource: {
                uri: 'test://mixed-content-resource',
                mimeType: 'application/json',
                text: '{"test":"data","value":123}',
              },
            },
          ],
        }
      case 'test_tool_with_logging':
        for (const data of ['started', 'processing data', 'completed']) {
          await extra.sendNotification({
            method: 'notifications/message',
            params: { level: 'info', data: `Tool ${data}` },
          })
          await sleep(50)
        }
        return text('Logged.')
      case 'test_tool_with_progress':
        for (const progress of [0, 50, 100]) {
          const progressToken = meta?.progressToken
          if (progressToken !== undefined) {
            await extra.sendNotification({
              method: 'notifications/progress',
              params: { progressToken, progress, total: 100 },
            })
          }
          await sleep(50)
        }
        return text('Done.')
      case 'test_error_handling':
        return { ...text('This tool intentionally returns an error for testing'), isError: true }
      case 'test_sampling': {
        const said = typeof args['prompt'] === 'string' ? args['prompt'] : ''
        const result = await extra.sendRequest(
          {
            method: 'sampling/createMessage',
            params: {
              messages: [{ role: 'user', content: { type: 'text', text: said } }],
              maxTokens: 100,
            },
          },
          CreateMessageResultSchema,
        )
        return text(`LLM response: ${JSON.stringify(result.content)}`)
      }
      case 'test_reconnection':
        // The client is to come again for the answer (SEP-1699).
        extra.closeSSEStream?.()
        await sleep(100)
        return text('Reconnected.')
      default:
        return text('This is a simple text response for testing.')
    }
  })
  return server
}

/** What was sent, so that a stream can be taken up again. */
class Events {
  readonly #events: {
    readonly id: string
    readonly stream: string
    readonly message: JSONRPCMessage
  }[] = []

  storeEvent(stream: string, message: JSONRPCMessage): Promise<string> {
    const id = randomUUID()
    this.#events.push({ id, stream, message })
    return Promise.resolve(id)
  }

  async replayEventsAfter(
    lastId: string,
    { send }: { send: (id: string, message: JSONRPCMessage) => Promise<void> },
  ): Promise<string> {
    const from = this.#events.findIndex(({ id }) => id === lastId)
    const stream = this.#events[from]?.stream ?? ''
    for (const event of this.#events.slice(from + 1)) {
      if (event.stream === stream) await send(event.id, event.message)
    }
    return stream
  }
}

const transports = new Map<string, StreamableHTTPServerTransport>()

async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
  const id = req.headers['mcp-session-id']
  let transport = typeof id === 'string' ? transports.get(id) : undefined
  if (id !== undefined && !transport) {
    res.writeHead(404).end()
    return
  }
  if (!transport) {
    const made = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      eventStore: new Events(),
      retryInterval: 100,
      onsessioninitialized: (session) => {
        transports.set(session, made)
      },
    })
    transport = made
    await serve().connect(made)
  }
  await transport.handleRequest(req, res)
}

createServer((req, res) => {
  handle(req, res).catch(() => res.destroy())
}).listen(Number(process.env['PORT'] ?? 0), '127.0.0.1')
