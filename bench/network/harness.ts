import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient, createService, enrol } from '@sallyport/agent'
import type { AgentClient, Identity, Service } from '@sallyport/agent'
import { initTrust } from '@sallyport/control'
import { loadDeclaration } from '@sallyport/network'
import { readFileSync } from 'node:fs'
import { adminClient } from '../../packages/cli/src/admin.ts'
import type { AdminClient } from '../../packages/cli/src/admin.ts'
import { target } from '../../packages/cli/src/address.ts'
import { startPlanes } from '../../packages/cli/src/commands/planes.ts'
import { selfCommand, supervise } from '../../packages/cli/src/supervise.ts'
import { members, textOf } from '../../packages/cli/src/shape.ts'

const PLANE = '127.0.0.1:7481'
const GATEWAY = '127.0.0.1:7482'
const STORE_PORT = 7301
const NETWORK = join(import.meta.dirname, 'declaration/network.yaml')
const TRUST_DOMAIN = 'bench.example'

export interface Caller {
  readonly identity: Identity
  readonly client: AgentClient
  readonly spiffeId: string
  /** Certificates after the first. */
  rotations(): number
  close(): Promise<void>
}

/** A small network on real processes: control plane, database, gateway; service and callers in this one. */
export interface Harness {
  readonly data: string
  readonly admin: AdminClient
  /** Where gateways and agents reach the control plane, and agents the gateway. */
  readonly plane: { readonly host: string; readonly port: number }
  readonly gateway: { readonly host: string; readonly port: number }
  /** One-use link of the first operator, at the console. */
  readonly link: string
  caller(): Promise<Caller>
  /** One more gateway, in a process of its own. */
  addGateway(options: {
    readonly id: string
    readonly listen: string
    /** Where it finds the control plane. */
    readonly control?: string
  }): Promise<{ stop(): Promise<void> }>
  stop(): Promise<void>
}

/** @param network a declaration other than the usual one */
export async function startHarness(
  note: (text: string) => void,
  network: string = NETWORK,
): Promise<Harness> {
  const data = mkdtempSync(join(tmpdir(), 'sp-bench-'))
  const declaration = await loadDeclaration({ networkFile: network })
  await initTrust({
    dataDir: data,
    declaration,
    rpId: 'localhost',
    origin: 'http://localhost:7480',
  })
  const admin = adminClient(data)
  const rootsPem = readFileSync(join(data, 'trust/ca.pem'), 'utf8')
  const joinToken = async (kind: string, name: string): Promise<string> =>
    textOf(members(await admin.post('/api/join-tokens', { kind, name })).token)
  const join_ = async (kind: string, name: string): Promise<Identity> => {
    const identity = await enrol({
      planeTarget: target(PLANE),
      rootsPem,
      token: await joinToken(kind, name),
      trustDomain: TRUST_DOMAIN,
    })
    identity.startRotation()
    return identity
  }
  let service: Service | undefined
  let serviceIdentity: Identity | undefined
  const streams = new Set<ServerResponse>()
  const ticker = setInterval(() => {
    const event = `data: ${JSON.stringify({ item: { id: '1', text: 'tick', secret: 'x' } })}\n\n`
    for (const stream of streams) stream.write(event)
  }, 20)
  const secretsFile = join(data, 'secrets.json')
  writeFileSync(secretsFile, '{}', { mode: 0o600 })
  const planes = await startPlanes({
    data,
    network,
    console: ['--console-port', '7480'],
    plane: PLANE,
    listen: GATEWAY,
    upstreams: [`store=127.0.0.1:${STORE_PORT}`],
    onError: (name, text) => note(`${name}: ${text}`),
    beforeGateway: async () => {
      serviceIdentity = await join_('service', 'store')
      service = await createService({
        identity: serviceIdentity,
        name: 'store',
        listen: { host: '127.0.0.1', port: STORE_PORT },
        handler: (request, response) => {
          if (request.url === '/v1/stream') {
            response.writeHead(200, { 'content-type': 'text/event-stream' })
            streams.add(response)
            response.on('close', () => streams.delete(response))
            return
          }
          response.writeHead(200, { 'content-type': 'application/json' })
          response.end(JSON.stringify({ item: { id: '1', text: 'hello', secret: 'x' } }))
        },
      })
    },
  })
  return {
    data,
    admin,
    plane: target(PLANE),
    gateway: target(GATEWAY),
    link: textOf(planes.control.link),
    async caller() {
      const identity = await join_('agent', 'caller')
      let rotations = 0
      identity.holder.onChange(() => {
        rotations++
      })
      const client = createClient({ identity, gateway: target(GATEWAY) })
      const who = members(await client.whoami())
      return {
        identity,
        client,
        spiffeId: textOf(who.instance ?? who.spiffeId),
        rotations: () => rotations,
        async close() {
          identity.stop()
          await client.close()
        },
      }
    },
    async addGateway({ id, listen, control = PLANE }) {
      const gateway = supervise({
        name: id,
        ...selfCommand(
          ...['gateway', '--id', id, '--data', data, '--control', control, '--listen', listen],
          ...['--upstream', `store=127.0.0.1:${STORE_PORT}`],
        ),
        env: { SALLYPORT_JOIN_TOKEN: await joinToken('gateway', id) },
        onError: (text) => note(`${id}: ${text}`),
      })
      await gateway.line(({ ready }) => ready === 'gateway', 120_000)
      return { stop: () => gateway.stop() }
    },
    async stop() {
      clearInterval(ticker)
      for (const stream of streams) stream.destroy()
      await planes.stop()
      serviceIdentity?.stop()
      await service?.close()
      rmSync(data, { recursive: true, force: true })
    },
  }
}
