import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import type { Browser, CDPSession, Page } from 'playwright-core'
import { launch } from '../../console/test/support/browser.ts'
import { declarationWith } from './support/declaration.ts'
import { RealConsole } from './support/real-console.ts'

interface Told {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}
interface Bits {
  readonly isBogusSignature?: boolean
  readonly isBadUV?: boolean
  readonly isBadUP?: boolean
}

let bank: RealConsole
let chromium: Browser
let page: Page
let devtools: CDPSession
let authenticatorId: string

before(async () => {
  const { agents } = declarationWith().network
  bank = await RealConsole.start(declarationWith({ agents }))
  chromium = await launch()
  page = await (await chromium.newContext()).newPage()
  devtools = await page.context().newCDPSession(page)
  await devtools.send('WebAuthn.enable')
  const added = await devtools.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  })
  authenticatorId = added.authenticatorId
  // Any page of this origin will do: what is tested is the browser's own WebAuthn against the control plane.
  await page.goto(`${bank.origin}/api/openapi.json`)
  const { link } = await bank.control.context.operators.createLink({
    operator: 'alice',
    by: 'test',
  })
  const made = await create((await call('/api/auth/register/options', { link })).body)
  const done = await call('/api/auth/register/verify', { link, response: made })
  assert.deepEqual([done.status, done.body['active']], [200, true])
})
after(async () => {
  await chromium?.close()
  await bank?.close()
})

/** In the page, so that the browser sends its own `Origin` and cookies. */
async function call(path: string, body: unknown = {}): Promise<Told> {
  return page.evaluate(
    async ([to, sent]) => {
      const session = (await (await fetch('/api/session')).json()) as { csrf: string }
      const answer = await fetch(to, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-sallyport-csrf': session.csrf },
        body: sent,
      })
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
    },
    [path, JSON.stringify(body)] as const,
  )
}

/** As text: these types are a browser's, and this package has none of them. */
const create = (options: unknown): Promise<unknown> =>
  page.evaluate(`(async () => (await navigator.credentials.create({
    publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(${JSON.stringify(options)})
  })).toJSON())()`)

const get = (options: unknown): Promise<unknown> =>
  page.evaluate(`(async () => (await navigator.credentials.get({
    publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(${JSON.stringify(options)})
  })).toJSON())()`)

async function withBits<T>(bits: Bits, act: () => Promise<T>): Promise<T> {
  await devtools.send('WebAuthn.setResponseOverrideBits', { authenticatorId, ...bits })
  try {
    return await act()
  } finally {
    const none = { isBogusSignature: false, isBadUV: false, isBadUP: false }
    await devtools.send('WebAuthn.setResponseOverrideBits', { authenticatorId, ...none })
  }
}

async function login(): Promise<Told> {
  const { body } = await call('/api/auth/login/options')
  return call('/api/auth/login/verify', { response: await get(body) })
}

const ROWS: readonly (readonly [string, Bits, string])[] = [
  ['a bogus signature', { isBogusSignature: true }, 'SP_SIGNATURE_INVALID'],
  ['no user verification', { isBadUV: true }, 'SP_SIGNATURE_VERIFICATION'],
  ['no user presence', { isBadUP: true }, 'SP_SIGNATURE_PRESENCE'],
]

test('a browser signs in with its passkey; not with a bogus signature, nor without verification or presence', async () => {
  for (const [what, bits] of ROWS) {
    const answer = await withBits(bits, login)
    assert.deepEqual([answer.status, answer.body['code']], [401, 'SP_API_LOGIN'], what)
  }
  assert.equal((await login()).status, 200)
})

async function asked(amount: number): Promise<string> {
  const { approvals, bundles } = bank.control.context
  const { approvalId } = await approvals.request({
    decisionId: `dec_${amount}`,
    instance: `spiffe://bank.test/agent/flagger/i-${amount}`,
    agent: 'flagger',
    system: 'core',
    operation: 'hold',
    input: { account: 'A-1', amount },
    count: 1,
    declarationDigest: bundles.digest(),
  })
  return approvalId
}

interface Offered {
  readonly statement: Readonly<Record<string, unknown>>
  readonly options: Readonly<Record<string, unknown>>
}
const offer = async (id: string, decision = 'approve'): Promise<Offered> =>
  // What the route answers; a wrong shape fails the signature.
  (await call(`/api/approvals/${id}/options`, { decision })).body as unknown as Offered

test('an approval takes the real thing: none of these is one, and the next is', async () => {
  const id = await asked(1)
  const other = await asked(2)
  const { statement, options } = await offer(id)
  const decide = (body: object, at = id): Promise<Told> => call(`/api/approvals/${at}/decide`, body)
  for (const [what, bits, code] of ROWS) {
    const response = await withBits(bits, () => get(options))
    const answer = await decide({ statement, response })
    assert.deepEqual([answer.status, answer.body['code']], [403, code], what)
  }
  const good = await get(options)
  const swapped = await decide({ statement, response: good }, other)
  assert.deepEqual([swapped.status, swapped.body['code']], [409, 'SP_APPROVAL_STATEMENT'])
  const theirs = await offer(other)
  const crossed = await decide({ statement: theirs.statement, response: good }, other)
  assert.deepEqual([crossed.status, crossed.body['code']], [403, 'SP_SIGNATURE_CHALLENGE'])
  const input = { account: 'A-1', amount: 100 }
  const edited = await decide({ statement: { ...statement, input }, response: good })
  assert.deepEqual([edited.status, edited.body['code']], [409, 'SP_APPROVAL_STATEMENT'])
  const flipped = await decide({ statement: { ...statement, decision: 'deny' }, response: good })
  assert.deepEqual([flipped.status, flipped.body['code']], [403, 'SP_SIGNATURE_CHALLENGE'])
  assert.equal((await bank.control.context.approvals.get(id))?.status, 'pending')
  assert.equal((await decide({ statement, response: good })).status, 200)
  assert.equal((await bank.control.context.approvals.get(id))?.status, 'approved')
  assert.equal((await decide({ statement, response: good })).status, 409, 'a replay')
  assert.equal((await bank.control.context.approvals.get(other))?.status, 'pending')
})

test('a page of another origin on this machine gets a signature, which is good for nothing', async () => {
  // Another server on `localhost` may use the same RP id: the browser writes down where it was.
  const evil = createServer((_, response) => response.end('<!doctype html>'))
  await new Promise<void>((resolve) => evil.listen(0, '127.0.0.1', resolve))
  // Listening on TCP, so the address is an object.
  const { port } = evil.address() as AddressInfo
  const id = await asked(3)
  const { statement, options } = await offer(id)
  try {
    await page.goto(`http://localhost:${port}/`)
    const response = await get(options)
    await page.goto(`${bank.origin}/api/openapi.json`)
    const answer = await call(`/api/approvals/${id}/decide`, { statement, response })
    assert.deepEqual([answer.status, answer.body['code']], [403, 'SP_SIGNATURE_ORIGIN'])
  } finally {
    evil.close()
  }
  const response = await get(options)
  assert.equal((await call(`/api/approvals/${id}/decide`, { statement, response })).status, 200)
})

test('an authenticator that verifies nobody signs nothing', async () => {
  const id = await asked(4)
  const { options } = await offer(id)
  await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false })
  await assert.rejects(get({ ...options, timeout: 2000 }), /NotAllowedError/)
  await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: true })
  assert.ok(await get(options))
})
