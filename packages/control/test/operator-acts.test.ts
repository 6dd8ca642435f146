import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { createServer as createSocketServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { listenPrivately } from '../src/operator/index.ts'
import { Browser } from './support/browser.ts'
import { openConsole, signed } from './support/console.ts'
import type { TestConsole } from './support/console.ts'

let site: TestConsole
beforeEach(async () => {
  site = await openConsole()
})
afterEach(() => site.close())

const subject = 'spiffe://meridian.test/agent/a/1'
const approve = '/api/approvals/apr_1'

test('roles: each sees and does what its rank allows, on every route of the document', async () => {
  const ranks = ['viewer', 'responder', 'approver', 'admin']
  const people = { vic: 'viewer', rex: 'responder', bob: 'approver', ada: 'admin' }
  const document = (await site.browser().get('/api/openapi.json')).body
  // The document's own shape, as another test pins it.
  const paths = document['paths'] as Record<string, Record<string, { 'x-sallyport-role': string }>>
  let checked = 0
  for (const [name, held] of Object.entries(people)) {
    const { browser } = await site.enrolled(name)
    for (const [path, item] of Object.entries(paths)) {
      if (path === '/api/events' || path === '/api/auth/logout') continue
      for (const [method, { 'x-sallyport-role': role }] of Object.entries(item)) {
        if (role === 'anyone') continue
        const target = path.replace(/\{\w+\}/, 'x')
        const answer =
          method === 'get' ? await browser.get(target) : await browser.post(target, { x: 1 })
        const allowed = ranks.indexOf(held) >= ranks.indexOf(role)
        assert.equal(answer.body['code'] === 'SP_API_ROLE', !allowed, `${name} ${method} ${path}`)
        assert.notEqual(answer.status, 401)
        checked++
      }
    }
  }
  assert.ok(checked > 80, `${checked} pairs were checked`)
})

test('an approval is decided by the passkey over exactly the arguments shown', async () => {
  const { browser, passkey } = await site.enrolled('bob')
  const shown = await browser.get(approve)
  assert.equal(shown.body['canDecide'], true)
  const offered = await browser.post(`${approve}/options`, { decision: 'approve' })
  // The members are compared below.
  const statement = offered.body['statement'] as Record<string, unknown>
  assert.deepEqual(statement['input'], shown.body['input'])
  assert.equal(statement['approver'], 'bob')
  const done = await signed(
    browser,
    passkey,
    `${approve}/options`,
    { decision: 'approve' },
    `${approve}/decide`,
  )
  assert.equal(done.body['status'], 'approved')
  assert.deepEqual(site.control.acts, [{ act: 'approve apr_1', by: 'bob' }])
})

test('refused approvals: altered statement, deny sent as approve, another passkey, bent ceremony', async () => {
  const { browser, passkey } = await site.enrolled('bob')
  const ada = await site.enrolled('ada')
  const attempt = (change: Parameters<typeof signed>[5]) =>
    signed(
      browser,
      passkey,
      `${approve}/options`,
      { decision: 'approve' },
      `${approve}/decide`,
      change,
    )
  const input = { accountId: 'acct-1', amount: 1 }
  const edited = await attempt(({ statement, response }) => ({
    statement: { ...statement, input },
    response,
  }))
  assert.deepEqual([edited.status, edited.body['code']], [409, 'SP_APPROVAL_STATEMENT'])
  const flipped = await attempt(({ statement, response }) => ({
    statement: { ...statement, decision: 'deny' },
    response,
  }))
  assert.equal(flipped.status, 409)
  const denial = await browser.post(`${approve}/options`, { decision: 'deny' })
  const crossed = await attempt(({ response }) => ({
    statement: denial.body['statement'],
    response,
  }))
  assert.notEqual(crossed.status, 200)
  const offered = await browser.post(`${approve}/options`, { decision: 'approve' })
  const { statement, options } = offered.body as unknown as {
    statement: unknown
    options: { challenge: string }
  }
  for (const response of [
    ada.passkey.get(options),
    passkey.get(options, { origin: 'https://evil.test' }),
    passkey.get(options, { rpId: 'evil.test' }),
    passkey.get(options, { flags: 0x01 }),
  ]) {
    const answer = await browser.post(`${approve}/decide`, { statement, response })
    assert.equal(answer.status, 403)
    assert.match(String(answer.body['code']), /^SP_SIGNATURE_/)
  }
  assert.deepEqual(site.control.acts, [])
  const login = await browser.post('/api/auth/login/options')
  const other = passkey.get(login.body as unknown as { challenge: string })
  assert.equal(
    (await browser.post(`${approve}/decide`, { statement, response: other })).status,
    403,
  )
  assert.equal((await attempt((body) => body)).status, 200)
})

test('malformed ceremonies are refused before anything looks at them', async () => {
  const { browser } = await site.enrolled('bob')
  const good = {
    id: 'AA',
    type: 'public-key',
    response: { authenticatorData: 'AA', clientDataJSON: 'AA', signature: 'AA' },
  }
  for (const response of [
    null,
    1,
    [],
    {},
    { ...good, id: 1 },
    { ...good, id: 'A+' },
    { ...good, type: 'x' },
    { ...good, response: null },
    { ...good, response: { ...good.response, signature: '' } },
  ]) {
    const answer = await browser.post(`${approve}/decide`, { statement: {}, response })
    assert.deepEqual([answer.status, answer.body['code']], [400, 'SP_API_INPUT'])
  }
})

test('quarantine is one call of a responder, in their name; release takes a passkey of an approver', async () => {
  const rex = await site.enrolled('rex')
  const cut = await rex.browser.post('/api/quarantine', { subject, reason: 'odd reads' })
  assert.equal(cut.status, 200)
  const { id } = cut.body['quarantine'] as { id: string }
  assert.deepEqual(site.control.acts, [{ act: `quarantine ${subject}`, by: 'rex' }])
  const path = `/api/quarantine/${id}/release`
  assert.equal(
    (await rex.browser.post(`${path}/options`, { reason: 'clean' })).body['code'],
    'SP_API_ROLE',
  )
  const bob = await site.enrolled('bob')
  const edited = await signed(
    bob.browser,
    bob.passkey,
    `${path}/options`,
    { reason: 'clean' },
    path,
    ({ statement, response }) => ({
      statement: { ...statement, subject: 'spiffe://meridian.test/agent/b/1' },
      response,
    }),
  )
  assert.equal(edited.status, 409)
  const done = await signed(bob.browser, bob.passkey, `${path}/options`, { reason: 'clean' }, path)
  assert.equal(done.body['released'], true)
  assert.equal(
    (await bob.browser.post('/api/quarantine/none/release/options', { reason: 'r' })).status,
    404,
  )
})

test('a declaration is proposed and signed by admins', async () => {
  const { browser, passkey } = await site.enrolled('ada')
  const proposed = await browser.post('/api/declaration/propose', {
    declaration: { network: {}, policies: [] },
  })
  const { digest } = proposed.body
  const sign = '/api/declaration/sign'
  const done = await signed(browser, passkey, `${sign}/options`, { digest }, sign, (body) => ({
    ...body,
    digest,
  }))
  assert.equal(done.body['live'], true)
  const wider = await signed(
    browser,
    passkey,
    `${sign}/options`,
    { digest },
    sign,
    ({ statement, response }) => ({
      digest,
      statement: { ...statement, digest: 'b'.repeat(64) },
      response,
    }),
  )
  assert.equal(wider.status, 409)
})

test('a shadow is started by an admin with a passkey, and by nobody less', async () => {
  const body = { digest: 'a'.repeat(64) }
  const acts = [
    ['/api/declaration/propose', { declaration: {} }],
    ['/api/declaration/shadow', body],
    ['/api/declaration/shadow/stop', {}],
  ] as const
  const { browser: bob } = await site.enrolled('bob')
  const { browser: ada } = await site.enrolled('ada')
  const { sessions } = site.control.context
  const seen = { userAgent: '', address: '127.0.0.1' }
  const { session, view } = await sessions.start({ operator: 'ada', method: 'totp' }, seen)
  const code = site.browser()
  code.cookie = `sp_session=${session}`
  code.csrf = view.csrf
  for (const [path, given] of acts) {
    assert.equal((await site.browser().post(path, given)).body['code'], 'SP_API_SESSION', path)
    assert.equal((await bob.post(path, given)).body['code'], 'SP_API_ROLE', path)
    assert.equal((await code.post(path, given)).body['code'], 'SP_API_PASSKEY', path)
    assert.equal((await ada.post(path, given)).status, 200, path)
  }
  const report = `/api/declaration/${body.digest}/shadow`
  assert.equal((await bob.get(report)).status, 200)
  assert.equal((await site.browser().get(report)).status, 401)
})

test('reads: the network with its matrix, filters of decisions, unknown things', async () => {
  const { browser } = await site.enrolled('vic')
  const network = await browser.get('/api/network')
  const matrix = network.body['matrix'] as { nodes: string[]; allowed: string[] }
  assert.ok(matrix.nodes.length > 5 && matrix.allowed.length > 5)
  assert.ok(matrix.allowed.every((entry) => /^[^|]+\|[^|]+\|\d+\|(?:tcp|udp)$/.test(entry)))
  await browser.get('/api/decisions?agent=monitor&decision=deny&limit=30&before=')
  assert.deepEqual(
    site.control.acts.at(-1)?.act,
    'decisions {"agent":"monitor","decision":"deny","limit":30}',
  )
  for (const query of [
    'limit=0',
    'limit=501',
    'limit=1e2',
    'decision=maybe',
    'x=1',
    'agent=a&agent=b',
    'before=DROP%20TABLE',
  ]) {
    assert.equal((await browser.get(`/api/decisions?${query}`)).status, 400, query)
  }
  for (const path of [
    '/api/agents/none',
    '/api/decisions/none',
    '/api/incidents/none',
    '/api/approvals/none',
  ]) {
    assert.equal((await browser.get(path)).status, 404)
  }
})

test('the admin socket is private, reads, narrows, makes tokens and links, and nothing else', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'admin-'))
  const path = join(dir, 'run', 'admin.sock')
  const server = createServer(site.api.adminHandler)
  await listenPrivately(server, path)
  try {
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    assert.equal((await stat(join(dir, 'run'))).mode & 0o777, 0o700)
    const local = new Browser(site.origin, { socketPath: path })
    for (const read of [
      '/api/agents',
      '/api/network',
      '/api/approvals',
      '/api/quarantine',
      '/api/health',
      '/api/operators',
      '/api/openapi.json',
    ]) {
      assert.equal((await local.get(read)).status, 200, read)
    }
    assert.equal((await local.get(approve)).body['canDecide'], false)
    assert.equal((await local.post('/api/quarantine', { subject, reason: 'r' })).status, 200)
    // Neither widens; signing does, and is refused below with every other route that is not local.
    const draft = { declaration: { network: {}, policies: [] } }
    assert.equal((await local.post('/api/declaration/propose', draft)).status, 200)
    const shadow = { digest: 'a'.repeat(64) }
    assert.equal((await local.post('/api/declaration/shadow', shadow)).status, 200)
    assert.equal(
      (await local.post('/api/join-tokens', { kind: 'agent', name: 'monitor' })).body['token'],
      'jt_1',
    )
    assert.match(
      String((await local.post('/api/operators/links', { operator: 'bob' })).body['url']),
      /\/enrol#/,
    )
    assert.deepEqual([...new Set(site.control.acts.map(({ by }) => by))], ['local-admin'])
    const document = (await local.get('/api/openapi.json')).body
    // The document's own shape, as another test pins it.
    const paths = document['paths'] as Record<
      string,
      Record<string, { 'x-sallyport-local': boolean }>
    >
    let refused = 0
    for (const [route, item] of Object.entries(paths)) {
      for (const [method, operation] of Object.entries(item)) {
        if (operation['x-sallyport-local']) continue
        const target = route.replace(/\{\w+\}/, 'apr_1')
        const answer = method === 'get' ? await local.get(target) : await local.post(target, {})
        assert.deepEqual([answer.status, answer.body['code']], [403, 'SP_API_LOCAL'], route)
        refused++
      }
    }
    assert.ok(refused >= 15, `${refused} routes were refused`)
    await assert.rejects(listenPrivately(createServer(), path), { code: 'SP_API_SOCKET' })
  } finally {
    await new Promise((resolve) => server.close(resolve))
    await rm(dir, { recursive: true, force: true })
  }
})

test('shares never come through a browser, whoever is signed in', async () => {
  const { browser } = await site.enrolled('ada')
  const share = 'x'.repeat(83)
  for (const [path, body] of [
    ['/api/unseal', { share }],
    ['/api/keys/rekey', { count: 5, threshold: 3, authority: [share] }],
    ['/api/keys/rekey/confirm', { shares: [share] }],
    ['/api/keys/rekey/cancel', {}],
  ] as const) {
    const answer = await browser.post(path, body)
    assert.deepEqual([answer.status, answer.body['code']], [403, 'SP_API_LOCAL'], path)
  }
  // Beside them, what an admin may do there: it comes as far as the barrier, which is not in memory.
  assert.equal((await browser.post('/api/keys/rotate', {})).body['code'], 'SP_INTERNAL')
})

test('the admin socket replaces a dead socket, and nothing else that stands in its place', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'admin-'))
  try {
    const file = join(dir, 'file')
    await writeFile(file, 'precious')
    await assert.rejects(listenPrivately(createServer(), file), { code: 'SP_API_SOCKET' })
    assert.equal((await stat(file)).isFile(), true)
    const dead = join(dir, 'dead.sock')
    const before = createSocketServer()
    await new Promise<void>((resolve) => before.listen(dead, resolve))
    await assert.rejects(listenPrivately(createServer(), dead), { code: 'SP_API_SOCKET' })
    await new Promise((resolve) => before.close(resolve))
    const after = createServer()
    await listenPrivately(after, dead)
    await new Promise((resolve) => after.close(resolve))
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
})
