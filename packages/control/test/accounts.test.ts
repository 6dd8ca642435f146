import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { DatabaseAccount, TableGrant } from '@sallyport/network'
import pg from 'pg'
import { startEmbeddedPostgres } from '../src/index.ts'
import type { EmbeddedPostgres } from '../src/index.ts'
import {
  accountsLike,
  closeAccount,
  createAccount,
  setLogin,
} from '../src/secrets/postgres/account.ts'
import { scramVerifier } from '../src/secrets/postgres/scram.ts'

let dir: string
let server: EmbeddedPostgres
let admin: pg.Client
const PASSWORD = 'correct4horse'

/** Names as PostgreSQL allows them, made to end a statement that quotes them badly. */
const HOSTILE_TABLE = `a"; DROP TABLE accounts; --%I%s`
const HOSTILE_COLUMN = `b'" $1) TO PUBLIC; --%L`

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sp-accounts-'))
  server = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  admin = await connect({ connectionString: server.url })
  await admin.query(`CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'maker'`)
  await admin.query('CREATE DATABASE bank OWNER maker')
  await admin.end()
  admin = await connect(at('maker', 'maker'))
  await admin.query(`
    CREATE TABLE accounts (id int PRIMARY KEY, branch text NOT NULL, iban text, balance bigint NOT NULL);
    INSERT INTO accounts VALUES (1, 'HH', 'DE1', 100), (2, 'B', 'DE2', 200);
    ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
    CREATE TABLE other (id int);
  `)
  const [table, column] = [HOSTILE_TABLE, HOSTILE_COLUMN].map((one) => admin.escapeIdentifier(one))
  await admin.query(`CREATE TABLE ${table} (id int, ${column} text)`)
  await admin.query(`INSERT INTO ${table} VALUES (1, $1), (2, 'x')`, ['it’s'])
  await admin.query(`ALTER TABLE ${table} ENABLE ROW LEVEL SECURITY`)
})
after(async () => {
  await admin?.end()
  await server?.stop()
  rmSync(dir, { recursive: true, force: true })
})

const at = (user: string, password: string): pg.ClientConfig => ({
  ...{ user, password, database: 'bank' },
  host: new URL(server.url).searchParams.get('host') ?? '',
})

async function connect(config: pg.ClientConfig): Promise<pg.Client> {
  const client = new pg.Client({ ...config, connectionTimeoutMillis: 20_000 })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

const account = (...grants: readonly TableGrant[]): DatabaseAccount => ({
  agent: 'reader',
  ttlSeconds: 60,
  maxTtlSeconds: 600,
  maxConnections: 2,
  statementTimeoutMs: 4000,
  grants,
})
const HAMBURG: TableGrant = {
  schema: 'public',
  table: 'accounts',
  columns: ['id', 'balance'],
  actions: ['select', 'update'],
  rows: { branch: 'HH' },
}

async function open(role: string, given: DatabaseAccount): Promise<pg.Client> {
  await createAccount(admin, {
    role,
    database: 'bank',
    account: given,
    login: { kind: 'password', verifier: scramVerifier(PASSWORD), seconds: 60 },
    comment: 'a test',
  })
  return connect(at(role, PASSWORD))
}

test('an account does what it is granted, column by column and row by row, and nothing else', async () => {
  const agent = await open('sp_t_grants', account(HAMBURG))
  try {
    assert.deepEqual((await agent.query('SELECT id, balance FROM accounts')).rows, [
      { id: 1, balance: '100' },
    ])
    assert.equal((await agent.query('UPDATE accounts SET balance = 101')).rowCount, 1)
    assert.deepEqual((await agent.query('SHOW statement_timeout')).rows, [
      { statement_timeout: '4s' },
    ])
    for (const sql of [
      'SELECT iban FROM accounts',
      'SELECT * FROM accounts',
      'UPDATE accounts SET branch = $$B$$',
      'INSERT INTO accounts (id, balance) VALUES (3, 1)',
      'DELETE FROM accounts',
      'SELECT id FROM other',
      'CREATE TABLE mine (id int)',
      'SET ROLE maker',
      'CREATE ROLE another',
      'ALTER TABLE accounts DISABLE ROW LEVEL SECURITY',
      'GRANT SELECT ON accounts TO PUBLIC',
      `ALTER ROLE sp_t_grants VALID UNTIL 'infinity'`,
    ]) {
      await assert.rejects(agent.query(sql), { code: '42501' }, sql)
    }
    const second = await connect(at('sp_t_grants', PASSWORD))
    await assert.rejects(connect(at('sp_t_grants', PASSWORD)), { code: '53300' })
    await second.end()
  } finally {
    await agent.end()
    await closeAccount(admin, 'sp_t_grants')
  }
})

test('the end of an account ends its sessions, and leaves neither role nor grant nor policy', async () => {
  const agent = await open('sp_t_end', account(HAMBURG))
  await agent.query('SELECT id FROM accounts')
  const gone = new Promise((resolve) => agent.once('end', resolve))
  const running = assert.rejects(agent.query('SELECT pg_sleep(3600)'))
  assert.equal(await closeAccount(admin, 'sp_t_end'), 1)
  await Promise.all([gone, running])
  await assert.rejects(agent.query('SELECT id FROM accounts'))
  await assert.rejects(connect(at('sp_t_end', PASSWORD)), { code: '28P01' })
  assert.deepEqual(await accountsLike(admin, 'sp_t_'), [])
  const { rows } = await admin.query(
    `SELECT (SELECT count(*)::int FROM pg_policies WHERE policyname LIKE 'sp_t_end%') AS policies,
            (SELECT count(*)::int FROM pg_attribute WHERE attacl::text LIKE '%sp_t_end%') AS grants`,
  )
  assert.deepEqual(rows, [{ policies: 0, grants: 0 }])
  assert.equal(await closeAccount(admin, 'sp_t_end'), 0)
})

/** What a name that is read as SQL makes fail is the failure of this test. */
const fine = <T>(act: Promise<T>): Promise<T> =>
  act.catch((error: unknown) => assert.fail(`a name was read as SQL: ${String(error)}`))

test('MUST-reject 12: names that would end a statement are names, when granting and when revoking', async () => {
  const grant: TableGrant = {
    schema: 'public',
    table: HOSTILE_TABLE,
    columns: ['id', HOSTILE_COLUMN],
    actions: ['select', 'delete'],
    rows: { [HOSTILE_COLUMN]: 'it’s', id: 1 },
  }
  const role = `sp_t_"; DROP TABLE accounts; --%s'`
  const agent = await fine(open(role, account(grant)))
  const table = agent.escapeIdentifier(HOSTILE_TABLE)
  assert.deepEqual((await agent.query(`SELECT id FROM ${table}`)).rows, [{ id: 1 }])
  await fine(closeAccount(admin, role))
  await assert.rejects(connect(at(role, PASSWORD)), { code: '28P01' })
  // The positive control of what the names tried to do.
  assert.equal((await admin.query('SELECT id FROM accounts')).rowCount, 2)
  assert.equal((await admin.query(`SELECT id FROM ${table}`)).rowCount, 2)
  assert.deepEqual(await accountsLike(admin, 'sp_t_'), [])
  const nul = open('sp_t_nul', account({ ...HAMBURG, table: 'accounts\0x' }))
  await assert.rejects(nul)
  assert.deepEqual(await accountsLike(admin, 'sp_t_'), [])
})

test('what everybody may do already is refused, not passed on; so are filters that filter nothing', async () => {
  const refused = async (given: DatabaseAccount, code: string): Promise<void> => {
    await assert.rejects(open('sp_t_refused', given), { code })
    assert.deepEqual(await accountsLike(admin, 'sp_t_'), [])
  }
  await admin.query('GRANT SELECT (iban) ON accounts TO PUBLIC')
  await refused(account(HAMBURG), 'SP_DATABASE_OVERREACH')
  await admin.query('REVOKE SELECT (iban) ON accounts FROM PUBLIC')
  await admin.query('CREATE VIEW everything AS SELECT * FROM accounts')
  await admin.query('GRANT SELECT ON everything TO PUBLIC')
  await refused(account(HAMBURG), 'SP_DATABASE_OVERREACH')
  await admin.query('DROP VIEW everything')
  await admin.query('CREATE SCHEMA open')
  await admin.query('GRANT CREATE ON SCHEMA open TO PUBLIC')
  await refused(account(HAMBURG), 'SP_DATABASE_OVERREACH')
  await admin.query('DROP SCHEMA open')
  await refused(account({ ...HAMBURG, table: 'nothing' }), 'SP_DATABASE_TABLE')
  const unfiltered = { ...HAMBURG, table: 'other', columns: ['id'], rows: { id: 1 } }
  await refused(account(unfiltered), 'SP_DATABASE_ROW_SECURITY')
  // A policy for everybody widens nothing: ours restricts.
  await admin.query('CREATE POLICY all_of_them ON accounts FOR ALL TO PUBLIC USING (true)')
  const agent = await open('sp_t_restricted', account(HAMBURG))
  assert.equal((await agent.query('SELECT id FROM accounts')).rowCount, 1)
  await agent.end()
  await closeAccount(admin, 'sp_t_restricted')
  await admin.query('DROP POLICY all_of_them ON accounts')
})

test('a password is good for signing in for its seconds only; the session stays, and its own password does not help', async () => {
  const agent = await open('sp_t_login', account(HAMBURG))
  const copied = await connect(at('sp_t_login', PASSWORD))
  await copied.end()
  await setLogin(admin, 'sp_t_login', {
    kind: 'password',
    verifier: scramVerifier(PASSWORD),
    seconds: 0,
  })
  await assert.rejects(connect(at('sp_t_login', PASSWORD)), { code: '28P01' })
  await agent.query(`ALTER ROLE sp_t_login PASSWORD 'my own'`)
  await assert.rejects(connect(at('sp_t_login', 'my own')), { code: '28P01' })
  assert.equal((await agent.query('SELECT id FROM accounts')).rowCount, 1)
  await setLogin(admin, 'sp_t_login', { kind: 'certificate' })
  await assert.rejects(connect(at('sp_t_login', PASSWORD)), { code: '28P01' })
  await agent.end()
  await closeAccount(admin, 'sp_t_login')
})

test('accounts that are made and ended at once do not disturb each other', async () => {
  const roles = Array.from({ length: 6 }, (_, index) => `sp_t_many_${index}`)
  await Promise.all(
    roles.map(async (role) => {
      const own = await connect(at('maker', 'maker'))
      try {
        await createAccount(own, {
          role,
          database: 'bank',
          account: account(HAMBURG),
          login: { kind: 'certificate' },
          comment: 'a test',
        })
        await closeAccount(own, role)
      } finally {
        await own.end()
      }
    }),
  )
  assert.deepEqual(await accountsLike(admin, 'sp_t_'), [])
})

test('an account that several end at once is ended, and none of them fails', async () => {
  for (let round = 0; round < 5; round++) {
    await (await open('sp_t_raced', account(HAMBURG))).end()
    const enders = await Promise.all(Array.from({ length: 6 }, () => connect(at('maker', 'maker'))))
    await Promise.all(enders.map((client) => closeAccount(client, 'sp_t_raced')))
    await Promise.all(enders.map((client) => client.end()))
    assert.deepEqual(await accountsLike(admin, 'sp_t_'), [])
  }
})
