import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import pg from 'pg'
import { Audit } from '../packages/gateway/src/audit/audit.ts'
import { Link } from '../packages/gateway/src/sql/upstream/link.ts'
import { until } from '../packages/gateway/test/support/world.ts'
import { failure } from './support/sql/failure.ts'
import { openedSqlWorld } from './support/sql/opened.ts'
import { bind, describe, execute, FLUSH, parse, Raw, SYNC } from './support/sql/raw.ts'
import { SCHEMA } from './support/sql/schema.ts'
import { tls } from './support/sql/world.ts'

/** What reads of accounts rest on besides who reads: what the session has touched, and how far its caller is trusted. */
const RESTS = [
  `forbid(principal in Role::"reads", action == Action::"ledger.read_accounts", resource)
when { context.session.labels.contains("money") || context.risk >= 80 };`,
  `forbid(principal in Role::"reads", action == Action::"ledger.read_payments", resource)
when { context.session.labels.contains("account") && context.risk == 45 };`,
  `forbid(principal in Role::"writes", action in Action::"write", resource) when { context.risk >= 80 };`,
  `forbid(principal in Role::"writes", action in Action::"write", resource)
when { context.session.labels.contains("money") && context.risk == 46 };`,
  `forbid(principal, action == Action::"field.read", resource == Field::"accounts.branch")
when { context.risk >= 70 };`,
  `@obligation("drop:accounts.balance")
permit(principal in Role::"writes", action == Action::"ledger.open_account", resource)
when { context.input.set has id && context.input.set.id == 911 };`,
].map((source, i) => {
  const id = `rests-${i}`
  return { id, file: 'all.cedar', line: 1, source: `@id("${id}")\n${source}` }
})
const ROWS = {
  ...{ id: 'none-for-the-risky', file: 'rows.cedar', line: 1 },
  source: `@id("none-for-the-risky")
forbid(principal, action == Action::"row.read", resource) when { context.risk >= 60 };`,
}

const world = await openedSqlWorld(SCHEMA, (declaration) => {
  const { network, policies } = declaration
  const systems = network.systems.map((system) => {
    if (!system.postgres) return system
    const tables = system.postgres.tables.map((table) =>
      table.rows ? { ...table, rows: [...table.rows, ROWS] } : table,
    )
    return { ...system, postgres: { ...system.postgres, tables } }
  })
  return { ...declaration, network: { ...network, systems }, policies: [...policies, ...RESTS] }
})

const JOIN = 'SELECT a.branch, p.id FROM accounts a JOIN payments p ON p.account = a.id'

async function client(agent: string, instance: string): Promise<pg.Client> {
  const opened = world.client(agent, { ssl: tls(world.material(agent, instance)) })
  await opened.connect()
  return opened
}

async function suspected(agent: string, instance: string, score: number): Promise<void> {
  const { plane, gateway } = world
  plane.risk = {
    ...plane.risk,
    [`spiffe://sql.example/agent/${agent}/${instance}`]: { score, at: Date.now() },
  }
  plane.publish()
  const { n } = plane.bundle().bundle.revision
  await until(() => gateway.stats().revision?.n === n)
}

/**
 * Has something happen while the first record of a kind is being written.
 *
 * @returns what `act` came to, and what of it the database was asked to execute by then
 */
async function meanwhile<T>(
  { kind, operation }: { kind: string; operation?: string },
  happens: () => Promise<unknown>,
  act: () => Promise<T>,
): Promise<{ came: T; executed: number; times: number }> {
  // oxlint-disable-next-line typescript/unbound-method -- it is called as a method of what it was called on
  const { append } = Audit.prototype
  let times = 0
  let executed = 0
  const watched = [
    mock.method(
      Audit.prototype,
      'append',
      async function (this: Audit, ...[record, why]: Parameters<typeof append>) {
        const index = await append.call(this, record, why)
        const named =
          operation === undefined || ('operation' in record && record.operation === operation)
        if (record.kind === kind && named && times++ === 0) {
          await happens()
          executed = 0
        }
        return index
      },
    ),
    mock.method(Link.prototype, 'send', function (this: Link, ...messages: readonly Buffer[]) {
      if (messages.some((message) => message[0] === 0x45)) executed++
      this.socket.write(Buffer.concat(messages))
    }),
  ]
  try {
    return { came: await act(), executed, times }
  } finally {
    for (const one of watched) one.mock.restore()
  }
}

const LAST = { kind: 'decision', operation: 'read_payments' }
const nothing = (): Promise<void> => Promise.resolve()

test('a statement of two tables runs, where nothing that its decisions rest on changes', async () => {
  const calm = await client('analyst', 'calm')
  const { came, executed, times } = await meanwhile(LAST, nothing, () => calm.query(JOIN))
  assert.deepEqual([came.rows.length > 10, executed, times], [true, 1, 1])
})

const CHANGES: readonly (readonly [what: string, score: number, code: RegExp])[] = [
  ['forbids the first of them', 90, /SP_DENIED_FORBIDDEN/],
  ['takes a column of the first away', 75, /SP_DECLARATION_CHANGED/],
  ['takes rows of the first away', 65, /SP_DECLARATION_CHANGED/],
]
for (const [what, score, code] of CHANGES) {
  test(`a statement of several is stopped, while its last is recorded, by what ${what}`, async () => {
    const instance = `risk-${score}`
    const analyst = await client('analyst', instance)
    const { came, executed, times } = await meanwhile(
      LAST,
      () => suspected('analyst', instance, score),
      () => failure(analyst.query(JOIN)),
    )
    assert.match(came.message, code)
    assert.deepEqual([executed, times], [0, 1])
    // The decision that does not hold is the one that is named, and how it ended stands behind it.
    const [, id = ''] = /^decision (dec_\S+)$/.exec(came.detail ?? '') ?? []
    const ended = (): unknown[] =>
      world.plane
        .records()
        .filter((record) => record.kind === 'outcome' && record.decisionId === id)
        .map((record) => 'result' in record && record.result)
    await until(() => ended().length > 0)
    assert.deepEqual(ended(), ['cut'])
    await analyst.query('SELECT 1')
  })
}

test('labels that another session of the caller brings while the last table is recorded count for the first', async () => {
  const [one, other] = [await client('analyst', 'labels'), await client('analyst', 'labels')]
  const { came, executed } = await meanwhile(
    LAST,
    () => other.query('SELECT amount FROM payments LIMIT 1'),
    () => failure(one.query(JOIN)),
  )
  assert.match(came.message, /SP_DENIED_FORBIDDEN/)
  assert.equal(executed, 0)
})

test('a statement is not held against its own labels, and the next one is', async () => {
  const analyst = await client('analyst', 'own')
  const both = 'SELECT a.id FROM accounts a JOIN payments p ON p.account = a.id WHERE p.amount > 5'
  await analyst.query(both)
  assert.match((await failure(analyst.query(both))).message, /SP_DENIED_FORBIDDEN/)
})

test('one statement shows no more than two: tables that forbid each other are not joined, in whatever order', async () => {
  const joined = (columns: string): readonly string[] => [
    `SELECT ${columns} FROM accounts a JOIN payments p ON p.account = a.id`,
    `SELECT ${columns} FROM payments p JOIN accounts a ON p.account = a.id`,
  ]
  // Accounts may be read behind payments, as long as no amount was.
  for (const [i, sql] of joined('a.branch, p.id').entries()) {
    const analyst = await client('analyst', `walls-${i}`)
    await suspected('analyst', `walls-${i}`, 45)
    assert.ok((await analyst.query(sql)).rows.length > 10)
  }
  const analyst = await client('analyst', 'walls')
  await suspected('analyst', 'walls', 45)
  for (const sql of joined('a.branch, p.amount')) {
    assert.match((await failure(analyst.query(sql))).message, /SP_DENIED_FORBIDDEN/)
  }
  // Nor does either of two statements bring what the other one forbids.
  await analyst.query('SELECT amount FROM payments')
  assert.match(
    (await failure(analyst.query('SELECT id FROM accounts'))).message,
    /SP_DENIED_FORBIDDEN/,
  )
})

test('a write does no more than it might behind what its statement reads, of its own table too', async () => {
  const opened = `UPDATE accounts SET open = true WHERE`
  const reading = [
    `${opened} id IN (SELECT p.account FROM payments p WHERE p.amount > 5)`,
    `${opened} id IN (SELECT b.id FROM accounts b WHERE b.balance > 5)`,
    `${opened} EXISTS (SELECT 1 FROM accounts b WHERE b.balance > 5)`,
  ]
  for (const [i, sql] of [...reading, `${opened} balance > 5`].entries()) {
    const clerk = await client('clerk', `behind-${i}`)
    await suspected('clerk', `behind-${i}`, 46)
    // What a write looks at itself it was decided by.
    if (!reading.includes(sql)) assert.ok(((await clerk.query(sql)).rowCount ?? 0) > 1)
    else assert.match((await failure(clerk.query(sql))).message, /SP_DENIED_FORBIDDEN/, sql)
  }
  const clerk = await client('clerk', 'behind')
  await suspected('clerk', 'behind', 46)
  await clerk.query('SELECT id FROM accounts WHERE balance > 5')
  assert.match((await failure(clerk.query(`${opened} id = 1`))).message, /SP_DENIED_FORBIDDEN/)
})

test('what changes while labels are recorded stops the statement', async () => {
  const analyst = await client('analyst', 'late')
  const { came, executed, times } = await meanwhile(
    { kind: 'labels' },
    () => suspected('analyst', 'late', 90),
    () => failure(analyst.query('SELECT balance FROM accounts')),
  )
  assert.match(came.message, /SP_DENIED_FORBIDDEN/)
  assert.deepEqual([executed, times], [0, 1])
})

test('a quarantine while the last table is recorded, or the labels, lets nothing be executed', async () => {
  for (const [instance, at, sql] of [
    ['caught-1', LAST, JOIN],
    ['caught-2', { kind: 'labels' }, 'SELECT balance FROM accounts'],
  ] as const) {
    const analyst = await client('analyst', instance)
    const caught = async (): Promise<void> => {
      world.plane.quarantine(`spiffe://sql.example/agent/analyst/${instance}`)
      const { n } = world.plane.bundle().bundle.revision
      await until(() => world.gateway.stats().revision?.n === n)
    }
    const { executed, times } = await meanwhile(at, caught, () =>
      // Its session is cut off with it.
      assert.rejects(analyst.query(sql)),
    )
    assert.deepEqual([executed, times], [0, 1])
  }
})

test('what was described and is executed later is looked at again', async () => {
  const clerk = await Raw.open(world, 'clerk')
  const described = async (id: number): Promise<void> => {
    const pay = `INSERT INTO payments (id, account, amount) VALUES (${id}, 1, 5)`
    clerk.send(parse(pay), bind(), describe('P'), FLUSH)
    assert.deepEqual(await clerk.until('n'), ['1', '2', 'n'])
  }
  await described(9001)
  clerk.send(execute(), SYNC)
  assert.deepEqual(await clerk.until('Z'), ['C', 'ZI'])
  await described(9002)
  await suspected('clerk', 'i1', 90)
  clerk.send(execute(), SYNC)
  assert.deepEqual(await clerk.until('Z'), ['E42501', 'ZI'])
  const { rows } = await world.owner.query('SELECT id FROM payments WHERE id > 9000')
  assert.deepEqual(rows, [{ id: '9001' }])
  clerk.socket.destroy()
})

test('rows of one statement are returned as each of them was recorded, or not written', async () => {
  const clerk = await client('clerk', 'rows')
  const open = (...ids: readonly number[]): Promise<pg.QueryResult> => {
    const rows = ids.map((id) => `(${id}, 'DE${id}', 7, 'north', '2026-01-01')`)
    return clerk.query(
      `INSERT INTO accounts (id, iban, balance, branch, opened) VALUES ${rows.join(', ')} RETURNING *`,
    )
  }
  const columns = ({ rows }: pg.QueryResult): string[] => Object.keys(rows[0] ?? {})
  // Of one, policies oblige to leave a column out.
  assert.ok(columns(await open(910, 912)).includes('balance'))
  assert.ok(!columns(await open(911)).includes('balance'))
  await world.owner.query('DELETE FROM accounts WHERE id > 900')
  for (const ids of [
    [911, 910],
    [910, 911],
  ]) {
    assert.match((await failure(open(...ids))).message, /SP_DECLARATION_CHANGED/)
  }
  const { rows } = await world.owner.query('SELECT id FROM accounts WHERE id > 900')
  assert.deepEqual(rows, [])
})
