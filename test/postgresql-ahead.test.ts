import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { Audit } from '../packages/gateway/src/audit/audit.ts'
import { Standing } from '../packages/gateway/src/calls/standing.ts'
import { declarationChanged, Refusal } from '../packages/gateway/src/refusal.ts'
import { Link } from '../packages/gateway/src/sql/upstream/link.ts'
import { message, text } from '../packages/gateway/src/sql/wire/frames.ts'
import { openedSqlWorld } from './support/sql/opened.ts'
import { bind, describe, execute, FLUSH, parse, Raw, SYNC } from './support/sql/raw.ts'
import { SCHEMA } from './support/sql/schema.ts'

const world = await openedSqlWorld(SCHEMA)

const typesOf = (messages: readonly unknown[]): string =>
  messages.map((one) => (one instanceof Buffer ? one.toString('latin1', 0, 1) : '?')).join('')

/** What the gateway says to the database while `act` runs, each time that it says anything. */
async function saidDuring(act: () => Promise<unknown>): Promise<string[]> {
  // It is called as ever; what it was called with is kept.
  const watched = mock.method(Link.prototype, 'send')
  try {
    await act()
    const said = watched.mock.calls.map(({ arguments: messages }) => typesOf(messages))
    // Sessions of the tests before this one are being made as new.
    return said.filter((types) => types !== 'Q')
  } finally {
    watched.mock.restore()
  }
}

const step = (sql: string): Buffer => Buffer.concat([parse(sql), bind(), execute()])
const described = (sql: string): Buffer =>
  Buffer.concat([parse(sql), bind(), describe('P'), execute(), SYNC])
const TOO_MANY = 'SELECT a.id FROM accounts a, accounts b, accounts c'
const pay = (id: number): string =>
  `INSERT INTO payments (id, account, amount) VALUES (${id}, 1, 5)`

test('what only reads is asked for at once, what writes once its description is known', async () => {
  const clerk = await Raw.open(world, 'clerk')
  const saying = (...messages: readonly Buffer[]): Promise<string[]> =>
    saidDuring(async () => {
      clerk.send(...messages)
      await clerk.until('Z')
    })
  const read = 'SELECT id FROM accounts WHERE id = 1'
  // What is asked for while a record is being written comes first.
  const once = ['PBD', 'ES']
  assert.deepEqual(await saying(described(read)), once)
  assert.deepEqual(await saying(step(read), SYNC), once)
  assert.deepEqual(await saying(message('Q', text(read))), once)
  assert.deepEqual(await saying(message('Q', text('BEGIN'))), ['PBDES'])
  assert.deepEqual(await saying(message('Q', text(read))), once)
  assert.deepEqual(await saying(message('Q', text('COMMIT'))), ['PBDES'])
  assert.deepEqual(await saying(described(pay(6001))), ['P', 'BDH', 'EH', 'S'])
  assert.deepEqual(await saying(message('Q', text(pay(6002)))), ['P', 'BDH', 'EH', 'S'])
  // Nobody knows yet what comes after it.
  assert.deepEqual(await saying(step(read), FLUSH, SYNC), ['PBDH', 'EH', 'S'])
  // Its end would be the end of what was written before it, whose portal is closed first.
  assert.deepEqual(await saying(step(pay(6003)), step(read), SYNC), [
    ...['P', 'BDH', 'EH'],
    'C',
    ...['PBDH', 'EH'],
    'S',
  ])
  clerk.socket.destroy()
})

test('a read that is refused after it was asked for takes back what came before it, and nothing is mixed up', async () => {
  const clerk = await Raw.open(world, 'clerk')
  clerk.send(described(TOO_MANY))
  assert.deepEqual((await clerk.until('Z')).slice(-2), ['E54000', 'ZI'])
  clerk.send(described('SELECT id FROM accounts WHERE id = 1'))
  assert.deepEqual(await clerk.until('Z'), ['1', '2', 'T', 'D', 'C', 'ZI'])
  // In a pipeline with what writes.
  clerk.send(step(pay(6101)), described(TOO_MANY))
  assert.deepEqual((await clerk.until('Z')).slice(-2), ['E54000', 'ZI'])
  // In a transaction.
  clerk.send(message('Q', text('BEGIN')), message('Q', text(pay(6102))))
  await clerk.until('Z')
  await clerk.until('Z')
  clerk.send(described(TOO_MANY), message('Q', text('SELECT 1')), message('Q', text('COMMIT')))
  assert.deepEqual((await clerk.until('Z')).slice(-2), ['E54000', 'ZE'])
  assert.deepEqual(await clerk.until('Z'), ['E25P02', 'ZE'])
  assert.deepEqual(await clerk.until('Z'), ['C', 'ZI'])
  const { rows } = await world.owner.query('SELECT id FROM payments WHERE id > 6100')
  assert.deepEqual(rows, [])
  clerk.socket.destroy()
})

test('an error of the database in what was asked for at once is told once, and the session goes on', async () => {
  const clerk = await Raw.open(world, 'clerk')
  const failing = 'SELECT id / (id - id) FROM accounts WHERE id = 1'
  // As its rows are made, as it is planned, and as it is parsed: before its end is asked for, or after.
  for (const [sql, code] of [
    [failing, 'E22012'],
    ['SELECT 1 / 0 FROM accounts', 'E22012'],
    ['SELECT id + opened FROM accounts', 'E42883'],
  ] as const)
    for (const failed of [
      described(sql),
      Buffer.concat([step(sql), SYNC]),
      message('Q', text(sql)),
    ]) {
      clerk.send(failed, described('SELECT id FROM accounts WHERE id = 1'))
      assert.deepEqual((await clerk.until('Z')).slice(-2), [code, 'ZI'])
      assert.deepEqual(await clerk.until('Z'), ['1', '2', 'T', 'D', 'C', 'ZI'])
    }
  // What comes next is found malformed when its turn comes, not before.
  clerk.send(parse('SELECT 1'), bind(), message('E', text('')), SYNC)
  assert.match((await clerk.until('Z')).join(' '), /E08P01 gone$/)
})

test('a database makes ready what is asked while its record is written: it executes nothing before, and binds nothing that writes', async () => {
  const clerk = await Raw.open(world, 'clerk')
  const happened: string[] = []
  // oxlint-disable-next-line typescript/unbound-method -- it is called as a method of what it was called on
  const { append } = Audit.prototype
  const watched = [
    mock.method(Link.prototype, 'send', function (this: Link, ...messages: readonly Buffer[]) {
      // Sessions of the tests before this one are being made as new.
      if (typesOf(messages) !== 'Q') happened.push(typesOf(messages))
      this.socket.write(Buffer.concat(messages))
    }),
    mock.method(
      Audit.prototype,
      'append',
      async function (this: Audit, ...[record, why]: Parameters<typeof append>) {
        const index = await append.call(this, record, why)
        if (record.kind === 'decision') happened.push(record.kind)
        return index
      },
    ),
  ]
  try {
    clerk.send(step(pay(6201)), SYNC)
    await clerk.until('Z')
    assert.deepEqual(happened, ['P', 'decision', 'BDH', 'EH', 'S'])
    happened.length = 0
    // Of a statement of two tables, only what both are decided for.
    clerk.send(step('SELECT 1 FROM accounts JOIN payments ON account = accounts.id LIMIT 1'), SYNC)
    await clerk.until('Z')
    assert.deepEqual(happened, ['decision', 'PBD', 'decision', 'ES'])
  } finally {
    for (const one of watched) one.mock.restore()
  }
  clerk.socket.destroy()
})

test('what is stopped after the database was asked to make it ready is not executed, and leaves nothing behind', async () => {
  const clerk = await Raw.open(world, 'clerk')
  const stopped = async (...messages: readonly Buffer[]): Promise<string[]> => {
    let asked = 0
    // As where another declaration comes into force while the record is being written: it is asked once before, and once after.
    const watched = mock.method(Standing.prototype, 'demandCurrent', () => {
      asked++
      if (asked === 2) throw declarationChanged()
    })
    try {
      const said = await saidDuring(async () => {
        clerk.send(...messages)
        assert.match((await clerk.until('E')).join(' '), /E58000$/)
      })
      assert.equal(asked, 2)
      return said
    } finally {
      watched.mock.restore()
    }
  }
  const read = 'SELECT id FROM accounts WHERE id = 1'
  // Parsed, and failed on purpose: neither bound nor executed.
  assert.deepEqual((await stopped(described(pay(6301)))).slice(0, 2), ['P', 'PH'])
  assert.deepEqual(await clerk.until('Z'), ['ZI'])
  // What reads is bound by then. Its portal is gone with it: another may have the name.
  assert.deepEqual((await stopped(described(read))).slice(0, 2), ['PBD', 'PH'])
  assert.deepEqual(await clerk.until('Z'), ['ZI'])
  clerk.send(described(read))
  assert.deepEqual(await clerk.until('Z'), ['1', '2', 'T', 'D', 'C', 'ZI'])
  // Whatever the database finds wrong with it by then, only the refusal is told.
  assert.deepEqual((await stopped(described('SELECT 1 / 0 FROM accounts'))).slice(0, 2), [
    'PBD',
    'PH',
  ])
  assert.deepEqual(await clerk.until('Z'), ['ZI'])
  clerk.send(message('Q', text('BEGIN')), message('Q', text(pay(6302))))
  await clerk.until('Z')
  await clerk.until('Z')
  await stopped(message('Q', text(read)))
  assert.deepEqual(await clerk.until('Z'), ['ZE'])
  clerk.send(message('Q', text('COMMIT')), described(read))
  assert.deepEqual(await clerk.until('Z'), ['C', 'ZI'])
  assert.deepEqual(await clerk.until('Z'), ['1', '2', 'T', 'D', 'C', 'ZI'])
  const { rows } = await world.owner.query('SELECT id FROM payments WHERE id > 6300')
  assert.deepEqual(rows, [])
  clerk.socket.destroy()
})

test('where the log fails at once, the database hears nothing of the statement, then or later', async () => {
  const clerk = await Raw.open(world, 'clerk')
  const turn = (): Promise<void> =>
    new Promise((resolve) => {
      setImmediate(resolve)
    })
  const ask = async (): Promise<string[]> => {
    clerk.send(described(pay(6401)))
    const heard = await clerk.until('Z')
    await turn()
    await turn()
    return heard
  }
  const failing = mock.method(Audit.prototype, 'append', () =>
    Promise.reject(new Refusal('SP_AUDIT_UNAVAILABLE', 'nothing can be recorded', { status: 503 })),
  )
  try {
    assert.deepEqual(
      await saidDuring(async () => assert.match((await ask()).join(' '), /^1 2 E\w+ ZI$/)),
      [],
    )
  } finally {
    failing.mock.restore()
  }
  const said = await saidDuring(async () => assert.deepEqual((await ask()).at(-1), 'ZI'))
  assert.deepEqual(said.slice(0, 2), ['P', 'BDH'])
  clerk.socket.destroy()
})

test('one prepared text, other values: each is judged by its own', async () => {
  const clerk = world.client('clerk')
  await clerk.connect()
  const text = 'DELETE FROM accounts WHERE branch = $1 AND id = $2'
  const closing = (branch: string): Promise<unknown> =>
    clerk.query({ name: 'close', text, values: [branch, 9999] })
  await closing('north')
  await assert.rejects(closing('zero'), { code: '42501' })
  await closing('south')
})
