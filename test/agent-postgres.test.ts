import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { enrol, openDatabase, RefusedError } from '@sallyport/agent'
import type { DatabaseAccess, Identity } from '@sallyport/agent'
import { createRoot } from '@sallyport/spiffe'
import pg from 'pg'
import { CertificateBank } from '../packages/control/test/support/certificate-bank.ts'
import { declarationWith } from '../packages/control/test/support/declaration.ts'
import { TestPlane } from '../packages/control/test/support/network.ts'

const HANG_MS = 60_000
let bank: CertificateBank
let plane: TestPlane

before(async () => {
  bank = await CertificateBank.make(
    `CREATE TABLE accounts (id int, owner text); INSERT INTO accounts VALUES (1, 'Ann Lee')`,
  )
  plane = await TestPlane.start(
    declarationWith({
      databases: [
        {
          ...bank.declared,
          accounts: [
            {
              agent: 'flagger',
              // Short, so that renewal and a new account are seen.
              ...{ ttlSeconds: 4, maxTtlSeconds: 10, maxConnections: 5, statementTimeoutMs: 5000 },
              grants: [
                { schema: 'public', table: 'accounts', columns: ['id'], actions: ['select'] },
              ],
            },
          ],
        },
      ],
    }),
  )
  const { custody } = plane.control.context
  await custody.vault.write('test', 'databases/ledger', Buffer.from('maker'))
  await bank.serve(await custody.databaseClients())
})
after(async () => {
  await plane?.close()
  await bank?.stop()
})

async function agent(name: string): Promise<Identity> {
  const identity = await enrol({
    planeTarget: plane.control.planeAddress,
    rootsPem: readFileSync(join(plane.dataDir, 'trust/ca.pem'), 'utf8'),
    trustDomain: plane.declaration.network.trustDomain,
    token: await plane.token('agent', name),
  })
  identity.startRotation()
  return identity
}
async function until(what: string, met: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + HANG_MS
  while (!(await met())) {
    assert.ok(performance.now() < end, `never: ${what}`)
    await sleep(20)
  }
}
const rows = async (client: pg.Pool | pg.Client): Promise<unknown> =>
  (await client.query('SELECT id FROM accounts')).rows

interface Closing {
  after(fn: () => Promise<void>): void
}
async function opened(t: Closing): Promise<{ access: DatabaseAccess; identity: Identity }> {
  const identity = await agent('flagger')
  const access = await openDatabase({ identity, database: 'ledger' })
  t.after(async () => {
    identity.stop()
    await access.close().catch(() => undefined)
  })
  return { access, identity }
}

test('an agent reads a real PostgreSQL with its own certificate: no password, no file, and no more than was granted', async (t) => {
  const { access } = await opened(t)
  const client = new pg.Client(access.options())
  await client.connect()
  assert.deepEqual(await rows(client), [{ id: 1 }])
  await assert.rejects(client.query('SELECT owner FROM accounts'), { code: '42501' })
  const { rows: seen } = await client.query(
    'SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
  )
  assert.deepEqual(seen, [{ client_dn: `/CN=${access.user}` }])
  assert.equal(access.options().password, undefined)
  const ended = new Promise((resolve) => client.once('end', resolve))
  client.on('error', () => undefined)
  await access.close()
  await ended
  assert.throws(() => access.options(), { code: 'SP_CLIENT_CLOSED' })
})

test('a pool goes on across renewals and a new account, each connection with a key of its own', async (t) => {
  const { access } = await opened(t)
  const pool = new pg.Pool({ Client: access.client(pg.Client), max: 2, idleTimeoutMillis: 1 })
  // Idle connections end with the lease of their account.
  pool.on('error', () => undefined)
  t.after(() => pool.end())
  const keys = new Set<string>()
  const users = new Set<string>()
  const failures: unknown[] = []
  await until('a second account', async () => {
    const { ssl, user } = access.options()
    assert.ok(ssl !== false && ssl.key !== undefined)
    keys.add(ssl.key)
    users.add(user)
    try {
      assert.deepEqual(await rows(pool), [{ id: 1 }])
    } catch (error) {
      failures.push(error)
    }
    return users.size > 1
  })
  assert.deepEqual(failures, [])
  assert.ok(keys.size >= 3, `${keys.size} keys`)
})

test('an agent that reaches nothing but a Unix socket reaches it through that, with TLS to the server itself', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sp-pg-'))
  // What a launcher does: bytes to the one address, and nothing read.
  const relay = createServer((near) => {
    const far = connect(bank.port, '127.0.0.1')
    near.on('error', () => far.destroy()).on('close', () => far.destroy())
    far.on('error', () => near.destroy()).on('close', () => near.destroy())
    near.pipe(far).pipe(near)
  })
  await new Promise<void>((resolve) => relay.listen(join(folder, '.s.PGSQL.5432'), resolve))
  t.after(() => {
    relay.close()
    rmSync(folder, { recursive: true, force: true })
  })
  const identity = await agent('flagger')
  const through = { host: folder, port: 5432 }
  const access = await openDatabase({ identity, database: 'ledger', through })
  t.after(async () => {
    identity.stop()
    await access.close()
  })
  const client = new pg.Client(access.options())
  await client.connect()
  assert.deepEqual(await rows(client), [{ id: 1 }])
  await client.end()
  // A relay that answers itself has no certificate of the server: nothing is sent to it.
  const { ssl } = access.options()
  assert.ok(ssl !== false)
  const other = createRoot({ trustDomain: 'db.example', ttlSeconds: 3600 }).certificatePem
  const wrong = new pg.Client({ ...access.options(), ssl: { ...ssl, ca: other } })
  await assert.rejects(wrong.connect(), /certificate|issuer|signature/)
})

test('an instance that is quarantined has no account any more, and is told so; others are not given one', async (t) => {
  const { access, identity } = await opened(t)
  const client = new pg.Client(access.options())
  client.on('error', () => undefined)
  await client.connect()
  const ended = new Promise((resolve) => client.once('end', resolve))
  await plane.control.context.quarantine.quarantine({
    ...{ subject: identity.spiffeId, reason: 'a test', by: 'alice' },
  })
  await ended
  await until('it is told', () => {
    try {
      access.options()
      return false
    } catch {
      return true
    }
  })
  const stranger = await agent('analyst')
  t.after(async () => stranger.stop())
  await assert.rejects(openDatabase({ identity: stranger, database: 'ledger' }), (error) => {
    assert.ok(error instanceof RefusedError)
    return error.code === 'SP_DATABASE_UNDECLARED'
  })
})
