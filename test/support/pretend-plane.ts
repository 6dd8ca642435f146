import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { newId, parseJson } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import { controlId, createIssuer, createRoot, gatewayId, publicKeyFromCsr } from '@sallyport/spiffe'
import type { Issuer } from '@sallyport/spiffe'
import { createMtlsServer, IdentityHolder } from '@sallyport/transport'
import type { IdentityMaterial, MtlsServer } from '@sallyport/transport'
import { declarationDigest, signBundle } from '@sallyport/wire'
import type { Bundle, SignedBundle, TrustPins } from '@sallyport/wire'
import { members, textOf } from '../../packages/cli/src/shape.ts'

/**
 * What a control plane that was taken over could do to a gateway: it holds a real trust root and may sign, replay or
 * bend whatever it likes.
 */
export class PretendPlane {
  readonly declaration: Declaration
  readonly trustDomain: string
  readonly pins: TrustPins
  readonly bundleKey: KeyObject
  /** Answers `POST /v1/limits/reserve`. */
  limit: 'grant' | 'refuse' = 'grant'
  /** Whether it says once in a while that nothing changed. */
  beating = true
  port = 0
  readonly #root: { readonly certificatePem: string; readonly privateKeyPem: string }
  readonly #issuer: Issuer
  readonly #streams = new Set<ServerResponse>()
  readonly #http = createServer((request, response) => {
    this.#answer(request, response).catch((error: unknown) => {
      response.writeHead(500).end(JSON.stringify({ code: String(error) }))
    })
  })
  #mtls: MtlsServer | undefined
  #timer: NodeJS.Timeout | undefined
  #current: unknown

  constructor(declaration: Declaration) {
    this.declaration = declaration
    this.trustDomain = declaration.network.trustDomain
    this.#root = createRoot({ trustDomain: this.trustDomain, ttlSeconds: 3600 })
    const { certificatePem, privateKeyPem: privateKey } = this.#root
    this.#issuer = createIssuer({ certificatePem, privateKey })
    const bundleKeys = generateKeyPairSync('ed25519')
    this.bundleKey = bundleKeys.privateKey
    this.pins = {
      trustDomain: this.trustDomain,
      bundleKey: spki(bundleKeys.publicKey),
      genesisKey: spki(generateKeyPairSync('ed25519').publicKey),
      genesisDigest: declarationDigest(declaration),
      roots: certificatePem,
    }
    this.#current = this.bundle(1)
  }

  /** A bundle as an honest plane would sign it, or as `over` and `key` bend it. */
  bundle(
    n: number,
    over: Partial<Bundle<Declaration>> = {},
    key: KeyObject = this.bundleKey,
  ): SignedBundle<Declaration> {
    const declaration = over.declaration ?? this.declaration
    return signBundle(
      {
        format: 'sallyport-bundle/1',
        trustDomain: this.trustDomain,
        revision: { epoch: 1, n },
        issuedAt: Date.now(),
        declaration,
        declarationDigest: declarationDigest(declaration),
        declarationSignatures: [],
        quarantined: [],
        releases: [],
        revokedSerials: [],
        risk: {},
        ...over,
      },
      key,
    )
  }

  /** Sends it to whoever listens, and from now on to whoever asks. */
  publish(signed: SignedBundle<Declaration>): void {
    this.#current = signed
    this.#push({ type: 'bundle', ...signed })
  }

  issue(spiffeId: string, ttlSeconds: number = 600): IdentityMaterial {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const publicKeySpki = publicKey.export({ type: 'spki', format: 'der' })
    const { chainPem, notAfter } = this.#issuer.issue({ spiffeId, publicKeySpki, ttlSeconds })
    return {
      chainPem,
      keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      rootsPem: this.#root.certificatePem,
      trustDomain: this.trustDomain,
      notAfter,
    }
  }

  async listen(): Promise<void> {
    this.#mtls = createMtlsServer({
      identity: new IdentityHolder(this.issue(controlId(this.trustDomain, 'c1'))),
      accept: () => true,
      allowAnonymous: true,
      handshakeTimeoutMs: 5000,
      onConnection: (socket) => this.#http.emit('connection', socket),
    })
    const address = await this.#mtls.listen({ host: '127.0.0.1', port: 0 })
    if (typeof address === 'string') throw new Error('no port')
    this.port = address.port
    this.#timer = setInterval(() => {
      if (this.beating) this.#push({ type: 'heartbeat', at: Date.now() })
    }, 300)
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    await this.#mtls?.close()
  }

  #push(message: unknown): void {
    for (const stream of this.#streams) stream.write(`${JSON.stringify(message)}\n`)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    // Without an encoding set, a request yields buffers.
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const bytes = Buffer.concat(chunks)
    const body = members(bytes.length > 0 ? parseJson(bytes, { maxBytes: 16 << 20 }) : {})
    const send = (value: unknown): void => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify(value))
    }
    switch (request.url) {
      case '/v1/enroll':
      case '/v1/renew': {
        const spiffeId = gatewayId(this.trustDomain, 'gw1')
        const publicKeySpki = publicKeyFromCsr(textOf(body.csr))
        const issued = this.#issuer.issue({ spiffeId, publicKeySpki, ttlSeconds: 600 })
        const { chainPem: chain, notAfter } = issued
        return send({ spiffeId, chain, roots: this.#root.certificatePem, notAfter })
      }
      case '/v1/bundle':
        return send(this.#current)
      case '/v1/stream':
        response.writeHead(200, { 'content-type': 'application/x-ndjson' })
        this.#streams.add(response)
        response.once('close', () => this.#streams.delete(response))
        this.#push({ type: 'bundle', ...members(parseJson(JSON.stringify(this.#current))) })
        return
      case '/v1/feed': {
        const items = Array.isArray(body.items) ? body.items : []
        return send({ next: Number(members(items.at(-1)).index ?? -1) + 1 })
      }
      case '/v1/approvals':
        return send({ approvalId: newId('apr'), expiresAt: Date.now() + 60_000 })
      case '/v1/limits/reserve':
        return this.limit === 'grant'
          ? send({ granted: true, reservationId: newId('res') })
          : send({ granted: false, retryAfterSeconds: 7 })
      default:
        return send({})
    }
  }
}

const spki = (key: KeyObject): string =>
  key.export({ type: 'spki', format: 'der' }).toString('base64url')
