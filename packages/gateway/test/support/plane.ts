import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { canonicalJson, newId, parseJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import {
  agentId,
  controlId,
  createIssuer,
  createRoot,
  gatewayId,
  publicKeyFromCsr,
  serviceId,
} from '@sallyport/spiffe'
import type { Issuer } from '@sallyport/spiffe'
import { createMtlsServer, IdentityHolder } from '@sallyport/transport'
import type { IdentityMaterial, MtlsServer } from '@sallyport/transport'
import { declarationDigest, signBundle, signOperatorSet } from '@sallyport/wire'
import type {
  ApprovalStatement,
  Bundle,
  FeedItem,
  OperatorSet,
  Quarantine,
  RevokedMandate,
  RootList,
  Signed,
  SignedBundle,
  SignedMandate,
  Statement,
  TokenTrust,
  TrustPins,
} from '@sallyport/wire'
import { setOf, TestOperator } from './passkey.ts'

export interface Approval {
  readonly id: string
  readonly call: { readonly [key: string]: JsonValue }
  status: string
  signed: Signed<ApprovalStatement>[]
}

type Body = { readonly [key: string]: JsonValue }

/** A small control plane that really signs bundles and really issues SVIDs; state in memory. */
export class TestPlane {
  readonly trustDomain: string
  readonly declaration: Declaration
  readonly operator: TestOperator = new TestOperator('olga')
  readonly operators: OperatorSet
  readonly feed: Map<number, FeedItem> = new Map()
  readonly approvals: Map<string, Approval> = new Map()
  readonly settled: { reservationId: string; commit: boolean; amount?: number }[] = []
  readonly reserved: Body[] = []
  /** The key of each renewal asked for; the first `answersToLose` of them are not answered. */
  readonly renewals: string[] = []
  answersToLose = 0
  readonly pins: TrustPins
  readonly #root: { certificatePem: string; privateKeyPem: string }
  readonly #issuer: Issuer
  readonly #bundleKey = generateKeyPairSync('ed25519')
  readonly #genesisKey = generateKeyPairSync('ed25519')
  readonly #streams = new Set<ServerResponse>()
  readonly #http: Server
  #mtls: MtlsServer | undefined
  #timer: NodeJS.Timeout | undefined
  #n = 1
  #serial = 0
  #redeclared: Partial<Bundle<Declaration>> = {}
  #current: SignedBundle<Declaration> | undefined
  #port = 0
  port = 0
  quarantined: Quarantine[] = []
  releases: Signed<Extract<Statement, { kind: 'release' }>>[] = []
  revokedSerials: { serial: string; notAfter: number }[] = []
  risk: Record<string, { score: number; at: number }> = {}
  tokens: TokenTrust | undefined
  roots: RootList | undefined
  limit: 'grant' | 'refuse' | 'fail' = 'grant'
  readonly mandates: Map<string, readonly SignedMandate[]> = new Map()
  readonly mandateLookups: string[] = []
  /** What lookups wait for. */
  mandateGate: Promise<void> = Promise.resolve()
  readonly mandateUses: Body[] = []
  readonly mandatesSettled: { decisionId: string; commit: boolean }[] = []
  mandateAnswer: 'grant' | 'refuse' | 'revoked' | 'fail' = 'grant'
  revokedMandates: RevokedMandate[] = []
  feedDown = false
  /** Credentials of upstreams; `credentialsDown` does not answer for them. */
  readonly credentials: Map<string, string> = new Map()
  credentialsDown = false
  credentialReads = 0
  gatewayTtl = 60
  beating = true

  constructor(declaration: Declaration) {
    this.declaration = declaration
    this.trustDomain = declaration.network.trustDomain
    this.#root = createRoot({ trustDomain: this.trustDomain, ttlSeconds: 86_400 })
    this.#issuer = createIssuer({
      certificatePem: this.#root.certificatePem,
      privateKey: this.#root.privateKeyPem,
    })
    this.operators = setOf(this.operator.key(['viewer', 'responder', 'approver', 'admin']))
    const spki = (key: KeyObject): string =>
      key.export({ type: 'spki', format: 'der' }).toString('base64url')
    this.pins = {
      trustDomain: this.trustDomain,
      bundleKey: spki(this.#bundleKey.publicKey),
      genesisKey: spki(this.#genesisKey.publicKey),
      genesisDigest: declarationDigest(declaration),
      roots: this.#root.certificatePem,
    }
    this.#http = createServer((req, res) => {
      this.#handle(req, res).catch((error: unknown) => {
        if (!res.headersSent) res.writeHead(500, { 'content-type': 'application/json' })
        res.end(JSON.stringify({ code: String(error) }))
      })
    })
  }

  /** An identity of this trust domain. */
  issue(spiffeId: string, ttlSeconds = 60, now: number = Date.now()): IdentityMaterial {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const { chainPem, notAfter } = this.#issuer.issue({
      spiffeId,
      publicKeySpki: publicKey.export({ type: 'spki', format: 'der' }),
      ttlSeconds,
      now,
    })
    return {
      chainPem,
      keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      rootsPem: this.#root.certificatePem,
      trustDomain: this.trustDomain,
      notAfter,
    }
  }

  agent(name: string, instance = 'i1', ttlSeconds = 60): IdentityMaterial {
    return this.issue(agentId(this.trustDomain, name, instance), ttlSeconds)
  }

  service(name: string): IdentityMaterial {
    return this.issue(serviceId(this.trustDomain, name, 's1'), 3600)
  }

  /** Bundles that gateways showed because they were offered older ones. */
  readonly shown: Body[] = []

  async listen(): Promise<void> {
    this.#mtls = createMtlsServer({
      identity: new IdentityHolder(this.issue(controlId(this.trustDomain, 'c1'), 3600)),
      accept: () => true,
      allowAnonymous: true,
      handshakeTimeoutMs: 5000,
      onConnection: (socket) => this.#http.emit('connection', socket),
    })
    const address = await this.#mtls.listen({ host: '127.0.0.1', port: this.#port })
    if (typeof address === 'string') throw new Error('no port')
    this.#port = this.port = address.port
    this.#timer = setInterval(() => {
      if (this.beating) this.#push({ type: 'heartbeat', at: Date.now() })
    }, 300)
  }

  /** Stops answering; `listen` comes back on the same port. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#streams.clear()
    await this.#mtls?.close()
    this.#mtls = undefined
  }

  bundle(over: Partial<Bundle<Declaration>> = {}): SignedBundle<Declaration> {
    const declaration = over.declaration ?? this.declaration
    return signBundle(
      {
        format: 'sallyport-bundle/1',
        trustDomain: this.trustDomain,
        revision: { epoch: 1, n: this.#n },
        issuedAt: Date.now(),
        declaration,
        declarationDigest: declarationDigest(declaration),
        declarationSignatures: [],
        operators: {
          set: this.operators,
          genesisSignature: signOperatorSet(this.operators, this.#genesisKey.privateKey),
          signatures: [],
        },
        quarantined: this.quarantined,
        releases: this.releases,
        revokedSerials: this.revokedSerials,
        ...(this.revokedMandates.length > 0 ? { revokedMandates: this.revokedMandates } : {}),
        ...this.#redeclared,
        risk: this.risk,
        ...(this.tokens ? { tokens: this.tokens } : {}),
        ...(this.roots ? { roots: this.roots } : {}),
        ...over,
      },
      this.#bundleKey.privateKey,
    )
  }

  publish(over: Partial<Bundle<Declaration>> = {}): void {
    this.#n++
    this.#current = this.bundle(over)
    this.#push({ type: 'bundle', ...this.#current })
  }

  /** Another declaration, which an operator signed, from now on. */
  redeclare(declaration: Declaration): void {
    const digest = declarationDigest(declaration)
    const serial = ++this.#serial
    const statement = { kind: 'declaration', digest, epoch: 1, serial } as const
    this.#redeclared = {
      ...{ declaration, declarationDigest: digest, declarationSerial: serial },
      declarationSignatures: [this.operator.sign(statement)],
    }
    this.publish()
  }

  /** Sends whatever it is given, as a hostile plane would. */
  inject(message: unknown): void {
    this.#push(message)
  }

  quarantine(subject: string): void {
    const id = newId('qua')
    this.quarantined = [
      ...this.quarantined,
      { id, subject, reason: 'test', by: 'olga', at: Date.now() },
    ]
    this.publish()
  }

  /** Signs an approval as the operator would, or as someone else bends it. */
  approve(
    id: string,
    over: Partial<ApprovalStatement> = {},
    signer: TestOperator = this.operator,
  ): void {
    const approval = this.approvals.get(id)
    if (!approval) throw new Error('no such approval')
    const { instance, system, operation, input, declarationDigest: digest } = approval.call
    const statement: ApprovalStatement = {
      kind: 'approval',
      approvalId: id,
      decision: 'approve',
      approver: signer.name,
      instance: text(instance),
      system: text(system),
      operation: text(operation),
      input,
      declarationDigest: text(digest),
      nonce: newId('non'),
      expiresAt: Date.now() + 60_000,
      ...over,
    }
    approval.signed.push({ statement, signatures: [signer.sign(statement)] })
    approval.status = 'approved'
  }

  records(): FeedItem['record'][] {
    return [...this.feed.values()].toSorted((a, b) => a.index - b.index).map(({ record }) => record)
  }

  #push(message: unknown): void {
    for (const stream of this.#streams) stream.write(`${JSON.stringify(message)}\n`)
  }

  async #handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    const bytes = Buffer.concat(chunks)
    const body = (bytes.length > 0 ? parseJson(bytes, { maxBytes: 16 << 20 }) : {}) as Body
    const send = (status: number, value: unknown): void => {
      res.writeHead(status, { 'content-type': 'application/json' })
      res.end(canonicalJson(value))
    }
    const path = req.url ?? ''
    if (path === '/v1/enroll' || path === '/v1/renew') {
      const spki = publicKeyFromCsr(text(body['csr']))
      const [token, gateway = 'gw1'] = text(body['token'] ?? '').split(':')
      if (path === '/v1/enroll' && token !== 'join') {
        send(403, { code: 'SP_JOIN_TOKEN' })
        return
      }
      if (path === '/v1/renew') {
        this.renewals.push(spki.toString('base64'))
        if (this.renewals.length <= this.answersToLose) {
          req.socket.destroy()
          return
        }
      }
      const spiffeId = gatewayId(this.trustDomain, gateway)
      const { chainPem, notAfter } = this.#issuer.issue({
        spiffeId,
        publicKeySpki: spki,
        ttlSeconds: this.gatewayTtl,
      })
      send(200, { spiffeId, chain: chainPem, roots: this.#root.certificatePem, notAfter })
    } else if (path === '/v1/bundle') send(200, (this.#current ??= this.bundle()))
    else if (path === '/v1/stream') {
      res.writeHead(200, { 'content-type': 'application/x-ndjson' })
      this.#streams.add(res)
      res.once('close', () => this.#streams.delete(res))
      this.#current ??= this.bundle()
      res.write(`${JSON.stringify({ type: 'bundle', ...this.#current })}\n`)
    } else if (path === '/v1/feed') {
      if (this.feedDown) {
        send(503, { code: 'SP_DOWN' })
        return
      }
      const items = body['items'] as unknown as FeedItem[]
      for (const item of items) this.feed.set(item.index, item)
      send(200, { next: (items.at(-1)?.index ?? -1) + 1 })
    } else if (path.startsWith('/v1/credentials/')) {
      this.credentialReads++
      const value = this.credentials.get(path.slice('/v1/credentials/'.length))
      if (this.credentialsDown) send(503, { code: 'SP_SEAL_SEALED' })
      else if (value === undefined) send(403, { code: 'SP_SECRET_REFUSED' })
      else send(200, { value, version: 1, cacheSeconds: 60 })
    } else if (path === '/v1/approvals') {
      const open = [...this.approvals.values()].find(
        (a) =>
          ['pending', 'approved'].includes(a.status) &&
          canonicalJson(a.call['input']) === canonicalJson(body['input']) &&
          a.call['instance'] === body['instance'],
      )
      const approval = open ?? { id: newId('apr'), call: body, status: 'pending', signed: [] }
      this.approvals.set(approval.id, approval)
      send(200, { approvalId: approval.id, expiresAt: Date.now() + 60_000 })
    } else if (path.startsWith('/v1/approvals/')) {
      const [, , , id = '', use] = path.split('/')
      const approval = this.approvals.get(id)
      if (!approval) send(404, { code: 'SP_APPROVAL_UNKNOWN' })
      else if (use === undefined)
        send(200, {
          status: approval.status,
          signed: approval.signed,
          instance: approval.call['instance'],
        })
      else if (approval.status === 'used') send(409, { code: 'SP_APPROVAL_USED' })
      else {
        approval.status = 'used'
        send(200, {})
      }
    } else if (path === '/v1/limits/reserve') {
      this.reserved.push(body)
      if (this.limit === 'fail') send(503, { code: 'SP_DOWN' })
      else if (this.limit === 'refuse') send(200, { granted: false, retryAfterSeconds: 7 })
      else send(200, { granted: true, reservationId: newId('res') })
    } else if (path === '/v1/limits/settle') {
      this.settled.push({
        reservationId: text(body['reservationId']),
        commit: body['commit'] === true,
        ...(typeof body['amount'] === 'number' ? { amount: body['amount'] } : {}),
      })
      send(200, {})
    } else if (path === '/v1/later') {
      this.shown.push(body)
      send(200, {})
    } else if (path === '/v1/mandates/reserve') {
      this.mandateUses.push(body)
      if (this.mandateAnswer === 'fail') send(503, { code: 'SP_DOWN' })
      else if (this.mandateAnswer === 'revoked') send(200, { granted: false, revoked: true })
      else send(200, { granted: this.mandateAnswer === 'grant' })
    } else if (path === '/v1/mandates/settle') {
      this.mandatesSettled.push({
        decisionId: text(body['decisionId']),
        commit: body['commit'] === true,
      })
      send(200, {})
    } else if (path.startsWith('/v1/mandates/')) {
      const id = path.slice('/v1/mandates/'.length)
      this.mandateLookups.push(id)
      await this.mandateGate
      const chain = this.mandates.get(id)
      if (chain) send(200, { chain })
      else send(404, { code: 'SP_MANDATE_UNKNOWN' })
    } else send(404, { code: 'SP_PLANE_ROUTE' })
  }
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
