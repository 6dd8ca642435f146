import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { promisify } from 'node:util'
import type { JsonValue } from '@sallyport/base'
import { requestHash } from '@sallyport/wire'
import pg from 'pg'
import { until } from '../packages/gateway/test/support/world.ts'
import { failure } from './support/sql/failure.ts'
import { openedSqlClients } from './support/sql/opened.ts'
import { SCHEMA, SECRET } from './support/sql/schema.ts'
import { startSqlWorld, tls } from './support/sql/world.ts'

const { world, analyst, clerk } = await openedSqlClients(SCHEMA)

type Members = Readonly<Record<string, JsonValue>>
/** Records are JSON objects. */
const members = (): Members[] => world.plane.records().map((record) => record as unknown as Members)

test('a caller sees a table as a view made by hand would show it', async () => {
  const { rows } = await analyst.query('SELECT * FROM accounts ORDER BY id')
  const { rows: view } = await world.owner.query(
    `SELECT id, left(owner, 1) || '***' AS owner, balance, branch, opened, open FROM accounts
     WHERE branch IN ('north', 'south') ORDER BY id`,
  )
  assert.ok(view.length > 10)
  const seen = rows.map(({ iban, ...rest }: Record<string, unknown>) => {
    assert.match(String(iban), /^tok_iban_/)
    return { ...rest, owner: rest['owner'] === '***' ? null : rest['owner'] }
  })
  assert.deepEqual(seen, view)
  assert.ok(!JSON.stringify(rows).includes(SECRET))
})

test('another caller sees more of it, by the same statement', async () => {
  const { rows } = await clerk.query('SELECT iban, branch FROM accounts')
  assert.equal(new Set(rows.map(({ branch }) => String(branch))).size, 3)
  assert.ok(rows.every(({ iban }) => /^DE\d{20}$/.test(String(iban))))
})

test('a token leads back to its rows, and nothing else does', async () => {
  const { rows } = await analyst.query('SELECT id, iban FROM accounts WHERE id = 1')
  const [{ iban }] = rows
  for (const values of [[iban], undefined]) {
    const where = values ? 'iban = $1' : `iban = '${String(iban)}'`
    const found = await analyst.query(`SELECT id FROM accounts WHERE ${where}`, values)
    assert.deepEqual(found.rows, [{ id: '1' }])
  }
  const raw = await failure(
    analyst.query('SELECT id FROM accounts WHERE iban = $1', [`DE${'1'.padStart(20, '0')}`]),
  )
  assert.match(raw.message, /SP_SQL_VALUE/)
})

test('an error cannot be provoked by a row that the caller does not have', async () => {
  // Row 1, which the clerk has, has a balance of 10; only rows of the branch `zero` have none. One division is cheaper than the
  // condition on rows, so the planner would try it first.
  const { rows } = await world.owner.query('SELECT DISTINCT branch FROM accounts WHERE balance = 0')
  assert.deepEqual(rows, [{ branch: 'zero' }])
  for (const statement of ['SELECT count(*) FROM accounts', 'UPDATE accounts SET open = true']) {
    const provoked = await failure(clerk.query(`${statement} WHERE 1 / (balance - 10) IS NOT NULL`))
    assert.equal(provoked.code, '22012')
    await clerk.query(`${statement} WHERE 1 / balance IS NOT NULL`)
  }
})

test('writes reach declared columns of rows that the caller has', async () => {
  const inserted = await clerk.query(
    `INSERT INTO accounts (id, iban, owner, balance, branch, opened) VALUES ($1, $2, $3, $4, 'north', now()) RETURNING *`,
    [501, 'DE501', 'Zoe', 7],
  )
  assert.deepEqual(Object.keys(inserted.rows[0]), [
    'id',
    'iban',
    'owner',
    'balance',
    'branch',
    'opened',
    'open',
  ])
  assert.equal(inserted.rows[0].owner, 'Z***')
  assert.equal((await clerk.query(`UPDATE accounts SET owner = 'Yan' WHERE id = 501`)).rowCount, 1)
  const { rows } = await world.owner.query('SELECT owner, ssn FROM accounts WHERE id = 501')
  assert.deepEqual(rows, [{ owner: 'Yan', ssn: `${SECRET}ssn` }])
  // Not one row of the branch that the clerk does not have.
  assert.equal(
    (await clerk.query(`UPDATE accounts SET open = true WHERE branch = 'zero'`)).rowCount,
    0,
  )
  assert.equal((await clerk.query(`UPDATE accounts SET open = true`)).rowCount, 31)
  assert.equal(
    (await clerk.query(`DELETE FROM accounts WHERE branch = 'north' AND id = 501`)).rowCount,
    1,
  )
})

test('every row that is written is judged, by value and not by its spelling', async () => {
  const pay = 'INSERT INTO payments (id, account, amount) VALUES ($1, 1, $2)'
  await clerk.query(pay, [7001, 1000])
  assert.match((await failure(clerk.query(pay, [7002, 1001]))).message, /SP_DENIED_FORBIDDEN/)
  const binary = (value: number): Buffer => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64BE(BigInt(value))
    return bytes
  }
  await clerk.query(pay, [7003, binary(1000)])
  assert.match(
    (await failure(clerk.query(pay, [7004, binary(1001)]))).message,
    /SP_DENIED_FORBIDDEN/,
  )
  assert.match((await failure(clerk.query(pay, [7004, Buffer.from('1')]))).message, /SP_SQL_VALUE/)
  for (const value of [' 5', '5 ', '+5', '05', '5.0', '1e3', '', 'NaN', '99999999999999999999']) {
    assert.match((await failure(clerk.query(pay, [7004, value]))).message, /SP_SQL_VALUE/, value)
  }
  const two = 'INSERT INTO payments (id, account, amount, memo) VALUES (7005, 1, $1, $1)'
  assert.match((await failure(clerk.query(two, ['5']))).message, /SP_SQL_VALUE/)
  const { rows } = await world.owner.query(
    'SELECT id, amount FROM payments WHERE id > 7000 ORDER BY id',
  )
  assert.deepEqual(rows, [
    { id: '7001', amount: '1000' },
    { id: '7003', amount: '1000' },
  ])
})

test('transactions are the database’s own, and a refusal fails them like an error does', async () => {
  await clerk.query('BEGIN')
  await clerk.query(`UPDATE accounts SET open = false WHERE id = 1`)
  assert.match((await failure(clerk.query('SELECT * FROM vault'))).message, /SP_SQL_NAME/)
  assert.equal((await failure(clerk.query('SELECT 1'))).code, '25P02')
  assert.equal((await clerk.query('COMMIT')).command, 'ROLLBACK')
  const open = async (): Promise<unknown> =>
    (await world.owner.query('SELECT open FROM accounts WHERE id = 1')).rows[0].open
  assert.equal(await open(), true)
  await clerk.query('BEGIN ISOLATION LEVEL SERIALIZABLE')
  await clerk.query('SAVEPOINT a')
  await failure(clerk.query('SELECT ssn FROM accounts'))
  await clerk.query('ROLLBACK TO a')
  await clerk.query(`UPDATE accounts SET open = false WHERE id = 1`)
  await clerk.query('COMMIT')
  assert.equal(await open(), false)
  await clerk.query(`UPDATE accounts SET open = true WHERE id = 1`)
})

test('prepared statements, and results in parts', async () => {
  for (const id of [1, 4, 5]) {
    const { rows } = await analyst.query({
      name: 'one',
      text: 'SELECT id, owner FROM accounts WHERE id = $1',
      values: [id],
    })
    assert.deepEqual(rows, [{ id: String(id), owner: 'O***' }])
  }
  const parts = await analyst.query({
    ...{
      name: 'parts',
      text: 'SELECT id, iban FROM accounts WHERE id > $1 ORDER BY id',
      values: [0],
      rows: 3,
    },
  } as pg.QueryConfig)
  assert.equal(parts.rows.length, 20)
  await analyst.query('DEALLOCATE one')
  const binary = await analyst.query({
    ...{ text: 'SELECT id, iban, owner FROM accounts WHERE id = $1', values: [1], binary: true },
  } as pg.QueryConfig)
  assert.match(String(binary.rows[0].iban), /^tok_iban_/)
  assert.equal(binary.rows[0].owner, 'O***')
})

test('more rows than may leave end a statement with an error', async () => {
  await analyst.query('SELECT id FROM payments LIMIT 100')
  const many = await failure(analyst.query('SELECT a.id FROM accounts a, accounts b, accounts c'))
  assert.equal(many.code, '54000')
  assert.match(many.message, /SP_SQL_ROWS/)
  assert.deepEqual((await analyst.query('SELECT 1 AS one')).rows, [{ one: 1 }])
})

test('what the database says of a row is not passed on', async () => {
  const taken = await failure(
    clerk.query(`INSERT INTO payments (id, account, amount) VALUES (1, 1, 1)`),
  )
  assert.equal(taken.code, '23505')
  assert.equal(taken.detail, undefined)
  const check = await failure(
    clerk.query(`INSERT INTO payments (id, account, amount) VALUES (8001, 1, -1)`),
  )
  assert.equal(check.code, '23514')
  // `Failing row contains (…)` has every column of it.
  assert.equal(check.detail, undefined)
  assert.ok(!JSON.stringify([check, check.message]).includes(SECRET))
})

test('the intent stands in the log with the text as sent, the outcome with what left', async () => {
  const { rowCount } = await analyst.query(
    `SELECT id, balance FROM accounts WHERE branch = 'north'`,
  )
  // What PostgreSQL itself was asked, word for word.
  const { rows } = await world.owner.query(
    `SELECT query FROM pg_stat_activity WHERE query LIKE 'SELECT "accounts"."id" AS "id", "accounts"."balance" AS%'`,
  )
  const [{ query }] = rows
  assert.match(
    String(query),
    /FROM \(SELECT "sp_row"\."id", "sp_row"\."iban"::pg_catalog\.text AS "iban", .* OFFSET 0\) AS "accounts"/,
  )
  const hash = hashOf(String(query), 'SELECT')
  const decision = (): Members | undefined => members().find((one) => one['requestHash'] === hash)
  await until(() => decision() !== undefined)
  assert.equal(decision()?.['operation'], 'read_accounts')
  const outcome = (): Members | undefined =>
    members().find((one) => one['decisionId'] === decision()?.['id'])
  await until(() => outcome() !== undefined)
  const { kind, result, released } = outcome() ?? {}
  assert.deepEqual([kind, result], ['outcome', 'completed'])
  assert.deepEqual(released, { accounts: { records: rowCount, maxWholeClass: 'confidential' } })
})

/** Of a statement without parameters. */
function hashOf(sql: string, method: string): string {
  // A Bind of nothing: no name, no statement, no formats, no values.
  const empty = Buffer.concat([Buffer.from('B\0\0\0\x0c', 'latin1'), Buffer.alloc(8)])
  return requestHash(method, '/ledger', Buffer.concat([Buffer.from(`${sql}\0`), empty]))
}

test('labels are those of the columns that a statement reads', async () => {
  const fresh = world.client('analyst', { ssl: tls(world.material('analyst', 'labels')) })
  await fresh.connect()
  await fresh.query('SELECT branch FROM accounts')
  await fresh.query('SELECT count(*) FROM payments WHERE amount > 5')
  const instance = 'spiffe://sql.example/agent/analyst/labels'
  const labels = (): JsonValue[] =>
    members()
      .filter((one) => one['kind'] === 'labels' && one['instance'] === instance)
      .map((one) => one['added'] ?? null)
  await until(() => labels().length > 0)
  assert.deepEqual(labels(), [['money']])
})

test('nobody gets in as somebody else, or without a certificate', async (t) => {
  const cases: readonly (readonly [string, () => pg.Client, RegExp])[] = [
    ['as another user', () => world.client('analyst', { user: 'clerk' }), /SP_SQL_SIGN_IN/],
    ['as a superuser', () => world.client('analyst', { user: 'postgres' }), /SP_SQL_SIGN_IN/],
    [
      'to another database',
      () => world.client('analyst', { database: 'postgres' }),
      /SP_SQL_SIGN_IN/,
    ],
    ['without a flow', () => world.client('stranger'), /SP_SQL_SIGN_IN/],
    ['without TLS', () => world.client('analyst', { ssl: false }), /SP_SQL_SIGN_IN/],
    [
      'with options',
      () => world.client('analyst', { options: '-c search_path=public' }),
      /SP_SQL_NAME/,
    ],
    [
      'for replication',
      () => world.client('analyst', { replication: 'database' } as pg.ClientConfig),
      /SP_SQL_NAME/,
    ],
  ]
  for (const [what, client, expected] of cases) {
    await t.test(what, async () => {
      await assert.rejects(client().connect(), expected)
    })
  }
  for (const [what, ssl] of [
    [
      'with no certificate',
      { ca: world.material('analyst').rootsPem, checkServerIdentity: () => undefined },
    ],
    ['with a service’s certificate', tls(world.plane.service('ledger-db'))],
  ] as const) {
    await t.test(what, async () => {
      const client = world.client('analyst', { ssl })
      await assert.rejects(async () => {
        await client.connect()
        await client.query('SELECT 1')
      })
    })
  }
  await t.test('positive: the agent itself, and by TLS from the first byte', async () => {
    for (const over of [{}, { sslnegotiation: 'direct' } as pg.ClientConfig]) {
      const client = world.client('analyst', over)
      await client.connect()
      assert.equal((await client.query('SELECT count(*) FROM accounts')).rowCount, 1)
    }
  })
})

test('bytes sent ahead of the handshake are nobody’s', async () => {
  const port = world.gateway.postgresAddress?.port ?? 0
  const request = Buffer.from('0000000804d2162f', 'hex')
  const alone = connect({ host: '127.0.0.1', port })
  alone.write(request)
  const [answer] = (await once(alone, 'data')) as [Buffer]
  assert.equal(answer.toString('latin1'), 'S')
  alone.destroy()
  const ahead = connect({ host: '127.0.0.1', port })
  ahead.write(Buffer.concat([request, Buffer.from('Q\0\0\0\x0dSELECT 1\0')]))
  const [refused] = (await once(ahead, 'data')) as [Buffer]
  assert.equal(refused.toString('latin1', 0, 1), 'E')
  ahead.destroy()
})

test('what runs is cancelled by the instance that runs it, and by no other', async () => {
  const slow = `SELECT count(*) FROM payments a, payments b, payments c, payments d WHERE a.amount + b.amount + c.amount + d.amount < 0`
  const busy = world.client('analyst', { ssl: tls(world.material('analyst', 'slow')) })
  await busy.connect()
  const { processID, secretKey } = busy as pg.Client & { processID: number; secretKey: number }
  const key = Buffer.alloc(16)
  key.writeInt32BE(16, 0)
  key.writeInt32BE(80_877_102, 4)
  key.writeInt32BE(processID, 8)
  key.writeInt32BE(secretKey, 12)
  const cancelAs = async (instance: string, bytes: Buffer): Promise<void> => {
    const { chainPem, keyPem, rootsPem } = world.material('analyst', instance)
    const socket = connectTls({
      ...{
        host: '127.0.0.1',
        port: world.gateway.postgresAddress?.port ?? 0,
        ALPNProtocols: ['postgresql'],
      },
      ...{ cert: chainPem, key: keyPem, ca: rootsPem, checkServerIdentity: () => undefined },
    })
    await once(socket, 'secureConnect')
    socket.resume()
    socket.write(bytes)
    await once(socket, 'close')
  }
  const running = busy.query(slow)
  const ended = failure(running)
  let over = false
  void ended.then(() => (over = true))
  const active = async (): Promise<boolean> =>
    (
      await world.owner.query(
        `SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%"d"."amount"%' AND application_name = 'sallyport analyst'`,
      )
    ).rowCount === 1
  while (!(await active())) await new Promise((resolve) => setTimeout(resolve, 20))
  await cancelAs('other', key)
  const wrong = Buffer.from(key)
  wrong.writeInt32BE(secretKey ^ 1, 12)
  await cancelAs('slow', wrong)
  // Neither has reached the database; what had would show within a moment.
  for (let i = 0; i < 10; i++) {
    assert.ok((await active()) && !over)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  await cancelAs('slow', key)
  assert.equal((await ended).code, '57014')
  await busy.query('SELECT 1')
})

test('sessions with the database are never another instance’s', async () => {
  /** Process → when it was last reset, of sessions that lie idle for their instance; 0 for the others. */
  const sessions = async (): Promise<Map<string, number>> => {
    const { rows } = await world.owner.query(
      `SELECT pid::text, CASE WHEN query = 'DISCARD ALL' AND state = 'idle' THEN extract(epoch FROM query_start) ELSE 0 END::float8 AS at
       FROM pg_stat_activity WHERE usename = 'gateway'`,
    )
    return new Map(rows.map(({ pid, at }) => [String(pid), Number(at)]))
  }
  const known = new Set((await sessions()).keys())
  /** Has an instance use the database, and waits until a session has been reset after it. @returns that session */
  const use = async (instance: string): Promise<string> => {
    const earlier = await sessions()
    const client = world.client('analyst', { ssl: tls(world.material('analyst', instance)) })
    await client.connect()
    await client.query('SELECT 1')
    await client.end()
    const end = performance.now() + 60_000
    for (;;) {
      for (const [pid, at] of await sessions()) {
        if (!known.has(pid) && at > (earlier.get(pid) ?? 0)) return pid
      }
      assert.ok(performance.now() < end, 'no session was kept')
    }
  }
  const first = await use('first')
  assert.equal(await use('first'), first)
  const second = await use('second')
  assert.notEqual(second, first)
  assert.equal(await use('first'), first)
})

test('what needs an approval says so, and is done once it is given', async () => {
  const needy = await startSqlWorld(SCHEMA, (declaration) => ({
    ...declaration,
    policies: [
      ...declaration.policies,
      {
        ...{ id: 'two-eyes', file: 'x.cedar', line: 1 },
        source: `forbid(principal, action == Action::"ledger.pay", resource) unless { context.evidence.approvals >= 1 };`,
      },
    ],
  }))
  try {
    const client = needy.client('clerk')
    await client.connect()
    const pay = `INSERT INTO payments (id, account, amount) VALUES (7001, 1, 5)`
    const needs = await failure(client.query(pay))
    assert.match(needs.message, /SP_NEEDS_APPROVAL/)
    const [, approval = ''] = /SET sallyport\.approval = '([^']+)'/.exec(needs.hint ?? '') ?? []
    needy.plane.approve(approval)
    await client.query(`SET sallyport.approval = '${approval}'`)
    const other = await failure(client.query(pay.replace('7001', '7002')))
    assert.match(other.message, /SP_(?:NEEDS_)?APPROVAL/)
    assert.equal((await client.query(pay)).rowCount, 1)
    await failure(client.query(pay.replace('7001', '7003')))
  } finally {
    await needy.close()
  }
})

test('a database that is not as declared is not used', async () => {
  const other = await startSqlWorld(SCHEMA.replace('memo text', 'memo varchar(20)'))
  try {
    const error = await failure(other.client('analyst').connect())
    assert.match(error.message, /SP_SQL_UPSTREAM/)
  } finally {
    await other.close()
  }
})

const hasPsql = spawnSync('psql', ['--version']).status === 0
test('psql, unmodified', { skip: hasPsql ? false : 'psql is not installed' }, async () => {
  const { chainPem, keyPem, rootsPem } = world.material('analyst', 'psql')
  const file = (name: string, text: string): string => {
    const path = join(world.dir, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const run = (sql: string): Promise<{ stdout: string; stderr: string }> =>
    promisify(execFile)('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', sql], {
      env: {
        ...{
          PATH: process.env['PATH'],
          PGHOST: '127.0.0.1',
          PGUSER: 'analyst',
          PGDATABASE: 'ledger',
        },
        ...{ PGPORT: String(world.gateway.postgresAddress?.port), PGSSLMODE: 'verify-ca' },
        PGSSLROOTCERT: file('roots.pem', rootsPem),
        PGSSLCERT: file('client.pem', chainPem),
        PGSSLKEY: file('client.key', keyPem),
      },
      timeout: 60_000,
    })
  const { stdout } = await run('SELECT id, owner, iban FROM accounts ORDER BY id LIMIT 1')
  assert.match(stdout, /^1\|O\*\*\*\|tok_iban_\S+\n$/)
  await assert.rejects(run('SELECT content FROM vault'), /SP_SQL_NAME/)
  await assert.rejects(run('\\copy accounts to stdout'), /SP_SQL_UNSUPPORTED/)
})
