import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Answer, Peer } from './support/network.ts'

let plane: TestPlane
let gateway: Peer
let agent: Peer
let skew = 0
let decisions = 0

const limit = (id: string, over: object) => ({
  id,
  description: id,
  agents: ['flagger'],
  operations: ['core.hold'],
  windowSeconds: 600,
  ...over,
})

before(async () => {
  const { settings, systems } = declarationWith().network
  const [core] = systems
  const [hold] = core?.operations ?? []
  assert.ok(core && hold)
  // In units, with places behind the point.
  const amount = {
    schema: { type: 'decimal', minimum: 0, maximum: 1e6, step: 0.01 },
    required: true,
  } as const
  const fee = {
    ...hold,
    name: 'fee',
    input: { ...hold.input, members: { ...hold.input.members, amount } },
  }
  const declaration = declarationWith({
    systems: [{ ...core, operations: [...core.operations, fee] }, ...systems.slice(1)],
    // The clock runs ahead below, and certificates must not lapse by that.
    settings: { ...settings, svidTtlSeconds: 3600 },
    limits: [
      limit('calls', { maxCalls: 20 }),
      limit('sums', { maxSum: { input: 'amount', max: 1000 } }),
      limit('both', { maxCalls: 5, maxSum: { input: 'amount', max: 100 } }),
      limit('sliding', { windowSeconds: 60, maxCalls: 3 }),
      limit('shared', { maxCalls: 4 }),
      limit('used', { maxSum: { input: 'amount', max: 100 } }),
      limit('units', { operations: ['core.fee'], maxSum: { input: 'amount', max: 2 } }),
    ],
  })
  plane = await TestPlane.start(declaration, {
    clock: { now: () => Date.now() + skew, monotonic: () => performance.now() },
  })
  gateway = await plane.enrol('gateway', 'gw1')
  agent = await plane.enrol('agent', 'flagger')
})
after(() => plane?.close())

const reserve = (limitId: string, amount = 0, over: object = {}): Promise<Answer> =>
  gateway.call('POST', '/v1/limits/reserve', {
    limitId,
    instance: agent.spiffeId,
    agent: 'flagger',
    amount,
    decisionId: `dec_${++decisions}`,
    ...over,
  })

const granted = ({ body }: Answer): boolean => body['granted'] === true

const settle = (answer: Answer, commit: boolean): Promise<Answer> =>
  gateway.call('POST', '/v1/limits/settle', {
    reservationId: answer.body['reservationId'],
    commit,
  })

test('sixty at once: exactly the limit is granted, in flight included', async () => {
  const answers = await Promise.all(Array.from({ length: 60 }, () => reserve('calls')))
  assert.equal(answers.filter(granted).length, 20)
  const refused = answers.find((answer) => !granted(answer))
  const retry = Number(refused?.body['retryAfterSeconds'])
  assert.ok(retry > 0 && retry <= 611, String(retry))
})

test('forty transactions that truly overlap are granted no more than the limit', async () => {
  const password = readFileSync(join(plane.dataDir, 'pg', 'password'), 'utf8').trim()
  const host = encodeURIComponent(join(plane.dataDir, 'pg', 'socket'))
  const connectionString = `postgres://sallyport:${password}@localhost/postgres?host=${host}`
  const pool = new pg.Pool({ connectionString, max: 10 })
  try {
    const now = Date.now()
    const one = async (i: number): Promise<boolean> => {
      const client = await pool.connect()
      try {
        await client.query('BEGIN')
        const { rows } = await client.query<{ granted: boolean }>(
          `SELECT granted FROM reserve_limit($1, 'overlap', 'flagger', 'i', $1, 0, 7, NULL, 60000, 1000, $2)`,
          [`res_overlap_${i}`, now],
        )
        // Held open, so that the others decide before this is committed.
        await delay(5)
        await client.query('COMMIT')
        return rows[0]?.granted === true
      } finally {
        client.release()
      }
    }
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => one(i)))
    assert.equal(answers.filter(Boolean).length, 7)
  } finally {
    await pool.end()
  }
})

test('sums never exceed the limit, whatever the amounts and their order', async () => {
  const amounts = Array.from({ length: 50 }, (_, i) => (i * 37) % 90)
  const answers = await Promise.all(
    amounts.map(async (amount) => ({ amount, answer: await reserve('sums', amount) })),
  )
  const sum = answers.reduce((s, { amount, answer }) => s + (granted(answer) ? amount : 0), 0)
  assert.ok(sum <= 1000 && sum > 900, String(sum))
  // Nothing smaller than what is left would have been refused at the end.
  assert.equal(granted(await reserve('sums', 1000 - sum)), true)
  assert.equal(granted(await reserve('sums', 1)), false)
})

test('a sum of decimals is counted in their ten-thousandths', async () => {
  assert.equal(granted(await reserve('units', 20_001)), false)
  assert.equal(granted(await reserve('units', 19_900)), true)
  assert.equal(granted(await reserve('units', 101)), false)
  assert.equal(granted(await reserve('units', 100)), true)
  assert.equal(granted(await reserve('units', 1)), false)
})

test('what is released counts no more; what is committed or never settled does', async () => {
  const first = await reserve('both', 60)
  assert.equal(granted(await reserve('both', 41)), false)
  assert.equal((await settle(first, false)).status, 200)
  const second = await reserve('both', 90)
  assert.equal(granted(second), true)
  assert.equal((await settle(second, true)).status, 200)
  // Saying it again changes nothing; saying the opposite is refused.
  assert.equal((await settle(second, true)).status, 200)
  assert.equal((await settle(second, false)).body['code'], 'SP_LIMIT_RESERVATION')
  assert.equal(granted(await reserve('both', 11)), false)
  assert.equal(granted(await reserve('both', 10)), true)
})

test('what a call took in the end is what counts, less than was reserved or more', async () => {
  const settled = (answer: Answer, amount: unknown): Promise<Answer> =>
    gateway.call('POST', '/v1/limits/settle', {
      reservationId: answer.body['reservationId'],
      commit: true,
      amount,
    })
  const first = await reserve('used', 90)
  assert.equal(granted(await reserve('used', 11)), false)
  for (const bad of [-1, 1.5, '30']) assert.equal((await settled(first, bad)).status, 400)
  assert.equal((await settled(first, 30)).status, 200)
  // Once it is settled it is settled.
  assert.equal((await settled(first, 0)).status, 200)
  assert.equal(granted(await reserve('used', 71)), false)
  const second = await reserve('used', 60)
  assert.equal((await settled(second, 70)).status, 200)
  assert.equal(granted(await reserve('used', 1)), false)
})

test('the window slides: refused until the oldest left it, then granted', async () => {
  for (let i = 0; i < 3; i++) assert.equal(granted(await reserve('sliding')), true)
  const refused = await reserve('sliding')
  assert.equal(granted(refused), false)
  const retry = Number(refused.body['retryAfterSeconds'])
  assert.ok(retry >= 60 && retry <= 62, String(retry))
  try {
    skew = 59_000
    assert.equal(granted(await reserve('sliding')), false)
    skew = retry * 1000
    assert.equal(granted(await reserve('sliding')), true)
  } finally {
    skew = 0
  }
})

test('all instances of an agent share its limit', async () => {
  const other = await plane.enrol('agent', 'flagger')
  const answers = await Promise.all(
    [agent, other, agent, other, agent, other].map((peer) =>
      reserve('shared', 0, { instance: peer.spiffeId }),
    ),
  )
  assert.equal(answers.filter(granted).length, 4)
})

test('a request that is repeated counts once; one that is bent is refused', async () => {
  const same = { decisionId: 'dec_same' }
  const [first, again] = [await reserve('sums', 0, same), await reserve('sums', 0, same)]
  assert.equal(again.body['reservationId'], first.body['reservationId'])
  assert.equal(granted(await reserve('sums', 5, same)), false)
  const code = async (amount: unknown, over: object = {}): Promise<unknown> =>
    (await reserve('sums', amount as number, over)).body['code']
  assert.equal(await code(-5), 'SP_LIMIT_REQUEST')
  assert.equal(await code(0.5), 'SP_PLANE_BODY')
  assert.equal(await code('5'), 'SP_PLANE_BODY')
  assert.equal(await code(0, { limitId: 'none' }), 'SP_LIMIT_UNKNOWN')
  assert.equal(await code(0, { agent: 'analyst' }), 'SP_LIMIT_UNKNOWN')
  assert.equal(
    await code(0, { instance: 'spiffe://bank.test/agent/analyst/1' }),
    'SP_LIMIT_REQUEST',
  )
})
