import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { SallyportError } from '@sallyport/base'
import { Secret, TOTP } from 'otpauth'
import { SoftAuthenticator } from './support/authenticator.ts'
import type { Bend, CreationOptions, RequestOptions } from './support/authenticator.ts'
import { openConsole, signed } from './support/console.ts'
import type { TestConsole } from './support/console.ts'
import type { Answer, Browser } from './support/browser.ts'

let site: TestConsole
before(async () => {
  site = await openConsole()
})
after(() => site.close())

async function login(
  passkey: SoftAuthenticator,
  bend: Bend = {},
  tab: Browser = site.browser(),
): Promise<Answer> {
  const options = await tab.post('/api/auth/login/options')
  // What the route answers; a wrong shape fails the sign-in.
  const response = passkey.get(options.body as unknown as RequestOptions, bend)
  return tab.post('/api/auth/login/verify', { response })
}

test('before anyone enrols the console says so, and nothing is readable', async () => {
  const tab = site.browser()
  const session = await tab.get('/api/session')
  assert.deepEqual(session.body, { operator: null, csrf: '', bootstrap: true })
  for (const path of [
    '/api/network',
    '/api/agents',
    '/api/decisions',
    '/api/approvals',
    '/api/events',
    '/api/health',
    '/api/operators',
  ]) {
    assert.equal((await tab.get(path)).status, 401, path)
  }
})

test('a one-time link enrols a passkey, signs in, and works once', async () => {
  const { link } = await site.control.context.operators.createLink({ operator: 'ada', by: 'test' })
  const tab = site.browser()
  const options = await tab.post('/api/auth/register/options', { link })
  const offered = options.body as unknown as CreationOptions & Record<string, unknown>
  assert.equal(offered.rp.id, 'localhost')
  assert.deepEqual(offered['authenticatorSelection'], {
    residentKey: 'required',
    requireResidentKey: true,
    userVerification: 'required',
  })
  const passkey = new SoftAuthenticator(site.origin)
  const response = passkey.create(offered)
  const done = await tab.post('/api/auth/register/verify', { link, response })
  assert.equal(done.body['active'], true)
  const cookie = String(done.headers['set-cookie']?.[0])
  assert.match(cookie, /^sp_session=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/)
  const session = await tab.get('/api/session')
  assert.deepEqual(session.body['operator'], { name: 'ada', displayName: 'ada', roles: ['admin'] })
  assert.equal(session.body['bootstrap'], false)
  assert.equal(
    (await tab.post('/api/auth/register/verify', { link, response })).body['code'],
    'SP_LINK_INVALID',
  )
  assert.equal((await tab.post('/api/auth/register/options', { link })).status, 403)
})

test('refused registrations: other origin, RP or challenge, no user verification, another link’s challenge', async () => {
  const bends: Bend[] = [
    { origin: 'https://evil.test' },
    { rpId: 'evil.test' },
    { challenge: Buffer.alloc(32).toString('base64url') },
    { flags: 0x41 },
  ]
  const attempt = async (link: string, bend: Bend): Promise<Answer> => {
    const tab = site.browser()
    const options = await tab.post('/api/auth/register/options', { link })
    const response = new SoftAuthenticator(site.origin).create(
      options.body as unknown as CreationOptions,
      bend,
    )
    return tab.post('/api/auth/register/verify', { link, response })
  }
  const { link } = await site.control.context.operators.createLink({ operator: 'bob', by: 'test' })
  for (const bend of bends) {
    const answer = await attempt(link, bend)
    assert.deepEqual([answer.status, answer.body['code']], [401, 'SP_API_LOGIN'])
  }
  const other = await site.control.context.operators.createLink({ operator: 'vic', by: 'test' })
  const offered = await site.browser().post('/api/auth/register/options', { link: other.link })
  const stolen = await attempt(link, { challenge: String(offered.body['challenge']) })
  assert.equal(stolen.status, 401)
  assert.equal((await attempt(link, {})).status, 200)
})

test('a passkey that gateways could not verify is not enrolled, and the link stays good', async () => {
  const { link } = await site.control.context.operators.createLink({ operator: 'bob', by: 'test' })
  const offCurve = Buffer.concat([
    Buffer.from('a5010203262001215820', 'hex'),
    Buffer.alloc(32, 1),
    Buffer.from('225820', 'hex'),
    Buffer.alloc(32, 1),
  ])
  const attempt = async (bend: Bend): Promise<Answer> => {
    const tab = site.browser()
    const options = await tab.post('/api/auth/register/options', { link })
    const passkey = new SoftAuthenticator(site.origin)
    const response = passkey.create(options.body as unknown as CreationOptions, bend)
    return tab.post('/api/auth/register/verify', { link, response })
  }
  const keys = site.control.context.operators.set()?.keys.length
  assert.equal((await attempt({ publicKey: offCurve })).body['code'], 'SP_SIGNATURE_KEY')
  assert.equal(site.control.context.operators.set()?.keys.length, keys)
  assert.equal((await attempt({})).status, 200)
})

test('why a call failed in detail is for operators, not for strangers', async () => {
  const refused = await login(new SoftAuthenticator(site.origin), {})
  assert.equal(refused.body['detail'], refused.body['title'])
  const { passkey, browser } = await site.enrolled('vic')
  const bent = await login(passkey, { origin: 'https://evil.test' })
  assert.equal(bent.body['detail'], bent.body['title'])
  site.control.failWith(new SallyportError('SP_TEST', 'it failed', { detail: 'threshold 10' }))
  const told = await browser.get('/api/agents')
  site.control.failWith(undefined)
  assert.deepEqual(
    [told.body['title'], told.body['detail']],
    ['it failed', 'it failed: threshold 10'],
  )
})

test('a passkey signs in; each sign-in is a new session', async () => {
  const { passkey, browser } = await site.enrolled('rex')
  const before = browser.cookie
  const answer = await login(passkey, {}, browser)
  assert.equal(answer.status, 200)
  assert.notEqual(browser.cookie, before)
  assert.equal((await browser.get('/api/agents')).status, 200)
  const old = site.browser()
  old.cookie = before
  assert.equal((await old.get('/api/agents')).status, 401)
})

test('refused sign-ins: bent ceremonies, strangers, replays', async () => {
  const { passkey } = await site.enrolled('rex')
  for (const bend of [
    { origin: 'https://evil.test' },
    { origin: 'http://localhost:1' },
    { rpId: 'evil.test' },
    { challenge: Buffer.alloc(32).toString('base64url') },
    { flags: 0x01 },
    { flags: 0x04 },
  ]) {
    const answer = await login(passkey, bend)
    assert.deepEqual(
      [answer.status, answer.body['code']],
      [401, 'SP_API_LOGIN'],
      JSON.stringify(bend),
    )
    assert.equal(answer.headers['set-cookie'], undefined)
  }
  assert.equal((await login(new SoftAuthenticator(site.origin))).status, 401)
  const tab = site.browser()
  const options = await tab.post('/api/auth/login/options')
  const response = passkey.get(options.body as unknown as RequestOptions)
  assert.equal((await tab.post('/api/auth/login/verify', { response })).status, 200)
  const replay = await site.browser().post('/api/auth/login/verify', { response })
  assert.equal(replay.body['code'], 'SP_API_LOGIN')
})

test('a passkey that was taken away signs in no more, and its sessions end', async () => {
  const { passkey, browser } = await site.enrolled('vic')
  assert.equal((await login(passkey)).status, 200)
  site.control.removeOperator('vic')
  assert.equal((await browser.get('/api/agents')).status, 401)
  assert.equal((await login(passkey)).status, 401)
})

test('sessions end: by signing out, by idling 15 minutes, after 8 hours', async () => {
  const out = await site.enrolled('ada')
  const { cookie } = out.browser
  assert.equal((await out.browser.post('/api/auth/logout')).status, 200)
  out.browser.cookie = cookie
  assert.equal((await out.browser.get('/api/agents')).status, 401)

  const idle = await site.enrolled('ada')
  site.control.advance(14 * 60_000)
  assert.equal((await idle.browser.get('/api/agents')).status, 200)
  site.control.advance(15 * 60_000)
  assert.equal((await idle.browser.get('/api/agents')).status, 401)

  const listening = await site.enrolled('ada')
  for (let minutes = 0; minutes < 15; minutes += 5) {
    const stream = await listening.browser.open({ path: '/api/events' })
    assert.equal(stream.statusCode, 200)
    stream.destroy()
    site.control.advance(5 * 60_000)
  }
  assert.equal((await listening.browser.get('/api/events')).status, 401)

  const long = await site.enrolled('ada')
  for (let minutes = 0; minutes < 8 * 60 - 10; minutes += 10) {
    site.control.advance(10 * 60_000)
    assert.equal((await long.browser.get('/api/agents')).status, 200)
  }
  site.control.advance(10 * 60_000)
  assert.equal((await long.browser.get('/api/agents')).status, 401)
})

test('odd cookies are no session', async () => {
  const { browser } = await site.enrolled('ada')
  const { cookie = '' } = browser
  for (const value of [
    `${cookie}; ${cookie}`,
    `${cookie}x`,
    'sp_session=',
    'sp_session=../../x',
    `xsp_session=${cookie}`,
  ]) {
    assert.equal((await browser.get('/api/agents', { cookie: value })).status, 401, value)
  }
  assert.equal((await browser.get('/api/agents', { cookie: `other=1; ${cookie}` })).status, 200)
})

async function withTotp(): Promise<{
  browser: Browser
  passkey: SoftAuthenticator
  code: () => string
}> {
  const { browser, passkey } = await site.enrolled('ada')
  site.control.advance(60_000)
  const made = await browser.post('/api/auth/totp/setup')
  const secret = Secret.fromBase32(String(made.body['secret']))
  assert.match(String(made.body['uri']), /^otpauth:\/\/totp\//)
  const code = (): string => TOTP.generate({ secret, timestamp: site.control.context.clock.now() })
  const enabled = await browser.post('/api/auth/totp/enable', {
    secret: secret.base32,
    code: code(),
  })
  assert.equal(enabled.status, 200, enabled.text)
  site.control.advance(60_000)
  await confirmed()
  return { browser, passkey, code }
}

const confirmed = (): Promise<unknown> =>
  site.control.context.recoveries.confirm({ operator: 'ada', by: 'bob' })

test('a code signs in once, however it is spaced', async () => {
  const { code } = await withTotp()
  const now = code()
  const tab = site.browser()
  const spaced = `${now.slice(0, 3)} ${now.slice(3)}`
  assert.equal((await tab.post('/api/auth/totp', { operator: 'ada', code: spaced })).status, 200)
  assert.equal((await tab.get('/api/session')).body['method'], 'totp')
  // Confirmed anew, so that nothing but the reuse stands in the way.
  await confirmed()
  for (const again of [now, spaced, ` ${now} `, now.split('').join(' ')]) {
    const answer = await site.browser().post('/api/auth/totp', { operator: 'ada', code: again })
    assert.deepEqual([answer.status, answer.body['code']], [401, 'SP_API_LOGIN'])
  }
  site.control.advance(30_000)
  assert.equal(
    (await site.browser().post('/api/auth/totp', { operator: 'ada', code: code() })).status,
    200,
  )
})

test('the code that enabled one-time codes does not sign in', async () => {
  const { browser } = await site.enrolled('ada')
  site.control.advance(60_000)
  const secret = Secret.fromBase32(
    String((await browser.post('/api/auth/totp/setup')).body['secret']),
  )
  const code = TOTP.generate({ secret, timestamp: site.control.context.clock.now() })
  const wrong = code === '000000' ? '000001' : '000000'
  assert.equal(
    (await browser.post('/api/auth/totp/enable', { secret: secret.base32, code: wrong })).status,
    401,
  )
  assert.equal((await browser.post('/api/auth/totp/enable', { secret: 'AAAA', code })).status, 400)
  assert.equal(
    (await browser.post('/api/auth/totp/enable', { secret: secret.base32, code })).status,
    200,
  )
  await confirmed()
  assert.equal((await site.browser().post('/api/auth/totp', { operator: 'ada', code })).status, 401)
})

test('guessing codes closes the way for five minutes, for the right code too; strangers learn nothing', async () => {
  const { code } = await withTotp()
  const attempt = (operator: string, value: string): Promise<Answer> =>
    site.browser().post('/api/auth/totp', { operator, code: value })
  const wrong = code() === '000000' ? '000001' : '000000'
  const guesses = await Promise.all(Array.from({ length: 8 }, () => attempt('ada', wrong)))
  assert.deepEqual(
    guesses.map(({ status }) => status).toSorted((a, b) => a - b),
    [401, 401, 401, 401, 401, 429, 429, 429],
  )
  assert.equal((await attempt('ada', code())).body['code'], 'SP_API_RATE')
  site.control.advance(5 * 60_000)
  assert.equal((await attempt('ada', code())).status, 200)
  const stranger = await attempt('nobody', '123456')
  const known = await attempt('bob', '123456')
  assert.deepEqual([stranger.status, stranger.text], [known.status, known.text])
})

test('a code session reads and narrows, and does nothing that widens', async () => {
  const { code, passkey } = await withTotp()
  const tab = site.browser()
  await tab.post('/api/auth/totp', { operator: 'ada', code: code() })
  assert.equal((await tab.get('/api/agents')).status, 200)
  const cut = await tab.post('/api/quarantine', {
    subject: 'spiffe://meridian.test/agent/a/1',
    reason: 'r',
  })
  assert.equal(cut.status, 200)
  const seen = await tab.get('/api/approvals/apr_1')
  assert.deepEqual(
    [seen.body['canDecide'], seen.body['reason']],
    [false, 'this session was opened without a passkey'],
  )
  for (const [path, body] of WIDENING) {
    const answer = await tab.post(path, body)
    assert.deepEqual([answer.status, answer.body['code']], [403, 'SP_API_PASSKEY'], path)
  }
  const back = site.browser()
  assert.equal((await login(passkey, {}, back)).status, 200)
  const done = await signed(
    back,
    passkey,
    '/api/approvals/apr_1/options',
    { decision: 'approve' },
    '/api/approvals/apr_1/decide',
  )
  assert.equal(done.status, 200)
})

const digest = 'a'.repeat(64)
const WIDENING: readonly (readonly [string, unknown])[] = [
  ['/api/approvals/apr_1/options', { decision: 'approve' }],
  ['/api/approvals/apr_1/decide', {}],
  ['/api/quarantine/qua_1/release/options', { reason: 'r' }],
  ['/api/quarantine/qua_1/release', {}],
  ['/api/declaration/propose', { declaration: {} }],
  ['/api/declaration/sign/options', { digest }],
  ['/api/declaration/sign', {}],
  ['/api/operators/links', { operator: 'bob' }],
  ['/api/operators/removal', { operator: 'bob' }],
  ['/api/operators/sign/options', {}],
  ['/api/operators/sign', {}],
  ['/api/recoveries/options', { operator: 'bob' }],
  ['/api/recoveries/confirm', { operator: 'bob' }],
  ['/api/join-tokens', { kind: 'agent', name: 'monitor' }],
  ['/api/auth/totp/setup', {}],
  ['/api/auth/totp/enable', {}],
]
