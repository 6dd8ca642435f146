import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient, createService, enrol } from '@sallyport/agent'
import type { AgentClient, Identity, Service, ServiceHandler } from '@sallyport/agent'
import { initTrust } from '@sallyport/control'
import { SimulatedOperator } from '@sallyport/example-meridian'
import { loadDeclaration } from '@sallyport/network'
import { adminClient } from '../../packages/cli/src/admin.ts'
import type { AdminClient } from '../../packages/cli/src/admin.ts'
import { members, textOf } from '../../packages/cli/src/shape.ts'
import { selfCommand, supervise } from '../../packages/cli/src/supervise.ts'
import type { Supervised } from '../../packages/cli/src/supervise.ts'
import { claimPorts } from './ports.ts'

export interface WorldOptions {
  /** A `network.yaml` with quorum 1. */
  readonly networkFile: string
  /** What answers for each service of the declaration, in this process. */
  readonly services: Readonly<Record<string, ServiceHandler>>
  /** Database for the control plane; its own embedded one by default. */
  readonly databaseUrl?: string
  readonly note?: (text: string) => void
}

const READY_MS = 60_000

/** Control plane, database and gateway as processes of their own; services in this one, so that what they saw is known. */
export class World {
  readonly data: string
  readonly admin: AdminClient
  readonly rootsPem: string
  readonly trustDomain: string
  readonly consoleUrl: string
  readonly planeTarget: { readonly host: string; readonly port: number }
  readonly gatewayTarget: { readonly host: string; readonly port: number }
  readonly #options: WorldOptions
  /** Console; plane and gateway are the next two. */
  readonly #port: number
  readonly #services: { readonly service: Service; readonly identity: Identity }[] = []
  readonly #upstreams: string[] = []
  #control: Supervised | undefined
  #gateway: Supervised | undefined
  #link = ''

  private constructor(options: WorldOptions, port: number, data: string, trustDomain: string) {
    this.#options = options
    this.#port = port
    this.data = data
    this.trustDomain = trustDomain
    this.admin = adminClient(data)
    this.consoleUrl = `http://localhost:${port}`
    this.planeTarget = { host: '127.0.0.1', port: port + 1 }
    this.gatewayTarget = { host: '127.0.0.1', port: port + 2 }
    this.rootsPem = readFileSync(join(data, 'trust/ca.pem'), 'utf8')
  }

  static async start(options: WorldOptions): Promise<World> {
    const data = mkdtempSync(join(tmpdir(), 'sp-test-'))
    const declaration = await loadDeclaration({ networkFile: options.networkFile })
    const port = await claimPorts()
    const origin = `http://localhost:${port}`
    await initTrust({ dataDir: data, declaration, rpId: 'localhost', origin })
    const world = new World(options, port, data, declaration.network.trustDomain)
    try {
      await world.startControl()
      for (const [name, handler] of Object.entries(options.services)) {
        await world.#serve(name, handler)
      }
      const { token } = members(await world.joinToken('gateway', 'gw1'))
      await world.startGateway(textOf(token))
      return world
    } catch (error) {
      await world.stop()
      throw error
    }
  }

  get control(): Supervised {
    if (!this.#control) throw new Error('the control plane was not started')
    return this.#control
  }

  get gateway(): Supervised {
    if (!this.#gateway) throw new Error('the gateway was not started')
    return this.#gateway
  }

  /** Process id of the database server that runs now. */
  get postmaster(): number {
    return Number(readFileSync(join(this.data, 'pg/data/postmaster.pid'), 'utf8').split('\n')[0])
  }

  get gatewayDir(): string {
    return join(this.data, 'gateway/gw1')
  }

  async startControl(): Promise<void> {
    const { networkFile, databaseUrl } = this.#options
    const port = this.#port
    const control = supervise({
      name: 'control',
      ...selfCommand(
        ...['control', '--network', networkFile, '--data', this.data],
        ...['--console-port', String(port), '--plane', `127.0.0.1:${port + 1}`],
      ),
      env: databaseUrl === undefined ? {} : { DATABASE_URL: databaseUrl },
      onError: (text) => this.#options.note?.(`control: ${text}`),
    })
    this.#control = control
    const line = await control.line(({ ready }) => ready === 'control', READY_MS)
    this.#link = textOf(line.link) || this.#link
  }

  /** @param joinToken for the first start */
  async startGateway(joinToken?: string): Promise<void> {
    const gateway = supervise({
      name: 'gateway',
      ...selfCommand(
        ...['gateway', '--id', 'gw1', '--data', this.data],
        ...['--control', `127.0.0.1:${this.planeTarget.port}`],
        ...['--listen', `127.0.0.1:${this.gatewayTarget.port}`],
        ...this.#upstreams.flatMap((upstream) => ['--upstream', upstream]),
      ),
      env: joinToken === undefined ? {} : { SALLYPORT_JOIN_TOKEN: joinToken },
      onError: (text) => this.#options.note?.(`gateway: ${text}`),
    })
    this.#gateway = gateway
    await gateway.line(({ ready }) => ready === 'gateway', READY_MS)
  }

  joinToken(kind: string, name: string): ReturnType<AdminClient['post']> {
    return this.admin.post('/api/join-tokens', { kind, name })
  }

  /** Enrols in this process. */
  async join(kind: 'agent' | 'service', name: string): Promise<Identity> {
    const { token } = members(await this.joinToken(kind, name))
    const identity = await enrol({
      planeTarget: this.planeTarget,
      rootsPem: this.rootsPem,
      token: textOf(token),
      trustDomain: this.trustDomain,
    })
    identity.startRotation()
    return identity
  }

  /** A new instance of an agent, in this process. */
  async caller(name: string): Promise<AgentClient & { readonly instance: string }> {
    const identity = await this.join('agent', name)
    const client = createClient({ identity, gateway: this.gatewayTarget })
    return Object.assign(client, { instance: identity.spiffeId })
  }

  /** The one-time link of the first operator. */
  get link(): string {
    return this.#link
  }

  /** Enrols a software passkey with the one-time link, once a world. */
  async operator(): Promise<SimulatedOperator> {
    const operator = new SimulatedOperator({ consoleUrl: this.consoleUrl, link: this.#link })
    await operator.signIn()
    return operator
  }

  async stop(): Promise<void> {
    await this.#gateway?.stop()
    await this.#control?.stop(10_000)
    for (const { service, identity } of this.#services) {
      identity.stop()
      await service.close()
    }
    rmSync(this.data, { recursive: true, force: true })
  }

  async #serve(name: string, handler: ServiceHandler): Promise<void> {
    const identity = await this.join('service', name)
    const listen = { host: '127.0.0.1', port: 0 }
    const service = await createService({ identity, name, handler, listen })
    this.#services.push({ service, identity })
    if (!('port' in service.address)) throw new Error('no port')
    this.#upstreams.push(`${name}=127.0.0.1:${service.address.port}`)
  }
}

/** `kill -9`, and waits until it is gone. */
export async function killHard({ child }: Supervised): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}
