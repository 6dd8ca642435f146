import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import pg from 'pg'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { canonicalJson, sha256Hex } from '@sallyport/base'
import { verifyPasskey } from '@sallyport/wire'
import type { ReviewStatement, Signed } from '@sallyport/wire'
import { startEmbeddedPostgres } from '../src/index.ts'
import type { EmbeddedPostgres } from '../src/index.ts'
import type { RequestOptions } from './support/authenticator.ts'
import type { Answer, Browser } from './support/browser.ts'
import { declarationWith } from './support/declaration.ts'
import { RealConsole } from './support/real-console.ts'
import type { SignedIn } from './support/real-console.ts'

let dir: string
let database: EmbeddedPostgres
let bank: RealConsole
let alice: SignedIn
let bob: SignedIn
let vic: SignedIn

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sp-glass-'))
  database = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  const { operators } = declarationWith().network
  const declaration = declarationWith({
    quorum: 2,
    operators: [
      ...operators,
      { name: 'vic', displayName: 'Vic', roles: ['viewer'], breakGlass: { roles: ['admin'] } },
      { name: 'rex', displayName: 'Rex', roles: ['responder'], breakGlass: { roles: ['admin'] } },
    ],
  })
  bank = await RealConsole.start(declaration, { databaseUrl: database.url })
  alice = await bank.enrol('alice')
  bob = await bank.enrol('bob', alice)
  vic = await bank.enrol('vic', alice)
})
after(async () => {
  await bank?.close()
  await database?.stop()
  rmSync(dir, { recursive: true, force: true })
})

interface Glass {
  readonly id: string
  readonly open: boolean
  readonly overdue: boolean
  readonly incidentId: string
  readonly review?: { readonly by: string }
  readonly acts: readonly { readonly at: number; readonly method: string; readonly path: string }[]
}

async function ceremony(
  who: SignedIn,
  path: string,
  ask: object,
  act = path.replace('/options', ''),
  bend: Parameters<SignedIn['passkey']['get']>[1] = {},
): Promise<Answer> {
  const options = await who.browser.post(path, ask)
  if (options.status !== 200) return options
  // What the route answers; a wrong shape fails the ceremony.
  const response = who.passkey.get(options.body as unknown as RequestOptions, bend)
  return who.browser.post(act, { ...ask, response })
}

const breakGlass = (who: SignedIn, reason = 'payments stand still', bend = {}): Promise<Answer> =>
  ceremony(who, '/api/break-glass/options', { reason }, '/api/break-glass/open', bend)
type Review = Record<string, unknown> & { readonly text: string }
/** Signs the review that is asked for, with whatever is bent on the way. */
async function review(
  who: SignedIn,
  id: string,
  text = 'it was needed',
  bend: { readonly statement?: (given: Review) => Review; readonly flags?: number } = {},
  signer = who,
): Promise<Answer> {
  const path = `/api/break-glass/${id}/review`
  const offered = await who.browser.post(`${path}/options`, { text })
  if (offered.status !== 200) return offered
  // What the route answers; a wrong shape fails the signature.
  const { statement, options } = offered.body as unknown as {
    statement: Review
    options: RequestOptions
  }
  const response = signer.passkey.get(
    options,
    bend.flags === undefined ? {} : { flags: bend.flags },
  )
  return who.browser.post(path, { statement: bend.statement?.(statement) ?? statement, response })
}
const one = async (browser: Browser, id: string): Promise<Glass> =>
  (await browser.get(`/api/break-glass/${id}`)).body as unknown as Glass

test('declared roles for minutes, in this session alone: told to everybody, listed, reviewed by another', async () => {
  const links = (): Promise<Answer> =>
    vic.browser.post('/api/operators/links', { operator: 'olga' })
  assert.equal((await links()).body['code'], 'SP_API_ROLE')
  const elsewhere = bank.tab()
  assert.equal((await bank.login(vic.passkey, elsewhere)).status, 200)
  const opened = await breakGlass(vic)
  assert.equal(opened.status, 200, opened.text)
  const { id, incidentId } = opened.body as unknown as Glass
  const session = (await vic.browser.get('/api/session')).body
  assert.deepEqual((session['operator'] as { roles: unknown }).roles, ['viewer', 'admin'])
  assert.equal((session['breakGlass'] as { id: string }).id, id)
  assert.equal((await links()).status, 200)
  // Another session of the same person has nothing of it.
  const other = await elsewhere.post('/api/operators/links', { operator: 'olga' })
  assert.equal(other.body['code'], 'SP_API_ROLE')
  assert.equal((await breakGlass(vic)).body['code'], 'SP_BREAK_GLASS_OPEN')

  const alarms = (await bob.browser.get('/api/alarms')).body as unknown as { text: string }[]
  assert.match(alarms[0]?.text ?? '', /`vic` broke the glass \(admin\): payments stand still/)
  // It ends with somebody else's review, which nobody gets around by calling it a false alarm.
  const dismissed = await alice.browser.post(`/api/incidents/${incidentId}/close`, { reason: 'x' })
  assert.deepEqual([dismissed.status, dismissed.body['code']], [409, 'SP_INCIDENT_HELD'])
  const incident = await bob.browser.get(`/api/incidents/${incidentId}`)
  assert.deepEqual(
    [incident.body['status'], incident.body['subject']],
    ['open', 'spiffe://bank.test/operator/vic'],
  )
  await vic.browser.get('/api/agents')
  await vic.browser.get('/api/agents')
  const { acts } = await one(bob.browser, id)
  const did = acts.map(({ method, path }) => `${method} ${path}`)
  assert.ok(did.includes('POST /api/operators/links'))
  assert.equal(did.filter((act) => act === 'GET /api/agents').length, 1)

  assert.equal((await review(bob, id)).body['code'], 'SP_BREAK_GLASS_OPEN')
  assert.equal((await review(vic, id)).body['code'], 'SP_BREAK_GLASS_SELF')
  assert.equal((await vic.browser.post(`/api/break-glass/${id}/end`)).status, 200)
  assert.equal((await links()).body['code'], 'SP_API_ROLE')
  assert.equal((await review(vic, id)).body['code'], 'SP_API_ROLE')
  const reviewed = await review(bob, id)
  assert.equal(reviewed.status, 200, reviewed.text)
  assert.equal((await one(bob.browser, id)).review?.by, 'bob')
  assert.equal((await bob.browser.get(`/api/incidents/${incidentId}`)).body['status'], 'closed')
  assert.equal((await review(alice, id)).body['code'], 'SP_BREAK_GLASS_UNKNOWN')
})

test('a review is the reviewer’s signature over all that was done, and the audit log alone proves it', async () => {
  const tab = bank.tab()
  assert.equal((await bank.login(vic.passkey, tab)).status, 200)
  const { id } = (await breakGlass({ ...vic, browser: tab }, 'for the record'))
    .body as unknown as Glass
  assert.equal((await tab.post('/api/operators/links', { operator: 'olga' })).status, 200)
  assert.equal((await tab.post(`/api/break-glass/${id}/end`)).status, 200)
  const other = (await breakGlass({ ...vic, browser: tab }, 'another one')).body as unknown as Glass
  assert.equal((await tab.post(`/api/break-glass/${other.id}/end`)).status, 200)
  for (const [why, bent] of [
    ['other words', { statement: (s: Review) => ({ ...s, text: 'nothing to see' }) }],
    ['fewer acts', { statement: (s: Review) => ({ ...s, acts: '0'.repeat(64) }) }],
    ['another one', { statement: (s: Review) => ({ ...s, id: other.id }) }],
    ['another reviewer', { statement: (s: Review) => ({ ...s, reviewer: 'alice' }) }],
  ] as const) {
    const { body } = await review(bob, id, 'it was needed', bent)
    assert.match(String(body['code']), /^SP_(?:BREAK_GLASS_STATEMENT|SIGNATURE_CHALLENGE)$/, why)
  }
  const unverified = await review(bob, id, 'it was needed', { flags: 0x01 })
  assert.equal(unverified.body['code'], 'SP_SIGNATURE_VERIFICATION')
  const lent = await review(bob, id, 'it was needed', {}, alice)
  assert.match(String(lent.body['code']), /^SP_SIGNATURE_/, 'another’s passkey')
  assert.equal((await one(bob.browser, id)).review, undefined)
  assert.equal((await review(bob, id)).status, 200)
  assert.equal((await review(alice, other.id)).status, 200)

  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  const { rows } = await client.query<{ record: string }>(
    `SELECT record FROM feed WHERE kind = 'event' AND record LIKE '%"break-glass-reviewed"%' AND record LIKE $1`,
    [`%${id}%`],
  )
  await client.end()
  assert.equal(rows.length, 1, 'what was refused is no review')
  const { facts } = JSON.parse(rows[0]?.record ?? '') as { facts: Record<string, string> }
  const { statement, signatures } = JSON.parse(facts['statement'] ?? '') as Signed<ReviewStatement>
  const set = bank.control.context.operators.set()
  const [signature] = signatures
  assert.ok(set && signature)
  verifyPasskey(statement, signature, set, { requireUv: true })
  assert.equal(signature.operator, 'bob')
  const { openedAt, endedAt, acts: digest, ...named } = statement
  assert.deepEqual(named, {
    ...{ kind: 'break-glass-review', id, operator: 'vic', reviewer: 'bob', text: 'it was needed' },
  })
  assert.ok(openedAt < endedAt)
  const { acts } = await one(bob.browser, id)
  assert.ok(acts.some(({ path }) => path === '/api/operators/links'))
  const done = acts.map(({ at, method, path }) => [at, method, path])
  assert.equal(digest, sha256Hex(canonicalJson(done)))
  for (const change of [{ text: 'x' }, { acts: '0'.repeat(64) }, { operator: 'rex' }]) {
    const altered = { ...statement, ...change }
    assert.throws(() => verifyPasskey(altered, signature, set, { requireUv: true }), {
      code: 'SP_SIGNATURE_CHALLENGE',
    })
  }
})

test('it gives nobody a signature: gateways go by the pinned keys, and the quorum stays two', async () => {
  assert.equal((await breakGlass(vic)).status, 200)
  const { id } = ((await vic.browser.get('/api/session')).body['breakGlass'] ?? {}) as {
    id: string
  }
  await bank.control.context.operators.proposeRemoval({ operator: 'bob', by: 'test' })
  const offered = await vic.browser.post('/api/operators/sign/options', {})
  assert.equal(offered.status, 200, offered.text)
  const { statement, options } = offered.body as unknown as {
    statement: unknown
    options: RequestOptions
  }
  const response = vic.passkey.get(options)
  const refused = await vic.browser.post('/api/operators/sign', { statement, response })
  assert.deepEqual([refused.status, refused.body['code']], [403, 'SP_OPERATOR_ROLE'])
  assert.equal((await vic.browser.post(`/api/break-glass/${id}/end`)).status, 200)
  assert.equal((await review(alice, id)).status, 200)
})

test('it takes the passkey, user verification, this reason, and a declaration that gives it', async () => {
  assert.equal((await breakGlass(bob)).body['code'], 'SP_BREAK_GLASS_UNDECLARED')
  for (const bend of [
    { flags: 0x01 },
    { flags: 0x04 },
    { origin: 'https://evil.test' },
    { rpId: 'evil.test' },
    { challenge: Buffer.alloc(32).toString('base64url') },
  ]) {
    const answer = await breakGlass(vic, 'r', bend)
    assert.deepEqual([answer.status, answer.body['code']], [401, 'SP_API_LOGIN'])
  }
  const offered = await vic.browser.post('/api/break-glass/options', { reason: 'one' })
  const response = vic.passkey.get(offered.body as unknown as RequestOptions)
  const swapped = await vic.browser.post('/api/break-glass/open', { reason: 'another', response })
  assert.equal(swapped.body['code'], 'SP_API_LOGIN')
  assert.equal((await breakGlass(vic, ' ')).body['code'], 'SP_BREAK_GLASS_REASON')
  assert.equal((await breakGlass(vic, 'a\nb')).body['code'], 'SP_BREAK_GLASS_REASON')
  const roles = ((await vic.browser.get('/api/session')).body['operator'] as { roles: unknown })
    .roles
  assert.deepEqual(roles, ['viewer'])
})

test('it ends by itself after half an hour; unreviewed it is overdue after a day; a clock that goes back ends it', async () => {
  const opened = await breakGlass(vic)
  const { id } = opened.body as unknown as Glass
  const roles = async (): Promise<unknown> =>
    ((await vic.browser.get('/api/session')).body['operator'] as { roles: unknown } | null)?.roles
  assert.deepEqual(await roles(), ['viewer', 'admin'])
  try {
    for (const minutes of [14, 28]) {
      bank.skew = minutes * 60_000
      assert.deepEqual(await roles(), ['viewer', 'admin'], String(minutes))
    }
    bank.skew = 30 * 60_000
    assert.deepEqual(await roles(), ['viewer'])
    assert.equal((await one(bank.local(), id)).overdue, false)
    bank.skew = 24.6 * 3_600_000
    const late = await one(bank.local(), id)
    assert.deepEqual([late.open, late.overdue], [false, true])
  } finally {
    bank.skew = 0
  }
  const fresh = bank.tab()
  assert.equal((await bank.login(bob.passkey, fresh)).status, 200)
  bob = { ...bob, browser: fresh }
  // By the clock as it is now it is open again: somebody ends it, and another has reviewed it.
  assert.equal((await bank.local().post(`/api/break-glass/${id}/end`)).status, 200)
  assert.equal((await review(bob, id)).status, 200)
})

test('who has the roles by break-glass reviews nobody’s, and a viewer ends only their own', async () => {
  const tab = bank.tab()
  assert.equal((await bank.login(vic.passkey, tab)).status, 200)
  vic = { ...vic, browser: tab }
  const admin = bank.tab()
  assert.equal((await bank.login(alice.passkey, admin)).status, 200)
  alice = { ...alice, browser: admin }
  const rex = await bank.enrol('rex', alice)
  const { id } = (await breakGlass(rex)).body as unknown as Glass
  assert.equal((await vic.browser.post(`/api/break-glass/${id}/end`)).status, 404)
  assert.equal((await rex.browser.post(`/api/break-glass/${id}/end`)).status, 200)
  const mine = (await breakGlass(vic)).body as unknown as Glass
  assert.equal((await review(vic, id)).body['code'], 'SP_BREAK_GLASS_ROLE')
  assert.equal((await vic.browser.post(`/api/break-glass/${mine.id}/end`)).status, 200)
  assert.equal((await review(alice, id)).status, 200)
})

test('it ends with its session', async () => {
  const tab = bank.tab()
  assert.equal((await bank.login(vic.passkey, tab)).status, 200)
  const { id } = (await breakGlass({ ...vic, browser: tab })).body as unknown as Glass
  assert.equal((await one(bank.local(), id)).open, true)
  assert.equal((await tab.post('/api/auth/logout')).status, 200)
  assert.equal((await one(bank.local(), id)).open, false)
})

test('not even the database admits a review by oneself, or an act that is taken back', async () => {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  try {
    const self = `UPDATE break_glass SET reviewed_at = 1, review = 'x', reviewed_by = operator`
    await assert.rejects(client.query(self), /check constraint/)
    await client.query('SET ROLE sallyport_app')
    assert.ok((await client.query('SELECT * FROM break_glass_acts')).rowCount)
    await assert.rejects(client.query('DELETE FROM break_glass_acts'), /permission denied/)
    await assert.rejects(client.query("UPDATE break_glass_acts SET path = ''"), /permission denied/)
  } finally {
    await client.end()
  }
})
