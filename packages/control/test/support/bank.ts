import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Database, Network } from '@sallyport/network'
import pg from 'pg'
import { startEmbeddedPostgres } from '../../src/index.ts'
import type { EmbeddedPostgres } from '../../src/index.ts'
import { declarationWith } from './declaration.ts'
import { TestPlane } from './network.ts'

const ADMIN_PASSWORD = 'canary-admin-password'

/** A PostgreSQL with a bank in it whose administrator is no superuser, and with the control plane's own database. */
export class TestBank {
  readonly server: EmbeddedPostgres
  readonly dir: string
  readonly admin: pg.Client

  constructor(server: EmbeddedPostgres, dir: string, admin: pg.Client) {
    this.server = server
    this.dir = dir
    this.admin = admin
  }

  static async start(): Promise<TestBank> {
    const dir = mkdtempSync(join(tmpdir(), 'sp-bank-'))
    const server = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
    const owner = await connected({ connectionString: server.url })
    await owner.query(`CREATE ROLE maker LOGIN CREATEROLE PASSWORD '${ADMIN_PASSWORD}'`)
    await owner.query('CREATE DATABASE bank OWNER maker')
    await owner.end()
    const bank = new TestBank(
      server,
      dir,
      await connected({ ...address(server), user: 'maker', password: ADMIN_PASSWORD }),
    )
    await bank.admin.query(`
      CREATE TABLE accounts (id int PRIMARY KEY, branch text NOT NULL, iban text, balance bigint);
      INSERT INTO accounts VALUES (1, 'HH', 'DE1', 100), (2, 'B', 'DE2', 200);
      ALTER TABLE accounts ENABLE ROW LEVEL SECURITY`)
    return bank
  }

  /** As declared, with passwords, since a Unix socket carries no TLS. */
  declared(over: Partial<Database> = {}): Database {
    return {
      name: 'ledger',
      description: '',
      owner: 'core',
      host: address(this.server).host,
      port: 5432,
      database: 'bank',
      admin: { user: 'maker', secret: 'databases/ledger' },
      login: 'password',
      accounts: ['flagger', 'analyst'].map((agent) => ({
        agent,
        ttlSeconds: 60,
        maxTtlSeconds: 600,
        maxConnections: 3,
        statementTimeoutMs: 4000,
        grants: [
          {
            schema: 'public',
            table: 'accounts',
            columns: ['id', 'balance'],
            actions: ['select'],
            rows: { branch: 'HH' },
          },
        ],
      })),
      ...over,
    }
  }

  /** A control plane that keeps its own state on this server too, and has the administrator's password. */
  async plane(over: Partial<Network> = {}): Promise<TestPlane> {
    const plane = await TestPlane.start(
      declarationWith({ databases: [this.declared()], ...over }),
      { databaseUrl: this.server.url },
    )
    const { vault } = plane.control.context.custody
    await vault.write('test', 'databases/ledger', Buffer.from(ADMIN_PASSWORD))
    return plane
  }

  signIn(user: string, password: string): Promise<pg.Client> {
    return connected({ ...address(this.server), user, password })
  }

  /** Roles that a control plane made. */
  async roles(): Promise<string[]> {
    const { rows } = await this.admin.query<{ rolname: string }>(
      `SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'sp_') ORDER BY rolname`,
    )
    return rows.map(({ rolname }) => rolname)
  }

  async close(): Promise<void> {
    await this.admin.end()
    await this.server.stop()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

function address({ url }: EmbeddedPostgres): { host: string; database: string } {
  return { host: new URL(url).searchParams.get('host') ?? '', database: 'bank' }
}

async function connected(config: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client({ ...config, connectionTimeoutMillis: 20_000 })
  client.on('error', () => undefined)
  await client.connect()
  return client
}
