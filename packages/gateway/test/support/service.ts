import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { assertFresh, createMtlsServer, IdentityHolder, peerOf } from '@sallyport/transport'
import type { IdentityMaterial, MtlsServer } from '@sallyport/transport'
import { serviceId } from '@sallyport/spiffe'
import { requestHash, verifyCallToken } from '@sallyport/wire'
import type { CallToken } from '@sallyport/wire'

export interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage['headers']
  readonly rawHeaders: readonly string[]
  readonly body: string
  readonly token: CallToken
  /** Number of the connection that it came on. */
  readonly connection: number
}

export type Answer = (seen: Seen, res: ServerResponse) => void

/** A service of the network: gateways only, each request with a call token for exactly itself. */
export class TestService {
  readonly seen: Seen[] = []
  refusals = 0
  port = 0
  #mtls: MtlsServer | undefined
  answer: Answer
  now: () => number = () => Date.now()
  readonly #name: string
  readonly #holder: IdentityHolder

  constructor(name: string, identity: IdentityMaterial, answer: Answer) {
    this.#name = name
    this.#holder = new IdentityHolder(identity)
    this.answer = answer
  }

  async listen(port = 0): Promise<void> {
    let connections = 0
    const numbers = new WeakMap<object, number>()
    const http = createServer((req, res) => {
      this.#handle(req, res, numbers.get(req.socket) ?? 0).catch(() => {
        this.refusals++
        if (!res.headersSent) res.writeHead(401)
        res.end()
      })
    })
    this.#mtls = createMtlsServer({
      identity: this.#holder,
      accept: (peer) => peer.id.segments[0] === 'gateway',
      handshakeTimeoutMs: 5000,
      onConnection: (socket) => {
        numbers.set(socket, ++connections)
        http.emit('connection', socket)
      },
    })
    const address = await this.#mtls.listen({ host: '127.0.0.1', port })
    if (typeof address === 'string') throw new Error('no port')
    this.port = address.port
  }

  async close(): Promise<void> {
    await this.#mtls?.close()
  }

  async #handle(req: IncomingMessage, res: ServerResponse, connection: number): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks)
    const peer = peerOf(req.socket)
    if (!peer) throw new Error('no peer')
    assertFresh(peer, this.now())
    const { method = '', url = '', headers, rawHeaders } = req
    const token = await verifyCallToken(String(headers['sallyport-call-token']), peer.publicKey, {
      aud: serviceId(this.#holder.current().trustDomain, this.#name),
      iss: peer.id.uri,
      requestHash: requestHash(method, url, body),
      now: this.now(),
    })
    const seen = { method, url, headers, rawHeaders, body: body.toString(), token, connection }
    this.seen.push(seen)
    this.answer(seen, res)
  }
}

export function json(
  res: ServerResponse,
  value: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  res.writeHead(status, { 'content-type': 'application/json', ...headers })
  res.end(JSON.stringify(value))
}
