import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { connect, createServer } from 'node:tls'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { newId } from '@sallyport/base'
import type { Declaration, PolicySource, PostgresTable } from '@sallyport/network'
import { declarationDigest } from '@sallyport/wire'
import type { Bundle } from '@sallyport/wire'
import pg from 'pg'
import { until } from '../packages/gateway/test/support/world.ts'
import { UNKNOWN } from '../packages/gateway/src/sql/parameters.ts'
import { DatabaseError } from '../packages/gateway/src/sql/told.ts'
import { compile } from '../packages/gateway/src/sql/text/compile.ts'
import { maskSql } from '../packages/gateway/src/sql/text/masks.ts'
import { parseStatement } from '../packages/gateway/src/sql/text/parser.ts'
import { Link } from '../packages/gateway/src/sql/upstream/link.ts'
import { int32, message } from '../packages/gateway/src/sql/wire/frames.ts'
import { errorResponse, ready } from '../packages/gateway/src/sql/wire/messages.ts'
import { failure } from './support/sql/failure.ts'
import { openedSqlClients } from './support/sql/opened.ts'
import { SCHEMA, SECRET } from './support/sql/schema.ts'
import { tls } from './support/sql/world.ts'

const POLICIES: Readonly<Record<string, string>> = {
  'no-choosing-by-balance': `
    forbid(principal in Role::"reads", action == Action::"ledger.read_accounts", resource)
    when { context.input.filters.contains("balance") };`,
  'clerks-read-the-north': `
    forbid(principal in Role::"writes", action == Action::"ledger.read_accounts", resource)
    unless { context.input.where has branch && context.input.where.branch == "north" };`,
  'clerks-do-not-see-branches': `
    forbid(principal in Role::"writes", action == Action::"field.read", resource == Field::"accounts.branch");`,
}

const { world, analyst, clerk } = await openedSqlClients(SCHEMA, (declaration) => ({
  ...declaration,
  policies: [
    ...declaration.policies,
    ...Object.entries(POLICIES).map(([id, source]): PolicySource => ({
      ...{ id, source, file: 'x.cedar', line: 1 },
    })),
  ],
}))

test('a bare name of an outer column is not taken from an inner table of the same name', async () => {
  const capture = (inner: string): string =>
    `SELECT (SELECT sp_0 || '' FROM (SELECT iban, iban FROM accounts WHERE id = 1) AS ${inner}) AS v FROM (SELECT 'outer' AS sp_0) AS o`
  assert.deepEqual((await analyst.query(capture('i'))).rows, [{ v: 'outer' }])
  const error = await failure(analyst.query(capture('o')))
  assert.match(error.message, /SP_SQL_UNSUPPORTED/)
})

test('what rows are chosen by is told to policies, by whatever way it goes', async (t) => {
  for (const sql of [
    'SELECT id FROM accounts WHERE id > 5',
    'SELECT id, balance FROM accounts',
    'SELECT id FROM accounts a, LATERAL (SELECT a.id + 0 AS b) x WHERE x.b > 5',
    'SELECT balance FROM accounts UNION ALL SELECT 1',
  ]) {
    await analyst.query(sql)
  }
  for (const sql of [
    'SELECT id FROM accounts WHERE balance > 5',
    'SELECT id FROM accounts a, LATERAL (SELECT a.balance + 0 AS b) x WHERE x.b > 5',
    'SELECT id FROM accounts a WHERE (SELECT a.balance + 0) > 5',
    'SELECT id FROM accounts a ORDER BY (SELECT a.balance + 0)',
    'SELECT x.id FROM (SELECT id, (SELECT balance) + 0 AS b FROM accounts) x WHERE b > 5',
    'SELECT id FROM accounts a, LATERAL (VALUES (a.balance)) x (b) WHERE x.b > 5',
    'SELECT id FROM payments WHERE amount > ALL (SELECT b FROM (SELECT (SELECT max(balance) FROM accounts) AS b) x)',
    'SELECT balance FROM accounts INTERSECT SELECT 100',
    'SELECT balance FROM accounts EXCEPT ALL SELECT 100',
    'SELECT balance FROM accounts UNION SELECT 100',
  ]) {
    await t.test(sql, async () => {
      assert.match((await failure(analyst.query(sql))).message, /SP_DENIED_FORBIDDEN/)
    })
  }
})

test('a column that cannot be seen is no other column of its name', async () => {
  const sql = `SELECT x.id FROM (SELECT 'north' AS branch) v, LATERAL (SELECT id FROM accounts WHERE branch = 'north') x`
  const { rows } = await analyst.query(sql)
  assert.equal(rows.length, 10)
  assert.match((await failure(clerk.query(sql))).message, /SP_SQL_(?:COLUMN|NAME)/)
})

test('a pattern is not tried on what the server keeps of rows that the caller does not have', async () => {
  await world.owner.query('ANALYZE accounts')
  const count = (pattern: string): string =>
    `SELECT count(*) FROM accounts WHERE branch LIKE '${pattern}'`
  // `zero` is none of the analyst's; a pattern that ends too soon is an error where the text got that far.
  assert.equal((await failure(world.owner.query(count('z%\\')))).code, '22025')
  assert.equal((await failure(analyst.query(count('n%\\')))).code, '22025')
  assert.deepEqual((await analyst.query(count('n%'))).rows, [{ count: '10' }])
  assert.deepEqual((await analyst.query(count('z%\\'))).rows, [{ count: '0' }])
})

test('the year of a moment is the same in every zone', async () => {
  const at = `(SELECT timestamptz '2026-01-01T00:00:00Z' AS t) AS x`
  const shown = new Set<string>()
  const bare = new Set<string>()
  for (const zone of ['UTC', '<x>+24']) {
    await world.owner.query(`SET timezone = '${zone}'`)
    const { rows } = await world.owner.query(
      `SELECT ${maskSql('x.t', 'timestamptz', 'year')} AS masked, to_char(t, 'YYYY') AS plain FROM ${at}`,
    )
    shown.add(String(rows[0].masked))
    bare.add(String(rows[0].plain))
  }
  await world.owner.query('RESET timezone')
  assert.equal(bare.size, 2)
  assert.deepEqual([...shown], ['2026'])
})

test('a text that a column would shorten is not judged as it was sent', async () => {
  const table: PostgresTable = {
    ...{ name: 'codes', schema: 'public', table: 'codes', dataset: 'codes', key: 'id' },
    columns: { id: 'int8', code: 'varchar', note: 'text' },
    maxRows: 10,
  }
  const write = async (sql: string): Promise<string> => {
    const [kind, node] = (await parseStatement(sql)) ?? assert.fail()
    return compile(kind, node, {
      system: {
        ...{ database: 'd', user: 'u', secret: 's', statementTimeoutMs: 1, tables: [table] },
      },
      parameters: UNKNOWN,
      tokens: { kindOf: () => 'none', restored: (_, given) => given },
    }).sql
  }
  assert.match(await write(`UPDATE codes SET code = 'north', note = 'north '`), /'north '/)
  await assert.rejects(write(`UPDATE codes SET code = 'north '`), /cannot be judged/)
  await assert.rejects(write(`INSERT INTO codes (code) VALUES ('north ')`), /cannot be judged/)
})

test('what a trigger says is not passed on, under whatever state it says it', async () => {
  await world.owner.query(`
    CREATE FUNCTION telling() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION '% is locked', (SELECT ssn FROM public.accounts LIMIT 1) USING ERRCODE = '42501'; END $$;
    CREATE TRIGGER telling BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION telling()`)
  const told = await failure(
    clerk.query('INSERT INTO payments (id, account, amount) VALUES (9100, 1, 5)'),
  )
  assert.equal(told.code, '42501')
  assert.ok(!told.message.includes(SECRET), told.message)
  const own = await failure(
    clerk.query('SELECT id + branch FROM payments, (SELECT true) x (branch)'),
  )
  assert.match(own.message, /operator does not exist/)
  assert.match(
    DatabaseError.of(errorResponse({ C: '42501', M: 'spoken' }).subarray(5)).told.toString(),
    /spoken/,
  )
})

test('a database that lets anybody in is not signed in to', async () => {
  const { chainPem, keyPem } = world.plane.service('ledger-db')
  const server = createServer({ cert: chainPem, key: keyPem }, (socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.write(answer))
  })
  let answer: Buffer = Buffer.alloc(0)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  // Listening on TCP, so the address is an object.
  const { port } = server.address() as AddressInfo
  for (const messages of [
    [ready('I')],
    [message('R', int32(0)), ready('I')],
    [message('K', int32(1), int32(1)), ready('I')],
  ]) {
    answer = Buffer.concat(messages)
    const socket: TLSSocket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const link = new Link(socket)
    await assert.rejects(link.start({ user: 'gateway' }, 'secret'), /cannot be reached/)
    link.destroy()
  }
  server.close()
})

/** The declaration that is in force. */
let declared: Partial<Bundle<Declaration>> = {}

/** Changes tables, as operators would. */
function redeclare(change: (table: PostgresTable) => PostgresTable): void {
  const declaration = declared.declaration ?? world.plane.declaration
  const { network } = declaration
  const changed = {
    ...declaration,
    network: {
      ...network,
      systems: network.systems.map(({ postgres, ...system }) => ({
        ...system,
        ...(postgres && { postgres: { ...postgres, tables: postgres.tables.map(change) } }),
      })),
    },
  }
  const digest = declarationDigest(changed)
  const statement = { kind: 'declaration', digest, epoch: 1 } as const
  declared = {
    declaration: changed,
    declarationSignatures: [world.plane.operator.sign(statement)],
  }
  world.plane.publish(declared)
}

test('a session ends where other tables are declared than it was compared with', async () => {
  const session = world.client('analyst', { ssl: tls(world.material('analyst', 'redeclared')) })
  await session.connect()
  /** Waits for an error: a call that a declaration overtakes is refused, and the next one is not. */
  const turns = async (sql: string, into: RegExp): Promise<void> => {
    const end = performance.now() + 60_000
    for (;;) {
      try {
        await session.query(sql)
      } catch (error) {
        assert.ok(error instanceof pg.DatabaseError, String(error))
        if (into.test(`${error.severity} ${error.message}`)) return
      }
      assert.ok(performance.now() < end, 'nothing changed')
    }
  }
  const many = 'SELECT id FROM payments'
  redeclare((table) => ({ ...table, maxRows: 50 }))
  await turns(many, /SP_SQL_ROWS/)
  await session.query('SELECT 1')
  redeclare((table) => ({
    ...table,
    columns: Object.fromEntries(Object.entries(table.columns).filter(([name]) => name !== 'at')),
  }))
  await turns('SELECT 1', /FATAL .*SP_DECLARATION_CHANGED/)
})

test('sessions with a database that is quarantined end', async () => {
  const session = world.client('analyst', { ssl: tls(world.material('analyst', 'last')) })
  let gone = false
  session.on('end', () => (gone = true))
  await session.connect()
  await session.query('SELECT id FROM accounts LIMIT 1')
  const subject = 'spiffe://sql.example/service/ledger-db'
  world.plane.quarantined = [
    { id: newId('qua'), subject, reason: 'test', by: 'olga', at: Date.now() },
  ]
  world.plane.publish(declared)
  await until(() => gone)
  const again = world.client('analyst', { ssl: tls(world.material('analyst', 'after')) })
  assert.match((await failure(again.connect())).message, /SP_SQL_UPSTREAM/)
})
