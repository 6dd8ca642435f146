import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Declaration } from '@sallyport/network'
import type { ApprovalStatement } from '@sallyport/wire'
import { asSeenBy } from '../src/operator/routes/reads.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Answer, Follower, Peer } from './support/network.ts'
import type { Signer } from './support/signer.ts'

let plane: TestPlane
let gateway: Peer
let agent: Peer
let stream: Follower
let alice: Signer
let bob: Signer
let olga: Signer
let skew = 0
let asked = 0

/** Beside `hold`, the same with an amount in units of the currency. */
function withFee(): Declaration {
  const [core, ...others] = declarationWith().network.systems
  const [hold] = core?.operations ?? []
  assert.ok(core && hold)
  const amount = {
    schema: { type: 'decimal', minimum: 0, maximum: 1e6 },
    required: true,
  } as const
  const input = { ...hold.input, members: { ...hold.input.members, amount } }
  const operations = [...core.operations, { ...hold, name: 'fee', input }]
  return declarationWith({ systems: [{ ...core, operations }, ...others] })
}

before(async () => {
  plane = await TestPlane.start(withFee(), {
    clock: { now: () => Date.now() + skew, monotonic: () => performance.now() },
  })
  alice = await plane.firstOperator('alice')
  bob = await plane.nextOperator('bob', alice)
  olga = await plane.nextOperator('olga', alice)
  gateway = await plane.enrol('gateway', 'gw1')
  agent = await plane.enrol('agent', 'flagger')
  stream = await gateway.follow()
})
after(async () => {
  stream?.close()
  await plane?.close()
})

const request = (over: Record<string, unknown> = {}): Promise<Answer> =>
  gateway.call('POST', '/v1/approvals', {
    decisionId: `dec_${++asked}`,
    instance: agent.spiffeId,
    agent: 'flagger',
    system: 'core',
    operation: 'hold',
    input: { account: 'A-1', amount: asked },
    count: 1,
    declarationDigest: plane.control.context.bundles.digest(),
    ...over,
  })

async function open(over: Record<string, unknown> = {}): Promise<string> {
  const answer = await request(over)
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return String(answer.body['approvalId'])
}

const decide = async (
  id: string,
  signer: Signer,
  over: { decision?: 'approve' | 'deny'; bend?: Partial<ApprovalStatement>; flags?: number } = {},
) => {
  const { approvals } = plane.control.context
  const asked = await approvals.statement(id, signer.operator, over.decision ?? 'approve')
  const statement = { ...asked, ...over.bend }
  const signature = signer.sign(statement, over.flags)
  return approvals.decide({ id, operator: signer.operator, statement, signature })
}

const use = (id: string, decisionId: string): Promise<Answer> =>
  gateway.call('POST', `/v1/approvals/${id}/use`, { decisionId })

test('the same call asked again is the same open approval; any change is another', async () => {
  const call = { input: { account: 'A-9', amount: 9 } }
  const id = await open(call)
  assert.equal(await open(call), id)
  assert.equal(await open({ input: { amount: 9, account: 'A-9' } }), id)
  assert.notEqual(await open({ input: { account: 'A-9', amount: 10 } }), id)
  const racing = { input: { account: 'A-9', amount: 11 } }
  const ids = await Promise.all([1, 2, 3, 4, 5].map(() => open(racing)))
  assert.equal(new Set(ids).size, 1)
})

test('an approved call is used once, whoever asks at the same time', async () => {
  const id = await open()
  assert.equal((await use(id, 'dec_early')).body['code'], 'SP_APPROVAL_CLOSED')
  const approved = await decide(id, alice)
  assert.equal(approved.status, 'approved')
  await stream.until((f) => f.approvals.some((a) => a['id'] === id && a['status'] === 'approved'))
  const read = await gateway.call('GET', `/v1/approvals/${id}`)
  assert.equal(read.body['status'], 'approved')
  assert.equal((read.body['signed'] as unknown[]).length, 1)

  const answers = await Promise.all([1, 2, 3, 4, 5, 6].map((n) => use(id, `dec_race_${n}`)))
  const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b)
  assert.deepEqual(statuses, [200, 409, 409, 409, 409, 409])
  assert.equal((await use(id, 'dec_late')).body['code'], 'SP_APPROVAL_USED')
})

test('an altered statement is refused, whichever member was altered', async () => {
  const id = await open()
  const other = await open()
  const bends: Partial<ApprovalStatement>[] = [
    { input: { account: 'A-2', amount: 1 } },
    { operation: 'release' },
    { instance: `${agent.spiffeId}x` },
    { approvalId: other },
    { nonce: 'non_other' },
    { expiresAt: Date.now() + 1e9 },
    { approver: 'bob' },
    { declarationDigest: 'b'.repeat(64) },
  ]
  for (const bend of bends) {
    await assert.rejects(decide(id, alice, { bend }), { code: 'SP_APPROVAL_STATEMENT' })
  }
  // Nobody was verified by the authenticator.
  await assert.rejects(decide(id, alice, { flags: 0x01 }), { code: 'SP_SIGNATURE_VERIFICATION' })
  // A stranger's key under a known name.
  const { Signer: Fresh } = await import('./support/signer.ts')
  await assert.rejects(decide(id, new Fresh('alice')), { code: 'SP_SIGNATURE_INVALID' })
  assert.equal((await decide(id, alice)).status, 'approved')
})

test('a signature is not replayed for another approval, nor twice for one', async () => {
  const { approvals } = plane.control.context
  const id = await open({ count: 2 })
  const other = await open()
  const statement = await approvals.statement(id, 'alice', 'approve')
  const signature = alice.sign(statement)
  const once = { operator: 'alice', statement, signature }
  await assert.rejects(approvals.decide({ ...once, id: other }), { code: 'SP_APPROVAL_STATEMENT' })
  assert.equal((await approvals.decide({ ...once, id })).status, 'pending')
  await assert.rejects(approvals.decide({ ...once, id }), { code: 'SP_APPROVAL_CLOSED' })
  assert.equal((await decide(id, bob)).status, 'approved')
})

test('nobody approves for an agent that they own or enrolled', async () => {
  const { approvals } = plane.control.context
  const mine = await plane.enrol('agent', 'flagger', 'bob')
  const enrolled = await open({ instance: mine.spiffeId })
  await assert.rejects(approvals.statement(enrolled, 'bob', 'approve'), {
    code: 'SP_APPROVAL_SELF',
  })
  const view = await approvals.get(enrolled)
  assert.ok(view)
  assert.equal((await approvals.canDecide(view, 'bob')).canDecide, false)
  assert.equal((await decide(enrolled, alice)).status, 'approved')

  const analyst = await plane.enrol('agent', 'analyst')
  const owned = await open({ instance: analyst.spiffeId, agent: 'analyst' })
  await assert.rejects(decide(owned, olga), { code: 'SP_APPROVAL_SELF' })
  assert.equal((await decide(owned, bob)).status, 'approved')
})

test('one denial is final', async () => {
  const id = await open({ count: 2 })
  await decide(id, alice)
  assert.equal((await decide(id, bob, { decision: 'deny' })).status, 'denied')
  await assert.rejects(decide(id, olga), { code: 'SP_APPROVAL_CLOSED' })
  assert.equal((await use(id, 'dec_x')).status, 409)
})

test('what has expired is neither decided nor used', async () => {
  const pending = await open()
  const approved = await open()
  await decide(approved, alice)
  skew = 901_000
  try {
    const { approvals } = plane.control.context
    await assert.rejects(approvals.statement(pending, 'alice', 'approve'), {
      code: 'SP_APPROVAL_CLOSED',
    })
    await assert.rejects(approvals.use(approved, 'dec_y'), { code: 'SP_APPROVAL_CLOSED' })
    assert.equal((await approvals.get(approved))?.status, 'expired')
  } finally {
    skew = 0
  }
})

test('requests that make no sense are refused', async () => {
  const code = async (over: Record<string, unknown>): Promise<unknown> =>
    (await request(over)).body['code']
  assert.equal(await code({ declarationDigest: 'c'.repeat(64) }), 'SP_APPROVAL_STALE')
  assert.equal(await code({ agent: 'analyst' }), 'SP_APPROVAL_REQUEST')
  assert.equal(await code({ operation: 'nothing' }), 'SP_APPROVAL_REQUEST')
  assert.equal(await code({ count: 0 }), 'SP_APPROVAL_REQUEST')
  assert.equal(await code({ count: 1.5 }), 'SP_PLANE_BODY')
  assert.equal(await code({}), undefined)
})

test('an approval says which of its arguments are whole numbers: nobody reads five as five hundredths', async () => {
  const { context } = plane.control
  const seen = async (id: string, digest?: string) => {
    const view = await context.approvals.get(id)
    assert.ok(view)
    const shown = digest === undefined ? view : { ...view, declarationDigest: digest }
    return (await asSeenBy(context, shown, { kind: 'local' })).wholeNumbers
  }
  const hold = await open()
  assert.deepEqual(await seen(hold), ['amount'])
  assert.deepEqual(await seen(hold, '0'.repeat(64)), [], 'under another declaration')
  const input = { account: 'A-1', amount: 5 }
  assert.deepEqual(await seen(await open({ operation: 'fee', input })), [])
})
