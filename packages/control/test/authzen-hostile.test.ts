/** What an enforcement point, or whoever sits in one, could try against the decision point. */
import assert from 'node:assert/strict'
import { request } from 'node:http'
import { after, before, test } from 'node:test'
import { ask, bank, send } from './support/authzen.ts'
import { TestPlane } from './support/network.ts'
import type { Peer } from './support/network.ts'

const EVALUATION = '/access/v1/evaluation'
const SUBJECTS = '/access/v1/search/subject'
/** An explanation quotes each of these: together more letters than one may have. */
const VAST = Array.from({ length: 60 }, (_, i) => ({
  id: `vast-${i}`,
  file: 'p.cedar',
  line: 1,
  source: `forbid (principal, action == Action::"core.move", resource) when { context.input.amount == 7 && context.input.account != "${'x'.repeat(6000)}" };`,
}))

let plane: TestPlane
let front: Peer
let flagger: Peer

before(async () => {
  const base = bank()
  plane = await TestPlane.start({ ...base, policies: [...base.policies, ...VAST] })
  front = await plane.enrol('service', 'front')
  flagger = await plane.enrol('agent', 'flagger')
})
after(() => plane.close())

const of = (peer: Peer) => ({ type: 'instance', id: peer.spiffeId })
const codeOf = ({ body }: { body: Record<string, unknown> }): unknown =>
  (body['context'] as Record<string, unknown> | undefined)?.['code'] ?? body['code']

test('a denial whose why is too long to travel holds up nobody’s decisions', async () => {
  const move = ask(of(flagger), 'move', { account: 'a-1', amount: 7 })
  const told = await send(front, EVALUATION, move)
  assert.deepEqual([told.status, codeOf(told)], [200, 'SP_DENIED_FORBIDDEN'])
  const after = await send(front, EVALUATION, ask(of(flagger), 'rates'))
  assert.deepEqual([after.status, codeOf(after)], [200, 'SP_ALLOWED'])
  const { decisions } = plane.control.context
  const id = String((told.body['context'] as Record<string, unknown>)['id'])
  const detail = await decisions.get(id)
  assert.deepEqual([detail?.record.reasons.length, detail?.explanation], [60, null])
})

test('cut off while its body is on the way: an enforcement point is not answered any more', async () => {
  const slow = async (meanwhile: (point: Peer) => Promise<void>): Promise<[number, string]> => {
    const point = await plane.enrol('service', 'front')
    const socket = await point.connect()
    const { promise, resolve, reject } = Promise.withResolvers<[number, string]>()
    const text = JSON.stringify(ask(of(flagger), 'rates'))
    const req = request(
      {
        createConnection: () => socket,
        method: 'POST',
        path: EVALUATION,
        headers: { host: 'x', 'content-type': 'application/json', expect: '100-continue' },
      },
      (res) => {
        let got = ''
        res.on('data', (chunk: Buffer) => (got += chunk.toString()))
        res.on('end', () => resolve([res.statusCode ?? 0, got]))
      },
    )
    req.on('error', reject)
    // It was let in, or it would not be told to go on.
    const admitted = new Promise<void>((on) => req.once('continue', on))
    req.write(text.slice(0, 10))
    await admitted
    await meanwhile(point)
    req.end(text.slice(10))
    try {
      return await promise
    } finally {
      socket.destroy()
    }
  }
  const [status, body] = await slow(async () => undefined)
  assert.equal(status, 200)
  assert.match(body, /"decision":true/)
  const [refused, problem] = await slow(async (point) => {
    const { quarantine } = plane.control.context
    await quarantine.quarantine({ subject: point.spiffeId, reason: 'a test', by: 'alice' })
  })
  assert.equal(refused, 403)
  assert.match(problem, /SP_QUARANTINED/)
})

test('the names of whom nothing is found do not travel in page tokens', async (t) => {
  const base = bank()
  const [one] = base.network.agents
  assert.ok(one)
  const agents = Array.from({ length: 600 }, (_, i) => ({ ...one, name: `secret-${i}` }))
  const network = { ...base.network, agents: [...base.network.agents, ...agents] }
  const crowded = await TestPlane.start({ ...base, network })
  t.after(() => crowded.close())
  const found = await send(await crowded.enrol('service', 'front'), SUBJECTS, {
    subject: { type: 'agent' },
    action: { name: 'none' },
    resource: { type: 'system', id: 'core' },
  })
  const { next_token: token } = found.body['page'] as { next_token: string }
  assert.deepEqual(found.body['results'], [])
  assert.notEqual(token, '')
  const read = token.split('.').map((part) => Buffer.from(part, 'base64url').toString())
  assert.doesNotMatch(read.join(' '), /secret/)
})

test('of an agent as such nothing is allowed while an instance of it is quarantined', async () => {
  const agent = { type: 'agent', id: 'analyst' }
  const one = await plane.enrol('agent', 'analyst')
  const two = await plane.enrol('agent', 'analyst')
  const rates = async (subject: { type: string; id: string }): Promise<unknown> =>
    codeOf(await send(front, EVALUATION, ask(subject, 'broken')))
  const before = await rates(agent)
  assert.notEqual(before, 'SP_QUARANTINED')
  const { quarantine } = plane.control.context
  await quarantine.quarantine({ subject: one.spiffeId, reason: 'a test', by: 'alice' })
  assert.equal(await rates(agent), 'SP_QUARANTINED')
  assert.equal(await rates(of(one)), 'SP_QUARANTINED')
  // Whoever says which instance it is gets its answer, and other agents are others.
  assert.equal(await rates(of(two)), before)
  assert.notEqual(await rates({ type: 'agent', id: 'flagger' }), 'SP_QUARANTINED')
})

test('a released instance whose certificate stays revoked is not let in by another door', async () => {
  const alice = await plane.firstOperator('alice')
  const peer = await plane.enrol('agent', 'flagger')
  const rates = ask(of(peer), 'rates')
  assert.equal(codeOf(await send(front, EVALUATION, rates)), 'SP_ALLOWED')
  const { quarantine } = plane.control.context
  const cut = await quarantine.quarantine({ subject: peer.spiffeId, reason: 'a test', by: 'alice' })
  const statement = await quarantine.releaseStatement(cut.quarantine.id, 'it was a test')
  const signature = alice.sign(statement)
  const { released } = await quarantine.release({
    id: cut.quarantine.id,
    operator: 'alice',
    statement,
    signature,
  })
  assert.ok(released)
  assert.equal((await peer.renew()).body['code'], 'SP_SVID_REVOKED')
  assert.equal(codeOf(await send(front, EVALUATION, rates)), 'SP_SUBJECT_UNKNOWN')
  assert.equal(codeOf(await send(front, EVALUATION, ask(of(flagger), 'rates'))), 'SP_ALLOWED')
})
