import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { declarationWith } from './support/declaration.ts'
import { Peer, TestPlane } from './support/network.ts'
import type { Answer } from './support/network.ts'

let plane: TestPlane
let skew = 0
let ci: Peer

before(async () => {
  const { services } = declarationWith().network
  const declaration = declarationWith({
    services: [
      ...services,
      { name: 'ci', description: 'ci', owner: 'core', segment: 'aml', responder: true },
    ],
  })
  plane = await TestPlane.start(declaration, {
    clock: { now: () => Date.now(), monotonic: () => performance.now() + skew },
  })
  ci = await plane.enrol('service', 'ci')
})
after(() => plane?.close())

const cut = (by: Peer, subject: string, reason = 'a failing test in CI'): Promise<Answer> =>
  by.call('POST', '/v1/quarantine', { subject, reason })

test('a declared service cuts an instance off, at every layer, in its own name', async () => {
  const agent = await plane.enrol('agent', 'flagger')
  assert.equal((await agent.call('GET', '/v1/status')).body['quarantined'], false)
  const done = await cut(ci, agent.spiffeId)
  assert.equal(done.status, 200, JSON.stringify(done.body))
  const { by, subject } = done.body['quarantine'] as { by: string; subject: string }
  assert.deepEqual([by, subject], [ci.spiffeId, agent.spiffeId])
  assert.equal((await agent.call('GET', '/v1/status')).body['quarantined'], true)
  assert.equal((await agent.renew()).body['code'], 'SP_QUARANTINED')
  // Asked again it is the same one.
  const again = await cut(ci, agent.spiffeId)
  assert.deepEqual(again.body['quarantine'], done.body['quarantine'])
  const shards = await plane.control.context.decisions.shards()
  const own = shards.find(({ shard }) => shard.includes('/control/'))
  assert.ok(own && own.size >= 1, 'it stands in the log of the control plane')
})

test('nobody else may: an undeclared service, an agent, a gateway, a stranger, one that is cut off', async () => {
  const target = await plane.enrol('agent', 'analyst')
  for (const peer of [
    await plane.enrol('service', 'ledger'),
    await plane.enrol('agent', 'flagger'),
    await plane.enrol('gateway', 'gw1'),
  ]) {
    const answer = await cut(peer, target.spiffeId)
    assert.deepEqual([answer.status, answer.body['code']], [403, 'SP_RESPONDER_UNDECLARED'])
  }
  const stranger = await cut(new Peer(plane), target.spiffeId)
  assert.equal(stranger.body['code'], 'SP_PLANE_IDENTITY')
  const other = await plane.enrol('service', 'ci')
  const { quarantine } = plane.control.context
  await quarantine.quarantine({ subject: other.spiffeId, reason: 'r', by: 'test' })
  assert.equal((await cut(other, target.spiffeId)).body['code'], 'SP_QUARANTINED')
  assert.equal(quarantine.isQuarantined(target.spiffeId), false)
  assert.equal((await cut(ci, target.spiffeId)).status, 200)
})

test('it takes away agents and services, no gateway, nothing undeclared, and gives nothing back', async () => {
  for (const [subject, code] of [
    ['spiffe://bank.test/gateway/gw1', 'SP_QUARANTINE_SUBJECT'],
    ['spiffe://bank.test/control/c1', 'SP_QUARANTINE_SUBJECT'],
    ['spiffe://bank.test/agent/nobody', 'SP_QUARANTINE_SUBJECT'],
    ['spiffe://other.test/agent/flagger', 'SP_QUARANTINE_SUBJECT'],
    ['spiffe://bank.test/agent/../gateway/gw1', 'SP_SPIFFE_ID'],
    ["spiffe://bank.test/agent/x'; DROP TABLE quarantines; --", 'SP_SPIFFE_ID'],
  ] as const) {
    assert.equal((await cut(ci, subject)).body['code'], code, subject)
  }
  const agent = 'spiffe://bank.test/agent/flagger'
  assert.equal((await cut(ci, agent, 'a\nb')).body['code'], 'SP_QUARANTINE_REASON')
  for (const path of ['/v1/release', '/v1/quarantine/qua_1/release']) {
    assert.equal((await ci.call('POST', path, {})).body['code'], 'SP_PLANE_ROUTE')
  }
})

test('all its instances together cut off twenty at once, then one every ten seconds', async () => {
  skew += 3_600_000
  const second = await plane.enrol('service', 'ci')
  const codes: unknown[] = []
  for (let i = 0; i < 30; i++) {
    const answer = await cut(i % 2 === 0 ? ci : second, 'spiffe://bank.test/agent/analyst')
    codes.push(answer.body['code'] ?? 'done')
  }
  assert.ok(codes.slice(0, 20).every((code) => code === 'done'))
  assert.ok(codes.includes('SP_RESPONDER_FLOOD'))
  skew += 10_000
  assert.equal((await cut(ci, 'spiffe://bank.test/agent/analyst')).status, 200)
})
