import { chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { closeCedar } from '@sallyport/cedar'
import { startEmbeddedPostgres } from '@sallyport/control'
import { startGateway } from '@sallyport/gateway'
import type { Gateway, GatewayOptions } from '@sallyport/gateway'
import type { Declaration } from '@sallyport/network'
import type { IdentityMaterial } from '@sallyport/transport'
import pg from 'pg'
import { TestPlane } from '../../../packages/gateway/test/support/plane.ts'
import { sqlDeclaration } from './declaration.ts'

const PASSWORD = 'only-the-gateway-knows'
const HBA = `
hostssl all gateway 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
local   all sallyport            scram-sha-256
`

export interface SqlWorld {
  readonly plane: TestPlane
  readonly gateway: Gateway
  /** As the owner of everything, past the gateway. */
  readonly owner: pg.Client
  readonly dir: string
  /** A client of an agent, as it would be configured anywhere. */
  client(agent: string, over?: pg.ClientConfig): pg.Client
  material(agent: string, instance?: string): IdentityMaterial
  /** Straight to the database as the gateway's role. */
  direct(): pg.Client
  close(): Promise<void>
}

/** A real database, a real gateway, and a small control plane that really signs. */
export async function startSqlWorld(
  schema: string,
  change: (declaration: Declaration) => Declaration = (same) => same,
  over: Partial<GatewayOptions> = {},
): Promise<SqlWorld> {
  const dir = mkdtempSync(join(tmpdir(), 'sp-sql-'))
  const plane = new TestPlane(change(await sqlDeclaration()))
  await plane.listen()
  const first = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  await first.stop()
  const port = await freePort()
  const files = serverFiles(join(dir, 'pg', 'data'), plane.service('ledger-db'))
  const database = await startEmbeddedPostgres({
    dir: join(dir, 'pg'),
    settings: {
      ...{ listen_addresses: '127.0.0.1', port: String(port), ssl: 'on', fsync: 'off' },
      ...{ ssl_min_protocol_version: 'TLSv1.3', ...files },
    },
  })
  const owner = new pg.Client({
    connectionString: database.url.replace('@localhost/', `@localhost:${port}/`),
  })
  await owner.connect()
  await owner.query(`CREATE ROLE gateway LOGIN PASSWORD '${PASSWORD}'`)
  await owner.query(schema)
  const gateway = await startGateway({
    ...{ id: 'gw1', dataDir: join(dir, 'gateway'), trustPins: plane.pins, joinToken: 'join' },
    control: { host: '127.0.0.1', port: plane.port },
    listen: { host: '127.0.0.1', port: 0 },
    listenPostgres: { host: '127.0.0.1', port: 0 },
    secrets: { 'ledger-password': PASSWORD },
    upstreams: { ledger: { host: '127.0.0.1', port } },
    ...over,
  })
  const clients: pg.Client[] = []
  const material = (agent: string, instance = 'i1'): IdentityMaterial =>
    plane.agent(agent, instance, 600)
  const tracked = (config: pg.ClientConfig): pg.Client => {
    const client = new pg.Client(config)
    client.on('error', () => undefined)
    clients.push(client)
    return client
  }
  return {
    ...{ plane, gateway, owner, dir, material },
    client: (agent, config = {}) =>
      tracked({
        ...{ host: '127.0.0.1', port: gateway.postgresAddress?.port ?? 0 },
        ...{ user: agent, database: 'ledger', ssl: tls(material(agent)) },
        ...config,
      }),
    direct: () =>
      tracked({
        ...{ host: '127.0.0.1', port, user: 'gateway', password: PASSWORD, database: 'postgres' },
        ssl: tls(plane.issue(gateway.spiffeId, 600)),
      }),
    async close() {
      await Promise.all(clients.map((client) => client.end().catch(() => undefined)))
      await gateway.close()
      await owner.end()
      await database.stop()
      await plane.stop()
      await closeCedar()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** What any client of Node is given: its own certificate, the roots, and that names are SPIFFE ids. */
export const tls = ({ chainPem, keyPem, rootsPem }: IdentityMaterial): pg.ClientConfig['ssl'] => ({
  ...{ cert: chainPem, key: keyPem, ca: rootsPem, rejectUnauthorized: true },
  checkServerIdentity: () => undefined,
})

function serverFiles(data: string, svid: IdentityMaterial): Record<string, string> {
  const { uid, gid } = statSync(data)
  const put = (name: string, text: string): string => {
    const file = join(data, name)
    writeFileSync(file, text, { mode: 0o600 })
    chownSync(file, uid, gid)
    return file
  }
  put('pg_hba.conf', HBA)
  return {
    ssl_cert_file: put('server.pem', svid.chainPem),
    ssl_key_file: put('server.key', svid.keyPem),
    ssl_ca_file: put('clients.pem', svid.rootsPem),
  }
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  // Listening on TCP, so the address is an object.
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}
