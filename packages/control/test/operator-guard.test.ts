import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { openConsole } from './support/console.ts'
import type { TestConsole } from './support/console.ts'

let dir: string
let site: TestConsole
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'console-'))
  await mkdir(join(dir, 'dist/assets'), { recursive: true })
  await writeFile(join(dir, 'secret.txt'), 'outside')
  await writeFile(join(dir, 'dist/index.html'), '<!doctype html><title>console</title>')
  await writeFile(join(dir, 'dist/assets/app-1.js'), 'void 0')
  await writeFile(join(dir, 'dist/assets/run.exe'), 'x')
  await writeFile(join(dir, 'dist/.env.txt'), 'hidden')
  await symlink(join(dir, 'secret.txt'), join(dir, 'dist/link.txt'))
  site = await openConsole(join(dir, 'dist'))
})
after(async () => {
  await site.close()
  await rm(dir, { recursive: true, force: true })
})

test('DNS rebinding: any other Host is refused, for pages and API alike', async () => {
  const { port } = new URL(site.origin)
  const browser = site.browser()
  for (const path of ['/', '/api/session', '/assets/app-1.js']) {
    assert.equal((await browser.get(path)).status, 200)
    for (const host of [
      'evil.test',
      `evil.test:${port}`,
      'localhost',
      `localhost.evil.test:${port}`,
      `127.0.0.1:${port}`,
      `LOCALHOST:${port}`,
    ]) {
      const answer = await browser.get(path, { host })
      assert.equal(answer.status, 421, `${host} ${path}`)
      assert.equal(answer.body['code'], 'SP_API_HOST')
    }
  }
})

test('request smuggling: two Hosts, an absolute target or a target that is no path are refused', async () => {
  const { host, port } = new URL(site.origin)
  const send = (head: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect(Number(port), '127.0.0.1', () => socket.write(head))
      let text = ''
      socket.on('data', (chunk) => (text += chunk.toString()))
      socket.on('end', () => resolve(text))
      socket.on('error', reject)
    })
  const end = '\r\nConnection: close\r\n\r\n'
  assert.match(await send(`GET /api/session HTTP/1.1\r\nHost: ${host}${end}`), /^HTTP\/1.1 200/)
  assert.match(
    await send(`GET /api/session HTTP/1.1\r\nHost: ${host}\r\nHost: evil.test${end}`),
    /^HTTP\/1.1 4/,
  )
  assert.match(
    await send(`GET http://evil.test/api/session HTTP/1.1\r\nHost: ${host}${end}`),
    /^HTTP\/1.1 404/,
  )
  assert.match(
    await send(`GET //evil.test/api/session HTTP/1.1\r\nHost: ${host}${end}`),
    /^HTTP\/1.1 404/,
  )
})

test('cross-site calls: another Origin, none on a change, or a foreign fetch site are refused', async () => {
  const browser = site.browser()
  const path = '/api/auth/login/options'
  assert.equal((await browser.post(path)).status, 200)
  for (const headers of [
    { origin: 'https://evil.test' },
    { origin: 'http://localhost:1' },
    { origin: 'null' },
    { origin: undefined },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
  ]) {
    const answer = await browser.post(path, {}, headers)
    assert.equal(answer.status, 403)
    assert.equal(answer.body['code'], 'SP_API_ORIGIN')
  }
  assert.equal((await browser.get('/api/session', { origin: 'https://evil.test' })).status, 403)
  assert.equal((await browser.get('/api/session', { 'sec-fetch-site': 'cross-site' })).status, 403)
  // A link on another site may open the page.
  assert.equal((await browser.get('/', { 'sec-fetch-site': 'cross-site' })).status, 200)
})

test('cross-site forms: a body that is not JSON is refused before it is read', async () => {
  const browser = site.browser()
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonp',
    undefined,
  ]) {
    const answer = await browser.post('/api/auth/login/options', {}, { 'content-type': type })
    assert.equal(answer.status, 415)
  }
  const utf8 = { 'content-type': 'application/json; charset=utf-8' }
  assert.equal((await browser.post('/api/auth/login/options', {}, utf8)).status, 200)
})

test('a signed-in change needs the CSRF token of its own session', async () => {
  const { browser } = await site.enrolled('rex')
  const other = await site.enrolled('rex')
  const act = { subject: 'spiffe://meridian.test/agent/a/1', reason: 'test' }
  for (const token of ['', 'wrong', other.browser.csrf, undefined]) {
    const answer = await browser.post('/api/quarantine', act, { 'x-sallyport-csrf': token })
    assert.equal(answer.status, 403)
    assert.equal(answer.body['code'], 'SP_API_CSRF')
  }
  assert.equal((await browser.post('/api/quarantine', act)).status, 200)
})

test('hostile bodies are refused: duplicates, depth, size, unknown members, wrong types', async () => {
  const browser = site.browser()
  const path = '/api/auth/totp'
  const rows: readonly (readonly [string, number, string])[] = [
    ['{"operator":"a","operator":"b","code":"1"}', 400, 'SP_JSON_DUPLICATE_KEY'],
    ['{"__proto__":{}}', 400, 'SP_JSON_FORBIDDEN_KEY'],
    ['['.repeat(1000), 400, 'SP_JSON_TOO_DEEP'],
    ['{', 400, 'SP_JSON_SYNTAX'],
    ['', 400, 'SP_JSON_SYNTAX'],
    ['[]', 400, 'SP_API_INPUT'],
    ['null', 400, 'SP_API_INPUT'],
    ['{}', 400, 'SP_API_INPUT'],
    ['{"operator":"a","code":1}', 400, 'SP_API_INPUT'],
    ['{"operator":"","code":"1"}', 400, 'SP_API_INPUT'],
    ['{"operator":"a","code":"1","admin":true}', 400, 'SP_API_INPUT'],
    [JSON.stringify({ operator: 'a', code: 'x'.repeat(17) }), 400, 'SP_API_INPUT'],
    [JSON.stringify({ operator: 'x'.repeat(70_000), code: '1' }), 413, 'SP_API_TOO_LARGE'],
  ]
  for (const [raw, status, code] of rows) {
    const answer = await browser.ask({ method: 'POST', path, raw })
    assert.deepEqual([answer.status, answer.body['code']], [status, code], raw.slice(0, 60))
    assert.equal(answer.headers['content-type'], 'application/problem+json; charset=utf-8')
  }
  const chunked = { 'transfer-encoding': 'chunked' }
  const big = await browser.ask({ method: 'POST', path, raw: 'x'.repeat(70_000), headers: chunked })
  assert.equal(big.status, 413)
})

test('every answer carries the security headers', async () => {
  const browser = site.browser()
  for (const path of ['/', '/api/session', '/api/nothing', '/assets/app-1.js']) {
    const { headers } = await browser.get(path)
    const csp = String(headers['content-security-policy'])
    assert.match(csp, /default-src 'none'; script-src 'self';/)
    assert.match(csp, /frame-ancestors 'none'/)
    assert.equal(/unsafe|\*|https?:/.test(csp), false)
    assert.equal(headers['x-content-type-options'], 'nosniff')
    assert.equal(headers['x-frame-options'], 'DENY')
    assert.equal(headers['referrer-policy'], 'no-referrer')
    assert.equal(headers['cross-origin-opener-policy'], 'same-origin')
    assert.equal(headers['access-control-allow-origin'], undefined)
  }
  assert.equal((await browser.get('/api/session')).headers['cache-control'], 'no-store')
})

test('files: the console is served, deep links open it, nothing else is reachable', async () => {
  const browser = site.browser()
  const script = await browser.get('/assets/app-1.js')
  assert.equal(script.text, 'void 0')
  assert.equal(script.headers['content-type'], 'text/javascript; charset=utf-8')
  assert.match(String(script.headers['cache-control']), /immutable/)
  for (const path of ['/', '/approvals/apr_1', '/agents/x?y=1']) {
    assert.match((await browser.get(path)).text, /<title>console/)
  }
  for (const path of [
    '/../secret.txt',
    '/%2e%2e/secret.txt',
    '/..%2fsecret.txt',
    '/assets/..%5c..%5csecret.txt',
    '/assets/../../secret.txt',
    '/link.txt',
    '/.env.txt',
    '/assets/run.exe',
    '/assets/none.js',
    '/%00.js',
    '/index.html/x.js',
  ]) {
    const answer = await browser.get(path)
    assert.equal(answer.status, 404, path)
    assert.equal(/outside|hidden/.test(answer.text), false)
  }
  assert.equal((await browser.ask({ method: 'PUT', path: '/', raw: '' })).status, 405)
})

test('unknown addresses and methods are refused as problems, without echoing', async () => {
  const browser = site.browser()
  for (const path of [
    '/api',
    '/api/',
    '/api/nothing',
    '/api/agents/a/b',
    '/api/session/',
    '/api/%zz',
    '/api/agents/%zz',
  ]) {
    const answer = await browser.get(path)
    assert.equal(answer.status, 404, path)
    assert.equal(answer.body['type'], 'https://sallyport.dev/errors/SP_API_NOT_FOUND')
  }
  assert.equal((await browser.post('/api/session')).status, 405)
  assert.equal((await browser.get('/api/auth/logout')).status, 405)
})

test('an inner failure tells strangers nothing, and is reported', async () => {
  const { browser } = await site.enrolled('vic')
  site.control.failWith(new Error('password=hunter2'))
  const answer = await browser.get('/api/agents')
  site.control.failWith(undefined)
  assert.equal(answer.status, 500)
  assert.equal(answer.body['code'], 'SP_INTERNAL')
  assert.equal(answer.text.includes('hunter2'), false)
  assert.equal(site.errors.length, 1)
  assert.equal((await browser.get('/api/agents')).status, 200)
})
