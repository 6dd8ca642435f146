/** The decision point for other enforcement points (OpenID AuthZEN Authorization API 1.0), over real mTLS. */
import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { verifyLog } from '@sallyport/tlog'
import { decodeRecord } from '@sallyport/wire'
import type { AuditRecord, FeedItem } from '@sallyport/wire'
import { ask, bank, send } from './support/authzen.ts'
import { TestPlane } from './support/network.ts'
import type { Peer } from './support/network.ts'

const EVALUATION = '/access/v1/evaluation'
const EVALUATIONS = '/access/v1/evaluations'
let plane: TestPlane
let front: Peer
let thin: Peer
let flagger: Peer

before(async () => {
  plane = await TestPlane.start(bank())
  front = await plane.enrol('service', 'front')
  thin = await plane.enrol('service', 'thin')
  flagger = await plane.enrol('agent', 'flagger')
})
after(() => plane.close())

const of = (peer: Peer) => ({ type: 'instance', id: peer.spiffeId })
const context = (body: Record<string, unknown>) => body['context'] as Record<string, unknown>

async function decide(peer: Peer, body: unknown): Promise<[unknown, unknown]> {
  const { status, body: told, text } = await send(peer, EVALUATION, body)
  assert.equal(status, 200, text)
  return [told['decision'], context(told)['code']]
}

async function readShard(): Promise<readonly AuditRecord[]> {
  const dir = join(plane.dataDir, 'control/log')
  const all: AuditRecord[] = []
  const result = await verifyLog({
    dir,
    origin: readFileSync(join(dir, 'origin'), 'utf8').trim(),
    publicKey: createPublicKey(readFileSync(join(plane.dataDir, 'control/log.pub'))),
    onRecord: (_, bytes) => all.push(decodeRecord(bytes)),
  })
  assert.ok(result.ok, result.statement)
  return all
}

test('an enforcement point gets the decision of the declaration in force, and the code of how it ended', async () => {
  const instance = of(flagger)
  assert.deepEqual(await decide(front, ask(instance, 'rates')), [true, 'SP_ALLOWED'])
  const move = (amount: unknown) => ask(instance, 'move', { account: 'a-1', amount })
  assert.deepEqual(await decide(front, move(100)), [true, 'SP_ALLOWED'])
  assert.deepEqual(await decide(front, move(1001)), [false, 'SP_DENIED_FORBIDDEN'])
  assert.deepEqual(await decide(front, move('many')), [false, 'SP_INPUT_TYPE'])
  assert.deepEqual(await decide(front, ask(instance, 'move')), [false, 'SP_INPUT_MISSING'])
  assert.deepEqual(await decide(front, ask(instance, 'shut')), [false, 'SP_NO_FLOW'])
  assert.deepEqual(await decide(front, ask(instance, 'broken')), [false, 'SP_DENIED_POLICY_ERROR'])
  assert.deepEqual(await decide(front, ask(instance, 'none')), [false, 'SP_NO_OPERATION'])
  assert.deepEqual(await decide(front, ask({ type: 'agent', id: 'nobody' }, 'rates')), [
    false,
    'SP_SUBJECT_UNKNOWN',
  ])
  const stranger = `${flagger.spiffeId}x`
  assert.deepEqual(await decide(front, ask({ type: 'instance', id: stranger }, 'rates')), [
    false,
    'SP_SUBJECT_UNKNOWN',
  ])
})

test('what needs an approval is no allow; the answer says what it needs and nothing of why', async () => {
  const question = ask(of(flagger), 'move', { account: 'a-1', amount: 500 })
  const { body, text } = await send(front, EVALUATION, question)
  const { id, ...rest } = context(body)
  assert.equal(body['decision'], false)
  assert.match(String(id), /^dec_/)
  assert.deepEqual(rest, {
    code: 'SP_NEEDS_APPROVAL',
    reason_user: { '403': 'SP_NEEDS_APPROVAL' },
    needs: [{ kind: 'approval', count: 1 }],
  })
  const denied = await send(
    front,
    EVALUATION,
    ask(of(flagger), 'move', { account: 'a', amount: 9e6 }),
  )
  for (const secret of ['no-fortunes', 'large', '1000', 'evidence']) {
    assert.ok(!text.includes(secret) && !denied.text.includes(secret), secret)
  }
  // The operator sees all of it.
  const detail = await plane.control.context.decisions.get(String(context(denied.body)['id']))
  assert.deepEqual(detail?.record.reasons, ['no-fortunes'])
  assert.match(JSON.stringify(detail?.explanation), /no-fortunes/)
})

test('nobody asks but a declared enforcement point, and about nothing but what it fronts', async () => {
  const question = ask(of(flagger), 'rates')
  const ledger = await plane.enrol('service', 'ledger')
  for (const peer of [ledger, flagger]) {
    for (const [path, body] of [
      [EVALUATION, question],
      [EVALUATIONS, { ...question, evaluations: [{}] }],
      ['/access/v1/search/subject', question],
      ['/access/v1/search/resource', question],
      ['/access/v1/search/action', { subject: question.subject, resource: question.resource }],
      ['/.well-known/authzen-configuration', undefined],
    ] as const) {
      const refused = await send(peer, path, body)
      assert.equal(refused.status, 403, path)
      assert.equal(refused.body['code'], 'SP_PEP_UNDECLARED', path)
    }
  }
  // The very same question is answered where it is fronted.
  assert.deepEqual(await decide(front, ask(of(flagger), 'rates', undefined, 'core')), [
    true,
    'SP_ALLOWED',
  ])
  const vault = await send(front, EVALUATION, ask(of(flagger), 'rates', undefined, 'vault'))
  const nowhere = await send(front, EVALUATION, ask(of(flagger), 'rates', undefined, 'nowhere'))
  assert.equal(context(vault.body)['code'], 'SP_PEP_SYSTEM')
  const without = ({ body }: { body: Record<string, unknown> }) => ({ ...context(body), id: '' })
  assert.deepEqual(without(vault), without(nowhere))
  const found = await send(front, '/access/v1/search/resource', {
    subject: of(flagger),
    action: { name: 'rates' },
    resource: { type: 'system' },
  })
  assert.deepEqual(found.body['results'], [{ type: 'system', id: 'core' }])
  const actions = await send(front, '/access/v1/search/action', {
    subject: of(flagger),
    resource: { type: 'system', id: 'vault' },
  })
  assert.deepEqual(actions.body['results'], [])
})

test('a decision that needs more than the enforcement point can do is a denial', async () => {
  const move = ask(of(flagger), 'move', { account: 'a-1', amount: 1 })
  assert.deepEqual(await decide(thin, ask(of(flagger), 'rates')), [true, 'SP_ALLOWED'])
  assert.deepEqual(await decide(thin, move), [false, 'SP_PEP_INCAPABLE'])
  assert.deepEqual(await decide(thin, ask(of(flagger), 'customer')), [false, 'SP_PEP_INCAPABLE'])
  // Under a limit, whatever it can do.
  const hold = ask(of(flagger), 'hold', { account: 'a-1', amount: 1 })
  assert.deepEqual(await decide(front, hold), [false, 'SP_PEP_INCAPABLE'])
})

test('one that can project is told what may pass, and the labels are on the session for the next question', async () => {
  const reader = await plane.enrol('agent', 'flagger')
  assert.deepEqual(await decide(front, ask(of(reader), 'rates')), [true, 'SP_ALLOWED'])
  const { body } = await send(front, EVALUATION, ask(of(reader), 'customer'))
  assert.equal(body['decision'], true)
  assert.deepEqual(context(body)['projection'], { customers: { id: 'whole', iban: 'mask' } })
  assert.deepEqual(context(body)['labels'], ['pii'])
  assert.deepEqual(await decide(front, ask(of(reader), 'rates')), [false, 'SP_DENIED_FORBIDDEN'])
  assert.deepEqual(await decide(front, ask(of(flagger), 'rates')), [true, 'SP_ALLOWED'])
})

test('the caller claims nothing: context and properties of subject and resource are not read', async () => {
  const claims = { risk: 0, labels: [], time: '2020-01-01T00:00:00Z', source: '10.0.0.1' }
  const question = ask({ type: 'agent', id: 'flagger' }, 'rates')
  const body = {
    ...question,
    subject: { ...question.subject, properties: claims },
    resource: { ...question.resource, properties: claims },
    context: claims,
  }
  assert.deepEqual(await decide(front, body), [false, 'SP_DENIED_FORBIDDEN'])
})

test('a quarantined instance is denied at once, and a revoked or quarantined enforcement point asks no more', async () => {
  // Of another agent: questions about `flagger` as such go on.
  const victim = await plane.enrol('agent', 'analyst')
  const point = await plane.enrol('service', 'front')
  const { quarantine } = plane.control.context
  assert.equal((await send(point, EVALUATION, ask(of(victim), 'silent'))).status, 200)
  await quarantine.quarantine({ subject: victim.spiffeId, reason: 'a test', by: 'alice' })
  const told = await send(point, EVALUATION, ask(of(victim), 'rates'))
  assert.equal(context(told.body)['code'], 'SP_QUARANTINED')
  const detail = await plane.control.context.decisions.get(String(context(told.body)['id']))
  assert.deepEqual([detail?.record.decision, detail?.outcome], ['deny', null])
  const actions = { subject: of(victim), resource: { type: 'system', id: 'core' } }
  const found = await send(point, '/access/v1/search/action', actions)
  assert.deepEqual(found.body['results'], [])
  await quarantine.quarantine({ subject: point.spiffeId, reason: 'a test', by: 'alice' })
  const refused = await send(point, EVALUATION, ask(of(victim), 'rates'))
  assert.equal(refused.body['code'], 'SP_QUARANTINED')
  assert.equal(refused.status, 403)
})

test('risk is the control plane’s own, and a stale one is replaced by the declared value', async () => {
  const fresh = await plane.enrol('agent', 'flagger')
  assert.deepEqual(await decide(front, ask(of(fresh), 'silent')), [true, 'SP_ALLOWED'])
  // Of the agent as such: never below the stale value, which is 50 here and forbidden from 40 on.
  const agent = { type: 'agent', id: 'flagger' }
  assert.deepEqual(await decide(front, ask(agent, 'silent')), [false, 'SP_DENIED_FORBIDDEN'])
})

test('several questions: defaults are taken whole, and the semantics stop where they say', async () => {
  const subject = of(flagger)
  const allow = { action: { name: 'rates' } }
  const deny = { action: { name: 'shut' } }
  const body = { subject, resource: { type: 'system', id: 'core' }, action: { name: 'shut' } }
  const answers = async (evaluations: unknown, semantic?: string): Promise<unknown[]> => {
    const options =
      semantic === undefined ? undefined : { evaluations_semantic: semantic, other: 1 }
    const told = await send(front, EVALUATIONS, { ...body, evaluations, options })
    assert.equal(told.status, 200, told.text)
    return (told.body['evaluations'] as { decision: unknown }[]).map(({ decision }) => decision)
  }
  const mixed = [allow, {}, allow, deny]
  assert.deepEqual(await answers(mixed), [true, false, true, false])
  assert.deepEqual(await answers(mixed, 'execute_all'), [true, false, true, false])
  assert.deepEqual(await answers(mixed, 'deny_on_first_deny'), [true, false])
  assert.deepEqual(await answers([deny, ...mixed], 'permit_on_first_permit'), [false, true])
  const single = await send(front, EVALUATIONS, { ...body, evaluations: [] })
  assert.equal(single.body['decision'], false)
  const wrong = await send(front, EVALUATIONS, {
    ...body,
    evaluations: mixed,
    options: { evaluations_semantic: 'permit_everything' },
  })
  assert.equal(wrong.body['code'], 'SP_AUTHZEN_REQUEST')
  const missing = await send(front, EVALUATIONS, { subject, evaluations: [allow] })
  assert.equal(missing.body['code'], 'SP_AUTHZEN_REQUEST')
  assert.equal((await answers(Array.from({ length: 100 }, () => allow))).length, 100)
  const many = Array.from({ length: 101 }, () => allow)
  const tooMany = await send(front, EVALUATIONS, { ...body, evaluations: many })
  assert.equal(tooMany.status, 400)
})

test('searches find exactly what an evaluation allows, page by page', async () => {
  const core = { type: 'system', id: 'core' }
  const agents = await send(front, '/access/v1/search/subject', {
    subject: { type: 'agent', id: 'ignored' },
    action: { name: 'customer' },
    resource: core,
  })
  assert.deepEqual(agents.body['results'], [{ type: 'agent', id: 'flagger' }])
  assert.equal((agents.body['page'] as { next_token: string }).next_token, '')

  const subject = of(await plane.enrol('agent', 'flagger'))
  const names = new Set<string>()
  let token = ''
  for (let pages = 0; pages < 20; pages++) {
    const page = { limit: 1, ...(token === '' ? {} : { token }) }
    const told = await send(front, '/access/v1/search/action', { subject, resource: core, page })
    assert.equal(told.status, 200, told.text)
    for (const { name } of told.body['results'] as { name: string }[]) names.add(name)
    token = (told.body['page'] as { next_token: string }).next_token
    if (token === '') break
  }
  const allowed = []
  for (const { name } of plane.declaration.network.systems[0]?.operations ?? []) {
    const [decision] = await decide(front, ask(subject, name))
    if (decision === true) allowed.push(name)
  }
  assert.deepEqual([...names].toSorted(), allowed.toSorted())
  assert.ok(allowed.length > 1 && !names.has('move'))
})

test('a page token is of one caller and one search, and cannot be made', async () => {
  const subject = of(flagger)
  const core = { type: 'system', id: 'core' }
  const search = { subject, resource: core, page: { limit: 1 } }
  const first = await send(front, '/access/v1/search/action', search)
  const { next_token: token } = first.body['page'] as { next_token: string }
  assert.notEqual(token, '')
  const again = { ...search, page: { limit: 1, token } }
  assert.equal((await send(front, '/access/v1/search/action', again)).status, 200)
  const forged = `${Buffer.from('{"after":""}').toString('base64url')}.${token.split('.')[1] ?? ''}`
  for (const [peer, body] of [
    [thin, again],
    [front, { ...again, subject: { type: 'agent', id: 'flagger' } }],
    [front, { ...again, page: { token: forged } }],
    [front, { ...again, page: { token: 'x' } }],
  ] as const) {
    const refused = await send(peer, '/access/v1/search/action', body)
    assert.equal(refused.body['code'], 'SP_PAGE_TOKEN')
    assert.equal(refused.status, 400)
  }
})

test('metadata names the endpoints, and a request identifier comes back, with refusals too', async () => {
  const { body, headers } = await send(front, '/.well-known/authzen-configuration')
  assert.deepEqual(body, {
    policy_decision_point: 'https://pdp.bank.test:7401',
    access_evaluation_endpoint: 'https://pdp.bank.test:7401/access/v1/evaluation',
    access_evaluations_endpoint: 'https://pdp.bank.test:7401/access/v1/evaluations',
    search_subject_endpoint: 'https://pdp.bank.test:7401/access/v1/search/subject',
    search_resource_endpoint: 'https://pdp.bank.test:7401/access/v1/search/resource',
    search_action_endpoint: 'https://pdp.bank.test:7401/access/v1/search/action',
  })
  assert.equal(headers['x-request-id'], undefined)
  const id = { 'x-request-id': 'bfe9eb29-ab87' }
  const answered = await send(front, EVALUATION, ask(of(flagger), 'rates'), id)
  assert.equal(answered.headers['x-request-id'], 'bfe9eb29-ab87')
  const refused = await send(flagger, EVALUATION, ask(of(flagger), 'rates'), id)
  assert.equal(refused.status, 403)
  assert.equal(refused.headers['x-request-id'], 'bfe9eb29-ab87')
  const hostile = { 'x-request-id': 'x'.repeat(300) }
  assert.equal((await send(front, EVALUATION, ask(of(flagger), 'rates'), hostile)).status, 400)
})

test('hostile bodies get a coded refusal', async () => {
  const good = ask(of(flagger), 'rates')
  const deep = `${'{"a":'.repeat(40)}1${'}'.repeat(40)}`
  for (const [body, code] of [
    ['', 'SP_JSON_SYNTAX'],
    ['{"subject":', 'SP_JSON_SYNTAX'],
    ['[]', 'SP_PLANE_BODY'],
    ['null', 'SP_PLANE_BODY'],
    [`{"subject":{"type":"agent","id":"flagger"},"subject":{}}`, 'SP_JSON_DUPLICATE_KEY'],
    [`{"__proto__":{}}`, 'SP_JSON_FORBIDDEN_KEY'],
    [deep, 'SP_JSON_TOO_DEEP'],
    [JSON.stringify({ ...good, context: { pad: 'x'.repeat(300_000) } }), 'SP_JSON_TOO_LARGE'],
    [{ ...good, subject: 'flagger' }, 'SP_AUTHZEN_REQUEST'],
    [{ ...good, subject: null }, 'SP_AUTHZEN_REQUEST'],
    [{ ...good, subject: { type: 'agent' } }, 'SP_AUTHZEN_REQUEST'],
    [{ ...good, subject: { type: 'agent', id: '' } }, 'SP_AUTHZEN_REQUEST'],
    [{ ...good, subject: { type: 'agent', id: 'x'.repeat(3000) } }, 'SP_AUTHZEN_REQUEST'],
    [{ ...good, action: { name: 7 } }, 'SP_AUTHZEN_REQUEST'],
    [{ ...good, action: { name: 'rates', properties: [] } }, 'SP_AUTHZEN_REQUEST'],
    [{ ...good, action: { name: 'rates', propertes: {} } }, 'SP_AUTHZEN_REQUEST'],
    [{ ...good, context: 'now' }, 'SP_AUTHZEN_REQUEST'],
    [{ ...good, evaluations: [] }, 'SP_AUTHZEN_REQUEST'],
  ] as const) {
    const { status, body: told } = await send(front, EVALUATION, body)
    assert.equal(told['code'], code, JSON.stringify(body).slice(0, 80))
    assert.ok(status === 400 || status === 413)
  }
  for (const name of ['__proto__', 'constructor', 'hasOwnProperty', '\u0000', '😀'.repeat(64)]) {
    assert.equal((await decide(front, ask(of(flagger), name)))[0], false)
    assert.equal((await decide(front, ask({ type: 'agent', id: name }, 'rates')))[0], false)
    assert.equal((await decide(front, ask(of(flagger), 'rates', undefined, name)))[0], false)
    assert.equal((await decide(front, ask({ type: name, id: 'flagger' }, 'rates')))[0], false)
  }
  assert.deepEqual(plane.errors, [])
  assert.equal((await decide(front, good))[0], true)
})

test('every decision stands in a verifiable shard before it is answered, with what nobody observed', async () => {
  const { body } = await send(thin, EVALUATION, ask(of(flagger), 'rates'))
  const records = await readShard()
  const record = records.find((each) => each.kind === 'decision' && each.id === context(body)['id'])
  assert.ok(record?.kind === 'decision')
  assert.equal(record.decision, 'allow')
  assert.deepEqual(record.pep, {
    id: thin.spiffeId,
    unobserved: ['body', 'project', 'label', 'outcome'],
  })
  assert.equal(record.instance, flagger.spiffeId)
  assert.match(record.gateway, /^spiffe:\/\/bank\.test\/control\//)
  assert.ok(records.some((each) => each.kind === 'event' && each.event === 'access-search'))
  // It goes on after a restart, under the same name, and nothing of it is taken for the agent's own doing.
  await plane.restart()
  assert.deepEqual((await decide(front, ask(of(flagger), 'rates')))[1], 'SP_ALLOWED')
  assert.equal((await readShard()).length, records.length + 1)
})

test('what a gateway recorded of a session counts, and while a gateway is away everything counts', async (t) => {
  const own = await TestPlane.start(bank())
  t.after(() => own.close())
  const point = await own.enrol('service', 'front')
  const reader = await own.enrol('agent', 'flagger')
  const gateway = await own.enrol('gateway', 'gw1')
  const oracle = await send(gateway, EVALUATION, ask(of(reader), 'rates'))
  assert.equal(oracle.body['code'], 'SP_PEP_UNDECLARED')
  // It has enrolled and is not connected: it may know of labels.
  assert.deepEqual(await decide(point, ask(of(reader), 'rates')), [false, 'SP_DENIED_FORBIDDEN'])
  const stream = await gateway.follow()
  const base = { v: 1, at: Date.now(), gateway: gateway.spiffeId } as const
  let index = 0
  const feed = async (record: AuditRecord): Promise<void> => {
    const items: FeedItem[] = [{ index: index++, record }]
    const shard = 'bank.test/gateway/gw1'
    assert.equal((await gateway.call('POST', '/v1/feed', { shard, items })).status, 200)
  }
  const applied = (): Promise<void> => {
    const { epoch, n } = own.control.context.bundles.revision()
    return feed({ ...base, kind: 'event', event: 'bundle-accepted', facts: { epoch, n } })
  }
  await applied()
  assert.deepEqual(await decide(point, ask(of(reader), 'rates')), [true, 'SP_ALLOWED'])
  await feed({
    ...base,
    kind: 'labels',
    decisionId: 'dec_x',
    instance: reader.spiffeId,
    added: ['pii'],
  })
  assert.deepEqual(await decide(point, ask(of(reader), 'rates')), [false, 'SP_DENIED_FORBIDDEN'])
  const other = await own.enrol('agent', 'flagger')
  await applied()
  assert.deepEqual(await decide(point, ask(of(other), 'rates')), [true, 'SP_ALLOWED'])
  // Of an agent as such nobody knows which instance it is.
  const agent = { type: 'agent', id: 'flagger' }
  assert.deepEqual(await decide(point, ask(agent, 'rates')), [false, 'SP_DENIED_FORBIDDEN'])
  stream.close()
  await stream.until((f) => f.ended)
  assert.deepEqual(await decide(point, ask(of(other), 'rates')), [false, 'SP_DENIED_FORBIDDEN'])
})

test('without an audit log nothing is decided', async (t) => {
  const own = await TestPlane.start(bank())
  t.after(() => own.close())
  const point = await own.enrol('service', 'front')
  const agent = await own.enrol('agent', 'flagger')
  const inTheWay = join(own.dataDir, 'control', 'log')
  writeFileSync(inTheWay, '')
  for (const [path, body] of [
    [EVALUATION, ask(of(agent), 'rates')],
    [EVALUATIONS, { ...ask(of(agent), 'rates'), evaluations: [{}] }],
    ['/access/v1/search/subject', ask({ type: 'agent', id: 'x' }, 'rates')],
  ] as const) {
    const refused = await send(point, path, body)
    assert.equal(refused.status, 503, refused.text)
    assert.equal(refused.body['code'], 'SP_AUDIT_UNAVAILABLE')
  }
  rmSync(inTheWay)
  assert.deepEqual(await decide(point, ask(of(agent), 'rates')), [true, 'SP_ALLOWED'])
})
