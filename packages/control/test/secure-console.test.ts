/** The console off loopback: real TLS with a CA of its own, and what may not get in. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import type { PeerCertificate } from 'node:tls'
import { systemClock } from '@sallyport/base'
import { consoleOrigin, planSite } from '../src/index.ts'
import { Browser } from './support/browser.ts'
import { openConsole } from './support/console.ts'
import { openSecureConsole, ORIGIN } from './support/secure-console.ts'
import type { SecureConsole } from './support/secure-console.ts'
import { Files, HOST, WebCa } from './support/tls.ts'

let site: SecureConsole
before(async () => {
  site = await openSecureConsole()
})
after(() => site.close())

/** One handshake: the version, the certificate that was shown, and whether it was trusted. */
async function handshake(options: object = {}): Promise<{
  protocol: string | null
  shown: PeerCertificate
  chain: number
}> {
  const socket = connectTls({
    port: site.port,
    host: '127.0.0.1',
    servername: HOST,
    ca: site.ca.root.pem,
    ALPNProtocols: ['http/1.1'],
    ...options,
  })
  try {
    await once(socket, 'secureConnect')
    let chain = 1
    for (
      let at = socket.getPeerCertificate(true);
      at.issuerCertificate !== undefined && at.issuerCertificate !== at;
      at = at.issuerCertificate
    ) {
      chain++
    }
    return { protocol: socket.getProtocol(), shown: socket.getPeerCertificate(), chain }
  } finally {
    socket.destroy()
  }
}

async function until(met: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 30_000; performance.now() < end;) {
    if (await met()) return
    await sleep(25)
  }
  assert.fail('it did not happen')
}

test('TLS 1.3 and nothing older, with the chain, for who trusts the CA', async () => {
  const { protocol, shown, chain } = await handshake()
  assert.equal(protocol, 'TLSv1.3')
  assert.equal(shown.subjectaltname, `DNS:${HOST}`)
  // Leaf and issuer came from the server; the root is the client's own.
  assert.equal(chain, 3)
  await assert.rejects(handshake({ maxVersion: 'TLSv1.2' }), /protocol version|EPROTO|alert/)
  await assert.rejects(
    handshake({ ca: new WebCa().root.pem }),
    /certificate signature failure|unable to/,
  )
  await assert.rejects(handshake({ servername: 'other.bank.example' }), /does not match/)
})

test('plain http to the TLS port gets no answer; https does', async () => {
  const answer = await new Promise<string>((resolve) => {
    const socket = connect(site.port, '127.0.0.1', () =>
      socket.write(`GET /api/session HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`),
    )
    let text = ''
    socket.on('data', (chunk) => (text += chunk.toString('latin1')))
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(text))
  })
  assert.doesNotMatch(answer, /HTTP/)
  assert.equal((await site.browser().get('/api/session')).status, 200)
})

test('foreign Host: any name but the origin’s own is refused', async () => {
  const browser = site.browser()
  assert.equal((await browser.get('/api/session', { host: HOST })).status, 200)
  for (const host of [
    'evil.test',
    'localhost',
    `127.0.0.1:${site.port}`,
    `${HOST}:${site.port}`,
    `${HOST}.evil.test`,
    HOST.toUpperCase(),
  ]) {
    for (const path of ['/', '/api/session']) {
      const answer = await browser.get(path, { host })
      assert.deepEqual([answer.status, answer.body['code']], [421, 'SP_API_HOST'], host)
    }
  }
})

test('foreign Origin: other hosts, the plain twin and the port behind are refused', async () => {
  const browser = site.browser()
  const path = '/api/auth/login/options'
  assert.equal((await browser.post(path)).status, 200)
  for (const headers of [
    { origin: 'https://evil.test' },
    { origin: `http://${HOST}` },
    { origin: `${ORIGIN}:${site.port}` },
    { origin: 'https://sibling.bank.example' },
    { origin: 'null' },
    { origin: undefined },
    { 'sec-fetch-site': 'same-site' },
    { 'sec-fetch-site': 'cross-site' },
  ]) {
    const answer = await browser.post(path, {}, headers)
    assert.deepEqual([answer.status, answer.body['code']], [403, 'SP_API_ORIGIN'])
  }
})

test('the cookie is Secure and bound to the host; one that a sibling or a plain page sets is none', async () => {
  const { browser } = await site.enrolled('ada')
  const tab = site.browser()
  const { link } = await site.control.context.operators.createLink({ operator: 'bob', by: 'test' })
  assert.equal((await tab.post('/api/auth/register/options', { link })).status, 200)
  const { cookie = '' } = browser
  assert.match(cookie, /^__Host-sp_session=[\w.-]+$/)
  assert.equal((await browser.get('/api/agents')).status, 200)
  for (const planted of [
    cookie.replace('__Host-', ''),
    cookie.replace('__Host-', '__host-'),
    cookie.replace('__Host-', '__Secure-'),
    `${cookie}; ${cookie}`,
  ]) {
    assert.equal((await browser.get('/api/agents', { cookie: planted })).status, 401, planted)
  }
  const out = await browser.post('/api/auth/logout')
  const cleared = '__Host-sp_session=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0'
  assert.deepEqual(out.headers['set-cookie'], [cleared])
  const document = await site.browser().get('/api/openapi.json')
  assert.match(document.text, /"name":"__Host-sp_session"/)
})

test('HSTS goes with every answer over TLS, and never over http on localhost', async () => {
  const plain = await openConsole()
  try {
    for (const path of ['/', '/api/session', '/api/nothing']) {
      const { headers } = await site.browser().get(path)
      assert.equal(headers['strict-transport-security'], 'max-age=31536000')
      const other = (await plain.browser().get(path)).headers
      assert.equal(other['strict-transport-security'], undefined)
      assert.equal(headers['content-security-policy'], other['content-security-policy'])
    }
  } finally {
    await plain.close()
  }
})

test('https://localhost takes a certificate and no HSTS, which would bind the whole machine', async () => {
  const files = new Files()
  const ca = new WebCa()
  files.put(ca.leaf({ dns: ['localhost'] }), ca.issuer)
  const origin = 'https://localhost:7443'
  const local = await planSite({ ...quiet, ...files.paths, origin, port: 0, listen: anywhere })
  const { createOperatorApi } = await import('../src/operator/index.ts')
  const { memoryControl } = await import('./support/memory.ts')
  const { context } = await memoryControl(origin)
  const api = createOperatorApi(context)
  const web = await local.listen(api.consoleHandler)
  try {
    const { port } = new URL(`https://${web.at}`)
    const browser = new Browser(origin, {
      host: '127.0.0.1',
      port: Number(port),
      ca: ca.root.pem,
    })
    const { status, headers } = await browser.get('/api/session')
    assert.equal(status, 200)
    assert.equal(headers['strict-transport-security'], undefined)
  } finally {
    api.close()
    local.stop()
    await web.close()
    files.remove()
  }
})

test('server-sent events come through TLS', async () => {
  const { browser } = await site.enrolled('ada')
  const stream = await browser.open({ path: '/api/events' })
  assert.equal(stream.statusCode, 200)
  stream.setEncoding('utf8')
  let text = ''
  stream.on('data', (chunk: string) => (text += chunk))
  await until(() => text.includes('retry'))
  site.control.publish('decision', { id: 'dec_1' })
  await until(() => text.includes('event: decision\ndata: {"id":"dec_1"}'))
  stream.destroy()
})

test('a new certificate is served without a restart, and old connections live on', async () => {
  const { browser } = await site.enrolled('ada')
  const stream = await browser.open({ path: '/api/events' })
  const first = (await handshake()).shown.fingerprint256
  const next = site.ca.leaf({ notAfter: Date.now() + 60 * 86_400_000 })
  site.files.put(next, site.ca.issuer)
  await until(async () => (await handshake()).shown.fingerprint256 !== first)
  assert.equal((await handshake()).shown.fingerprint256, site.site.certificate()?.fingerprint)
  assert.equal(site.site.certificate()?.problem, undefined)
  assert.equal(stream.closed, false)
  stream.destroy()
})

test('a bad replacement keeps the old one, says so once, and mends', async () => {
  const { ca, files, said } = site
  const served = (await handshake()).shown.fingerprint256
  const good = ca.leaf()
  const now = Date.now()
  for (const [put, code] of [
    [() => files.putRaw('', ''), 'SP_CONSOLE_CERT_INVALID'],
    [() => files.putRaw(good.pem, ca.leaf().keyPem), 'SP_CONSOLE_KEY_MISMATCH'],
    [() => files.put(ca.leaf({ dns: ['other.example'] })), 'SP_CONSOLE_CERT_NAME'],
    [() => files.put(ca.leaf({ notAfter: now - 1000 })), 'SP_CONSOLE_CERT_EXPIRED'],
    [() => files.put(good, ca.root), 'SP_CONSOLE_CERT_CHAIN'],
    [() => rmSync(files.certFile), 'SP_CONSOLE_CERT_INVALID'],
  ] as const) {
    said.length = 0
    put()
    await until(() => said.length > 0)
    await sleep(150)
    assert.equal(said.length, 1, JSON.stringify(said))
    assert.equal(said[0]?.code, 'SP_CONSOLE_CERT_KEPT')
    assert.match(said[0]?.detail ?? '', new RegExp(`\\[${code}\\]`))
    assert.equal(site.site.certificate()?.problem?.code, code)
    assert.equal((await handshake()).shown.fingerprint256, served)
  }
  files.put(good, ca.issuer)
  await until(async () => (await handshake()).shown.fingerprint256 !== served)
  assert.equal(site.site.certificate()?.problem, undefined)
})

test('half a replacement is not taken for a bad one: the key follows the certificate', async () => {
  const { ca, files, said } = site
  said.length = 0
  const served = (await handshake()).shown.fingerprint256
  const next = ca.leaf()
  // As fast as two writes in a row, again and again: no look in between may alarm or serve the wrong pair.
  writeFileSync(files.certFile, next.pem + ca.issuer.pem)
  writeFileSync(files.keyFile, next.keyPem)
  await until(async () => (await handshake()).shown.fingerprint256 !== served)
  assert.deepEqual(said, [])
})

const quiet = { clock: systemClock, onError: () => undefined }
const anywhere = { host: '127.0.0.1', port: 0 }

test('a certificate that ends soon, or has ended, is said once a day', async () => {
  const files = new Files()
  const ca = new WebCa()
  const day = 86_400_000
  let now = Date.now()
  const clock = { now: () => now, monotonic: () => performance.now() }
  files.put(ca.leaf({ notAfter: now + 20 * day }), ca.issuer)
  const said: string[] = []
  const plan = await planSite({
    ...{ ...files.paths, origin: ORIGIN, port: 0, listen: anywhere, clock, certificatePollMs: 20 },
    onError: (error) => said.push(String(error)),
  })
  const web = await plan.listen(() => undefined)
  try {
    await sleep(120)
    assert.deepEqual(said, [])
    // A third of its life is left, which is less than 14 days.
    now += 14 * day
    await until(() => said.length === 1)
    await sleep(120)
    assert.equal(said.length, 1)
    assert.match(said[0] ?? '', /expires soon/)
    now += 7 * day
    await until(() => said.length === 2)
    assert.match(said[1] ?? '', /has expired/)
  } finally {
    plan.stop()
    await web.close()
    files.remove()
  }
})

test('off loopback without both files it refuses to start, whatever the origin', async () => {
  const files = new Files()
  const ca = new WebCa()
  files.put(ca.leaf(), ca.issuer)
  const { certFile, keyFile } = files
  const plain = { ...quiet, origin: 'http://localhost:7400', port: 0 }
  const secure = { ...quiet, origin: ORIGIN, port: 0, listen: anywhere }
  const everywhere = { host: '0.0.0.0', port: 7400 }
  try {
    for (const options of [
      secure,
      { ...secure, certFile },
      { ...secure, keyFile },
      { ...plain, listen: everywhere },
      { ...plain, listen: everywhere, certFile },
    ]) {
      await assert.rejects(planSite(options), { code: 'SP_CONSOLE_NO_CERTIFICATE' })
    }
    // A plain origin stays plain and on loopback: passkeys are bound to it.
    for (const options of [
      { ...plain, listen: everywhere, certFile, keyFile },
      { ...plain, certFile, keyFile },
    ]) {
      await assert.rejects(planSite(options), { code: 'SP_CONFIG_CONSOLE_ORIGIN' })
    }
    assert.equal((await planSite({ ...secure, certFile, keyFile })).url, ORIGIN)
    assert.equal((await planSite(plain)).url, 'http://localhost:7400')
  } finally {
    files.remove()
  }
})

test('origins: https hosts and http://localhost, nothing else', () => {
  for (const [text, rpId, origin] of [
    ['https://console.bank.example', 'console.bank.example', 'https://console.bank.example'],
    ['https://console.bank.example/', 'console.bank.example', 'https://console.bank.example'],
    ['https://Console.Bank.example:443', 'console.bank.example', 'https://console.bank.example'],
    ['https://console:8443', 'console', 'https://console:8443'],
    ['http://localhost:7400', 'localhost', 'http://localhost:7400'],
    ['https://bücher.example', 'xn--bcher-kva.example', 'https://xn--bcher-kva.example'],
  ] as const) {
    assert.deepEqual(consoleOrigin(text), { rpId, origin })
  }
  for (const text of [
    '',
    'console.bank.example',
    'http://console.bank.example',
    'http://127.0.0.1:7400',
    'https://127.0.0.1',
    'https://[::1]:7400',
    'https://0x7f.1',
    'https://console.bank.example/console',
    'https://console.bank.example?x',
    'https://console.bank.example#x',
    'https://user@console.bank.example',
    'https://console.bank.example.',
    'https://*.bank.example',
    'https://console.bank.example:70000',
    'ftp://console.bank.example',
    'javascript:alert(1)',
    'http://localhost.evil.test',
    'http://localhost:abc',
  ]) {
    assert.throws(() => consoleOrigin(text), { code: 'SP_CONFIG_CONSOLE_ORIGIN' }, text)
  }
})

test('a taken port says so', async () => {
  const files = new Files()
  const ca = new WebCa()
  files.put(ca.leaf(), ca.issuer)
  const other = createServer()
  other.listen(0, '127.0.0.1')
  await once(other, 'listening')
  const at = other.address()
  assert.ok(typeof at === 'object' && at)
  const listen = { host: '127.0.0.1', port: at.port }
  const plan = await planSite({ ...quiet, ...files.paths, origin: ORIGIN, port: 0, listen })
  await assert.rejects(
    plan.listen(() => undefined),
    { code: 'SP_LISTEN_FAILED' },
  )
  other.close()
  files.remove()
})

test('made-up cookies are rationed before they are looked up, and spare those with a session', async () => {
  const fresh = await openSecureConsole()
  try {
    const { browser } = await fresh.enrolled('ada')
    const { sessions } = fresh.control.context
    const find = sessions.find.bind(sessions)
    let reads = 0
    sessions.find = (...given) => {
      reads++
      return find(...given)
    }
    const stranger = fresh.browser()
    for (let call = 0; call < 200; call++) {
      stranger.cookie = `__Host-sp_session=spsession_${String(call).padStart(43, 'x')}`
      const { status } = await stranger.get('/api/agents')
      assert.ok(status === 401 || status === 429)
    }
    // A burst of 60 and one more each second.
    assert.ok(reads >= 20 && reads < 150, `${reads} reads`)
    const before = reads
    assert.equal((await browser.get('/api/agents')).status, 200)
    assert.equal(reads, before + 1)
    // One that was a session is looked up once more, and counts as made up from then on.
    const { cookie } = browser
    assert.equal((await browser.post('/api/auth/logout')).status, 200)
    browser.cookie = cookie
    const left = reads
    for (let call = 0; call < 20; call++) await browser.get('/api/agents')
    assert.ok(reads - left < 20, `${reads - left} reads of a session that was over`)
  } finally {
    await fresh.close()
  }
})

test('strangers are rationed by address, those with a session are not', async () => {
  const fresh = await openSecureConsole()
  try {
    const { browser } = await fresh.enrolled('ada')
    const stranger = fresh.browser()
    const answers = new Map<number, number>()
    for (let call = 0; call < 80; call++) {
      const { status } = await stranger.post('/api/auth/login/options')
      answers.set(status, (answers.get(status) ?? 0) + 1)
    }
    assert.ok((answers.get(200) ?? 0) >= 40, 'a burst goes through')
    assert.ok((answers.get(429) ?? 0) >= 15, 'a flood does not')
    const refused = await stranger.post('/api/auth/login/options')
    assert.deepEqual([refused.status, refused.body['code']], [429, 'SP_API_RATE'])
    assert.equal((await browser.get('/api/agents')).status, 200)
    fresh.control.advance(60_000)
    assert.equal((await stranger.post('/api/auth/login/options')).status, 200)
  } finally {
    await fresh.close()
  }
})

test('one address cannot hold every connection', async () => {
  const sockets = Array.from({ length: 140 }, () => connect(site.port, '127.0.0.1'))
  let closed = 0
  for (const socket of sockets) {
    socket.on('error', () => undefined)
    socket.on('close', () => closed++)
  }
  try {
    await until(() => closed >= 12)
    assert.ok(closed < 30, `${closed}`)
  } finally {
    for (const socket of sockets) socket.destroy()
  }
  const answered = async (): Promise<boolean> => {
    const answer = await site
      .browser()
      .get('/api/session')
      .catch(() => undefined)
    return answer?.status === 200
  }
  await until(answered)
})
