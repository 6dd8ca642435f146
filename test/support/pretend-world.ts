import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { createClient, createService } from '@sallyport/agent'
import type { AgentClient, Service, ServiceHandler } from '@sallyport/agent'
import { loadDeclaration } from '@sallyport/network'
import type { Settings } from '@sallyport/network'
import { agentId, kindOf, serviceId } from '@sallyport/spiffe'
import { IdentityHolder, mtlsConnect } from '@sallyport/transport'
import { target } from '../../packages/cli/src/address.ts'
import { textOf } from '../../packages/cli/src/shape.ts'
import { selfCommand, supervise } from '../../packages/cli/src/supervise.ts'
import type { Supervised } from '../../packages/cli/src/supervise.ts'
import { Ledger } from './ledger.ts'
import { PretendPlane } from './pretend-plane.ts'

const NETWORK = join(import.meta.dirname, 'declaration/network.yaml')

/** A real gateway process that takes a pretended control plane for its own. */
export class PretendWorld {
  readonly data: string = mkdtempSync(join(tmpdir(), 'sp-pretend-'))
  readonly ledger: Ledger = new Ledger()
  readonly plane: PretendPlane
  readonly #services: Service[] = []
  readonly #upstreams: string[] = []
  readonly #clients: AgentClient[] = []
  #gateway: Supervised | undefined
  #address = ''
  #health = ''

  private constructor(plane: PretendPlane) {
    this.plane = plane
  }

  /**
   * @param options.settings over those declared
   * @param options.services what answers for each service; the ledger's by default
   */
  static async start(
    options: {
      readonly networkFile?: string
      readonly settings?: Partial<Settings>
      readonly services?: Readonly<Record<string, ServiceHandler>>
    } = {},
  ): Promise<PretendWorld> {
    const declaration = await loadDeclaration({ networkFile: options.networkFile ?? NETWORK })
    const { network } = declaration
    const changed = { ...network, settings: { ...network.settings, ...options.settings } }
    const world = new PretendWorld(new PretendPlane({ ...declaration, network: changed }))
    const { plane, data } = world
    await plane.listen()
    mkdirSync(join(data, 'trust'))
    writeFileSync(join(data, 'trust/pins.json'), JSON.stringify(plane.pins))
    for (const [name, handler] of Object.entries(options.services ?? world.ledger.services)) {
      const holder = new IdentityHolder(plane.issue(serviceId(plane.trustDomain, name, 's1')))
      const listen = { host: '127.0.0.1', port: 0 }
      const service = await createService({ identity: { holder }, name, handler, listen })
      world.#services.push(service)
      if ('port' in service.address) {
        world.#upstreams.push(`${name}=127.0.0.1:${service.address.port}`)
      }
    }
    await world.startGateway()
    return world
  }

  get gateway(): Supervised {
    if (!this.#gateway) throw new Error('the gateway was not started')
    return this.#gateway
  }

  get gatewayDir(): string {
    return join(this.data, 'gateway/gw1')
  }

  /** @param prefix a command that runs it, e.g. in a namespace */
  async startGateway(prefix: readonly string[] = []): Promise<void> {
    const self = selfCommand(
      ...['gateway', '--id', 'gw1', '--data', this.data, '--listen', '127.0.0.1:0'],
      ...['--control', `127.0.0.1:${this.plane.port}`, '--health', '127.0.0.1:0'],
      ...this.#upstreams.flatMap((upstream) => ['--upstream', upstream]),
    )
    const [command = '', ...args] = [...prefix, self.command, ...self.args]
    const env = { SALLYPORT_JOIN_TOKEN: 'join' }
    const gateway = supervise({ name: 'gateway', command, args, env, onError: () => undefined })
    this.#gateway = gateway
    const line = await gateway.line(({ ready }) => ready === 'gateway', 60_000)
    this.#address = textOf(line.address)
    this.#health = textOf(line.health)
  }

  /** Host and port where the gateway tells how it is. */
  get healthAddress(): string {
    return this.#health
  }

  /** An instance of the clerk. */
  clerk(instance: string, ttlSeconds?: number): AgentClient {
    return this.caller('clerk', instance, ttlSeconds)
  }

  /** An instance of any agent. */
  caller(agent: string, instance: string, ttlSeconds?: number): AgentClient {
    const holder = this.identity(agent, instance, ttlSeconds)
    const client = createClient({ identity: { holder }, gateway: target(this.#address) })
    this.#clients.push(client)
    return client
  }

  /** A socket to the gateway with which to say whatever one likes. */
  connect(instance: string, ttlSeconds?: number): Promise<TLSSocket> {
    return mtlsConnect({
      identity: this.identity('clerk', instance, ttlSeconds),
      target: target(this.#address),
      expect: ({ id }) => kindOf(id)?.kind === 'gateway',
    })
  }

  identity(agent: string, instance: string, ttlSeconds: number = 600): IdentityHolder {
    const id = agentId(this.plane.trustDomain, agent, instance)
    return new IdentityHolder(this.plane.issue(id, ttlSeconds))
  }

  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()))
    await this.#gateway?.stop()
    await Promise.all(this.#services.map((service) => service.close()))
    await this.plane.close()
    rmSync(this.data, { recursive: true, force: true })
  }
}
