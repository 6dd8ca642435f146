import assert from 'node:assert/strict'
import { test } from 'node:test'
import { message, text } from '../packages/gateway/src/sql/wire/frames.ts'
import { until } from '../packages/gateway/test/support/world.ts'
import { failure } from './support/sql/failure.ts'
import { openedSqlClients } from './support/sql/opened.ts'
import { Raw } from './support/sql/raw.ts'
import { SCHEMA } from './support/sql/schema.ts'

const { world, analyst, clerk } = await openedSqlClients(SCHEMA)

test('what fails where its transaction ends is told, and recorded so', async () => {
  await world.owner.query(
    'ALTER TABLE payments ADD CONSTRAINT later UNIQUE (account, amount, at) DEFERRABLE INITIALLY DEFERRED',
  )
  const earlier = world.plane.records().length
  const pay = 'INSERT INTO payments (id, account, amount) VALUES ($1, 1, 977)'
  assert.equal((await clerk.query(pay, [8001])).rowCount, 1)
  for (const twice of [
    { text: pay, values: [8002] },
    { text: pay.replace('$1', '8003') },
    { name: 'pay', text: pay, values: [8004] },
  ]) {
    assert.equal((await failure(clerk.query(twice))).code, '23505')
  }
  await clerk.query('BEGIN')
  assert.equal((await clerk.query(pay, [8005])).rowCount, 1)
  assert.equal((await failure(clerk.query('COMMIT'))).code, '23505')
  // A simple query is not said to be done before that either.
  const raw = await Raw.open(world, 'clerk')
  for (const [amount, ...told] of [
    [977, 'E23505', 'ZI'],
    [978, 'C', 'ZI'],
  ] as const) {
    const sql = `INSERT INTO payments (id, account, amount) VALUES (8006, 1, ${amount}) RETURNING id`
    raw.send(message('Q', text(sql)))
    assert.deepEqual(await raw.until('Z'), ['T', 'D', ...told])
  }
  raw.socket.destroy()
  // The session goes on, and nothing of them is there.
  const { rows } = await clerk.query('SELECT id FROM payments WHERE id > 8000 ORDER BY id')
  assert.deepEqual(rows, [{ id: '8001' }, { id: '8006' }])
  await world.owner.query('ALTER TABLE payments DROP CONSTRAINT later')
  const results = (): unknown[] =>
    world.plane
      .records()
      .slice(earlier)
      .flatMap((record) => (record.kind === 'outcome' ? [record.result] : []))
  await until(() => results().length === 8)
  // Of the one in a transaction of its own making it is said that it was done: what became of it, its COMMIT was told.
  const failed = 'upstream-error'
  const done = 'completed'
  assert.deepEqual(results(), [done, failed, failed, failed, done, failed, done, done])
})

test('a column without a name is called what the database calls it', async (t) => {
  for (const expression of [
    "date '2020-01-10'",
    "date '2020-01-10'::text",
    "'1'::int8::text::varchar",
    'balance::text::varchar',
    'lower(branch)::text',
    '(CASE WHEN open THEN balance ELSE id END)::text',
    'CASE WHEN open THEN balance END',
    "CASE WHEN open THEN branch ELSE 'no'::text END",
    'CASE WHEN open THEN 1 ELSE CASE WHEN open THEN 2 ELSE id END END',
    'id + 1',
    '(id + 1)::text',
    'nullif(id, 1)::text',
    'coalesce(id, 1)::text',
    'greatest(id, 1)::text',
    'ARRAY[id]::text',
    '(ARRAY[id])[1]',
    '(branch COLLATE "C")::text',
    'EXISTS (SELECT 1)::text',
    '(SELECT 1)',
    '(SELECT 1)::text',
    '(SELECT id)::text',
    '(SELECT * FROM (SELECT branch AS b) q)',
    '(SELECT 1::int8)::text',
    '(SELECT id UNION SELECT id)::text',
    '(VALUES (id))',
    'current_date::text',
    'rank() OVER (ORDER BY id)',
  ]) {
    await t.test(expression, async () => {
      const sql = `SELECT ${expression} FROM accounts a`
      const [through, byHand] = await Promise.all([analyst.query(sql), world.owner.query(sql)])
      assert.deepEqual(
        through.fields.map(({ name }) => name),
        byHand.fields.map(({ name }) => name),
      )
    })
  }
})
