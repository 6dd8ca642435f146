import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { after, before, beforeEach, mock, test } from 'node:test'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import pg from 'pg'
import { verifyQuorum } from '@sallyport/wire'
import type { BackchannelStatement, PasskeySignature } from '@sallyport/wire'
import { startEmbeddedPostgres } from '../src/index.ts'
import type { EmbeddedPostgres } from '../src/index.ts'
import { openStore } from '../src/store/store.ts'
import { startSweeper } from '../src/sweeper.ts'
import { SoftAuthenticator } from './support/authenticator.ts'
import type { CreationOptions, RequestOptions } from './support/authenticator.ts'
import { Browser } from './support/browser.ts'
import type { Answer } from './support/browser.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Peer } from './support/network.ts'
import { claimsIn, CORE, fetchAs } from './support/oauth.ts'
import type { TokenAnswer } from './support/oauth.ts'

const CIBA = 'urn:openid:params:grant-type:ciba'
const PAYMENT = {
  ...{ type: 'payment', amount: 900, currency: 'EUR', creditor: 'ACC-1' },
  operations: ['hold'],
}

let dir: string
let database: EmbeddedPostgres
let plane: TestPlane
let issuer: string
let port: number
let flagger: Peer
let alice: { browser: Browser; passkey: SoftAuthenticator }
let skew = 0
const clock = { now: () => Date.now() + skew, monotonic: () => performance.now() }
/** Enrolled while the clock was right: later ones would have certificates of the future. */
const spare: Peer[] = []

before(async () => {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  // Listening on TCP, so the address is an object.
  port = (probe.address() as AddressInfo).port
  await new Promise((resolve) => probe.close(resolve))
  issuer = `http://localhost:${port}`
  const small = declarationWith()
  // Certificates outlive every wait of this file.
  const lasting = declarationWith({
    settings: { ...small.network.settings, svidTtlSeconds: 86_400, sessionMinutes: 1440 },
  })
  dir = mkdtempSync(join(tmpdir(), 'sp-ciba-'))
  database = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  const options = { console: { port }, clock, databaseUrl: database.url }
  plane = await TestPlane.start(lasting, options, issuer)
  for (let n = 0; n < 20; n++) spare.push(await plane.enrol('agent', 'flagger'))
  alice = await signIn(String(plane.control.bootstrapLink).split('#')[1] ?? '')
})
after(async () => {
  await plane.close()
  await database.stop()
  rmSync(dir, { recursive: true, force: true })
})
beforeEach(() => {
  flagger = newcomer()
})

function newcomer(): Peer {
  const peer = spare.pop()
  assert.ok(peer)
  return peer
}

/** Someone with a passkey, in a browser. */
async function signIn(link: string): Promise<typeof alice> {
  const browser = new Browser(issuer, { host: '127.0.0.1', port })
  const passkey = new SoftAuthenticator(issuer)
  const creation = await browser.post('/api/auth/register/options', { link })
  const response = passkey.create(creation.body as unknown as CreationOptions)
  assert.equal((await browser.post('/api/auth/register/verify', { link, response })).status, 200)
  return { browser, passkey }
}

async function post(peer: Peer, path: string, form: Record<string, string>): Promise<TokenAnswer> {
  const body = new URLSearchParams(form)
  const answer = await fetchAs(peer, issuer)(issuer + path, { method: 'POST', body })
  const text = await answer.text()
  return {
    status: answer.status,
    headers: answer.headers,
    body: (text === '' ? {} : JSON.parse(text)) as TokenAnswer['body'],
  }
}

const ask = (over: Record<string, string> = {}, peer = flagger): Promise<TokenAnswer> =>
  post(peer, '/oauth2/backchannel', {
    ...{ scope: 'openid hold', resource: CORE, login_hint: 'alice' },
    binding_message: 'Hold on ACC-1?',
    ...over,
  })

/** Asks again later than the server minds. */
const poll = (id: unknown, peer = flagger): Promise<TokenAnswer> => {
  skew += 6000
  return post(peer, '/oauth2/token', { grant_type: CIBA, auth_req_id: String(id) })
}

interface Shown {
  readonly id: string
  readonly status: string
  readonly statement: BackchannelStatement
  readonly operations: readonly { readonly name: string }[]
}

async function shown(who = alice): Promise<readonly Shown[]> {
  const answer = await who.browser.get('/api/backchannel')
  assert.equal(answer.status, 200, answer.text)
  return answer.body as unknown as readonly Shown[]
}

async function newest(): Promise<Shown> {
  const [first] = await shown()
  assert.ok(first)
  return first
}

async function allow(
  id: string,
  bend: (statement: BackchannelStatement) => object = (statement) => statement,
  flags?: number,
): Promise<Answer> {
  const path = `/api/backchannel/${id}`
  const offered = await alice.browser.post(`${path}/options`, {})
  assert.equal(offered.status, 200, offered.text)
  const { statement, options } = offered.body as unknown as {
    statement: BackchannelStatement
    options: RequestOptions
  }
  const response = alice.passkey.get(options, flags === undefined ? {} : { flags })
  return alice.browser.post(`${path}/allow`, { statement: bend(statement), response })
}

test('details that an agent adds where the person signed none are its own limit, and nobody’s consent', async () => {
  const { body } = await ask()
  assert.equal((await allow((await newest()).id)).status, 200)
  skew += 6000
  const answer = await post(flagger, '/oauth2/token', {
    ...{ grant_type: CIBA, auth_req_id: String(body['auth_req_id']), resource: CORE },
    authorization_details: JSON.stringify([PAYMENT]),
  })
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  const claims = claimsIn(String(answer.body['access_token']))
  assert.deepEqual(claims['authorization_details'], [PAYMENT])
  assert.deepEqual([claims['sub'], claims['details_by']], ['operator:alice', flagger.spiffeId])
})

test('an agent asks a person who is elsewhere, as an independent client does, and has a bound token for both', async () => {
  const found = await oauth.discoveryRequest(new URL(issuer), {
    algorithm: 'oauth2',
    [oauth.customFetch]: fetchAs(flagger, issuer),
    [oauth.allowInsecureRequests]: true,
  })
  const server = await oauth.processDiscoveryResponse(new URL(issuer), found)
  assert.deepEqual(server['backchannel_token_delivery_modes_supported'], ['poll', 'ping'])
  const config = new openid.Configuration(
    { ...server },
    flagger.spiffeId,
    { id_token_signed_response_alg: 'ES256' },
    openid.TlsClientAuth(),
  )
  config[openid.customFetch] = fetchAs(flagger, issuer)
  openid.allowInsecureRequests(config)
  const asked = await openid.initiateBackchannelAuthentication(config, {
    ...{ scope: 'openid hold', resource: CORE, login_hint: 'operator:alice' },
    binding_message: 'Pay ACC-1?',
    authorization_details: JSON.stringify([PAYMENT]),
  })
  const request = await newest()
  assert.equal(request.status, 'pending')
  assert.equal(request.statement.subject, 'operator:alice')
  assert.equal(request.statement.message, 'Pay ACC-1?')
  assert.deepEqual(request.statement.details, [PAYMENT])
  assert.deepEqual(request.statement.scope, ['hold'])
  assert.equal((await allow(request.id)).status, 200)
  const result = await openid.pollBackchannelAuthenticationGrant(config, { ...asked, interval: 1 })
  const claims = claimsIn(result.access_token)
  assert.equal(claims['sub'], 'operator:alice')
  assert.deepEqual(claims['act'], { sub: flagger.spiffeId })
  assert.deepEqual(claims['cnf'], { spiffe_id: flagger.spiffeId })
  assert.equal(claims['aud'], CORE)
  assert.equal(claims['scope'], 'hold')
  assert.deepEqual(claims['authorization_details'], [PAYMENT])
  assert.equal(claims['details_by'], 'operator:alice')
  assert.equal(result.claims()?.sub, 'operator:alice')
  assert.equal(result.refresh_token, undefined, 'nobody asked for one')
  const again = await poll(asked.auth_req_id)
  assert.equal(again.body['error'], 'invalid_grant', 'taken once')
  assert.deepEqual(plane.errors, [])
})

test('until somebody decides there is nothing; who asks too often is told to slow down', async () => {
  const { body } = await ask()
  assert.equal((await poll(body['auth_req_id'])).body['error'], 'authorization_pending')
  const soon = await post(flagger, '/oauth2/token', {
    grant_type: CIBA,
    auth_req_id: String(body['auth_req_id']),
  })
  assert.equal(soon.body['error'], 'slow_down')
  assert.equal((await poll(body['auth_req_id'])).body['error'], 'authorization_pending')
  const { id } = await newest()
  assert.equal((await alice.browser.post(`/api/backchannel/${id}/refuse`, {})).status, 200)
  assert.equal((await poll(body['auth_req_id'])).body['error'], 'access_denied')
  assert.equal((await ask()).body['error'], 'access_denied', 'the same question, again')
  assert.equal((await ask({ binding_message: 'Another one?' })).status, 200)
  assert.equal((await allow(id)).body['code'], 'SP_BACKCHANNEL_CLOSED')
})

test('a question runs out, and its client is told that it did', async () => {
  // So short that the next one could follow at once: no.
  const { body } = await ask({ requested_expiry: '1' })
  assert.equal(body['expires_in'], 60)
  const { id } = await newest()
  skew += 61_000
  assert.equal((await allow(id)).body['code'], 'SP_BACKCHANNEL_CLOSED')
  assert.equal((await poll(body['auth_req_id'])).body['error'], 'expired_token')
})

test('what is signed is what is granted, by the one who was asked, verified, once', async () => {
  const { body } = await ask({ authorization_details: JSON.stringify([PAYMENT]) })
  const { id } = await newest()
  for (const [why, change] of [
    ['amount', { details: [{ ...PAYMENT, amount: 901 }] }],
    ['scope', { scope: ['hold', 'release'] }],
    ['client', { client: 'spiffe://bank.test/agent/analyst/x' }],
    ['person', { subject: 'operator:bob' }],
    ['message', { message: 'Nothing at all' }],
    ['length', { refreshSeconds: 28_800 }],
  ] as const) {
    const answer = await allow(id, (statement) => ({ ...statement, ...change }))
    assert.equal(answer.body['code'], 'SP_BACKCHANNEL_STATEMENT', why)
  }
  const unverified = await allow(id, undefined, 0x01)
  assert.match(String(unverified.body['code']), /^SP_SIGNATURE_/, 'without user verification')
  assert.equal((await poll(body['auth_req_id'])).body['error'], 'authorization_pending')
  const other = await ask({ binding_message: 'Another one?' })
  const crossed = await newest()
  const offered = await alice.browser.post(`/api/backchannel/${crossed.id}/options`, {})
  const { statement, options } = offered.body as unknown as {
    statement: object
    options: RequestOptions
  }
  const response = alice.passkey.get(options)
  const swapped = await alice.browser.post(`/api/backchannel/${id}/allow`, { statement, response })
  assert.equal(swapped.body['code'], 'SP_BACKCHANNEL_STATEMENT', 'signed for another request')
  const done = await Promise.all([1, 2, 3].map(() => allow(id)))
  assert.equal(done.filter(({ status }) => status === 200).length, 1, 'three at once')
  assert.equal((await poll(body['auth_req_id'])).status, 200)
  assert.equal((await poll(other.body['auth_req_id'])).body['error'], 'authorization_pending')
  // Proof of it outlives the grant: the signature stands in the audit log.
  const [record, ...more] = await recorded(id)
  assert.deepEqual(more, [])
  const { operator, statement: signed } = record?.facts ?? {}
  assert.equal(operator, 'alice')
  const { statement: allowed, signatures } = JSON.parse(String(signed)) as {
    statement: BackchannelStatement
    signatures: readonly PasskeySignature[]
  }
  assert.equal(allowed.nonce, id)
  const { set } = plane.control.context.bundles.current().bundle.operators ?? {}
  assert.ok(set)
  assert.deepEqual(verifyQuorum(allowed, signatures, set, { quorum: 1, roles: ['admin'] }), [
    'alice',
  ])
})

/** What the audit log of the control plane says of a request that was decided. */
async function recorded(id: string) {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  try {
    const { rows } = await client.query<{ record: string }>(
      "SELECT record FROM feed WHERE kind = 'event' AND record LIKE $1 ORDER BY seq",
      [`%"request":"${id}"%`],
    )
    return rows.map(
      ({ record }) => JSON.parse(record) as { facts: Readonly<Record<string, unknown>> },
    )
  } finally {
    await client.end()
  }
}

test('whoever was not asked sees nothing, and whoever did not ask has nothing', async () => {
  const { body } = await ask()
  const request = await newest()
  const { link } = await plane.control.context.operators.createLink({ operator: 'bob', by: 'test' })
  const bob = new Browser(issuer, { host: '127.0.0.1', port })
  assert.ok(link)
  assert.equal((await bob.get('/api/backchannel')).body['code'], 'SP_API_SESSION')
  await assert.rejects(
    plane.control.context.backchannel?.get(request.id, 'bob') ?? Promise.resolve(),
    {
      code: 'SP_BACKCHANNEL_UNKNOWN',
    },
  )
  const thief = newcomer()
  assert.equal((await poll(body['auth_req_id'], thief)).body['error'], 'invalid_grant')
  assert.equal((await allow(request.id)).status, 200)
  assert.equal((await poll(body['auth_req_id'], thief)).body['error'], 'invalid_grant')
  assert.equal((await poll(request.id)).body['error'], 'invalid_grant', 'what the database holds')
  assert.equal((await poll(body['auth_req_id'])).status, 200)
})

test('what cannot be asked is refused, with the reason', async () => {
  for (const [over, error] of [
    [{ login_hint: 'mallory' }, 'unknown_user_id'],
    [{ login_hint: 'bob' }, 'unknown_user_id'],
    [{ login_hint: flagger.spiffeId }, 'unknown_user_id'],
    [{ login_hint_token: 'x' }, 'invalid_request'],
    [{ binding_message: '' }, 'invalid_binding_message'],
    [{ binding_message: 'pay \u202Eevil' }, 'invalid_binding_message'],
    [{ binding_message: 'two\nlines' }, 'invalid_binding_message'],
    [{ binding_message: 'x'.repeat(161) }, 'invalid_binding_message'],
    [{ scope: 'hold' }, 'invalid_request'],
    [{ scope: 'openid release' }, 'access_denied|invalid_scope'],
    [{ resource: 'https://elsewhere.example/core' }, 'invalid_target'],
    [{ requested_expiry: '-1' }, 'invalid_request'],
    [{ user_code: '1234' }, 'invalid_request'],
    [
      { authorization_details: JSON.stringify([{ ...PAYMENT, amount: 0 }]) },
      'invalid_authorization_details',
    ],
    [
      { authorization_details: JSON.stringify([{ ...PAYMENT, operations: ['release'] }]) },
      'invalid_authorization_details',
    ],
    [{ client_id: 'spiffe://bank.test/agent/analyst/x' }, 'invalid_client'],
  ] as const) {
    const answer = await ask(over)
    assert.match(String(answer.body['error']), new RegExp(`^(?:${error})$`), JSON.stringify(over))
  }
  assert.equal((await ask()).status, 200)
  assert.deepEqual(plane.errors, [])
})

test('one agent cannot wear a person out: so many questions wait at once, and no more', async () => {
  for (const { id, status } of await shown()) {
    if (status === 'pending') await alice.browser.post(`/api/backchannel/${id}/refuse`, {})
  }
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, n) => ask({ binding_message: `Question ${n}?` })),
  )
  assert.equal(answers.filter(({ status }) => status === 200).length, 8)
  const refused = answers.filter(({ body }) => body['error'] === 'access_denied')
  assert.equal(refused.length, 4)
  const sibling = newcomer()
  assert.equal((await ask({}, sibling)).body['error'], 'access_denied', 'another instance of it')
  const [first] = await shown()
  await alice.browser.post(`/api/backchannel/${String(first?.id)}/refuse`, {})
  assert.equal((await ask({ binding_message: 'Now?' })).status, 200)
})

test('quarantine ends what waits and what was allowed', async () => {
  for (const { id, status } of await shown()) {
    if (status === 'pending') await alice.browser.post(`/api/backchannel/${id}/refuse`, {})
  }
  const waiting = await ask({ binding_message: 'Waits?' })
  const first = await newest()
  const given = await ask({ binding_message: 'Allowed?' })
  assert.equal((await allow((await newest()).id)).status, 200)
  await plane.control.context.quarantine.quarantine({
    ...{ subject: flagger.spiffeId, reason: 'a test', by: 'alice' },
  })
  assert.equal((await allow(first.id)).body['code'], 'SP_BACKCHANNEL_CLOSED')
  assert.equal((await shown()).find(({ id }) => id === first.id)?.status, 'ended')
  for (const { body } of [waiting, given]) {
    assert.notEqual((await poll(body['auth_req_id'])).status, 200)
  }
})

/** A refresh token, as a person allowed it. */
async function lasting(): Promise<Readonly<Record<string, unknown>>> {
  const { body } = await ask({
    ...{ scope: 'openid offline_access hold', binding_message: `Lasting ${skew}?` },
    authorization_details: JSON.stringify([PAYMENT]),
  })
  const { id, statement } = await newest()
  assert.equal(statement.refreshSeconds, 28_800)
  assert.equal((await allow(id)).status, 200)
  const answer = await poll(body['auth_req_id'])
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return answer.body
}

const refresh = (token: unknown, more: Record<string, string> = {}, peer = flagger) =>
  post(peer, '/oauth2/token', {
    grant_type: 'refresh_token',
    refresh_token: String(token),
    ...more,
  })

const alarms = async () =>
  (await plane.control.context.alarms.list()).filter(({ kind }) => kind === 'token-reused')

test('a refresh token goes on for the same, and is another one after each use', async () => {
  const first = await lasting()
  const second = await refresh(first['refresh_token'])
  assert.equal(second.status, 200, JSON.stringify(second.body))
  assert.notEqual(second.body['refresh_token'], first['refresh_token'])
  const [before, then] = [first, second.body].map((one) => claimsIn(String(one['access_token'])))
  for (const name of [
    'sub',
    'aud',
    'scope',
    'act',
    'cnf',
    'authorization_details',
    'details_by',
    'prior',
  ]) {
    assert.deepEqual(then?.[name], before?.[name], name)
  }
  const third = await refresh(second.body['refresh_token'])
  assert.equal(third.status, 200)
  const wider = await refresh(third.body['refresh_token'], { scope: 'hold release' })
  assert.equal(wider.body['error'], 'invalid_scope')
  const elsewhere = { resource: 'https://gateway.bank.test/other' }
  const other = await refresh(third.body['refresh_token'], elsewhere)
  assert.equal(other.body['error'], 'invalid_target')
  const plain = await ask({ binding_message: 'Once?' })
  assert.equal((await allow((await newest()).id)).status, 200)
  const once = await poll(plain.body['auth_req_id'])
  assert.equal(once.body['refresh_token'], undefined, 'nobody asked for one')
})

test('a refresh token that is used again ends all that came of it, with an alarm', async () => {
  const { length } = await alarms()
  const other = await lasting()
  const first = await lasting()
  const second = await refresh(first['refresh_token'])
  assert.equal(second.status, 200)
  assert.equal((await refresh(first['refresh_token'])).body['error'], 'invalid_grant')
  assert.equal((await refresh(second.body['refresh_token'])).body['error'], 'invalid_grant')
  assert.equal((await alarms()).length, length + 1)
  const { prior } = claimsIn(String(second.body['access_token']))
  const { tokens } = plane.control.context.bundles.current().bundle
  assert.ok(
    tokens?.revoked.some(({ jti }) => isDeepStrictEqual(prior, [jti])),
    'gateways know',
  )
  const raced = await refresh(other['refresh_token'])
  assert.equal(raced.status, 200, 'another family goes on')
  const token = raced.body['refresh_token']
  const answers = await Promise.all([1, 2, 3].map(() => refresh(token)))
  assert.ok(answers.filter(({ status }) => status === 200).length <= 1)
  assert.equal((await alarms()).length, length + 2)
  for (const { status, body } of answers) {
    if (status !== 200) continue
    assert.equal((await refresh(body['refresh_token'])).body['error'], 'invalid_grant')
  }
})

test('a refresh token is its instance’s alone, and whoever else shows it ends nothing', async () => {
  const first = await lasting()
  const thief = newcomer()
  assert.equal((await refresh(first['refresh_token'], {}, thief)).body['error'], 'invalid_grant')
  assert.equal((await refresh(first['access_token'])).body['error'], 'invalid_grant')
  assert.equal((await refresh(first['refresh_token'])).status, 200)
})

/** The quorum, which is alice, signs the operator set that is proposed. */
async function signSet(): Promise<void> {
  const offered = await alice.browser.post('/api/operators/sign/options', {})
  const { statement, options } = offered.body as unknown as {
    statement: object
    options: RequestOptions
  }
  const response = alice.passkey.get(options)
  const done = await alice.browser.post('/api/operators/sign', { statement, response })
  assert.equal(done.body['active'], true, done.text)
}

test('a person whose passkey is taken away gives nothing any more, and what they gave is over', async () => {
  const { operators } = plane.control.context
  const { link } = await operators.createLink({ operator: 'bob', by: 'test' })
  const bob = await signIn(link)
  await signSet()
  // A session of bob's own, opened with the passkey that is in force now.
  const login = await bob.browser.post('/api/auth/login/options', {})
  const signedIn = bob.passkey.get(login.body as unknown as RequestOptions)
  const entered = await bob.browser.post('/api/auth/login/verify', { response: signedIn })
  assert.equal(entered.status, 200, entered.text)
  const asked = await ask({ login_hint: 'bob', scope: 'openid offline_access hold' })
  const waiting = await ask({ login_hint: 'bob', binding_message: 'And this?' })
  const requests = await shown(bob)
  const [open, given] = requests
  assert.ok(open && given)
  const path = `/api/backchannel/${given.id}`
  const offered = await bob.browser.post(`${path}/options`, {})
  const { statement, options } = offered.body as unknown as {
    statement: BackchannelStatement
    options: RequestOptions
  }
  const response = bob.passkey.get(options)
  assert.equal((await bob.browser.post(`${path}/allow`, { statement, response })).status, 200)
  const first = await poll(asked.body['auth_req_id'])
  const second = await refresh(first.body['refresh_token'])
  assert.equal(second.status, 200, JSON.stringify(second.body))
  await operators.proposeRemoval({ operator: 'bob', by: 'test' })
  await signSet()
  assert.equal((await refresh(second.body['refresh_token'])).body['error'], 'invalid_grant')
  assert.equal((await poll(waiting.body['auth_req_id'])).body['error'], 'access_denied')
  assert.equal((await plane.control.context.backchannel?.get(open.id, 'bob'))?.status, 'ended')
  assert.equal((await ask({ login_hint: 'bob' })).body['error'], 'unknown_user_id')
})

test('nothing that is refreshed outlives eight hours from the consent', async () => {
  const first = await lasting()
  const then = skew
  try {
    skew = then + 28_700_000
    const second = await refresh(first['refresh_token'])
    assert.equal(second.status, 200, JSON.stringify(second.body))
    skew = then + 28_801_000
    assert.equal((await refresh(second.body['refresh_token'])).body['error'], 'invalid_grant')
  } finally {
    skew = then
  }
})

/** Deletes what has ended, as once a minute. */
async function sweep(): Promise<void> {
  const store = await openStore(database.url)
  const swept = Promise.withResolvers<void>()
  const nothing = () => Promise.resolve()
  const last = () => Promise.resolve(swept.resolve())
  mock.timers.enable({ apis: ['setInterval'] })
  try {
    const stop = startSweeper({
      ...{ store, clock, approvals: { expire: nothing }, limits: { sweep: nothing } },
      ...{ mandates: { sweep: last }, onError: swept.reject },
    })
    mock.timers.tick(60_000)
    stop()
    await swept.promise
  } finally {
    mock.timers.reset()
    await store.close()
  }
}

const isRevoked = (token: unknown): boolean => {
  const { prior } = claimsIn(String(token))
  const { tokens } = plane.control.context.bundles.current().bundle
  return tokens?.revoked.some(({ jti }) => isDeepStrictEqual(prior, [jti])) === true
}

test('revoked by its client, cut off, or the session over: a refresh token ends at once', async () => {
  const given = await lasting()
  const thief = newcomer()
  const token = String(given['refresh_token'])
  assert.equal((await post(thief, '/oauth2/revoke', { token })).status, 200)
  const second = await refresh(token)
  assert.equal(second.status, 200, 'somebody else’s is no business of theirs')
  const mine = String(second.body['refresh_token'])
  assert.equal((await post(flagger, '/oauth2/revoke', { token: mine })).status, 200)
  assert.equal((await refresh(mine)).body['error'], 'invalid_grant')

  // Allowed at once and taken up at the last moment: its token outlives the grant.
  const asked = await ask({ binding_message: 'Late?', requested_expiry: '600' })
  assert.equal((await allow((await newest()).id)).status, 200)
  skew += 580_000
  const late = await poll(asked.body['auth_req_id'])
  assert.equal(late.status, 200, JSON.stringify(late.body))
  const lost = await lasting()
  skew += 20_000
  await sweep()
  const { sessions } = plane.control.context
  const open = await sessions.list('alice')
  assert.equal(open.length, 1)
  await sessions.revoke(open[0]?.id ?? '', 'test')
  assert.equal((await refresh(lost['refresh_token'])).body['error'], 'invalid_grant')
  for (const token of [lost['access_token'], late.body['access_token']]) {
    // A hang guard only: it is published when the session has ended, and nobody is told that it was.
    for (let tries = 0; !isRevoked(token) && tries < 600; tries++) await delay(100)
    assert.equal(isRevoked(token), true, 'gateways know')
  }
})
