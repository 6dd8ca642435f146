import { generateKeyPairSync } from 'node:crypto'
import type { IncomingHttpHeaders, RequestListener, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { parseJson } from '@sallyport/base'
import type { Declaration, LlmSystem, System } from '@sallyport/network'
import { createIssuer, createRoot } from '@sallyport/spiffe'
import type { TokenTrust } from '@sallyport/wire'
import { fetch as undiciFetch } from 'undici'
import type { TestPlane } from './plane.ts'
import { startWorld } from './world.ts'
import type { Json, TestAgent, World } from './world.ts'

export interface Asked {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: Json
  readonly text: string
}

/** A model server outside the network: a process's worth of the real wire format, over TLS. */
export class ModelServer {
  readonly asked: Asked[] = []
  readonly caPem: string
  answer: (asked: Asked, res: ServerResponse) => void = (_asked, res) => res.writeHead(500).end()
  port = 0
  readonly #server: ReturnType<typeof createServer>

  /** @param plain answers in place of `answer`, and keeps nothing of what was asked */
  constructor(plain?: RequestListener) {
    const root = createRoot({ trustDomain: 'models.example', ttlSeconds: 3600 })
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const leaf = createIssuer({
      certificatePem: root.certificatePem,
      privateKey: root.privateKeyPem,
    }).issue({
      spiffeId: 'spiffe://models.example/server',
      publicKeySpki: pair.publicKey.export({ type: 'spki', format: 'der' }),
      ttlSeconds: 3600,
      dnsNames: ['models.example'],
    })
    this.caPem = root.certificatePem
    const key = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    const tell: RequestListener = (req, res) => {
      const chunks: Buffer[] = []
      req.on('data', (chunk: Buffer) => chunks.push(chunk))
      req.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        const body = parseJson(text) as Json
        const one = { path: req.url ?? '', headers: req.headers, body, text }
        this.asked.push(one)
        this.answer(one, res)
      })
    }
    this.#server = createServer({ cert: leaf.chainPem, key }, plain ?? tell)
  }

  get last(): Asked {
    const one = this.asked.at(-1)
    if (!one) throw new Error('nothing was asked')
    return one
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.listen(0, '127.0.0.1', resolve)
    })
    // Port of a TCP listener.
    this.port = (this.#server.address() as AddressInfo).port
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}

/** Writes bytes in slices of one size: boundaries fall inside events, JSON escapes and characters. */
export async function inSlices(res: ServerResponse, text: string, size: number): Promise<void> {
  res.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
  const bytes = Buffer.from(text)
  for (let i = 0; i < bytes.length; i += size) {
    res.write(bytes.subarray(i, i + size))
    // In a packet of its own, as far as anyone can tell.
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
  }
  res.end()
}

const VENDOR = {
  name: 'Acme AI',
  region: 'eu',
  retentionDays: 0,
  reviewer: 'olga',
  reviewed: '2020-01-01',
  reviewBy: '2999-12-31',
}
const long = { type: 'long', minimum: 0, maximum: 1_000_000_000 } as const

export function modelSystem(
  name: string,
  server: ModelServer,
  llm: Partial<LlmSystem> & Pick<LlmSystem, 'dialect' | 'models'>,
): System {
  const whole: LlmSystem = {
    vendor: VENDOR,
    mayRead: 'internal',
    above: 'redact',
    find: ['identifiers'],
    answerTags: [],
    ...llm,
  }
  const surfaces =
    llm.dialect === 'openai'
      ? ([
          ['chat', 'chat'],
          ['respond', 'responses'],
          ['embed', 'embeddings'],
        ] as const)
      : ([['message', 'messages']] as const)
  return {
    name,
    description: 'Models.',
    owner: 'tests',
    segment: 'zone',
    criticality: 'low',
    protocol: 'llm',
    llm: whole,
    upstream: {
      kind: 'external',
      url: `https://127.0.0.1:${server.port}/v1`,
      serverName: 'models.example',
      caFile: server.caPem,
      credential:
        llm.dialect === 'openai'
          ? { header: 'authorization', secret: 'model-key', scheme: 'Bearer' }
          : { header: 'x-api-key', secret: 'model-key' },
    },
    operations: surfaces.map(([operation, surface]) => ({
      name: operation,
      description: '',
      kind: 'read',
      binding: { kind: 'llm', surface },
      returns: {},
      input: {
        type: 'record',
        members: {
          model: { schema: { type: 'string', maxLength: 128 }, required: true },
          inputTokens: { schema: long, required: true },
          maxOutputTokens: { schema: long, required: true },
          tokens: { schema: long, required: true },
          cost: { schema: { ...long, maximum: Number.MAX_SAFE_INTEGER }, required: true },
          stream: { schema: { type: 'boolean' }, required: true },
          tools: {
            schema: { type: 'set', items: { type: 'string', maxLength: 128 }, maxItems: 512 },
            required: true,
          },
          redacted: { schema: long, required: true },
        },
      },
    })),
  }
}

/** The test bank with model servers beside it. */
export function worldOfModels(
  systems: readonly System[],
  over: {
    readonly policies?: string
    readonly limits?: Declaration['network']['limits']
    readonly tokens?: TokenTrust
  } = {},
): Promise<World> {
  const prepare = (plane: TestPlane): void => {
    if (over.tokens) plane.tokens = over.tokens
  }
  return startWorld({ secrets: { 'model-key': 'vendor-key-0' } }, prepare, (declaration) =>
    withModels(declaration, systems, over),
  )
}

/** A declaration with model servers beside what it has, and flows to them. */
export function withModels(
  declaration: Declaration,
  systems: readonly System[],
  over: { readonly policies?: string; readonly limits?: Declaration['network']['limits'] } = {},
): Declaration {
  return {
    policies: [
      ...declaration.policies,
      ...(over.policies === undefined
        ? []
        : [{ id: 'models', source: over.policies, file: 'models.cedar', line: 1 }]),
    ],
    network: {
      ...declaration.network,
      systems: [...declaration.network.systems, ...systems],
      flows: [
        ...declaration.network.flows,
        ...['reader', 'teller'].flatMap((from) =>
          systems.map(({ name, operations }) => ({
            id: `${from}-${name}`,
            from,
            to: name,
            operations: operations.map((one) => one.name),
            purpose: 'asking',
          })),
        ),
      ],
      limits: [...declaration.network.limits, ...(over.limits ?? [])],
    },
  }
}

/** `fetch` over the connections of one agent: all that a client of a vendor is given beside its URL. */
export function fetchOf(agent: TestAgent): typeof fetch {
  const through = (url: string, init: object) =>
    undiciFetch(url, { ...init, dispatcher: agent.pool })
  // undici's types differ from the platform's only where neither client looks.
  return through as unknown as typeof fetch
}
