import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { TestOperator } from './support/passkey.ts'
import { startWorld, until, word } from './support/world.ts'
import type { Json, Reply, TestAgent, World } from './support/world.ts'

describe('approvals', () => {
  let world: World
  let teller: TestAgent
  before(async () => {
    world = await startWorld()
    teller = world.agent('teller')
  })
  after(() => world.close())

  const move = (amount: number, approval?: string, agent = teller, account = 'A'): Promise<Reply> =>
    agent.ask({
      path: `/bank/v1/accounts/${account}/transfers`,
      body: { to: 'bob', amount },
      ...(approval === undefined ? {} : { headers: { 'Sallyport-Approval': approval } }),
    })
  const needed = async (amount: number): Promise<string> => {
    const { body } = await move(amount)
    assert.equal(body['code'], 'SP_NEEDS_APPROVAL')
    return word((body['needs'] as Json[])[0]?.['approval'])
  }

  it('lets the approved call through, once', async () => {
    const id = await needed(5000)
    assert.equal(await needed(5000), id)
    assert.equal((await move(5000, id)).body['code'], 'SP_NEEDS_APPROVAL')
    world.plane.approve(id)
    assert.equal((await move(5000, id)).status, 200)
    assert.equal((await move(5000, id)).body['code'], 'SP_APPROVAL_USED')
    await until(() => world.plane.records().some((r) => r.kind === 'approval-used'))
    const used = world.plane.records().find((r) => r.kind === 'approval-used')
    assert.ok(used?.kind === 'approval-used')
    assert.deepEqual(used.approvers, ['olga'])
  })

  it('covers exactly what was signed', async () => {
    const from = world.bank.seen.length
    const id = await needed(6000)
    world.plane.approve(id)
    for (const reply of [
      await move(6001, id),
      await move(6000, id, teller, 'B'),
      await move(6000, id, world.agent('teller', 'i2')),
    ]) {
      assert.equal(reply.body['code'], 'SP_NEEDS_APPROVAL', JSON.stringify(reply.body))
    }
    assert.equal(world.bank.seen.length, from)
    assert.equal((await move(6000, id)).status, 200)
  })

  const forgeries: Readonly<Record<string, (id: string) => void>> = {
    'one that only the control plane calls approved': (id) => {
      const approval = world.plane.approvals.get(id)
      if (approval) approval.status = 'approved'
    },
    'a statement of another amount': (id) =>
      world.plane.approve(id, { input: { accountId: 'A', amount: 1, to: 'bob' } }),
    'a statement for another instance': (id) =>
      world.plane.approve(id, { instance: 'spiffe://test.example/agent/teller/other' }),
    'an expired statement': (id) => world.plane.approve(id, { expiresAt: Date.now() - 1 }),
    'a statement under another declaration': (id) =>
      world.plane.approve(id, { declarationDigest: 'f'.repeat(64) }),
    'a stranger’s signature': (id) => world.plane.approve(id, {}, new TestOperator('mallory')),
    'a stranger’s key under an operator’s name': (id) =>
      world.plane.approve(id, {}, new TestOperator('olga')),
    'a statement altered after it was signed': (id) => {
      world.plane.approve(id, { expiresAt: 1 })
      const [signed] = world.plane.approvals.get(id)?.signed ?? []
      if (signed) Object.assign(signed.statement, { expiresAt: Date.now() + 60_000 })
    },
  }
  let amount = 10_000
  for (const [what, forge] of Object.entries(forgeries)) {
    it(`refuses ${what}`, async () => {
      const from = world.bank.seen.length
      const id = await needed(++amount)
      forge(id)
      assert.equal((await move(amount, id)).body['code'], 'SP_NEEDS_APPROVAL')
      assert.equal(world.bank.seen.length, from)
      assert.notEqual(world.plane.approvals.get(id)?.status, 'used')
    })
  }

  it('takes a signed denial for good, and an unknown id for nothing', async () => {
    const id = await needed(++amount)
    world.plane.approve(id, { decision: 'deny' })
    assert.equal((await move(amount, id)).body['code'], 'SP_APPROVAL_DENIED')
    assert.equal((await move(amount, 'apr_none')).body['code'], 'SP_APPROVAL_UNKNOWN')
    assert.equal((await move(amount, 'A-B')).body['code'], 'SP_APPROVAL_UNKNOWN')
  })

  it('does not count the owner of the agent, whatever the control plane let them sign', async () => {
    for (const owner of ['olga', 'tests']) {
      const own = await startWorld({}, undefined, ({ network, policies }) => ({
        network: { ...network, agents: network.agents.map((one) => ({ ...one, owner })) },
        policies,
      }))
      try {
        const agent = own.agent('teller')
        const ask = await move(5000, undefined, agent)
        const id = word((ask.body['needs'] as Json[])[0]?.['approval'])
        own.plane.approve(id)
        const { status, body } = await move(5000, id, agent)
        const refused = [403, 'SP_NEEDS_APPROVAL']
        assert.deepEqual([status, body['code']], owner === 'olga' ? refused : [200, undefined])
      } finally {
        await own.close()
      }
    }
  })

  it('approves nothing that is forbidden anyway', async () => {
    const reply = await teller.ask({
      path: '/bank/v1/accounts/A/transfers',
      body: { to: 'mallory', amount: 5000 },
      headers: { 'Sallyport-Approval': 'apr_x' },
    })
    assert.equal(reply.body['code'], 'SP_DENIED_FORBIDDEN')
  })

  it('does not spend an approval on a call over its limit', async () => {
    const id = await needed(++amount)
    world.plane.approve(id)
    world.plane.limit = 'refuse'
    assert.equal((await move(amount, id)).status, 429)
    world.plane.limit = 'grant'
    assert.equal((await move(amount, id)).status, 200)
  })
})
