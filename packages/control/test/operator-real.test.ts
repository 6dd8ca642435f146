import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { initTrust, startControl } from '../src/index.ts'
import type { Control } from '../src/index.ts'
import { SoftAuthenticator } from './support/authenticator.ts'
import type { CreationOptions, RequestOptions } from './support/authenticator.ts'
import { Browser } from './support/browser.ts'
import { signed } from './support/console.ts'
import { declarationWith } from './support/declaration.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'sp-operator-'))
const declaration = declarationWith({ quorum: 2 })
const subject = 'spiffe://bank.test/agent/flagger'
let port: number
let origin: string
let control: Control

/** The whole control plane, as it runs: embedded PostgreSQL, real trust root. */
async function start(): Promise<void> {
  control = await startControl({
    dataDir,
    declaration,
    console: { port },
    plane: { host: '127.0.0.1', port: 0 },
  })
}

before(async () => {
  // Passkeys are bound to the origin, so the port is chosen before `init`.
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  port = (probe.address() as AddressInfo).port
  await new Promise((resolve) => probe.close(resolve))
  origin = `http://localhost:${port}`
  await initTrust({ dataDir, declaration, rpId: 'localhost', origin })
  await start()
})
after(async () => {
  await control.close()
  rmSync(dataDir, { recursive: true, force: true })
})

const tab = (): Browser => new Browser(origin, { host: '127.0.0.1', port })
const local = (): Browser => new Browser(origin, { socketPath: control.adminSocket })

async function enrol(
  url: string,
): Promise<{ browser: Browser; passkey: SoftAuthenticator; active: unknown }> {
  const link = url.slice(url.indexOf('#') + 1)
  const browser = tab()
  const passkey = new SoftAuthenticator(origin)
  const options = await browser.post('/api/auth/register/options', { link })
  assert.equal(options.status, 200, options.text)
  const response = passkey.create(options.body as unknown as CreationOptions)
  const done = await browser.post('/api/auth/register/verify', { link, response })
  assert.equal(done.status, 200, done.text)
  return { browser, passkey, active: done.body['active'] }
}

test('the real control plane: two operators enrol, cut off, release by quorum, restart', async () => {
  assert.equal((await tab().get('/api/session')).body['bootstrap'], true)
  const alice = await enrol(String(control.bootstrapLink))
  assert.equal(alice.active, true)
  assert.equal((await alice.browser.get('/api/session')).body['bootstrap'], false)

  // The second operator counts for nothing before the first has signed the new set.
  const made = await local().post('/api/operators/links', { operator: 'olga' })
  const olga = await enrol(String(made.body['url']))
  assert.equal(olga.active, false)
  const tooEarly = await olga.browser.post('/api/auth/login/options')
  const early = olga.passkey.get(tooEarly.body as unknown as RequestOptions)
  assert.equal((await olga.browser.post('/api/auth/login/verify', { response: early })).status, 401)
  const admitted = await signed(
    alice.browser,
    alice.passkey,
    '/api/operators/sign/options',
    {},
    '/api/operators/sign',
  )
  assert.equal(admitted.body['active'], true, admitted.text)
  const options = await olga.browser.post('/api/auth/login/options')
  const response = olga.passkey.get(options.body as unknown as RequestOptions)
  assert.equal((await olga.browser.post('/api/auth/login/verify', { response })).status, 200)

  const cut = await local().post('/api/quarantine', { subject, reason: 'odd reads' })
  assert.equal(cut.status, 200, cut.text)
  const { id } = cut.body['quarantine'] as { id: string }
  const path = `/api/quarantine/${id}/release`
  const ask = { reason: 'a drill' }
  const once = await signed(alice.browser, alice.passkey, `${path}/options`, ask, path)
  assert.equal(once.body['released'], false, once.text)
  const twice = await signed(alice.browser, alice.passkey, `${path}/options`, ask, path)
  assert.equal(twice.body['released'], false, twice.text)
  assert.equal(control.context.quarantine.isQuarantined(subject), true)
  const both = await signed(olga.browser, olga.passkey, `${path}/options`, ask, path)
  assert.equal(both.body['released'], true, both.text)
  assert.equal(control.context.quarantine.isQuarantined(subject), false)

  await control.close()
  await start()
  assert.equal(control.bootstrapLink, undefined)
  assert.equal((await alice.browser.get('/api/operators')).body['version'], 2)
})

test('every read of the document answers on the real control plane', async () => {
  const browser = local()
  for (const path of [
    'network',
    'agents',
    'agents/flagger',
    'edges',
    'decisions',
    'approvals',
    'quarantine',
    'incidents',
    'health',
    'operators',
    'declaration/proposals',
  ]) {
    const answer = await browser.get(`/api/${path}`)
    assert.equal(answer.status, 200, `${path} ${answer.text}`)
  }
  const token = await browser.post('/api/join-tokens', { kind: 'agent', name: 'flagger' })
  assert.match(String(token.body['token']), /^spjoin_/)
  assert.equal(
    (await browser.post('/api/join-tokens', { kind: 'agent', name: 'nobody' })).status,
    400,
  )
  assert.equal((await browser.get('/api/decisions/none')).status, 404)
})
