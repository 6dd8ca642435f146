import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { declarationWith } from '../../packages/control/test/support/declaration.ts'
import { Peer, TestPlane } from '../../packages/control/test/support/network.ts'
import type { Answer } from '../../packages/control/test/support/network.ts'
import type { Signer } from '../../packages/control/test/support/signer.ts'

let plane: TestPlane
let gateway: Peer
let agent: Peer
let other: Peer
let alice: Signer
let asked = 0

before(async () => {
  plane = await TestPlane.start(declarationWith())
  alice = await plane.firstOperator('alice')
  gateway = await plane.enrol('gateway', 'gw1')
  agent = await plane.enrol('agent', 'flagger')
  other = await plane.enrol('agent', 'flagger')
})
after(() => plane.close())

/** What a gateway asks when an agent's call needs an approval. */
const ask = (amount: number, { spiffeId } = agent): Promise<Answer> =>
  gateway.call('POST', '/v1/approvals', {
    decisionId: `dec_${++asked}`,
    instance: spiffeId,
    agent: 'flagger',
    system: 'core',
    operation: 'hold',
    input: { account: 'A-1', amount },
    count: 1,
    declarationDigest: plane.control.context.bundles.digest(),
  })

describe('a hijacked agent that wears its approvers out', () => {
  it('has so many questions open at once, and nobody else has fewer for it', async () => {
    let open = 0
    let refused: Answer | undefined
    for (let amount = 1; amount <= 200 && !refused; amount++) {
      const answer = await ask(amount)
      if (answer.status === 200) open++
      else refused = answer
    }
    assert.equal(refused?.status, 429, `${open} open at once`)
    assert.equal(refused.body['code'], 'SP_APPROVAL_FLOOD')
    assert.ok(open >= 20 && open <= 100, `${open}`)
    // What it asked before it may go on asking for, and another instance is not held to account.
    assert.equal((await ask(1)).status, 200)
    assert.equal((await ask(1, other)).status, 200)
    const pending = await plane.control.context.approvals.list({ status: 'pending' })
    assert.equal(pending.length, open + 1)
  })

  it('is answered with the denial it has, not with a new question', async () => {
    const { approvals } = plane.control.context
    const id = String((await ask(901, other)).body['approvalId'])
    const statement = await approvals.statement(id, 'alice', 'deny')
    await approvals.decide({
      id,
      operator: 'alice',
      statement,
      signature: alice.sign(statement),
    })
    const before = (await approvals.list({ status: 'pending' })).length
    assert.equal((await ask(901, other)).body['approvalId'], id)
    assert.equal((await approvals.list({ status: 'pending' })).length, before)
    // Another call is another question.
    assert.notEqual((await ask(902, other)).body['approvalId'], id)
  })
})

describe('a quarantined instance', () => {
  it('does not come back under a token that was made before its quarantine', async () => {
    const { quarantine } = plane.control.context
    const bad = await plane.enrol('agent', 'analyst')
    const bystander = await plane.enrol('agent', 'flagger')
    const kept = await plane.token('agent', 'analyst')
    const others = await plane.token('agent', 'flagger')
    await quarantine.quarantine({ subject: bad.spiffeId, reason: 'hijacked', by: 'alice' })
    const answer = await new Peer(plane).enrol(kept)
    assert.equal(answer.status, 403, JSON.stringify(answer.body))
    assert.equal(answer.body['code'], 'SP_QUARANTINED')
    assert.equal((await bad.renew()).status, 403)
    // Who makes a token now knows of the quarantine; and no other agent is affected.
    assert.equal((await new Peer(plane).enrol(await plane.token('agent', 'analyst'))).status, 200)
    assert.equal((await new Peer(plane).enrol(others)).status, 200)
    assert.equal((await bystander.renew()).status, 200)
  })
})
