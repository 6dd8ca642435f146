import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { readFileSync } from 'node:fs'
import { AgentCard, formatSSEEvent } from '@a2a-js/sdk'
import {
  Client,
  ClientFactory,
  DefaultAgentCardResolver,
  JsonRpcTransportFactory,
} from '@a2a-js/sdk/client'
import { LegacyJsonRpcTransportHandler } from '@a2a-js/sdk/compat/v0_3/server'
import {
  DefaultRequestHandler,
  InMemoryPushNotificationStore,
  InMemoryTaskStore,
  JsonRpcTransportHandler,
  ServerCallContext,
} from '@a2a-js/sdk/server'
import type { AgentExecutor } from '@a2a-js/sdk/server'
import { parseJson } from '@sallyport/base'
import { loadDeclaration } from '@sallyport/network'
import type { Declaration } from '@sallyport/network'
import { serviceId } from '@sallyport/spiffe'
import { assertFresh, createMtlsServer, IdentityHolder, peerOf } from '@sallyport/transport'
import type { IdentityMaterial, MtlsServer } from '@sallyport/transport'
import { requestHash, verifyCallToken } from '@sallyport/wire'
import type { CallToken } from '@sallyport/wire'
import { fetch } from 'undici'
import { startWorld } from './world.ts'
import type { Json, TestAgent, World } from './world.ts'

const FIXTURE = new URL('../fixtures/a2a/', import.meta.url)

export const peersDeclared = (): Promise<Declaration> =>
  loadDeclaration({ networkFile: new URL('network.yaml', FIXTURE).pathname })

export const clerkCard = (): Json =>
  parseJson(readFileSync(new URL('clerk.card.json', FIXTURE))) as Json

export interface PeerSeen {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly body: Json | undefined
  readonly token: CallToken
}

type Raw = (seen: PeerSeen, res: ServerResponse) => void

/** An agent of the official SDK, as a service of the network: gateways only, each request with a call token for exactly itself. */
export class TestPeer {
  readonly seen: PeerSeen[] = []
  port = 0
  /** What it shows, and with which status. */
  card: unknown
  cardStatus: (seen: PeerSeen) => number = () => 200
  /** What it does with a message. */
  execute: AgentExecutor['execute'] = () => Promise.resolve()
  cancelTask: AgentExecutor['cancelTask'] = () => Promise.resolve()
  /** Answers in the SDK's place, as a hostile peer would. */
  raw: Raw | undefined
  readonly #name: string
  readonly #holder: IdentityHolder
  readonly #handler: DefaultRequestHandler
  #mtls: MtlsServer | undefined

  constructor(name: string, identity: IdentityMaterial, card: unknown, legacy = false) {
    this.#name = name
    this.#holder = new IdentityHolder(identity)
    this.card = card
    const executor: AgentExecutor = {
      execute: (context, bus) => this.execute(context, bus),
      cancelTask: (id, bus, ...rest) => this.cancelTask(id, bus, ...rest),
    }
    this.#handler = new DefaultRequestHandler(
      AgentCard.fromJSON(clerkCard()),
      new InMemoryTaskStore(),
      executor,
      undefined,
      new InMemoryPushNotificationStore(),
    )
    this.#legacy = legacy
  }

  readonly #legacy: boolean

  async listen(): Promise<void> {
    const http = createServer((req, res) => {
      this.#handle(req, res).catch((error: unknown) => {
        if (!res.headersSent) res.writeHead(401)
        res.end(String(error))
      })
    })
    this.#mtls = createMtlsServer({
      identity: this.#holder,
      accept: (peer) => peer.id.segments[0] === 'gateway',
      handshakeTimeoutMs: 5000,
      onConnection: (socket) => {
        http.emit('connection', socket)
      },
    })
    const address = await this.#mtls.listen({ host: '127.0.0.1', port: 0 })
    if (typeof address === 'string') throw new Error('no port')
    this.port = address.port
  }

  async close(): Promise<void> {
    await this.#mtls?.close()
  }

  async #handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    const bytes = Buffer.concat(chunks)
    const peer = peerOf(req.socket)
    if (!peer) throw new Error('no peer')
    assertFresh(peer, Date.now())
    const { method = '', url = '', headers } = req
    const token = await verifyCallToken(String(headers['sallyport-call-token']), peer.publicKey, {
      aud: serviceId(this.#holder.current().trustDomain, this.#name),
      iss: peer.id.uri,
      requestHash: requestHash(method, url, bytes),
      now: Date.now(),
    })
    const body = bytes.length === 0 ? undefined : (parseJson(bytes) as Json)
    const seen = { method, url, headers, body, token }
    this.seen.push(seen)
    if (method === 'GET') {
      res.writeHead(this.cardStatus(seen), { 'content-type': 'application/json' })
      res.end(JSON.stringify(this.card))
      return
    }
    if (this.raw) {
      this.raw(seen, res)
      return
    }
    const version = headers['a2a-version']
    const context = new ServerCallContext(
      typeof version === 'string' ? { requestedVersion: version } : {},
    )
    const handler = this.#legacy
      ? new LegacyJsonRpcTransportHandler(this.#handler)
      : new JsonRpcTransportHandler(this.#handler)
    const answer = await handler.handle(bytes.toString(), context)
    if (!(Symbol.asyncIterator in answer)) {
      res.writeHead(200, { 'content-type': 'application/json' })
      res.end(JSON.stringify(answer))
      return
    }
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    for await (const event of answer) res.write(formatSSEEvent(event))
    res.end()
  }
}

/** The official client, over an agent's connections. */
export function a2aClient(agent: TestAgent, system: string, legacy = false): Promise<Client> {
  const fetchImpl = ((url: string, init: object) =>
    fetch(url, { ...init, dispatcher: agent.pool })) as unknown as typeof globalThis.fetch
  const compat = { legacyCompat: { enabled: legacy } }
  const factory = new ClientFactory({
    transports: [new JsonRpcTransportFactory({ fetchImpl, ...compat })],
    cardResolver: new DefaultAgentCardResolver({
      // Whoever names no revision is of 0.3.
      fetchImpl: ((url: string, init: object) =>
        fetchImpl(url, legacy ? {} : init)) as unknown as typeof globalThis.fetch,
      ...compat,
    }),
  })
  return factory.createFromUrl(`https://gateway.invalid/${system}/`)
}

/** A gateway with one peer behind two systems, and the same work over MCP. */
export async function startPeers(
  settings: NonNullable<World['options']['settings']> = {},
  change: (declaration: Declaration) => Declaration = (same) => same,
  legacy = false,
  options: Pick<World['options'], 'clock' | 'proxyFrom'> = {},
): Promise<{
  readonly world: World
  readonly peer: TestPeer
  readonly close: () => Promise<void>
}> {
  const declaration = change(await peersDeclared())
  const world = await startWorld(
    { ...options, settings: { a2aCardMs: 0, ...settings } },
    () => undefined,
    () => declaration,
  )
  const peer = new TestPeer('bank', world.plane.service('bank'), clerkCard(), legacy)
  await peer.listen()
  const at = { host: '127.0.0.1', port: peer.port }
  const desk = { host: '127.0.0.1', port: world.desk.port }
  await world.restart({ upstreams: { clerk: at, hooked: at, desk } })
  const close = async (): Promise<void> => {
    await peer.close()
    await world.close()
  }
  return { world, peer, close }
}

/** What the SDK throws, as `[code of JSON-RPC, code of ours]`. */
export function a2aCodes(error: unknown): unknown {
  // What it throws has the error's data.
  const { data, envelopeCode } = error as { data?: Json; envelopeCode?: number }
  return [envelopeCode, data?.['code']]
}
