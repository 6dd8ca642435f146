import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { after, before, test } from 'node:test'
import { systemClock } from '@sallyport/base'
import pg from 'pg'
import { TestBank } from './support/bank.ts'
import type { Answer, Peer, TestPlane } from './support/network.ts'

let bank: TestBank
let plane: TestPlane
let flagger: Peer
let analyst: Peer
/** What is added to the monotonic clock of the control plane. */
let ahead = 0

before(async () => {
  bank = await TestBank.start()
  plane = await bank.plane()
  const clock = { now: () => systemClock.now(), monotonic: () => systemClock.monotonic() + ahead }
  await plane.restart({ clock })
  flagger = await plane.enrol('agent', 'flagger')
  analyst = await plane.enrol('agent', 'analyst')
})
after(async () => {
  await plane?.close()
  await bank?.close()
})

interface Opened {
  readonly lease: string
  readonly user: string
  readonly password: string
  readonly expiresAt: number
  readonly maxExpiresAt: number
}

async function opened(peer: Peer, body: unknown = {}): Promise<Opened> {
  const answer = await peer.call('POST', '/v1/databases/ledger/account', body)
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  // The shape is what the test asserts by using it.
  return answer.body as unknown as Opened
}

const refusedWith = (answer: Answer, status: number, code: string): void =>
  assert.deepEqual([answer.status, answer.body['code']], [status, code])

async function until(met: () => Promise<boolean> | boolean): Promise<void> {
  for (let i = 0; i < 600; i++) {
    if (await met()) return
    await delay(50)
  }
  assert.fail('it did not happen')
}

const ended = (client: pg.Client): Promise<unknown> =>
  new Promise((resolve) => client.once('end', resolve))

async function states(): Promise<Record<string, string>> {
  const all = await plane.control.context.custody.leases.list({ ended: true })
  return Object.fromEntries(all.map(({ id, state, endReason }) => [id, endReason ?? state]))
}

test('an instance gets an account of its own, sees what is declared, and gives it back', async () => {
  const one = await opened(flagger)
  const two = await opened(flagger)
  assert.notEqual(one.user, two.user)
  const client = await bank.signIn(one.user, one.password)
  assert.deepEqual((await client.query('SELECT id, balance FROM accounts')).rows, [
    { id: 1, balance: '100' },
  ])
  await assert.rejects(client.query('SELECT iban FROM accounts'), { code: '42501' })
  const gone = ended(client)
  assert.equal((await flagger.call('POST', `/v1/leases/${one.lease}/end`, {})).status, 200)
  await gone
  await assert.rejects(bank.signIn(one.user, one.password), { code: '28P01' })
  assert.deepEqual(await bank.roles(), [two.user])
  assert.equal((await flagger.call('POST', `/v1/leases/${two.lease}/end`, {})).status, 200)
  assert.deepEqual(await bank.roles(), [])
})

test('MUST-reject 12: a lease of another instance is none; of the same instance it is, with any certificate', async () => {
  const one = await opened(flagger)
  const sibling = await plane.enrol('agent', 'flagger')
  const acts = ['renew', 'sign-in', 'end']
  for (const other of [analyst, sibling]) {
    for (const act of acts) {
      const answer = await other.call('POST', `/v1/leases/${one.lease}/${act}`, {})
      refusedWith(answer, 404, 'SP_LEASE_UNKNOWN')
      // The very answer for what does not exist: nobody learns which leases there are.
      const none = await other.call('POST', `/v1/leases/lea_0/${act}`, {})
      assert.deepEqual(none.body, answer.body)
    }
    const child = await other.call('POST', '/v1/databases/ledger/account', { parent: one.lease })
    refusedWith(child, 404, 'SP_LEASE_UNKNOWN')
    assert.deepEqual((await other.call('GET', '/v1/leases')).body['leases'], [])
  }
  assert.equal((await flagger.renew()).status, 200)
  const renewed = await flagger.call('POST', `/v1/leases/${one.lease}/renew`, {})
  assert.equal(renewed.status, 200)
  assert.ok(Number(renewed.body['expiresAt']) >= one.expiresAt)
  assert.ok(Number(renewed.body['expiresAt']) <= one.maxExpiresAt)
  const anew = await flagger.call('POST', `/v1/leases/${one.lease}/sign-in`, {})
  const client = await bank.signIn(one.user, String(anew.body['password']))
  await client.end()
  // The password before it is none any more.
  await assert.rejects(bank.signIn(one.user, one.password), { code: '28P01' })
  await flagger.call('POST', `/v1/leases/${one.lease}/end`, {})
})

test('what is not declared is not opened, and services have none', async () => {
  refusedWith(
    await flagger.call('POST', '/v1/databases/other/account', {}),
    403,
    'SP_DATABASE_UNDECLARED',
  )
  const service = await plane.enrol('service', 'ledger')
  refusedWith(
    await service.call('POST', '/v1/databases/ledger/account', {}),
    403,
    'SP_DATABASE_UNDECLARED',
  )
  assert.deepEqual(await bank.roles(), [])
})

test('the end of a lease ends all below it', async () => {
  const scope = String(
    (await flagger.call('POST', '/v1/leases', { ttlSeconds: 600 })).body['lease'],
  )
  const below = await opened(flagger, { parent: scope })
  const beside = await opened(flagger)
  assert.equal((await flagger.call('POST', `/v1/leases/${scope}/end`, {})).status, 200)
  assert.deepEqual(await bank.roles(), [beside.user])
  assert.equal((await states())[below.lease], 'given back')
  await flagger.call('POST', `/v1/leases/${beside.lease}/end`, {})
})

test('a lease runs out by the monotonic clock, and by the database’s, whichever is first', async () => {
  const one = await opened(flagger)
  const client = await bank.signIn(one.user, one.password)
  const gone = ended(client)
  ahead += 61_000
  await gone
  await until(async () => (await states())[one.lease] === 'expired')
  const two = await opened(flagger)
  const state = new pg.Client({ connectionString: bank.server.url })
  await state.connect()
  // As a clock that jumped an hour ahead.
  await state.query('UPDATE lease_clock SET high = high + 3600000')
  await until(async () => (await states())[two.lease] === 'expired')
  // The clock does not go back with it: what is made now is judged by the time told before.
  const three = await opened(flagger)
  assert.ok(three.expiresAt > two.expiresAt + 3_500_000)
  assert.deepEqual(await bank.roles(), [three.user])
  await flagger.call('POST', `/v1/leases/${three.lease}/end`, {})
  await state.end()
})

test('leases survive a restart, and what ran out meanwhile ends then; roles that nobody speaks of end too', async () => {
  const kept = await opened(flagger)
  const late = await opened(flagger)
  const state = new pg.Client({ connectionString: bank.server.url })
  await state.connect()
  const orphan = `${kept.user.slice(0, 12)}00000000000000000000`
  const foreign = 'sp_00000000_of_another_network'
  for (const role of [orphan, foreign]) await bank.admin.query(`CREATE ROLE ${role} LOGIN`)
  // A crash between the creation and its confirmation.
  const crashed = await opened(flagger)
  await state.query(
    `UPDATE leases SET state = 'creating', issued_at = issued_at - 61000 WHERE id = $1`,
    [crashed.lease],
  )
  await state.query('UPDATE leases SET expires_at = issued_at WHERE id = $1', [late.lease])
  await plane.restart()
  await until(async () => (await bank.roles()).length === 2)
  assert.deepEqual(await bank.roles(), [kept.user, foreign].toSorted())
  await until(async () => (await states())[crashed.lease] !== 'creating')
  assert.deepEqual(
    [(await states())[late.lease], (await states())[crashed.lease]],
    ['expired', 'never finished'],
  )
  assert.equal((await flagger.call('POST', `/v1/leases/${kept.lease}/renew`, {})).status, 200)
  await bank.admin.query(`DROP ROLE ${foreign}`)
  await flagger.call('POST', `/v1/leases/${kept.lease}/end`, {})
  await state.end()
})

test('a quarantine ends accounts and their open sessions', async () => {
  const one = await opened(flagger)
  const other = await opened(analyst)
  const client = await bank.signIn(one.user, one.password)
  const gone = ended(client)
  await plane.control.context.quarantine.quarantine({
    subject: flagger.spiffeId,
    reason: 'a test',
    by: 'alice',
  })
  await gone
  await until(async () => (await bank.roles()).length === 1)
  assert.deepEqual(await bank.roles(), [other.user])
  refusedWith(await flagger.call('POST', '/v1/databases/ledger/account', {}), 403, 'SP_QUARANTINED')
  await until(async () => (await states())[one.lease] === 'quarantined')
})

test('every account is in the audit log before it is used, and no password is', async () => {
  const { rows } = await (async () => {
    const state = new pg.Client({ connectionString: bank.server.url })
    await state.connect()
    try {
      return await state.query<{ record: string }>('SELECT record FROM feed')
    } finally {
      await state.end()
    }
  })()
  const text = rows.map(({ record }) => record).join('\n')
  for (const event of ['account-opened', 'lease-renewed', 'lease-ended', 'account-orphaned']) {
    assert.ok(text.includes(`"${event}"`), event)
  }
  assert.ok(!text.includes('canary'))
})

test('what an account can really do is compared with the declaration, table by table', async () => {
  const compare = () => plane.control.context.custody.databases.compare()
  const { user } = await opened(analyst)
  const of = async (role: string) => (await compare()).find((row) => row.role === role)
  const { beyond, missing, unfiltered, failed } = (await of(user)) ?? {}
  assert.deepEqual(
    { beyond, missing, unfiltered, failed },
    {
      ...{ beyond: [], missing: [], unfiltered: [], failed: undefined },
    },
  )

  // Somebody helps themselves, another takes away, and a third drops what filters rows.
  await bank.admin.query(`GRANT SELECT (iban), DELETE ON accounts TO ${user}`)
  await bank.admin.query(`REVOKE SELECT (balance) ON accounts FROM ${user}`)
  await bank.admin.query(`DROP POLICY ${user}_0r ON accounts`)
  const planted = await of(user)
  const at = { schema: 'public', table: 'accounts' }
  assert.deepEqual(planted?.beyond, [
    { ...at, column: 'iban', action: 'select' },
    { ...at, column: null, action: 'delete' },
  ])
  assert.deepEqual(planted.missing, [{ ...at, column: 'balance', action: 'select' }])
  assert.deepEqual(planted.unfiltered, ['public.accounts'])
})
