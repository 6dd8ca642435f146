import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parseJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { TlsFront } from './mcp.ts'

type Message = { readonly [key: string]: JsonValue }

/** An MCP server that says whatever a test has it say, over Streamable HTTP in the real wire format. */
export class ScriptedMcp {
  readonly front: TlsFront = new TlsFront(() => this.#port)
  /** Every message that came, and the session it named. */
  readonly seen: { readonly message: Message; readonly session: string | undefined }[] = []
  readonly methods: string[] = []
  /** What it lists. */
  tools: readonly JsonValue[] = []
  /** Answers a call of a tool. */
  call: (stream: Stream, message: Message) => void = (stream) => {
    stream.result({ content: [{ type: 'text', text: 'done' }] })
  }
  /** Answers whatever has no other answer. */
  answer: (message: Message) => JsonValue = ({ method }) =>
    method === 'tools/list' ? { tools: this.tools } : {}
  /** The revision that it agrees on, whatever it is asked for. */
  revision = '2025-11-25'
  /** Answers `initialize`. */
  greet: (answer: () => void) => void = (answer) => {
    answer()
  }
  /** Takes a request by GET. */
  hear: (stream: Stream) => void = (stream) => {
    stream.begin()
  }
  /** The stream that a GET opened, by session. */
  readonly streams: Map<string, Stream> = new Map()
  /** Headers of requests by GET. */
  readonly gets: IncomingMessage['headers'][] = []
  #port = 0
  #sessions = 0
  /** Sessions up to this one are not known any more. */
  #forgotten = 0
  readonly #server = createServer((req, res) => {
    this.#handle(req, res).catch(() => res.destroy())
  })

  async listen(): Promise<this> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    // Of a TCP listener.
    this.#port = (this.#server.address() as AddressInfo).port
    await this.front.listen()
    return this
  }

  /** Knows nothing of any session that it has opened. */
  forget(): void {
    this.#forgotten = this.#sessions
  }

  close(): void {
    this.front.close()
    this.#server.closeAllConnections()
    this.#server.close()
  }

  async #handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const session = req.headers['mcp-session-id']
    const named = typeof session === 'string' ? session : undefined
    if (req.method === 'GET') {
      this.gets.push(req.headers)
      const stream = new Stream(res, null)
      this.hear(stream)
      if (named !== undefined) this.streams.set(named, stream)
      return
    }
    if (req.method === 'DELETE') {
      this.methods.push('DELETE')
      res.writeHead(204).end()
      return
    }
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    // Whatever the gateway sends is one.
    const message = parseJson(Buffer.concat(chunks)) as Message
    const { id = null, method } = message
    this.seen.push({ message, session: named })
    const isKnown = Number(named?.split('-')[1] ?? Infinity) > this.#forgotten
    if (!isKnown) {
      res.writeHead(404).end()
      return
    }
    if (typeof method === 'string') this.methods.push(method)
    const json = (result: JsonValue, headers: Record<string, string> = {}): void => {
      res.writeHead(200, { 'content-type': 'application/json', ...headers })
      res.end(JSON.stringify({ jsonrpc: '2.0', id, result }))
    }
    if (method === 'initialize') {
      const info = { name: 's', version: '1' }
      this.greet(() => {
        json(
          { protocolVersion: this.revision, capabilities: { tools: {} }, serverInfo: info },
          { 'mcp-session-id': `server-${++this.#sessions}` },
        )
      })
    } else if (method === 'tools/call') this.call(new Stream(res, id), message)
    else if (id === null || method === undefined) res.writeHead(202).end()
    else json(this.answer(message))
  }
}

/** An answer, as an event stream. */
export class Stream {
  readonly #res: ServerResponse
  readonly #id: JsonValue
  #begun = false
  gone = false

  constructor(res: ServerResponse, id: JsonValue) {
    this.#res = res
    this.#id = id
    res.once('close', () => {
      this.gone = true
    })
  }

  begin(): void {
    if (this.#begun) return
    this.#begun = true
    this.#res.writeHead(200, { 'content-type': 'text/event-stream' })
    this.#res.flushHeaders()
  }

  raw(text: string): void {
    this.begin()
    this.#res.write(text)
  }

  say(message: JsonValue): void {
    this.raw(`data: ${JSON.stringify(message)}\n\n`)
  }

  ask(id: string, method: string, params: JsonValue): void {
    this.say({ jsonrpc: '2.0', id, method, params })
  }

  result(result: JsonValue): void {
    this.say({ jsonrpc: '2.0', id: this.#id, result })
    this.#res.end()
  }

  end(): void {
    this.begin()
    this.#res.end()
  }
}
