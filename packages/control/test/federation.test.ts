import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { createSecretKey } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import type { Declaration, IdentityProvider, Network } from '@sallyport/network'
import type { Answer, Browser } from './support/browser.ts'
import { signed } from './support/console.ts'
import { declarationWith } from './support/declaration.ts'
import { CLIENT, HostileProvider, p256, RealProvider } from './support/identity-provider.ts'
import type { Token } from './support/identity-provider.ts'
import { RealConsole } from './support/real-console.ts'
import type { SignedIn } from './support/real-console.ts'

const SECRET = 'correct horse battery staple'
let bank: RealConsole
let real: RealProvider
let hostile: HostileProvider
let alice: SignedIn
let declared: Declaration

before(async () => {
  hostile = await HostileProvider.start()
  const port = await RealConsole.port()
  real = await RealProvider.start(`http://localhost:${port}/signed-in`, SECRET)
  const provider = (over: Partial<IdentityProvider>): IdentityProvider => ({
    name: 'corp',
    issuer: real.issuer,
    clientId: CLIENT,
    groups: {
      claim: 'groups',
      map: { secops: ['responder'], audit: ['viewer'], board: ['admin'] },
    },
    maxRole: 'responder',
    disabled: false,
    ...over,
  })
  const [first, bob, ...others] = declarationWith().network.operators
  assert.ok(first && bob)
  declared = declarationWith({
    operators: [
      { ...first, identities: [{ provider: 'corp', subject: 'u-alice' }] },
      { ...bob, roles: ['viewer'], identities: [{ provider: 'corp', subject: 'u-bob' }] },
      ...others,
    ],
    identityProviders: [
      provider({ clientSecretFile: 'secrets/corp' }),
      provider({ name: 'other', issuer: hostile.issuer }),
    ],
  })
  bank = await RealConsole.start(declared, { port })
  secretFile(0o600)
  alice = await bank.enrol('alice')
})
after(async () => {
  await bank?.close()
  await real?.close()
  await hostile?.close()
})
beforeEach(() => {
  hostile.bend = (token) => token
  hostile.metadata = {}
  hostile.elsewhere = undefined
  hostile.padding = 0
})

function secretFile(mode: number): void {
  mkdirSync(join(bank.dataDir, 'secrets'), { recursive: true })
  const file = join(bank.dataDir, 'secrets', 'corp')
  writeFileSync(file, `${SECRET}\n`)
  chmodSync(file, mode)
}

interface Begun {
  readonly url: string
  readonly key: string
}

async function begin(browser: Browser, provider: string): Promise<Begun> {
  const answer = await browser.post('/api/auth/oidc/begin', { provider })
  assert.equal(answer.status, 200, answer.text)
  // What the route answers; a wrong shape fails the sign-in.
  return answer.body as unknown as Begun
}

const finish = (browser: Browser, provider: string, key: string, search: string): Promise<Answer> =>
  browser.post('/api/auth/oidc/finish', { provider, key, search })

async function enter(
  subject: string,
  groups: unknown,
): Promise<{ browser: Browser; answer: Answer }> {
  real.who = { subject, groups }
  const browser = bank.tab()
  const { url, key } = await begin(browser, 'corp')
  return { browser, answer: await finish(browser, 'corp', key, await real.visit(url)) }
}

/** Signs in at the provider that signs whatever it is told to. */
async function bent(change: (search: URLSearchParams) => void = () => undefined): Promise<Answer> {
  const browser = bank.tab()
  const { url, key } = await begin(browser, 'other')
  const search = new URLSearchParams(hostile.visit(url))
  change(search)
  return finish(browser, 'other', key, search.toString())
}

/** The account is who it says, and has no role that it may have here. */
const roleless = (answer: Answer): void =>
  assert.deepEqual([answer.status, answer.body['code']], [401, 'SP_API_LOGIN'])
const refused = (answer: Answer, why?: string): void =>
  assert.deepEqual([answer.status, answer.body['code']], [401, 'SP_IDP_REFUSED'], why)

test('a person of a declared provider signs in: groups give roles, and they read and narrow', async () => {
  const { browser, answer } = await enter('u-1', ['audit', 'secops', 'unknown'])
  assert.equal(answer.status, 200, answer.text)
  const session = await browser.get('/api/session')
  assert.deepEqual(session.body['operator'], {
    name: 'corp:u-1',
    displayName: 'Una Real',
    roles: ['viewer', 'responder'],
  })
  assert.equal(session.body['method'], 'oidc')
  assert.equal((await browser.get('/api/agents')).status, 200)
  const cut = await browser.post('/api/quarantine', {
    subject: 'spiffe://bank.test/agent/analyst',
    reason: 'odd reads',
  })
  assert.equal(cut.status, 200, cut.text)
  assert.equal((cut.body['quarantine'] as { by: string }).by, 'corp:u-1')
  // The board's group maps to admin, and the provider gives no more than responder.
  roleless((await enter('u-2', ['board'])).answer)
  const reader = await enter('u-3', ['audit', 'board'])
  const post = { subject: 'spiffe://bank.test/agent/analyst', reason: 'r' }
  assert.equal((await reader.browser.post('/api/quarantine', post)).body['code'], 'SP_API_ROLE')
})

test('one who is a declared operator is that operator, with no more than either gives, and widens by passkey only', async () => {
  const { browser, answer } = await enter('u-alice', ['secops'])
  assert.equal(answer.status, 200, answer.text)
  const { operator } = (await browser.get('/api/session')).body
  assert.deepEqual(operator, { name: 'alice', displayName: 'alice', roles: ['responder'] })
  const links = await browser.post('/api/operators/links', { operator: 'bob' })
  assert.equal(links.body['code'], 'SP_API_ROLE')
  // A viewer here stays one, whatever the groups there say.
  const { browser: bob } = await enter('u-bob', ['secops', 'audit'])
  const seen = (await bob.get('/api/session')).body['operator']
  assert.deepEqual(seen, { name: 'bob', displayName: 'bob', roles: ['viewer'] })
  roleless((await enter('u-bob', ['secops'])).answer)
  // With the passkey the same browser becomes a passkey session.
  assert.equal((await bank.login(alice.passkey, browser)).status, 200)
  assert.equal((await browser.get('/api/session')).body['method'], 'passkey')
})

test('names are compared letter by letter: no variant of a privileged one is it', async () => {
  // Called as a declared operator there, and nobody's account here.
  const { browser } = await enter('alice', ['secops'])
  const seen = (await browser.get('/api/session')).body['operator']
  assert.equal((seen as { name: string }).name, 'corp:alice')
  const cased = await enter('U-Alice', ['secops'])
  const other = (await cased.browser.get('/api/session')).body['operator']
  assert.equal((other as { name: string }).name, 'corp:U-Alice')
  for (const group of [
    'SecOps',
    'secops ',
    ' secops',
    'secops\u200b',
    'secops,audit',
    '*',
    'sec*',
  ]) {
    refused((await enter('u-1', [group])).answer, group)
  }
})

test('an answer is good once, in the browser that asked, for the provider that was asked', async () => {
  real.who = { subject: 'u-1', groups: ['secops'] }
  const [browser, other] = [bank.tab(), bank.tab()]
  const one = await begin(browser, 'corp')
  const two = await begin(other, 'corp')
  const search = await real.visit(one.url)
  // Somebody else's answer, which a hostile page would have this browser take.
  refused(await finish(other, 'corp', two.key, search))
  // Its own key is good for another state, and that attempt spent it.
  refused(await finish(other, 'corp', two.key, await real.visit(two.url)))
  refused(await finish(browser, 'other', one.key, search), 'another provider')
  const third = await begin(browser, 'corp')
  const answer = await real.visit(third.url)
  assert.equal((await finish(browser, 'corp', third.key, answer)).status, 200)
  refused(await finish(bank.tab(), 'corp', third.key, answer), 'a replay')
  // The code of a finished sign-in, with a state of one's own.
  const fourth = await begin(browser, 'corp')
  const stolen = new URLSearchParams(answer)
  const [state = ''] = new URL(fourth.url).searchParams.getAll('state')
  stolen.set('state', state)
  refused(await finish(browser, 'corp', fourth.key, stolen.toString()), 'a replayed code')
  // After five minutes nothing is waited for any more.
  const late = await begin(browser, 'corp')
  const slow = await real.visit(late.url)
  try {
    bank.skew = 5 * 60_000
    refused(await finish(browser, 'corp', late.key, slow), 'late')
  } finally {
    bank.skew = 0
  }
})

test('tokens: issuer, audience, nonce, times, algorithm, key and groups are judged, each alone', async () => {
  assert.equal((await bent()).status, 200, 'the provider is good as it is')
  const claim = (name: string, value: unknown) => (token: Token) => ({
    ...token,
    claims: { ...token.claims, [name]: value },
  })
  const now = Math.floor(Date.now() / 1000)
  const rows: readonly (readonly [string, (token: Token) => Token])[] = [
    ['another issuer', claim('iss', 'https://evil.test')],
    ['the issuer with a slash', claim('iss', `${hostile.issuer}/`)],
    ['another audience', claim('aud', 'another')],
    ['two audiences and no azp', claim('aud', [CLIENT, 'another'])],
    ['another nonce', claim('nonce', 'x')],
    ['no nonce', claim('nonce', undefined)],
    ['over', claim('exp', now - 600)],
    ['begins later', claim('nbf', now + 600)],
    ['alg none', (token) => ({ ...token, header: { alg: 'none' }, key: undefined })],
    [
      'HS256 keyed with the public key',
      (token) => ({
        ...token,
        header: { alg: 'HS256', kid: 'k1' },
        key: createSecretKey(hostile.keys.publicKey.export({ format: 'der', type: 'spki' })),
      }),
    ],
    ['signed by another key', (token) => ({ ...token, key: p256().privateKey })],
    ['an unknown kid', (token) => ({ ...token, header: { alg: 'ES256', kid: 'k2' } })],
    ['groups as a text', claim('groups', 'secops')],
    ['groups as an object', claim('groups', { 0: 'secops', length: 1 })],
    ['groups of no texts', claim('groups', ['secops', { name: 'secops' }])],
    ['groups only in the unsigned userinfo', claim('groups', undefined)],
    ['no group that has a role', claim('groups', ['__proto__', 'constructor', 'toString'])],
    ['too many groups', claim('groups', [...Array(501).fill('x'), 'secops'])],
    ['a name with a space', claim('sub', 'u 1')],
    ['a name with a line break', claim('sub', 'u-1\nadmin')],
    ['no name', claim('sub', undefined)],
  ]
  for (const [what, bend] of rows) {
    hostile.bend = bend
    refused(await bent(), what)
  }
  hostile.bend = claim('exp', now - 20)
  assert.equal((await bent()).status, 200, 'within the tolerance')
})

test('the way back: `iss`, `state`, one code, and errors of the provider', async () => {
  refused(await bent((search) => search.set('iss', 'https://evil.test')), 'another iss')
  refused(await bent((search) => search.delete('iss')), 'no iss, which the provider announced')
  refused(await bent((search) => search.set('state', 'x')), 'another state')
  refused(await bent((search) => search.append('code', 'c-2')), 'two codes')
  refused(await bent((search) => search.append('iss', hostile.issuer)), 'two iss')
  refused(await bent((search) => search.set('error', 'access_denied')), 'an error')
  assert.equal((await bent()).status, 200)
})

test('discovery: only the declared issuer is asked, by no detour, and it must say who it is', async () => {
  const attempt = async (): Promise<Answer> => {
    // What it once said is remembered for ten minutes.
    bank.skew += 11 * 60_000
    return bank.tab().post('/api/auth/oidc/begin', { provider: 'other' })
  }
  try {
    hostile.elsewhere = `${real.issuer}/.well-known/openid-configuration`
    refused(await attempt(), 'a redirect')
    hostile.elsewhere = undefined
    hostile.metadata = { issuer: 'https://evil.test' }
    refused(await attempt(), 'another issuer')
    hostile.metadata = {}
    assert.equal((await attempt()).status, 200)
    const inside = createServer((_, response) => {
      reached = true
      response.end('{}')
    })
    let reached = false
    await new Promise<void>((resolve) => inside.listen(0, '127.0.0.1', resolve))
    // Listening on TCP, so the address is an object.
    const { port } = inside.address() as AddressInfo
    hostile.metadata = { token_endpoint: `http://localhost:${port}/token` }
    assert.equal((await attempt()).status, 200)
    refused(await bent(), 'a token endpoint in plain http elsewhere')
    assert.equal(reached, false)
    inside.close()
    hostile.metadata = {}
    bank.skew += 11 * 60_000
    hostile.padding = 300_000
    refused(await bent(), 'an answer without end')
  } finally {
    bank.skew = 0
  }
  for (const provider of ['nobody', '__proto__']) {
    const answer = await bank.tab().post('/api/auth/oidc/begin', { provider })
    assert.equal(answer.body['code'], 'SP_IDP_UNKNOWN')
  }
})

test('a client secret that others can read is not used', async () => {
  secretFile(0o644)
  const answer = await bank.tab().post('/api/auth/oidc/begin', { provider: 'corp' })
  assert.notEqual(answer.status, 200)
  secretFile(0o600)
  assert.equal((await enter('u-1', ['secops'])).answer.status, 200)
})

test('a provider that is disabled, a group or an account that loses its place: sessions end', async () => {
  // Idle sessions of the clock that the tests before moved are over.
  assert.equal((await bank.login(alice.passkey, alice.browser)).status, 200)
  const apply = async (change: (network: Network) => Network): Promise<void> => {
    const { network, policies } = declared
    const declaration = { network: change(network), policies }
    const made = await alice.browser.post('/api/declaration/propose', { declaration })
    assert.equal(made.status, 200, made.text)
    const { digest } = made.body
    const path = '/api/declaration/sign'
    const answer = await signed(
      ...([alice.browser, alice.passkey, `${path}/options`, { digest }, path] as const),
      (body) => ({ ...body, digest }),
    )
    assert.equal(answer.body['live'], true, answer.text)
  }
  const providers = (
    change: (provider: IdentityProvider) => IdentityProvider,
  ): ((network: Network) => Network) => {
    return (network) => ({
      ...network,
      identityProviders: network.identityProviders?.map(change) ?? [],
    })
  }
  const { browser } = await enter('u-1', ['secops'])
  const { browser: own } = await enter('u-alice', ['secops'])
  const stream = await browser.open({ path: '/api/events' })
  stream.resume()
  const ended = new Promise((resolve) => stream.once('close', resolve))
  // The group gives less from now on: at the next call, without a new sign-in.
  await apply(
    providers((one) => ({
      ...one,
      groups: { claim: 'groups', map: { secops: ['viewer'] } },
    })),
  )
  const { operator } = (await browser.get('/api/session')).body
  assert.deepEqual((operator as { roles: unknown }).roles, ['viewer'])
  // The account is nobody's any more: whoever has it is not Alice.
  await apply((network) => ({
    ...network,
    operators: network.operators.map(({ identities: _gone, ...one }) => one),
  }))
  assert.equal((await own.get('/api/agents')).status, 401)
  assert.equal((await browser.get('/api/agents')).status, 200)
  await apply(providers((one) => ({ ...one, disabled: true })))
  assert.equal((await browser.get('/api/agents')).status, 401)
  await ended
  assert.deepEqual((await bank.tab().get('/api/auth/oidc')).body, [])
  const begun = await bank.tab().post('/api/auth/oidc/begin', { provider: 'corp' })
  assert.equal(begun.body['code'], 'SP_IDP_UNKNOWN')
})
