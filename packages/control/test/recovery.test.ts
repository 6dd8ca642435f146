import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Secret, TOTP } from 'otpauth'
import pg from 'pg'
import { startEmbeddedPostgres } from '../src/index.ts'
import type { EmbeddedPostgres } from '../src/index.ts'
import type { RequestOptions } from './support/authenticator.ts'
import type { Answer, Browser } from './support/browser.ts'
import { declarationWith } from './support/declaration.ts'
import { RealConsole } from './support/real-console.ts'
import type { SignedIn } from './support/real-console.ts'

let database: EmbeddedPostgres
let first: RealConsole
let second: RealConsole
let dir: string
let alice: SignedIn
let bob: SignedIn
let olga: SignedIn
let secret: Secret

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sp-recovery-'))
  database = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  const { operators } = declarationWith().network
  const declaration = declarationWith({
    operators: [...operators, { name: 'rex', displayName: 'Rex', roles: ['responder'] }],
  })
  first = await RealConsole.start(declaration, { databaseUrl: database.url })
  alice = await first.enrol('alice')
  second = await RealConsole.start(declaration, { databaseUrl: database.url, beside: first })
  bob = await first.enrol('bob', alice)
  olga = await first.enrol('olga', alice)
  secret = await codesOf(olga)
})
after(async () => {
  await second?.close()
  await first?.close()
  await database?.stop()
  rmSync(dir, { recursive: true, force: true })
})

/** Every test begins with a code that none before it has used. */
let step = 0
const nextCode = (): string => {
  step += 60_000
  first.skew = second.skew = step
  return code()
}
const code = (): string => TOTP.generate({ secret, timestamp: first.control.context.clock.now() })

async function codesOf({ browser }: SignedIn): Promise<Secret> {
  const made = await browser.post('/api/auth/totp/setup')
  const base32 = Secret.fromBase32(String(made.body['secret']))
  const shown = TOTP.generate({ secret: base32 })
  const body = { secret: base32.base32, code: shown }
  const enabled = await browser.post('/api/auth/totp/enable', body)
  assert.equal(enabled.status, 200, enabled.text)
  return base32
}

const byCode = (given: string, at = first, operator = 'olga'): Promise<Answer> =>
  at.tab().post('/api/auth/totp', { operator, code: given })

async function confirm(
  who: SignedIn,
  operator = 'olga',
  bend: Parameters<SignedIn['passkey']['get']>[1] = {},
  browser: Browser = who.browser,
): Promise<Answer> {
  const options = await browser.post('/api/recoveries/options', { operator })
  if (options.status !== 200) return options
  // What the route answers; a wrong shape fails the ceremony.
  const response = who.passkey.get(options.body as unknown as RequestOptions, bend)
  return browser.post('/api/recoveries/confirm', { operator, response })
}

const refused = (answer: Answer): void =>
  assert.deepEqual([answer.status, answer.body['code']], [401, 'SP_API_LOGIN'])

test('a right code alone opens nothing; with a second operator’s word it opens one session', async () => {
  refused(await byCode(nextCode()))
  const said = await confirm(bob)
  assert.equal(said.status, 200, said.text)
  const tab = first.tab()
  const opened = await tab.post('/api/auth/totp', { operator: 'olga', code: nextCode() })
  assert.equal(opened.status, 200, opened.text)
  assert.equal((await tab.get('/api/agents')).status, 200)
  // It may not confirm others, prepare or sign anything.
  assert.equal(
    (await tab.post('/api/recoveries/options', { operator: 'bob' })).body['code'],
    'SP_API_PASSKEY',
  )
  assert.equal(
    (await tab.post('/api/operators/links', { operator: 'bob' })).body['code'],
    'SP_API_PASSKEY',
  )
  refused(await byCode(nextCode()))
  const alarms = (await bob.browser.get('/api/alarms')).body as unknown as { kind: string }[]
  assert.ok(alarms.some(({ kind }) => kind === 'recovery'))
})

test('nobody confirms their own, and nobody below approver anybody’s', async () => {
  assert.equal((await confirm(olga)).body['code'], 'SP_RECOVERY_SELF')
  for (const variant of ['Olga', 'OLGA', 'olga ', ' olga', 'olga\u200b', 'olg\u0430', '*']) {
    assert.equal((await confirm(olga, variant)).body['code'], 'SP_OPERATOR_UNKNOWN', variant)
  }
  const rex = await first.enrol('rex', alice)
  assert.equal((await confirm(rex)).body['code'], 'SP_API_ROLE')
  assert.equal((await confirm(bob, 'alice')).body['code'], 'SP_RECOVERY_CODES')
  assert.equal((await confirm(bob, 'mallory')).body['code'], 'SP_OPERATOR_UNKNOWN')
  refused(await byCode(nextCode()))
})

test('the word is given with a passkey: no user verification, another origin, RP or challenge, a replay, another’s answer', async () => {
  for (const bend of [
    { flags: 0x01 },
    { flags: 0x04 },
    { origin: 'https://evil.test' },
    { rpId: 'evil.test' },
    { challenge: Buffer.alloc(32).toString('base64url') },
  ]) {
    refused(await confirm(bob, 'olga', bend))
  }
  const offer = async (browser: Browser, operator: string): Promise<RequestOptions> =>
    // As above.
    (await browser.post('/api/recoveries/options', { operator })).body as unknown as RequestOptions
  const send = (browser: Browser, response: unknown): Promise<Answer> =>
    browser.post('/api/recoveries/confirm', { operator: 'olga', response })
  // For one operator it is not for another; for signing in it is not for this; Bob's is not Alice's.
  refused(await send(bob.browser, bob.passkey.get(await offer(bob.browser, 'alice'))))
  const login = await bob.browser.post('/api/auth/login/options')
  refused(await send(bob.browser, bob.passkey.get(login.body as unknown as RequestOptions)))
  refused(await send(alice.browser, bob.passkey.get(await offer(bob.browser, 'olga'))))
  refused(await send(bob.browser, alice.passkey.get(await offer(bob.browser, 'olga'))))
  refused(await byCode(nextCode()))
  const good = bob.passkey.get(await offer(bob.browser, 'olga'))
  assert.equal((await send(bob.browser, good)).status, 200)
  refused(await send(bob.browser, good))
  assert.equal((await byCode(nextCode())).status, 200)
})

test('the word holds ten minutes, and a clock that goes back does not lengthen them', async () => {
  // Its own steps: what comes after uses later ones.
  bob = { ...bob, browser: first.tab() }
  assert.equal((await first.login(bob.passkey, bob.browser)).status, 200)
  assert.equal((await confirm(bob)).status, 200)
  step += 10 * 60_000
  refused(await byCode(nextCode()))
  assert.equal((await confirm(bob)).status, 200)
  first.skew = step - 120_000
  refused(await byCode(code()))
  first.skew = step
})

test('a code is good once: spaced out, at another control plane, and of two at the same time', async () => {
  // What was tried before no longer counts against the budget of guesses.
  step += 5 * 60_000
  first.skew = second.skew = step
  assert.equal((await confirm(bob)).status, 200)
  const one = nextCode()
  const race = await Promise.all([
    byCode(one),
    byCode(one, second),
    byCode(one),
    byCode(one, second),
  ])
  assert.equal(race.filter(({ status }) => status === 200).length, 1)
  // Confirmed anew, so that nothing but the reuse stands in the way.
  assert.equal((await confirm(bob)).status, 200)
  for (const again of [one, `${one.slice(0, 3)} ${one.slice(3)}`, ` ${one} `]) {
    refused(await byCode(again))
    refused(await byCode(again, second))
  }
  const alarms = (await bob.browser.get('/api/alarms')).body as unknown as { kind: string }[]
  assert.ok(alarms.some(({ kind }) => kind === 'code-reused'))
  // The guesses above spent the budget of each: five minutes later the next code is good.
  step += 5 * 60_000
  assert.equal((await byCode(nextCode(), second)).status, 200)
})

test('the database holds no secret of codes, and one that is moved to another operator opens nothing', async () => {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  try {
    const { rows } = await client.query<{ operator: string; secret: string }>(
      'SELECT operator, secret FROM operator_totp',
    )
    assert.deepEqual(
      rows.map(({ operator }) => operator),
      ['olga'],
    )
    const kept = rows[0]?.secret ?? ''
    assert.ok(!kept.includes(secret.base32))
    assert.ok(!Buffer.from(kept, 'base64url').includes(Buffer.from(secret.base32)))
    assert.ok(!Buffer.from(kept, 'base64url').includes(Buffer.from(secret.bytes)))
    await client.query("INSERT INTO operator_totp (operator, secret) VALUES ('alice', $1)", [kept])
    assert.equal((await confirm(bob, 'alice')).status, 200)
    assert.equal((await byCode(nextCode(), first, 'alice')).body['code'], 'SP_SEAL_INVALID')
    await client.query("DELETE FROM operator_totp WHERE operator = 'alice'")
  } finally {
    await client.end()
  }
  assert.equal((await confirm(bob)).status, 200)
  await first.restart()
  assert.equal((await byCode(nextCode())).status, 200)
})
