import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import pg from 'pg'
import { startEmbeddedPostgres } from '../src/index.ts'
import type { EmbeddedPostgres } from '../src/index.ts'
import type { Browser } from './support/browser.ts'
import { signed } from './support/console.ts'
import { declarationWith } from './support/declaration.ts'
import { RealConsole } from './support/real-console.ts'
import type { SignedIn } from './support/real-console.ts'

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:152.0) Gecko/20100101 Firefox/152.0'
const OTHER = 'curl/8.9'

let database: EmbeddedPostgres
let first: RealConsole
let second: RealConsole
let dir: string
let alice: SignedIn
let bob: SignedIn
let rex: SignedIn

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sp-sessions-'))
  database = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  const { operators } = declarationWith().network
  const declaration = declarationWith({
    operators: [
      ...operators,
      { name: 'rex', displayName: 'Rex', roles: ['responder'] },
      { name: 'vic', displayName: 'Vic', roles: ['viewer'] },
    ],
  })
  first = await RealConsole.start(declaration, { databaseUrl: database.url })
  alice = await first.enrol('alice')
  second = await RealConsole.start(declaration, { databaseUrl: database.url, beside: first })
  bob = await first.enrol('bob', alice)
  rex = await first.enrol('rex', alice)
})
after(async () => {
  await second?.close()
  await first?.close()
  await database?.stop()
  rmSync(dir, { recursive: true, force: true })
})

interface Listed {
  readonly id: string
  readonly operator: string
  readonly method: string
  readonly userAgent: string
  readonly current: boolean
}

const listed = async (browser: Browser): Promise<readonly Listed[]> => {
  const answer = await browser.get('/api/sessions')
  assert.equal(answer.status, 200, answer.text)
  // What the route answers; a wrong shape fails the test.
  return answer.body as unknown as readonly Listed[]
}

async function signedIn(who: SignedIn, userAgent?: string, at = first): Promise<Browser> {
  const browser = first.tab(userAgent)
  assert.equal((await first.login(who.passkey, browser)).status, 200)
  if (at === first) return browser
  const there = at.tab(userAgent)
  there.cookie = browser.cookie
  there.csrf = browser.csrf
  return there
}

async function stream(
  browser: Browser,
): Promise<{ ended: Promise<void>; response: IncomingMessage }> {
  const response = await browser.open({ path: '/api/events' })
  assert.equal(response.statusCode, 200)
  response.resume()
  const ended = new Promise<void>((resolve) => response.once('close', resolve))
  return { ended, response }
}

test('everybody sees their own sessions, an admin all, without what opens them', async () => {
  const browser = await signedIn(bob, FIREFOX)
  const own = await listed(browser)
  assert.ok(own.every(({ operator }) => operator === 'bob'))
  const mine = own.find(({ current }) => current)
  assert.deepEqual([mine?.method, mine?.userAgent], ['passkey', FIREFOX])
  const all = await listed(alice.browser)
  assert.deepEqual([...new Set(all.map(({ operator }) => operator))].toSorted(), [
    'alice',
    'bob',
    'rex',
  ])
  const text = JSON.stringify(all)
  assert.ok(!text.includes(String(browser.cookie?.split('=')[1])))
  assert.ok(!text.includes(browser.csrf))
  assert.equal((await first.local().get('/api/sessions')).status, 200)
})

test('a session is revoked by its own operator, a responder or the machine, and by nobody else', async () => {
  const target = await signedIn(bob)
  const id = (await listed(target)).find(({ current }) => current)?.id ?? ''
  const foreign = (await listed(alice.browser)).find(({ operator }) => operator === 'alice')?.id
  const vic = await first.enrol('vic', alice)
  for (const one of [id, foreign]) {
    const answer = await vic.browser.post(`/api/sessions/${one}/revoke`)
    assert.deepEqual([answer.status, answer.body['code']], [404, 'SP_API_NOT_FOUND'])
  }
  assert.equal((await target.get('/api/agents')).status, 200)
  assert.equal((await rex.browser.post(`/api/sessions/${id}/revoke`)).status, 200)
  assert.equal((await target.get('/api/agents')).status, 401)
  assert.equal((await rex.browser.post(`/api/sessions/${id}/revoke`)).status, 404)

  const own = await signedIn(bob)
  const mine = (await listed(own)).find(({ current }) => current)?.id ?? ''
  const forged = await own.post(`/api/sessions/${mine}/revoke`, {}, { 'x-sallyport-csrf': 'x' })
  assert.equal(forged.body['code'], 'SP_API_CSRF')
  assert.equal((await own.post(`/api/sessions/${mine}/revoke`)).status, 200)
  assert.equal((await own.get('/api/agents')).status, 401)

  const last = await signedIn(bob)
  const other = (await listed(last)).find(({ current }) => current)?.id ?? ''
  assert.equal((await first.local().post(`/api/sessions/${other}/revoke`)).status, 200)
  assert.equal((await last.get('/api/agents')).status, 401)
})

test('the event streams of a revoked session end at once, also at another control plane', async () => {
  const here = await signedIn(bob)
  const there = await signedIn(bob, undefined, second)
  const streams = [await stream(here), await stream(there)]
  const spared = await stream(rex.browser)
  for (const tab of [here, there]) {
    const id = (await listed(tab)).find(({ current }) => current)?.id ?? ''
    assert.equal((await first.local().post(`/api/sessions/${id}/revoke`)).status, 200)
  }
  await Promise.all(streams.map(({ ended }) => ended))
  assert.equal(spared.response.closed, false)
  spared.response.destroy()
})

test('a cookie shown by another browser ends the session, and raises an alarm', async () => {
  const browser = await signedIn(bob, FIREFOX)
  assert.equal((await browser.get('/api/agents')).status, 200)
  const { ended } = await stream(browser)
  const thief = first.tab(OTHER)
  thief.cookie = browser.cookie
  assert.equal((await thief.get('/api/agents')).status, 401)
  await ended
  assert.equal((await browser.get('/api/agents')).status, 401)
  const alarms = (await alice.browser.get('/api/alarms')).body as unknown as readonly {
    kind: string
    operator: string
  }[]
  assert.deepEqual(
    alarms.map(({ kind, operator }) => [kind, operator]),
    [['session-reused', 'bob']],
  )
})

test('a session that nobody uses ends, wherever it is not used; use at one control plane counts at all', async () => {
  const idle = await signedIn(bob)
  const used = await signedIn(bob)
  const elsewhere = second.tab()
  elsewhere.cookie = used.cookie
  try {
    first.skew = second.skew = 14 * 60_000
    assert.equal((await elsewhere.get('/api/agents')).status, 200)
    first.skew = second.skew = 16 * 60_000
    assert.equal((await used.get('/api/agents')).status, 200)
    assert.equal((await idle.get('/api/agents')).status, 401)
    // Used all the time, it ends after eight hours nonetheless.
    for (let minutes = 26; minutes < 480; minutes += 14) {
      first.skew = minutes * 60_000
      assert.equal((await used.get('/api/agents')).status, 200, String(minutes))
    }
    first.skew = 480 * 60_000
    assert.equal((await used.get('/api/agents')).status, 401)
  } finally {
    first.skew = second.skew = 0
  }
})

test('a clock that goes back gives no session a longer life', async () => {
  const browser = await signedIn(bob)
  try {
    first.skew = -30_000
    assert.equal((await browser.get('/api/agents')).status, 200)
    first.skew = -3_600_000
    assert.equal((await browser.get('/api/agents')).status, 401)
  } finally {
    first.skew = 0
  }
})

test('who came and went stands in the audit log of the control plane', async () => {
  const browser = await signedIn(bob)
  const id = (await listed(browser)).find(({ current }) => current)?.id ?? ''
  assert.equal((await first.local().post(`/api/sessions/${id}/revoke`)).status, 200)
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  try {
    const { rows } = await client.query<{ record: string }>(
      "SELECT record FROM feed WHERE kind = 'event' AND record LIKE $1 ORDER BY seq",
      [`%${id}%`],
    )
    const events = rows.map(({ record }) => JSON.parse(record) as { event: string; facts: object })
    assert.deepEqual(
      events.map(({ event, facts }) => [event, facts]),
      [
        [
          'session-opened',
          { session: id, operator: 'bob', method: 'passkey', address: 'loopback' },
        ],
        ['session-ended', { session: id, operator: 'bob', why: 'revoked by local-admin' }],
      ],
    )
  } finally {
    await client.end()
  }
})

test('a passkey that leaves the operator set takes its sessions and streams along', async () => {
  // The tests before moved the clock, so that these two signed in before or after everything.
  alice = { ...alice, browser: await signedIn(alice) }
  const browser = await signedIn(rex)
  const { ended } = await stream(browser)
  const kept = await stream(alice.browser)
  assert.equal(
    (await alice.browser.post('/api/operators/removal', { operator: 'rex' })).status,
    200,
  )
  assert.equal((await browser.get('/api/agents')).status, 200)
  const path = '/api/operators/sign'
  const removed = await signed(alice.browser, alice.passkey, `${path}/options`, {}, path)
  assert.equal(removed.body['active'], true, removed.text)
  assert.equal((await browser.get('/api/agents')).status, 401)
  await ended
  assert.equal(kept.response.closed, false)
  kept.response.destroy()
  assert.ok((await listed(alice.browser)).every(({ operator }) => operator !== 'rex'))
})
