import assert from 'node:assert/strict'
import { createPrivateKey, randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { certificatesFromPem } from '@sallyport/spiffe'
import { mandateId, signAgentMandate, verifyMandate } from '@sallyport/wire'
import type { MandateStatement, SignedMandate } from '@sallyport/wire'
import type { MandateDraft, MandateHop, Mandates } from '../src/domain/mandates.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Peer } from './support/network.ts'
import type { Signer } from './support/signer.ts'

let plane: TestPlane
let gateway: Peer
let flagger: Peer
let analyst: Peer
let alice: Signer
let skew = 0

before(async () => {
  const { settings } = declarationWith().network
  plane = await TestPlane.start(
    declarationWith({ settings: { ...settings, svidTtlSeconds: 3600 } }),
    {
      clock: { now: () => Date.now() + skew, monotonic: () => performance.now() },
    },
  )
  gateway = await plane.enrol('gateway', 'gw1')
  flagger = await plane.enrol('agent', 'flagger')
  analyst = await plane.enrol('agent', 'analyst')
  alice = await plane.firstOperator('alice')
})
after(() => plane?.close())

const mandates = (): Mandates => plane.control.context.mandates
const code = (code: string): { code: string } => ({ code })
const draft = (over: Partial<MandateDraft> = {}): MandateDraft => ({
  delegate: 'flagger',
  task: 'close case 7',
  grants: [
    {
      system: 'core',
      operations: ['hold'],
      amount: { input: 'amount', currency: 'EUR', perUse: 100, total: 300 },
    },
  ],
  uses: 5,
  lifetimeSeconds: 600,
  ...over,
})
async function give(over: Partial<MandateDraft> = {}, by = alice): Promise<SignedMandate> {
  const statement = mandates().draw(by.operator, draft(over))
  const passkey = by.sign(statement)
  await mandates().give({ operator: by.operator, statement, signature: passkey })
  return { statement, passkey }
}
function passOn(
  by: Peer,
  parent: SignedMandate,
  over: Partial<MandateStatement> = {},
): SignedMandate {
  const identity = by.holder?.current()
  assert.ok(identity)
  const statement = {
    ...parent.statement,
    parent: mandateId(parent.statement),
    delegator: by.spiffeId,
    delegate: 'spiffe://bank.test/agent/analyst',
    ...over,
  }
  return signAgentMandate(
    statement,
    createPrivateKey(identity.keyPem),
    certificatesFromPem(identity.chainPem),
  )
}

test('an operator gives a mandate with a passkey, and a gateway gets the chain to verify itself', async () => {
  const given = await give()
  const id = mandateId(given.statement)
  const view = await mandates().get(id)
  assert.deepEqual(
    [view?.status, view?.used, view?.chain, view?.statement],
    ['active', 0, [id], given.statement],
  )
  assert.ok((await mandates().list()).some((one) => one.id === id))
  const { status, body } = await gateway.call('GET', `/v1/mandates/${id}`)
  assert.equal(status, 200)
  const verified = verifyMandate(body['chain'], {
    trustDomain: 'bank.test',
    now: Date.now(),
    operators: plane.control.context.operators.set(),
    verifySvid: () => assert.fail('no agent signed'),
    isRevoked: () => false,
    isSerialRevoked: () => false,
    isCut: () => false,
  })
  assert.equal(verified.id, id)
  assert.equal((await gateway.call('GET', `/v1/mandates/mdt_${'A'.repeat(43)}`)).status, 404)
  // Whose mandates there are is nobody else's business.
  assert.equal((await flagger.call('GET', `/v1/mandates/${id}`)).status, 200)
  const other = await analyst.call('GET', `/v1/mandates/${id}`)
  assert.deepEqual([other.status, other.body['code']], [404, 'SP_MANDATE_UNKNOWN'])
})

test('what names nothing declared, is signed by another or is not what was drawn up is refused', async () => {
  const [grant] = draft().grants
  assert.ok(grant)
  for (const over of [
    { delegate: 'nobody' },
    { delegate: 'spiffe://other.test/agent/flagger' },
    { grants: [{ ...grant, system: 'vault' }] },
    { grants: [{ ...grant, operations: ['hold', 'pay'] }] },
    { grants: [{ ...grant, arguments: { acount: { equals: 'a' } } }] },
    { grants: [{ ...grant, counterparties: { input: 'amount.x', values: ['a'] } }] },
  ]) {
    assert.throws(() => mandates().draw('alice', draft(over)), code('SP_MANDATE_REQUEST'))
  }
  for (const over of [
    { uses: 0 },
    { grants: [] },
    { task: '' },
    { lifetimeSeconds: 91 * 86_400 },
  ]) {
    assert.throws(() => mandates().draw('alice', draft(over)), code('SP_MANDATE_FORMAT'))
  }
  const statement = mandates().draw('alice', draft())
  const signature = alice.sign(statement)
  const refused = (input: object, why: string): Promise<void> =>
    assert.rejects(
      mandates().give({ operator: 'alice', statement, signature, ...input }),
      code(why),
    )
  await refused({ operator: 'bob' }, 'SP_MANDATE_STATEMENT')
  await refused({ statement: { ...statement, uses: 6 } }, 'SP_MANDATE_SIGNATURE')
  await refused({ signature: alice.sign(statement, 0x01) }, 'SP_MANDATE_SIGNATURE')
  const old = { ...statement, issuedAt: statement.issuedAt - 700_000 }
  await refused({ statement: old, signature: alice.sign(old) }, 'SP_MANDATE_STATEMENT')
  await mandates().give({ operator: 'alice', statement, signature })
})

test('an agent registers what it passes on, narrower and its own, and nothing else', async () => {
  const root = await give()
  const chain = [root, passOn(flagger, root, { uses: 2 })]
  const register = (by: Peer, given: unknown) => by.call('POST', '/v1/mandates', { chain: given })
  const done = await register(flagger, chain)
  assert.equal(done.status, 200, JSON.stringify(done.body))
  const id = String(done.body['id'])
  assert.deepEqual((await gateway.call('GET', `/v1/mandates/${id}`)).body['chain'], chain)
  // The same said again, signed anew: who asks now gets what holds for longer.
  const anew = [root, passOn(flagger, root, { uses: 2 })]
  assert.notDeepEqual(anew, chain)
  assert.equal((await register(flagger, anew)).body['id'], id)
  assert.deepEqual((await gateway.call('GET', `/v1/mandates/${id}`)).body['chain'], anew)
  const wider = [root, passOn(flagger, root, { uses: 6 })]
  assert.equal((await register(flagger, wider)).body['code'], 'SP_MANDATE_WIDENS')
  assert.equal((await register(analyst, chain)).body['code'], 'SP_MANDATE_REQUEST')
  assert.equal((await register(flagger, [root])).body['code'], 'SP_MANDATE_REQUEST')
  assert.equal((await register(gateway, chain)).body['code'], 'SP_PLANE_KIND')
  assert.equal((await register(flagger, 'x')).body['code'], 'SP_MANDATE_FORMAT')
})

test('a revocation travels in the bundle, takes what is below with it, and is never forgotten', async () => {
  const follower = await gateway.follow()
  try {
    const root = await give()
    const id = mandateId(root.statement)
    const below = [root, passOn(flagger, root)]
    const { body } = await flagger.call('POST', '/v1/mandates', { chain: below })
    const child = String(body['id'])
    assert.equal((await mandates().get(child))?.status, 'active')
    await mandates().revoke({ id, reason: 'no longer wanted', by: 'alice' })
    await follower.until(
      ({ state }) => state.revokedMandates?.some((one) => one.id === id) === true,
    )
    for (const one of [id, child]) {
      const view = await mandates().get(one)
      assert.deepEqual(
        [view?.status, view?.revoked?.id, view?.revoked?.by],
        ['revoked', id, 'alice'],
      )
    }
    const hop = {
      id,
      uses: 5,
      issuedAt: root.statement.issuedAt,
      expiresAt: root.statement.expiresAt,
      grant: 0,
      amount: 1,
      total: 300,
    }
    assert.deepEqual(await mandates().reserve('dec_revoked', [hop]), {
      granted: false,
      revoked: true,
    })
    const again = await flagger.call('POST', '/v1/mandates', {
      chain: [root, passOn(flagger, root, { uses: 1 })],
    })
    assert.equal(again.body['code'], 'SP_MANDATE_REVOKED')
    // One that nobody registered can be revoked as well.
    const carried = `mdt_${'B'.repeat(43)}`
    await mandates().revoke({ id: carried, reason: 'seen in a log', by: 'local-admin' })
    await follower.until(
      ({ state }) => state.revokedMandates?.some((one) => one.id === carried) === true,
    )
    await plane.restart()
    const { revokedMandates = [] } = plane.control.context.bundles.current().bundle
    assert.deepEqual(new Set(revokedMandates.map((one) => one.id)), new Set([id, carried]))
  } finally {
    follower.close()
  }
})

test('an instance ends what it gave or holds, and no other', async () => {
  const root = await give()
  const { body } = await flagger.call('POST', '/v1/mandates', {
    chain: [root, passOn(flagger, root)],
  })
  const end = (by: Peer, id: string) =>
    by.call('POST', `/v1/mandates/${id}/revoke`, { reason: 'done' })
  const rootId = mandateId(root.statement)
  assert.equal((await end(analyst, rootId)).body['code'], 'SP_MANDATE_UNKNOWN')
  assert.equal((await end(flagger, `mdt_${'C'.repeat(43)}`)).body['code'], 'SP_MANDATE_UNKNOWN')
  assert.equal((await end(gateway, rootId)).body['code'], 'SP_PLANE_KIND')
  assert.equal((await end(analyst, String(body['id']))).status, 200)
  assert.equal((await mandates().get(String(body['id'])))?.status, 'revoked')
  assert.equal((await mandates().get(rootId))?.status, 'active')
})

test('an agent ends no more mandates than fit into a bundle beside everybody else’s; a person ends any', async () => {
  const greedy = await plane.enrol('agent', 'flagger')
  const root = await give({ uses: 1000 })
  const end = async (): Promise<{ id: string; code: unknown }> => {
    const chain = [
      root,
      passOn(greedy, root, { uses: 1, nonce: randomBytes(18).toString('base64url') }),
    ]
    const id = String((await greedy.call('POST', '/v1/mandates', { chain })).body['id'])
    const { body } = await greedy.call('POST', `/v1/mandates/${id}/revoke`, { reason: 'over' })
    return { id, code: body['code'] }
  }
  let last = await end()
  for (let ended = 1; last.code === undefined && ended < 80; ended++) last = await end()
  assert.equal(last.code, 'SP_MANDATE_REQUEST')
  await mandates().revoke({ id: last.id, reason: 'over', by: 'alice' })
  assert.equal((await mandates().get(last.id))?.status, 'revoked')
})

test('a delegator that is cut off passes nothing on', async () => {
  const root = await give()
  const chain = [root, passOn(flagger, root)]
  const other = await plane.enrol('agent', 'flagger')
  await plane.control.context.quarantine.quarantine({
    subject: other.spiffeId,
    reason: 'test',
    by: 'alice',
  })
  const cut = await other.call('POST', '/v1/mandates', { chain: [root, passOn(other, root)] })
  assert.equal(cut.body['code'], 'SP_QUARANTINED')
  assert.equal((await flagger.call('POST', '/v1/mandates', { chain })).status, 200)
})

let n = 0
const freshId = (): string => `mdt_${String(++n).padStart(43, '0')}`
const hop = (id: string, over: Partial<MandateHop> = {}): MandateHop => ({
  id,
  uses: 5,
  issuedAt: Date.now(),
  expiresAt: Date.now() + 600_000,
  grant: 0,
  amount: 0,
  ...over,
})

test('forty at once: exactly the uses there are, in flight included, and a lost answer counts once', async () => {
  const one = hop(freshId())
  const ask = (decisionId: string) =>
    gateway.call('POST', '/v1/mandates/reserve', { decisionId, hops: [one] })
  const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => ask(`dec_forty_${i}`)))
  const granted = answers.flatMap(({ body }, i) =>
    body['granted'] === true ? [`dec_forty_${i}`] : [],
  )
  assert.equal(granted.length, 5)
  const [first = ''] = granted
  assert.equal((await ask(first)).body['granted'], true, 'asked again')
  const settle = (decisionId: string, commit: boolean) =>
    gateway.call('POST', '/v1/mandates/settle', { decisionId, commit })
  assert.equal((await settle(first, false)).status, 200)
  assert.equal((await settle(first, true)).body['code'], 'SP_MANDATE_UNKNOWN')
  assert.equal((await ask(first)).body['granted'], false, 'settled is settled')
  assert.equal((await ask('dec_forty_next')).body['granted'], true, 'what was given back is there')
  assert.equal((await ask('dec_forty_last')).body['granted'], false)
  assert.equal(
    (await flagger.call('POST', '/v1/mandates/reserve', { decisionId: 'x', hops: [one] })).body[
      'code'
    ],
    'SP_PLANE_KIND',
  )
  for (const hops of [
    [],
    'x',
    [{ ...one, uses: -1 }],
    [{ ...one, id: 'x' }],
    [{ ...one, odd: 1 }],
    Array.from({ length: 6 }, () => one),
  ]) {
    assert.equal(
      (await gateway.call('POST', '/v1/mandates/reserve', { decisionId: 'y', hops })).body['code'],
      'SP_PLANE_BODY',
    )
  }
})

test('no mandate in any chain is ever over-used, whatever comes at once and whatever is given back', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 0, max: 60 }),
      fc.array(fc.record({ child: fc.nat(2), amount: fc.nat(20), commit: fc.boolean() }), {
        minLength: 10,
        maxLength: 30,
      }),
      async (uses, total, calls) => {
        // Three children of one parent: each could use up all of it alone.
        const parent = hop(freshId(), { uses, total })
        const children = [1, 2, 3].map(() => hop(freshId(), { uses, total }))
        const out = new Map<string, { uses: number; total: number; ever: number }>()
        const take = (id: string, by: number, amount: number): void => {
          const had = out.get(id) ?? { uses: 0, total: 0, ever: 0 }
          out.set(id, { uses: had.uses + by, total: had.total + by * amount, ever: had.ever + 1 })
          const now = out.get(id)
          assert.ok(now && now.uses <= uses && now.total <= total, JSON.stringify(now))
        }
        await Promise.all(
          calls.map(async ({ child, amount, commit }) => {
            const own = children[child]
            assert.ok(own)
            const hops = [parent, own].map((one) => ({ ...one, amount }))
            const decision = `dec_${freshId()}`
            const { granted } = await mandates().reserve(decision, hops)
            if (!granted) return
            for (const { id } of hops) take(id, 1, amount)
            // Counted as gone before it is: what is given back may be taken by another in this very moment.
            if (!commit) for (const { id } of hops) take(id, -1, amount)
            await mandates().settle(decision, commit)
          }),
        )
      },
    ),
    { numRuns: 15 },
  )
})

test('what is over is not counted, and is swept a day later', async () => {
  const given = await give({ lifetimeSeconds: 1 })
  const id = mandateId(given.statement)
  const late = hop(id, { expiresAt: Date.now() - 1 })
  assert.deepEqual(await mandates().reserve('dec_late', [late]), { granted: false })
  skew = 2000
  assert.equal((await mandates().get(id))?.status, 'expired')
  skew = 2 * 86_400_000
  await mandates().sweep()
  assert.equal(await mandates().get(id), undefined)
  skew = 0
})
