import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { claimPorts } from '../../../test/support/ports.ts'
import type { IncidentView } from '../src/domain/incidents.ts'
import { SoftAuthenticator } from './support/authenticator.ts'
import type { CreationOptions } from './support/authenticator.ts'
import { Browser } from './support/browser.ts'
import type { Answer } from './support/browser.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Peer } from './support/network.ts'
import { Log } from './support/records.ts'

let plane: TestPlane
let gateway: Peer
let log: Log
let alice: Browser
let local: Browser

before(async () => {
  const port = await claimPorts()
  const origin = `http://localhost:${port}`
  const { settings } = declarationWith().network
  // Without a threshold the detector opens incidents and cuts nobody off.
  const { quarantineAtRisk: _, ...alarmsOnly } = settings
  const declaration = declarationWith({ settings: alarmsOnly })
  plane = await TestPlane.start(declaration, { console: { port } }, origin)
  gateway = await plane.enrol('gateway', 'gw1')
  log = new Log(gateway.spiffeId)
  local = new Browser(origin, { socketPath: plane.control.adminSocket })
  alice = new Browser(origin, { host: '127.0.0.1', port })
  const link = String(plane.control.bootstrapLink).split('#')[1]
  const creation = await alice.post('/api/auth/register/options', { link })
  // What the route answers; a wrong shape fails the ceremony.
  const response = new SoftAuthenticator(origin).create(creation.body as unknown as CreationOptions)
  assert.equal((await alice.post('/api/auth/register/verify', { link, response })).status, 200)
})
after(() => plane?.close())

const feed = (items: unknown) => gateway.call('POST', '/v1/feed', { shard: 'gw1', items })
const close = (id: string, reason = 'a release that was announced', who = alice): Promise<Answer> =>
  who.post(`/api/incidents/${id}/close`, { reason })
const find = async (subject: string): Promise<IncidentView | undefined> =>
  (await plane.control.context.incidents.list()).find((one) => one.subject === subject)

/** An instance whose calls the detector does not like: it opens an incident, and cuts nobody off. */
async function alarming(): Promise<IncidentView> {
  const { spiffeId } = await plane.enrol('agent', 'flagger')
  const burst = Array.from({ length: 40 }, () =>
    log.decision(spiffeId, { decision: 'deny', code: 'SP_DENIED_FORBIDDEN', reasons: [] }),
  )
  assert.equal((await feed(burst)).status, 200)
  // The detector works after the answer; the bound is a guard against hanging.
  const until = performance.now() + 60_000
  for (;;) {
    const incident = await find(spiffeId)
    if (incident) return incident
    assert.ok(performance.now() < until, 'no incident was opened')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

test('what nobody was cut off for is closed as a false alarm: with a reason, once, by name', async () => {
  const { id, status } = await alarming()
  assert.equal(status, 'open')
  for (const reason of [' ', 'x'.repeat(501), 'two\nlines']) {
    const answer = await close(id, reason)
    assert.deepEqual([answer.status, answer.body['code']], [400, 'SP_INCIDENT_REASON'])
  }
  const closed = await close(id)
  assert.deepEqual([closed.status, closed.body['status']], [200, 'closed'], closed.text)
  const view = await plane.control.context.incidents.get(id)
  const { kind, text } = view?.timeline.at(-1) ?? assert.fail('nothing is on the timeline')
  const said = 'closed as a false alarm by alice: a release that was announced'
  assert.deepEqual([kind, text], ['closed', said])
  const again = await close(id)
  assert.deepEqual([again.status, again.body['code']], [409, 'SP_INCIDENT_CLOSED'])
  const none = await close('inc_none')
  assert.deepEqual([none.status, none.body['code']], [404, 'SP_INCIDENT_UNKNOWN'])
})

test('the local administrator closes one too, and the next alarm opens another', async () => {
  const lost = log.decision('spiffe://bank.test/agent/flagger/x')
  assert.equal((await feed([lost])).status, 200)
  const fork = async (): Promise<string> => {
    const rewritten = { ...lost, record: { ...lost.record, id: 'dec_other' } }
    assert.equal((await feed([rewritten])).body['code'], 'SP_FEED_FORKED')
    const incident = await find(gateway.spiffeId)
    assert.equal(incident?.status, 'open')
    return incident?.id ?? ''
  }
  const first = await fork()
  assert.equal(await fork(), first, 'one that is open goes on')
  assert.equal((await close(first, 'a restored disk', local)).status, 200)
  const text = (await plane.control.context.incidents.get(first))?.timeline.at(-1)?.text
  assert.equal(text, 'closed as a false alarm by local-admin: a restored disk')
  assert.notEqual(await fork(), first)
})

test('what was cut off is no false alarm until it is released', async () => {
  const { spiffeId } = await plane.enrol('agent', 'flagger')
  const cut = await local.post('/api/quarantine', { subject: spiffeId, reason: 'odd reads' })
  assert.equal(cut.status, 200)
  const { id, status } = (await find(spiffeId)) ?? assert.fail('there is no incident')
  assert.equal(status, 'contained')
  const answer = await close(id)
  assert.deepEqual([answer.status, answer.body['code']], [409, 'SP_INCIDENT_HELD'])
  assert.equal((await find(spiffeId))?.status, 'contained')
})
