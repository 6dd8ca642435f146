import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import type { TLSSocket } from 'node:tls'
import { join } from 'node:path'
import type { Declaration } from '@sallyport/network'
import { csrFor } from '@sallyport/spiffe'
import { IdentityHolder, mtlsConnect } from '@sallyport/transport'
import { acceptBundle } from '@sallyport/wire'
import type { BundleState, SignedBundle, TrustPins } from '@sallyport/wire'
import { initTrust, startControl } from '../../src/index.ts'
import type { Control, ControlOptions } from '../../src/index.ts'
import { declarationWith, TRUST_DOMAIN } from './declaration.ts'
import { ORIGIN, RP_ID, Signer } from './signer.ts'

export interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

/** A running control plane on its own data directory, with real PostgreSQL and real TLS. */
export class TestPlane {
  readonly dataDir: string
  readonly declaration: Declaration
  readonly options: Partial<ControlOptions>
  readonly errors: unknown[] = []
  #control: Control | undefined
  roots = ''

  constructor(declaration: Declaration, options: Partial<ControlOptions>) {
    this.dataDir = mkdtempSync(join(tmpdir(), 'sp-control-'))
    this.declaration = declaration
    this.options = options
  }

  static async start(
    declaration: Declaration = declarationWith(),
    options: Partial<ControlOptions> = {},
    origin: string = ORIGIN,
  ): Promise<TestPlane> {
    const plane = new TestPlane(declaration, options)
    await initTrust({ dataDir: plane.dataDir, declaration, rpId: RP_ID, origin })
    await plane.restart()
    return plane
  }

  get control(): Control {
    if (!this.#control) throw new Error('not started')
    return this.#control
  }

  async restart(over: Partial<ControlOptions> = {}): Promise<void> {
    await this.#control?.close()
    this.#control = undefined
    this.#control = await startControl({
      dataDir: this.dataDir,
      declaration: this.declaration,
      console: { port: 0 },
      plane: { host: '127.0.0.1', port: 0 },
      onError: (error) => this.errors.push(error),
      ...this.options,
      ...over,
    })
  }

  async close(): Promise<void> {
    await this.#control?.close()
    rmSync(this.dataDir, { recursive: true, force: true })
  }

  /** Enrols the first operator through the bootstrap link. */
  async firstOperator(name = 'alice'): Promise<Signer> {
    const signer = new Signer(name)
    const { link } = await this.control.context.operators.createLink({ operator: name, by: 'test' })
    await this.control.context.operators.register({
      link,
      credentialId: signer.credentialId,
      publicKey: signer.publicKey,
    })
    return signer
  }

  /** Enrols a further operator; `admins` sign the new set. */
  async nextOperator(name: string, ...admins: readonly Signer[]): Promise<Signer> {
    const signer = await this.firstOperator(name)
    const { operators } = this.control.context
    for (const admin of admins) {
      const proposed = await operators.proposed()
      if (!proposed) throw new Error('no set is proposed')
      const { statement } = proposed
      const signature = admin.sign(statement)
      await operators.signProposed({ operator: admin.operator, statement, signature })
    }
    return signer
  }

  async token(kind: 'agent' | 'service' | 'gateway', name: string, by = 'test'): Promise<string> {
    return (await this.control.context.identities.create({ kind, name, by })).token
  }

  async enrol(kind: 'agent' | 'service' | 'gateway', name: string, by = 'test'): Promise<Peer> {
    const peer = new Peer(this)
    const answer = await peer.enrol(await this.token(kind, name, by))
    if (answer.status !== 200) throw new Error(JSON.stringify(answer))
    return peer
  }
}

/** A workload with a key and, once enrolled, an SVID. */
export class Peer {
  readonly plane: TestPlane
  holder: IdentityHolder | undefined
  spiffeId = ''
  pins: TrustPins | undefined
  #keyPem = ''

  constructor(plane: TestPlane) {
    this.plane = plane
  }

  /** A request signed by a fresh key, or by the present one. */
  csr(fresh = true): { csr: string; keyPem: string } {
    if (!fresh) return { csr: csrFor(this.#keyPem), keyPem: this.#keyPem }
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const keyPem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
    return { csr: csrFor(privateKey), keyPem }
  }

  async enrol(token: string): Promise<Answer> {
    const { csr, keyPem } = this.csr()
    const answer = await this.call('POST', '/v1/enroll', { token, csr })
    if (answer.status === 200) this.take(answer, keyPem)
    return answer
  }

  take({ body }: Answer, keyPem: string): void {
    this.#keyPem = keyPem
    this.spiffeId = String(body['spiffeId'])
    if (body['pins']) this.pins = body['pins'] as TrustPins
    this.holder = new IdentityHolder({
      chainPem: String(body['chain']),
      keyPem,
      rootsPem: String(body['roots']),
      trustDomain: TRUST_DOMAIN,
      notAfter: Number(body['notAfter']),
    })
  }

  async renew(): Promise<Answer> {
    const { csr, keyPem } = this.csr()
    const answer = await this.call('POST', '/v1/renew', { csr })
    if (answer.status === 200) this.take(answer, keyPem)
    return answer
  }

  async connect(): Promise<TLSSocket> {
    const { planeAddress, context } = this.plane.control
    const { readFileSync } = await import('node:fs')
    const rootsPem = readFileSync(join(this.plane.dataDir, 'trust', 'ca.pem'), 'utf8')
    return mtlsConnect({
      identity: this.holder ?? { rootsPem, trustDomain: context.trustDomain },
      ...planeAddress,
      expect: (peer) => peer.id.segments[0] === 'control',
    })
  }

  async call(method: string, path: string, body?: unknown): Promise<Answer> {
    return this.raw(method, path, body === undefined ? undefined : JSON.stringify(body))
  }

  async raw(method: string, path: string, text?: string): Promise<Answer> {
    const socket = await this.connect()
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    const headers = { host: 'plane', 'content-type': 'application/json' }
    const req = request({ createConnection: () => socket, method, path, headers }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (chunk: Buffer) => chunks.push(chunk))
      res.on('end', () => {
        const parsed = JSON.parse(Buffer.concat(chunks).toString()) as Answer['body']
        resolve({ status: res.statusCode ?? 0, body: parsed })
      })
    })
    req.on('error', reject)
    req.end(text)
    try {
      return await promise
    } finally {
      socket.destroy()
    }
  }

  /** Follows the stream as a gateway does, judging each bundle by the gateway's rule. */
  async follow(): Promise<Follower> {
    const socket = await this.connect()
    const follower = new Follower(this.pins as TrustPins, () => socket.destroy())
    const req = request(
      { createConnection: () => socket, path: '/v1/stream', headers: { host: 'plane' } },
      (res) => {
        let rest = ''
        res.setEncoding('utf8')
        res.on('data', (chunk: string) => {
          const lines = (rest + chunk).split('\n')
          rest = lines.pop() ?? ''
          for (const line of lines) follower.take(line)
        })
        res.on('close', () => follower.end())
        res.on('error', () => undefined)
      },
    )
    req.on('error', () => follower.end())
    req.end()
    await follower.until((f) => f.bundles.length > 0)
    return follower
  }
}

export class Follower {
  readonly bundles: { signed: SignedBundle; at: number }[] = []
  readonly approvals: Readonly<Record<string, unknown>>[] = []
  heartbeats = 0
  ended = false
  readonly close: () => void
  readonly #pins: TrustPins
  #state: BundleState | undefined
  readonly #waiters = new Set<() => void>()

  constructor(pins: TrustPins, close: () => void) {
    this.#pins = pins
    this.close = close
  }

  get state(): BundleState {
    if (!this.#state) throw new Error('no bundle yet')
    return this.#state
  }

  take(line: string): void {
    const message = JSON.parse(line) as Record<string, unknown>
    if (message['type'] === 'bundle') {
      const { bundle, signature } = message as unknown as SignedBundle
      this.#state = acceptBundle(this.#state, { bundle, signature }, this.#pins)
      this.bundles.push({ signed: { bundle, signature }, at: performance.now() })
    } else if (message['type'] === 'heartbeat') this.heartbeats++
    else this.approvals.push(message['approval'] as Record<string, unknown>)
    for (const waiter of this.#waiters) waiter()
  }

  end(): void {
    this.ended = true
    for (const waiter of this.#waiters) waiter()
  }

  async until(met: (follower: Follower) => boolean, ms = 30_000): Promise<void> {
    const end = performance.now() + ms
    while (!met(this)) {
      const left = end - performance.now()
      if (left <= 0) throw new Error('it did not happen in time')
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#waiters.add(() => {
          clearTimeout(timer)
          resolve()
        })
      })
      this.#waiters.clear()
    }
  }
}
