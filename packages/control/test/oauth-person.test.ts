import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { after, before, test } from 'node:test'
import * as oauth from 'oauth4webapi'
import { SoftAuthenticator } from './support/authenticator.ts'
import type { CreationOptions, RequestOptions } from './support/authenticator.ts'
import { Browser } from './support/browser.ts'
import type { Answer } from './support/browser.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Peer } from './support/network.ts'
import { claimsIn, CORE, fetchAs } from './support/oauth.ts'

let plane: TestPlane
let issuer: string
let port: number
let flagger: Peer
let server: oauth.AuthorizationServer
let alice: { browser: Browser; passkey: SoftAuthenticator }

const REDIRECT = 'http://127.0.0.1:51234/callback'

before(async () => {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  // Listening on TCP, so the address is an object.
  port = (probe.address() as AddressInfo).port
  await new Promise((resolve) => probe.close(resolve))
  issuer = `http://localhost:${port}`
  plane = await TestPlane.start(declarationWith(), { console: { port } }, issuer)
  flagger = await plane.enrol('agent', 'flagger')
  const answer = await oauth.discoveryRequest(new URL(issuer), {
    algorithm: 'oauth2',
    ...options(),
  })
  server = await oauth.processDiscoveryResponse(new URL(issuer), answer)
  const link = String(plane.control.bootstrapLink).split('#')[1]
  const browser = new Browser(issuer, { host: '127.0.0.1', port })
  const passkey = new SoftAuthenticator(issuer)
  const creation = await browser.post('/api/auth/register/options', { link })
  const response = passkey.create(creation.body as unknown as CreationOptions)
  assert.equal((await browser.post('/api/auth/register/verify', { link, response })).status, 200)
  alice = { browser, passkey }
})
after(() => plane.close())

const options = (peer = flagger) => ({
  [oauth.customFetch]: fetchAs(peer, issuer),
  // The test's issuer is http://localhost; its connections are TLS all the same.
  [oauth.allowInsecureRequests]: true,
})

/** Cookies of a browser beside the session of the console: names, values and paths. */
class Cookies {
  readonly #kept = new Map<string, { value: string; path: string }>()

  take(answer: Answer): void {
    for (const line of answer.headers['set-cookie'] ?? []) {
      const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
      const [name = '', value = ''] = pair.split('=')
      const path = attributes.find((one) => /^path=/i.test(one))?.slice(5) ?? '/'
      if (value === '') this.#kept.delete(name)
      else this.#kept.set(name, { value, path })
    }
  }

  for(path: string): string {
    return [...this.#kept]
      .filter(([, kept]) => path.startsWith(kept.path))
      .map(([name, { value }]) => `${name}=${value}`)
      .join('; ')
  }
}

/** A browser page that is sent somewhere: it follows nothing by itself. */
async function visit(cookies: Cookies, url: string): Promise<Answer> {
  const { pathname, search } = new URL(url, issuer)
  const plain = new Browser(issuer, { host: '127.0.0.1', port })
  const cookie = cookies.for(pathname)
  const answer = await plain.get(pathname + search, {
    cookie: cookie === '' ? undefined : cookie,
    'sec-fetch-site': 'cross-site',
  })
  cookies.take(answer)
  return answer
}

interface Started {
  readonly verifier: string
  readonly state: string
  readonly cookies: Cookies
  readonly answer: Answer
  /** Of the request that waits for a person; empty where there is none. */
  readonly id: string
}

/** What the client opens in the person's browser. */
async function start(
  over: Readonly<Record<string, string | undefined>> = {},
  cookies = new Cookies(),
  path = '/oauth2/auth',
): Promise<Started> {
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const asked: Record<string, string | undefined> = {
    client_id: flagger.spiffeId,
    redirect_uri: REDIRECT,
    response_type: 'code',
    resource: CORE,
    scope: 'hold',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    ...over,
  }
  assert.equal(server.authorization_endpoint, `${issuer}/oauth2/auth`)
  const url = new URL(path, issuer)
  for (const [name, value] of Object.entries(asked)) {
    if (value !== undefined) url.searchParams.set(name, value)
  }
  const answer = await visit(cookies, url.href)
  const [, id = ''] = /\/oauth2\/consent\/([\w-]+)$/.exec(answer.headers.location ?? '') ?? []
  return { verifier, state, cookies, answer, id }
}

async function page({ id, cookies }: Started): Promise<string> {
  const html = await visit(cookies, `/oauth2/consent/${id}`)
  assert.equal(html.status, 200, html.text)
  return /data-ticket="([\w-]+)"/.exec(html.text)?.[1] ?? ''
}

/** The person allows it, with whatever is bent on the way. */
async function allow(
  started: Started,
  bend: (body: {
    ticket: string
    statement: Record<string, unknown>
    response: unknown
  }) => unknown = (body) => body,
  flags?: number,
): Promise<Answer> {
  const ticket = await page(started)
  const path = `/api/consents/${started.id}`
  const offered = await alice.browser.post(`${path}/options`, { ticket })
  assert.equal(offered.status, 200, offered.text)
  const { statement, options: asked } = offered.body as unknown as {
    statement: Record<string, unknown>
    options: RequestOptions
  }
  const response = alice.passkey.get(asked, flags === undefined ? {} : { flags })
  return alice.browser.post(`${path}/allow`, bend({ ticket, statement, response }))
}

/** Where the browser ends up, back at the client. */
async function back({ cookies }: Started, allowed: Answer): Promise<URL> {
  assert.equal(allowed.status, 200, allowed.text)
  const answer = await visit(cookies, String(allowed.body['redirect']))
  assert.equal(answer.status, 303, answer.text)
  return new URL(answer.headers.location ?? '')
}

async function redeem(
  started: Started,
  at: URL,
  peer = flagger,
  verifier = started.verifier,
): Promise<Response> {
  const client = { client_id: peer.spiffeId }
  const params = oauth.validateAuthResponse(server, client, at, started.state)
  return oauth.authorizationCodeGrantRequest(
    server,
    client,
    oauth.TlsClientAuth(),
    params,
    REDIRECT,
    verifier,
    options(peer),
  )
}

test('a person lets an agent act for them: code, PKCE, issuer in the answer, a token for both', async () => {
  const started = await start()
  assert.equal(started.answer.status, 303)
  const at = await back(started, await allow(started))
  assert.equal(`${at.origin}${at.pathname}`, REDIRECT)
  assert.equal(at.searchParams.get('iss'), issuer)
  const result = await oauth.processAuthorizationCodeResponse(
    server,
    { client_id: flagger.spiffeId },
    await redeem(started, at),
  )
  const claims = claimsIn(result.access_token)
  assert.equal(claims['sub'], 'operator:alice')
  assert.deepEqual(claims['act'], { sub: flagger.spiffeId })
  assert.deepEqual(claims['cnf'], { spiffe_id: flagger.spiffeId })
  assert.equal(claims['aud'], CORE)
  assert.equal(claims['scope'], 'hold')
  assert.equal((await redeem(started, at)).status, 400, 'the code, again')
  assert.deepEqual(plane.errors, [])
})

test('a code serves the client that asked, with its verifier, and nobody else', async () => {
  const started = await start()
  const at = await back(started, await allow(started))
  const other = await plane.enrol('agent', 'flagger')
  assert.equal((await redeem(started, at, other)).status, 400, 'another client')
  const wrong = oauth.generateRandomCodeVerifier()
  assert.equal((await redeem(started, at, flagger, wrong)).status, 400, 'another verifier')
  const again = await start()
  const good = await back(again, await allow(again))
  const answers = await Promise.all([1, 2, 3].map(() => redeem(again, good)))
  assert.ok(answers.filter(({ status }) => status === 200).length <= 1, 'at once')
})

test('a person may let it go on; a code that is shown again ends that too', async () => {
  const asked = { scope: 'openid offline_access hold', prompt: 'consent' }
  const bent = await allow(await start(asked), (body) => ({
    ...body,
    statement: { ...body.statement, refreshSeconds: 0 },
  }))
  assert.equal(bent.body['code'], 'SP_CONSENT_STATEMENT', 'for how long is signed too')
  const started = await start(asked)
  const at = await back(started, await allow(started))
  const client = { client_id: flagger.spiffeId }
  const first = await oauth.processAuthorizationCodeResponse(
    server,
    { ...client, id_token_signed_response_alg: 'ES256' },
    await redeem(started, at),
  )
  const refresh = (token = '') =>
    oauth.refreshTokenGrantRequest(server, client, oauth.TlsClientAuth(), token, options())
  const second = await oauth.processRefreshTokenResponse(
    server,
    { ...client, id_token_signed_response_alg: 'ES256' },
    await refresh(first.refresh_token),
  )
  assert.equal(claimsIn(second.access_token)['sub'], 'operator:alice')
  assert.deepEqual(claimsIn(second.access_token)['act'], { sub: flagger.spiffeId })
  assert.equal((await redeem(started, at)).status, 400, 'the code, again')
  assert.equal((await refresh(second.refresh_token)).status, 400)
  const { tokens } = plane.control.context.bundles.current().bundle
  const { prior } = claimsIn(second.access_token)
  assert.ok(
    tokens?.revoked.some(({ jti }) => isDeepStrictEqual(prior, [jti])),
    'gateways know',
  )
})

// MUST-reject 9
test('the issuer is in every answer, and another one is noticed', async () => {
  const started = await start()
  const at = await back(started, await allow(started))
  const client = { client_id: flagger.spiffeId }
  assert.equal(at.searchParams.get('iss'), issuer)
  assert.ok(oauth.validateAuthResponse(server, client, at, started.state))
  for (const iss of ['https://elsewhere.example', undefined]) {
    const bent = new URL(at)
    if (iss === undefined) bent.searchParams.delete('iss')
    else bent.searchParams.set('iss', iss)
    assert.throws(() => oauth.validateAuthResponse(server, client, bent, started.state))
  }
})

// MUST-reject 9
test('consent is for one client and one request: it is never used again', async () => {
  const first = await start()
  await back(first, await allow(first))
  const again = await start()
  assert.notEqual(again.id, '', 'the same client is asked for again')
  const other = await plane.enrol('agent', 'flagger')
  const theirs = await start({ client_id: other.spiffeId })
  assert.notEqual(theirs.id, '', 'another client all the more')
  const silent = await start({ prompt: 'none' })
  assert.equal(silent.id, '')
  assert.match(silent.answer.headers.location ?? '', /error=(?:login|consent|interaction)_required/)
  // Nor does whoever signed in before stay so, however the address is spelt.
  assert.match(first.cookies.for('/oauth2/auth'), /_session=/)
  const { answer } = await start({ prompt: 'none' }, first.cookies)
  assert.match(answer.headers.location ?? '', /error=login_required/)
  for (const path of ['/oauth2/AUTH', '/oauth2/auth/']) {
    assert.equal((await start({ prompt: 'none' }, first.cookies, path)).answer.status, 404, path)
  }
  // A signature for one request does not serve another.
  const ticket = await page(again)
  const offered = await alice.browser.post(`/api/consents/${again.id}/options`, { ticket })
  const { statement, options: asked } = offered.body as unknown as {
    statement: Record<string, unknown>
    options: RequestOptions
  }
  const response = alice.passkey.get(asked)
  const crossed = await allow(theirs, ({ ticket: own }) => ({ ticket: own, statement, response }))
  assert.equal(crossed.body['code'], 'SP_CONSENT_STATEMENT')
})

test('what is signed is what is granted: another scope, client, place or person voids it', async () => {
  const good = await start()
  assert.equal((await allow(good)).status, 200)
  for (const [why, change] of [
    ['scope', { scope: ['hold', 'release'] }],
    ['client', { client: 'spiffe://bank.test/agent/analyst/x' }],
    ['redirect', { redirectUri: 'http://127.0.0.1:1/callback' }],
    ['subject', { subject: 'operator:bob' }],
    ['nonce', { nonce: 'x' }],
  ] as const) {
    const answer = await allow(await start(), (body) => ({
      ...body,
      statement: { ...body.statement, ...change },
    }))
    assert.equal(answer.body['code'], 'SP_CONSENT_STATEMENT', why)
  }
  const unverified = await allow(await start(), undefined, 0x01)
  assert.match(String(unverified.body['code']), /^SP_SIGNATURE_/, 'without user verification')
  const once = await start()
  const ticket = await page(once)
  assert.equal(
    (await alice.browser.post(`/api/consents/${once.id}/refuse`, { ticket })).status,
    200,
  )
  const late = await alice.browser.post(`/api/consents/${once.id}/options`, { ticket })
  assert.equal(late.body['code'], 'SP_CONSENT_UNKNOWN', 'decided once')
})

test('a refusal goes back as one; a page is for the browser that asked', async () => {
  const started = await start()
  const ticket = await page(started)
  const done = await alice.browser.post(`/api/consents/${started.id}/refuse`, { ticket })
  const at = await back(started, done)
  assert.equal(at.searchParams.get('error'), 'access_denied')
  const other = await start()
  const stranger = await visit(new Cookies(), `/oauth2/consent/${other.id}`)
  assert.equal(stranger.status, 404)
  const guessed = await alice.browser.post(`/api/consents/${other.id}/options`, {
    ticket: 'A'.repeat(43),
  })
  assert.equal(guessed.body['code'], 'SP_CONSENT_UNKNOWN')
  const nobody = new Browser(issuer, { host: '127.0.0.1', port })
  const unsigned = await nobody.post(`/api/consents/${other.id}/options`, {
    ticket: await page(other),
  })
  assert.equal(unsigned.body['code'], 'SP_API_SESSION')
})

test('redirects are exact, on the client’s own machine at any port; PKCE is S256 and required', async () => {
  assert.notEqual((await start({ redirect_uri: 'http://127.0.0.1:9/callback' })).id, '')
  assert.notEqual((await start({ redirect_uri: 'http://[::1]:9/callback' })).id, '')
  for (const redirect_uri of [
    'http://127.0.0.1:9/callback/',
    'http://127.0.0.1:9/callback?x=1',
    'http://127.0.0.1:9/other',
    'http://127.0.0.1.evil.example/callback',
    'http://evil.example@127.0.0.1:9/callback',
    'https://127.0.0.1:9/callback',
    'http://localhost:9/callback',
    'https://evil.example/callback',
    'myapp:/callback',
  ]) {
    const { answer, id } = await start({ redirect_uri })
    assert.equal(id, '', redirect_uri)
    assert.equal(answer.headers.location, undefined, redirect_uri)
    assert.equal(answer.status, 400, redirect_uri)
  }
  for (const over of [
    { code_challenge: undefined, code_challenge_method: undefined },
    { code_challenge_method: 'plain' },
    { response_type: 'token' },
    { resource: undefined },
    { resource: 'https://elsewhere.example/mcp' },
  ]) {
    const { answer, id } = await start(over)
    assert.equal(id, '', JSON.stringify(over))
    assert.match(answer.headers.location ?? answer.text, /error=|^[a-z_]+:/, JSON.stringify(over))
  }
})

// MUST-reject 9
test('the issuer answers to its own address only', async () => {
  const path = '/.well-known/oauth-authorization-server'
  const tab = () => new Browser(issuer, { host: '127.0.0.1', port })
  assert.equal((await tab().get(path)).body['issuer'], issuer)
  for (const host of [`evil.example:${port}`, `127.0.0.1:${port}`, 'localhost']) {
    assert.equal((await tab().get(path, { host })).status, 421, host)
  }
})

// MUST-reject 9: nothing is ever fetched for a client.
test('a client id that is an address of somebody’s is no client, and nothing is fetched', async () => {
  let asked = 0
  const trap = createServer((socket) => {
    asked++
    socket.destroy()
  })
  await new Promise<void>((resolve) => trap.listen(0, '127.0.0.1', resolve))
  // Listening on TCP, so the address is an object.
  const { port: at } = trap.address() as AddressInfo
  for (const client_id of [`https://127.0.0.1:${at}/client.json`, `http://127.0.0.1:${at}/`]) {
    const { answer, id } = await start({ client_id })
    assert.equal(id, '')
    assert.equal(answer.status, 400)
  }
  const pushed = await start({ request_uri: `http://127.0.0.1:${at}/request` })
  assert.equal(pushed.id, '')
  assert.equal(server.registration_endpoint, undefined)
  assert.equal(asked, 0)
  await new Promise((resolve) => trap.close(resolve))
})

test('pushed authorisation requests: what was pushed is what is asked, once, by its client', async () => {
  const verifier = oauth.generateRandomCodeVerifier()
  const client = { client_id: flagger.spiffeId }
  const payment = [
    { type: 'payment', amount: 900, currency: 'EUR', creditor: 'ACC-1', operations: ['hold'] },
  ]
  const push = async (over: Readonly<Record<string, string>> = {}) =>
    oauth.pushedAuthorizationRequest(
      server,
      client,
      oauth.TlsClientAuth(),
      {
        redirect_uri: REDIRECT,
        response_type: 'code',
        resource: CORE,
        authorization_details: JSON.stringify(payment),
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        ...over,
      },
      options(),
    )
  const pushed = await oauth.processPushedAuthorizationResponse(server, client, await push())
  const only = { redirect_uri: undefined, resource: undefined, scope: undefined, state: undefined }
  const bare = { ...only, code_challenge: undefined, code_challenge_method: undefined }
  const asked = { ...bare, response_type: undefined, request_uri: pushed.request_uri }
  const started = { ...(await start(asked)), verifier }
  assert.notEqual(started.id, '', started.answer.text + String(started.answer.headers.location))
  const at = await back(started, await allow(started))
  const params = oauth.validateAuthResponse(server, client, at, oauth.expectNoState)
  const answer = await oauth.authorizationCodeGrantRequest(
    server,
    client,
    oauth.TlsClientAuth(),
    params,
    REDIRECT,
    verifier,
    options(),
  )
  const result = await oauth.processAuthorizationCodeResponse(server, client, answer)
  assert.deepEqual(claimsIn(result.access_token)['authorization_details'], payment)
  assert.equal(claimsIn(result.access_token)['details_by'], 'operator:alice')
  const other = await plane.enrol('agent', 'flagger')
  const second = await oauth.processPushedAuthorizationResponse(server, client, await push())
  const stolen = await start({
    ...asked,
    client_id: other.spiffeId,
    request_uri: second.request_uri,
  })
  assert.equal(stolen.id, '', 'another client')
  const bad = await push({ authorization_details: JSON.stringify([{ ...payment[0], amount: 0 }]) })
  assert.equal(bad.status, 400)
})
