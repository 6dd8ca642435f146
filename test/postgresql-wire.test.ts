import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import {
  FrameReader,
  int16,
  int32,
  message,
  text,
} from '../packages/gateway/src/sql/wire/frames.ts'
import type { Frame } from '../packages/gateway/src/sql/wire/frames.ts'
import { openedSqlWorld } from './support/sql/opened.ts'
import { bind, describe, execute, FLUSH, parse, Raw, SYNC } from './support/sql/raw.ts'
import { SCHEMA } from './support/sql/schema.ts'

const world = await openedSqlWorld(SCHEMA)

const open = (agent: string, started = true): Promise<Raw> => Raw.open(world, agent, started)
const run = (
  sql: string,
  values: readonly Buffer[] = [],
  oids: readonly number[] = [],
  formats: readonly number[] = [],
): Buffer => Buffer.concat([parse(sql, '', oids), bind(values, formats), execute(), SYNC])

test('a pipeline is one transaction up to its Sync, and stops at its first error', async () => {
  const clerk = await open('clerk')
  const pay = (id: number): Buffer =>
    Buffer.concat([
      parse(`INSERT INTO payments (id, account, amount) VALUES (${id}, 1, 5)`),
      bind(),
      execute(),
    ])
  clerk.send(pay(5001), pay(5002), SYNC)
  assert.deepEqual(await clerk.until('Z'), ['1', '2', 'C', '1', '2', 'C', 'ZI'])
  clerk.send(
    pay(5003),
    parse('SELECT * FROM vault'),
    bind(),
    execute(),
    pay(5004),
    SYNC,
    run('SELECT 1'),
  )
  assert.deepEqual(await clerk.until('Z'), ['1', '2', 'C', 'E42P01', 'ZI'])
  assert.deepEqual(await clerk.until('Z'), ['1', '2', 'D', 'C', 'ZI'])
  const { rows } = await world.owner.query('SELECT id FROM payments WHERE id > 5000 ORDER BY id')
  assert.deepEqual(rows, [{ id: '5001' }, { id: '5002' }])
  clerk.socket.destroy()
})

test('a refusal fails what the database has begun, whatever came before it in the pipeline', async () => {
  const clerk = await open('clerk')
  const step = (sql: string): Buffer => Buffer.concat([parse(sql), bind(), execute()])
  const pay = (id: number): Buffer =>
    step(`INSERT INTO payments (id, account, amount) VALUES (${id}, 1, 5)`)
  clerk.send(step('BEGIN'), step('SELECT * FROM vault'), SYNC)
  assert.deepEqual((await clerk.until('Z')).at(-1), 'ZE')
  // The transaction that had failed has ended; what comes after it is another one.
  clerk.send(step('ROLLBACK'), pay(5101), step('SELECT * FROM vault'), SYNC)
  assert.deepEqual((await clerk.until('Z')).slice(-2), ['E42P01', 'ZI'])
  clerk.send(step('BEGIN'), step('SAVEPOINT sp_refused'), pay(5102), SYNC)
  assert.deepEqual((await clerk.until('Z')).slice(-2), ['C', 'ZT'])
  clerk.send(step('SELECT * FROM vault'), SYNC)
  assert.deepEqual(await clerk.until('Z'), ['E42P01', 'ZE'])
  clerk.send(step('COMMIT'), pay(5103), SYNC)
  assert.deepEqual((await clerk.until('Z')).slice(-2), ['C', 'ZI'])
  const { rows } = await world.owner.query('SELECT id FROM payments WHERE id > 5100 AND id < 5200')
  assert.deepEqual(rows, [{ id: '5103' }])
  clerk.socket.destroy()
})

test('what the gateway does itself is done once, when it is executed', async () => {
  const raw = await open('analyst')
  raw.send(
    parse('SELECT 1', 'one'),
    parse('DEALLOCATE one'),
    bind(),
    describe('P'),
    execute(),
    SYNC,
  )
  assert.deepEqual(await raw.until('Z'), ['1', '1', '2', 'n', 'C', 'ZI'])
  raw.socket.destroy()
})

test('what a session keeps is bounded', async () => {
  const raw = await open('analyst')
  const long = `SELECT '${'x'.repeat(60_000)}'`
  const texts = Array.from({ length: 36 }, (_, i) => parse(long, `s${i}`))
  raw.send(...texts.slice(0, 34), SYNC)
  assert.deepEqual(await raw.until('Z'), [...texts.slice(0, 34).map(() => '1'), 'ZI'])
  raw.send(...texts.slice(34), SYNC)
  assert.deepEqual(await raw.until('Z'), ['E53400', 'ZI'])
  raw.send(message('C', 'S', text('s0')), parse(long, 's34'), SYNC)
  assert.deepEqual(await raw.until('Z'), ['3', '1', 'ZI'])
  const wide = Buffer.alloc(1_000_000, 'x')
  const portals = Array.from({ length: 17 }, (_, i) => bind([wide], [], `p${i}`))
  raw.send(parse('SELECT $1'), ...portals, SYNC)
  assert.deepEqual(await raw.until('Z'), ['1', ...portals.slice(1).map(() => '2'), 'E53400', 'ZI'])
  raw.socket.destroy()
})

test('portals are suspended and gone on with, and end with their transaction', async () => {
  const raw = await open('analyst')
  raw.send(message('Q', text('BEGIN')))
  await raw.until('Z')
  raw.send(parse('SELECT id FROM accounts ORDER BY id'), bind([], [], 'p'), execute('p', 2), FLUSH)
  assert.deepEqual(await raw.until('s'), ['1', '2', 'D', 'D', 's'])
  raw.send(SYNC)
  assert.deepEqual(await raw.until('Z'), ['ZT'])
  raw.send(execute('p', 1), SYNC)
  assert.deepEqual(await raw.until('Z'), ['D', 's', 'ZT'])
  raw.send(describe('P', 'p'), message('C', 'P', text('p')), execute('p'), SYNC)
  assert.deepEqual(await raw.until('Z'), ['T', '3', 'E34000', 'ZE'])
  raw.send(message('Q', text('ROLLBACK')))
  assert.deepEqual(await raw.until('Z'), ['C', 'ZI'])
  raw.socket.destroy()
})

test('an error in a portal that is gone on with fails its transaction, and the session goes on', async () => {
  const raw = await open('analyst')
  raw.send(message('Q', text('BEGIN')))
  await raw.until('Z')
  const failing = 'SELECT 1 / (x - 3) FROM (VALUES (1), (2), (3)) AS v (x)'
  raw.send(parse(failing), bind([], [], 'p'), execute('p', 1), SYNC)
  assert.deepEqual(await raw.until('Z'), ['1', '2', 'D', 's', 'ZT'])
  raw.send(execute('p', 1), SYNC)
  assert.deepEqual(await raw.until('Z'), ['D', 's', 'ZT'])
  raw.send(execute('p', 1), SYNC)
  assert.deepEqual(await raw.until('Z'), ['E22012', 'ZE'])
  raw.send(message('Q', text('ROLLBACK')), message('Q', text('SELECT 1')))
  assert.deepEqual(await raw.until('Z'), ['C', 'ZI'])
  assert.deepEqual(await raw.until('Z'), ['T', 'D', 'C', 'ZI'])
  raw.socket.destroy()
})

test('a statement is described before its values are known', async () => {
  const raw = await open('analyst')
  raw.send(parse('SELECT id, owner, iban FROM accounts WHERE id = $1'), describe('S'), SYNC)
  assert.deepEqual(await raw.until('Z'), ['1', 't', 'T', 'ZI'])
  raw.send(bind([Buffer.from('1')]), describe('P'), execute(), SYNC)
  assert.deepEqual(await raw.until('Z'), ['2', 'T', 'D', 'C', 'ZI'])
  raw.send(parse('', 'empty'), describe('S', 'empty'), message('Q', text('  -- nothing')))
  assert.deepEqual(await raw.until('Z'), ['1', 't', 'n', 'I', 'ZI'])
  raw.socket.destroy()
})

const int8 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt(value))
  return bytes
}

test('a parameter cannot be one thing to the policies and another to the database', async (t) => {
  const pay = 'INSERT INTO payments (id, account, amount) VALUES ($1, 1, $2)'
  const cases: readonly (readonly [string, Buffer, number, number, string])[] = [
    ['no type, text', Buffer.from('5'), 0, 0, 'C'],
    ['no type, binary', int8(5), 0, 1, 'C'],
    ['int4, binary', int32(5), 23, 1, 'C'],
    ['int2, binary', int16(5), 21, 1, 'C'],
    ['text', Buffer.from('5'), 25, 0, 'C'],
    ['unknown', Buffer.from('5'), 705, 0, 'C'],
    ['no type, too much', Buffer.from('5000'), 0, 0, 'E42501'],
    ['no type, binary, too much', int8(5000), 0, 1, 'E42501'],
    ['int4, binary, too much', int32(5000), 23, 1, 'E42501'],
    ['text, too much', Buffer.from('5000'), 25, 0, 'E42501'],
    ['int4 sent as int8', int8(5), 23, 1, 'E22023'],
    ['no type, binary of four bytes', int32(5), 0, 1, 'E22023'],
    ['float8', Buffer.from('5'), 701, 0, 'E22023'],
    ['numeric', Buffer.from('5'), 1700, 0, 'E22023'],
    ['bool', Buffer.from('t'), 16, 0, 'E22023'],
    ['bytea', Buffer.from('5'), 17, 0, 'E22023'],
    ['regclass', Buffer.from('vault'), 2205, 0, 'E0A000'],
    ['oid', Buffer.from('5'), 26, 0, 'E0A000'],
    ['a type of the database’s own', Buffer.from('5'), 16_400, 0, 'E0A000'],
    ['white space', Buffer.from(' 5'), 0, 0, 'E22023'],
    ['a byte that is no UTF-8', Buffer.from([0xff]), 25, 0, 'E22023'],
  ]
  let id = 6000
  for (const [what, value, oid, format, expected] of cases) {
    await t.test(what, async () => {
      const clerk = await open('clerk')
      clerk.send(run(pay, [int8(++id), value], [20, oid], [1, format]))
      const told = (await clerk.until('Z')).filter((type) => /^[CE]/.test(type))
      assert.deepEqual(told, [expected])
      clerk.socket.destroy()
    })
  }
  const { rows } = await world.owner.query(
    'SELECT max(amount) AS most FROM payments WHERE id > 6000',
  )
  assert.deepEqual(rows, [{ most: '5' }])
  await t.test('a uuid where a text is judged', async () => {
    const clerk = await open('clerk')
    const value = Buffer.from('0A3B0000-0000-0000-0000-000000000000')
    clerk.send(run('UPDATE accounts SET owner = $1 WHERE id = 1', [value], [2950]))
    assert.deepEqual(
      (await clerk.until('Z')).filter((type) => /^[CE]/.test(type)),
      ['E22023'],
    )
    clerk.socket.destroy()
  })
})

test('messages that are none, or out of place, end a session or fail, and nothing else', async (t) => {
  const cases: readonly (readonly [string, Buffer, RegExp])[] = [
    ['a call by number', message('F', int32(1), int16(0), int16(0), int16(0)), /^E0A000 ZI$/],
    ['rows for a COPY', message('d', 'x'), /^E08P01 gone$/],
    ['the end of a COPY', message('c'), /^E08P01 gone$/],
    ['a password', message('p', text('x')), /^E08P01 gone$/],
    ['a type of nobody', message('~'), /^E08P01 gone$/],
    ['a length below four', Buffer.from('510000000353', 'hex'), /^E08P01 gone$/],
    ['a length above all', Buffer.from('517fffffff', 'hex'), /^E08P01 gone$/],
    ['a text without an end', message('Q', 'SELECT 1'), /^E08P01 gone$/],
    ['two texts', message('Q', text('SELECT 1'), text('SELECT 2')), /^E08P01 gone$/],
    ['a text that is no UTF-8', message('Q', Buffer.from([0xff, 0])), /^E08P01 gone$/],
    [
      'a Bind of less than it says',
      message('B', text(''), text(''), int16(0), int16(9)),
      /^E\S+ gone$/,
    ],
    ['a Describe of nothing', message('D', 'x', text('')), /^E08P01 gone$/],
    ['a portal of nobody', Buffer.concat([execute('nobody'), SYNC]), /^E34000 ZI$/],
    ['a statement of nobody', Buffer.concat([describe('S', 'nobody'), SYNC]), /^E26000 ZI$/],
  ]
  for (const [what, bytes, expected] of cases) {
    await t.test(what, async () => {
      const raw = await open('analyst')
      raw.send(bytes)
      assert.match((await raw.until('Z')).join(' '), expected)
      raw.socket.destroy()
    })
  }
})

const STYLES = { DateStyle: 'ISO, DMY', IntervalStyle: 'iso_8601' }

test('a session begins as one, or not at all', async (t) => {
  const cases: readonly (readonly [string, (raw: Raw) => void, RegExp])[] = [
    ['version 3.0', (raw) => raw.start({ user: 'analyst', database: 'ledger' }), /^R S.* K ZI$/],
    [
      'version 3.2, by 3.0',
      (raw) => raw.start({ user: 'analyst', database: 'ledger' }, 196_610),
      /^v R .* ZI$/,
    ],
    [
      'an option of the protocol',
      (raw) => raw.start({ user: 'analyst', database: 'ledger', '_pq_.x': '1' }),
      /^v R .* ZI$/,
    ],
    [
      'settings that the database takes',
      (raw) =>
        raw.start({ user: 'analyst', database: 'ledger', ...STYLES, TimeZone: 'Asia/Tokyo' }),
      /^R S.* K ZI$/,
    ],
    [
      'a setting among them that it does not',
      (raw) => raw.start({ user: 'analyst', database: 'ledger', TimeZone: 'No/Where', ...STYLES }),
      /^E22023 gone$/,
    ],
    [
      'a setting twice, in other letters',
      (raw) =>
        raw.start({ user: 'analyst', database: 'ledger', TimeZone: 'UTC', timezone: 'Asia/Tokyo' }),
      /^E08P01 gone$/,
    ],
    ['version 2', (raw) => raw.start({ user: 'analyst' }, 131_072), /^E08P01 gone$/],
    [
      'a request for TLS in TLS',
      (raw) => raw.socket.write(Buffer.from('0000000804d2162f', 'hex')),
      /^E08P01 gone$/,
    ],
    [
      'a length of 4 GB',
      (raw) => raw.socket.write(Buffer.from('ffffffff00030000', 'hex')),
      /^E08P01 gone$/,
    ],
    [
      'no database of that name',
      (raw) => raw.start({ user: 'analyst', database: 'vault' }),
      /^E3D000 gone$/,
    ],
    [
      'a cancel of nobody',
      (raw) => raw.socket.write(Buffer.from('0000001004d2162e0000000100000001', 'hex')),
      /^gone$/,
    ],
  ]
  for (const [what, act, expected] of cases) {
    await t.test(what, async () => {
      const raw = await open('analyst', false)
      act(raw)
      assert.match((await raw.until('Z')).join(' '), expected)
      raw.socket.destroy()
    })
  }
})

test('noise does not bring it down', async () => {
  for (let i = 0; i < 150; i++) {
    const raw = await open('analyst', i % 3 !== 0)
    const types = 'QPBDECSHFXdcfp'
    const noise = Array.from({ length: 1 + (i % 5) }, () =>
      i % 2 === 0
        ? randomBytes(1 + (i % 60))
        : message(
            types[randomBytes(1).readUInt8() % types.length] ?? 'Q',
            randomBytes(i % 40),
            '\0',
          ),
    )
    raw.send(...noise, message('X'))
    raw.socket.end()
    await raw.until('never')
  }
  const raw = await open('analyst')
  raw.send(run('SELECT count(*) FROM accounts'))
  assert.deepEqual(await raw.until('Z'), ['1', '2', 'D', 'C', 'ZI'])
  raw.socket.destroy()
})

test('messages are found whichever way their bytes arrive', () => {
  const stream = Buffer.concat([
    SYNC,
    message('Q', text('SELECT 1')),
    FLUSH,
    message('d', Buffer.alloc(300, 7)),
  ])
  const whole = new FrameReader(1000).push(stream)
  assert.equal(whole?.length, 4)
  for (let size = 1; size < 40; size++) {
    const reader = new FrameReader(1000)
    const found: Frame[] = []
    for (let at = 0; at < stream.length; at += size) {
      found.push(...(reader.push(stream.subarray(at, at + size)) ?? []))
    }
    assert.deepEqual(
      found.map(({ raw }) => raw),
      whole?.map(({ raw }) => raw),
      `by ${size}`,
    )
  }
  assert.equal(new FrameReader(300).push(stream), undefined)
})
