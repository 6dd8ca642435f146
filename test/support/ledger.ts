import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ServiceHandler } from '@sallyport/agent'
import { parseJson } from '@sallyport/base'
import { members, textOf } from '../../packages/cli/src/shape.ts'
import type { Members } from '../../packages/cli/src/shape.ts'

/** One request that reached a service, as the service itself wrote it down before it answered. */
export interface Executed {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly system: string
  /** What the request does, by its method and path alone. */
  readonly operation: string
  readonly ref: string
  readonly amount: number
  /** Of the call token: who called, and by which decision. */
  readonly instance: string
  readonly decision: string
  /** The `traceparent` that came with it. */
  readonly trace: string | undefined
}

/** The two services of `declaration/`; `entries` is their own account of what they did. */
export class Ledger {
  readonly entries: Executed[] = []
  readonly services: Readonly<Record<string, ServiceHandler>> = {
    ledger: async (request, response, { sub, decision }) => {
      const body = members(await readJson(request))
      const operation = ledgerOperation(request)
      this.#note('ledger', operation, { sub, decision, trace: traceOf(request) }, body)
      send(response, { entry: { id: '1', holder: 'Ann Lee' } })
    },
    desk: async (request, response, { sub, decision }) => {
      const message = members(await readJson(request))
      if (message.method === 'initialize') {
        const result = {
          ...{ protocolVersion: '2025-06-18', capabilities: {} },
          serverInfo: { name: 'desk', version: '1' },
        }
        send(response, { jsonrpc: '2.0', id: message.id, result })
      } else if (message.id === undefined) response.writeHead(202).end()
      else {
        const params = members(message.params)
        const by = { sub, decision, trace: traceOf(request) }
        this.#note('desk', textOf(params.name), by, members(params.arguments))
        const note = { note: { id: '1', text: 'hello' } }
        const result = { content: [{ type: 'text', text: 'raw' }], structuredContent: note }
        send(response, { jsonrpc: '2.0', id: message.id, result })
      }
    },
  }

  #note(
    system: string,
    operation: string,
    {
      sub: instance,
      decision,
      trace,
    }: { sub: string; decision: string; trace: string | undefined },
    body: Members,
  ): void {
    const amount = Number(body.amount ?? body.words ?? 0)
    const ref = textOf(body.ref)
    this.entries.push({ at: Date.now(), system, operation, ref, amount, instance, decision, trace })
  }
}

function traceOf({ headers }: IncomingMessage): string | undefined {
  const { traceparent } = headers
  return typeof traceparent === 'string' ? traceparent : undefined
}

function ledgerOperation({ method, url = '' }: IncomingMessage): string {
  if (method === 'DELETE') return 'purge'
  if (method === 'GET') return url === '/v1/entries' ? 'export' : 'getEntry'
  const name = { '/v1/entries': 'post', '/v1/draws': 'draw', '/v1/seizures': 'seize' }[url]
  return name ?? `${method ?? ''} ${url}`
}

async function readJson(request: IncomingMessage): Promise<ReturnType<typeof parseJson>> {
  const chunks: Buffer[] = []
  // Without an encoding set, a request yields buffers.
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const bytes = Buffer.concat(chunks)
  return bytes.length === 0 ? {} : parseJson(bytes)
}

function send(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(JSON.stringify(value))
}
