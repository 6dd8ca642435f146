import { generateKeyPairSync } from 'node:crypto'
import { chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Database } from '@sallyport/network'
import { createIssuer, createRoot } from '@sallyport/spiffe'
import pg from 'pg'
import { claimPorts } from '../../../../test/support/ports.ts'
import { startEmbeddedPostgres } from '../../src/index.ts'
import type { EmbeddedPostgres } from '../../src/index.ts'

/** Roles of agents sign in by certificate alone; nobody without TLS. */
const HBA = `
hostssl all /^sp_ all cert
host    all /^sp_ all reject
local   all /^sp_     reject
hostssl all all   all scram-sha-256
local   all all       scram-sha-256
`

/** A database of the bank's own, in which `maker` may make accounts, and agents sign in by certificate. */
export class CertificateBank {
  readonly ca: string
  readonly port: number
  readonly #dir: string
  readonly #root = createRoot({ trustDomain: 'db.example', ttlSeconds: 3600 })
  #server: EmbeddedPostgres | undefined

  private constructor(dir: string, port: number) {
    this.#dir = dir
    this.port = port
    this.ca = this.#root.certificatePem
  }

  /** @param tables makes `accounts`, which `maker` then owns */
  static async make(tables: string): Promise<CertificateBank> {
    const dir = mkdtempSync(join(tmpdir(), 'sp-cert-'))
    const bank = new CertificateBank(dir, await claimPorts())
    const server = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
    const owner = new pg.Client({ connectionString: server.url })
    await owner.connect()
    await owner.query(`CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'maker'`)
    await owner.query(tables)
    await owner.query('ALTER TABLE accounts OWNER TO maker')
    await owner.query('GRANT CREATE ON SCHEMA public TO maker')
    await owner.query('GRANT CONNECT ON DATABASE postgres TO maker WITH GRANT OPTION')
    await owner.query('GRANT USAGE ON SCHEMA public TO maker WITH GRANT OPTION')
    await owner.end()
    await server.stop()
    return bank
  }

  /** As it is declared, by the name `ledger`, but for whose accounts it makes. */
  get declared(): Omit<Database, 'accounts'> {
    return {
      ...{ name: 'ledger', description: '', owner: 'core', host: '127.0.0.1', port: this.port },
      database: 'postgres',
      tls: { ca: this.ca, serverName: 'localhost' },
      admin: { user: 'maker', secret: 'databases/ledger' },
      login: 'certificate',
    }
  }

  /** @param clients PEM of whose certificates it takes */
  async serve(clients: string): Promise<void> {
    this.#server = await startEmbeddedPostgres({
      dir: join(this.#dir, 'pg'),
      settings: {
        ...{ listen_addresses: '127.0.0.1', port: String(this.port), ssl: 'on' },
        ssl_min_protocol_version: 'TLSv1.3',
        ...this.#files(clients),
      },
    })
  }

  async stop(): Promise<void> {
    await this.#server?.stop()
    rmSync(this.#dir, { recursive: true, force: true })
  }

  #files(clients: string): Record<string, string> {
    const data = join(this.#dir, 'pg', 'data')
    const { uid, gid } = statSync(data)
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const { chainPem } = createIssuer({
      certificatePem: this.#root.certificatePem,
      privateKey: this.#root.privateKeyPem,
    }).issue({
      spiffeId: 'spiffe://db.example/service/ledger/1',
      publicKeySpki: publicKey.export({ format: 'der', type: 'spki' }),
      ttlSeconds: 3600,
      dnsNames: ['localhost'],
    })
    const put = (name: string, text: string): string => {
      const file = join(data, name)
      writeFileSync(file, text, { mode: 0o600 })
      chownSync(file, uid, gid)
      return file
    }
    put('pg_hba.conf', HBA)
    return {
      ssl_cert_file: put('server.pem', chainPem),
      ssl_key_file: put(
        'server.key',
        privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
      ),
      ssl_ca_file: put('clients.pem', clients),
    }
  }
}
