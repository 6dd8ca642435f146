/** The page on which a person lets an agent act for them, in a real browser with its own WebAuthn. */
import assert from 'node:assert/strict'
import { hash, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import AxeBuilder from '@axe-core/playwright'
import type { Browser, BrowserContext, CDPSession, Page, Route } from 'playwright-core'
import { claimPorts } from '../../../test/support/ports.ts'
import { launch } from '../../console/test/support/browser.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Peer } from './support/network.ts'
import { CORE } from './support/oauth.ts'

const stack = new AsyncDisposableStack()
let issuer: string
let plane: TestPlane
let flagger: Peer
let chromium: Browser
let context: BrowserContext
let page: Page
let devtools: CDPSession
let authenticatorId: string
/** Where the client listens, and what came back to it. */
let callback: string
const came: URL[] = []
const complaints: string[] = []

before(async () => {
  const port = await claimPorts()
  issuer = `http://localhost:${port}`
  plane = await TestPlane.start(declarationWith(), { console: { port } }, issuer)
  stack.defer(() => plane.close())
  flagger = await plane.enrol('agent', 'flagger')
  const client = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://127.0.0.1')
    if (url.pathname === '/callback') came.push(url)
    response.setHeader('content-type', 'text/html')
    // A page of somebody else's, too: it frames whatever it is told to.
    const framed = url.searchParams.get('framed')
    response.end(framed === null ? '<title>back</title>' : `<iframe src="${framed}"></iframe>`)
  })
  await new Promise<void>((resolve) => client.listen(0, '127.0.0.1', resolve))
  stack.defer(() => {
    client.closeAllConnections()
    client.close()
  })
  // Listening on TCP, so the address is an object.
  callback = `http://127.0.0.1:${(client.address() as AddressInfo).port}/callback`
  chromium = await launch()
  stack.defer(() => chromium.close())
  context = await chromium.newContext({ viewport: { width: 1024, height: 800 } })
  page = await context.newPage()
  page.setDefaultTimeout(60_000)
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
      complaints.push(message.text())
    }
  })
  devtools = await context.newCDPSession(page)
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
  const link = String(plane.control.bootstrapLink).split('#')[1]
  await page.goto(`${issuer}/api/openapi.json`)
  const done = await page.evaluate(`(async () => {
    const post = async (path, body) => (await fetch(path, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
    })).json()
    const link = ${JSON.stringify(link)}
    const options = await post('/api/auth/register/options', { link })
    const made = await navigator.credentials.create({
      publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options),
    })
    return post('/api/auth/register/verify', { link, response: made.toJSON() })
  })()`)
  assert.equal(Reflect.get(Object(done), 'active'), true)
})
after(() => stack.disposeAsync())

const PAYMENTS = [
  { type: 'payment', amount: 2_500_000, currency: 'EUR', creditor: 'DE89', operations: ['hold'] },
  { type: 'payment', amount: 7, currency: 'JPY', creditor: 'JP-1', operations: ['hold'] },
]

/** What the client opens in the person's browser. */
async function open(to: Page = page): Promise<void> {
  const asked = new URL(`${issuer}/oauth2/auth`)
  for (const [name, value] of Object.entries({
    client_id: flagger.spiffeId,
    redirect_uri: callback,
    response_type: 'code',
    resource: CORE,
    scope: 'hold',
    code_challenge: hash('sha256', randomBytes(32).toString('base64url'), 'base64url'),
    code_challenge_method: 'S256',
    state: 'state-of-the-client',
    authorization_details: JSON.stringify(PAYMENTS),
  })) {
    asked.searchParams.set(name, value)
  }
  await to.goto(asked.href)
}

const allow = () => page.getByRole('button', { name: 'Allow with passkey' })
const refuse = () => page.getByRole('button', { name: 'Refuse' })

async function back(): Promise<URLSearchParams> {
  await page.waitForURL(`${callback}**`)
  return came.at(-1)?.searchParams ?? assert.fail('nothing came back')
}

async function withBits(bits: object, act: () => Promise<void>): Promise<void> {
  const none = { isBogusSignature: false, isBadUV: false, isBadUP: false }
  const set = (to: object): Promise<unknown> =>
    devtools.send('WebAuthn.setResponseOverrideBits', { authenticatorId, ...none, ...to })
  await set(bits)
  try {
    await act()
  } finally {
    await set({})
  }
}

test('it says who asks, what for and for how long; nothing has the focus, and refusing is as easy as allowing', async () => {
  await open()
  await page.getByRole('heading', { name: 'May flagger act for you?' }).waitFor()
  await page.getByText('You are signed in as alice.').waitFor()
  await page.getByText(flagger.spiffeId, { exact: true }).waitFor()
  await page.getByText('changes things').waitFor()
  await page.getByText('25,000.00 EUR (2,500,000 minor units of EUR) at most in one call').waitFor()
  await page.getByText('7 JPY (7 minor units of JPY) at most in one call').waitFor()
  await page.getByText('Five minutes at most').waitFor()
  await page.getByText(new URL(callback).host).waitFor()
  await page.getByText(/^You have \d+ min \d\d s to decide/).waitFor()
  assert.equal(await page.evaluate('document.activeElement === document.body'), true)
  const [no, yes] = [await refuse().boundingBox(), await allow().boundingBox()]
  assert.deepEqual([no?.width, no?.height, no?.y], [yes?.width, yes?.height, yes?.y])
  const looks = 'getComputedStyle(document.getElementById(ID)).cssText'
  assert.equal(
    await page.evaluate(looks.replace('ID', '"refuse"')),
    await page.evaluate(looks.replace('ID', '"allow"')),
  )
})

test('it lets the agent act once the passkey has verified the person', async () => {
  await open()
  await allow().click()
  const params = await back()
  assert.equal(params.get('iss'), issuer)
  assert.match(params.get('code') ?? '', /^[\w-]{16,}$/)
  assert.equal(params.get('error'), null)
})

test('it is refused by keyboard alone, without a passkey', async () => {
  await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false })
  try {
    await open()
    await allow().waitFor()
    await page.keyboard.press('Tab')
    assert.equal(await page.evaluate('document.activeElement.id'), 'refuse')
    await page.keyboard.press('Enter')
    const params = await back()
    assert.equal(params.get('error'), 'access_denied')
    assert.equal(params.get('code'), null)
  } finally {
    await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: true })
  }
})

test('a bogus signature, no verification and no presence allow nothing; the same page then takes a good one', async () => {
  await open()
  const before = came.length
  for (const [bits, code] of [
    [{ isBogusSignature: true }, 'SP_SIGNATURE_INVALID'],
    [{ isBadUV: true }, 'SP_SIGNATURE_VERIFICATION'],
    [{ isBadUP: true }, 'SP_SIGNATURE_PRESENCE'],
  ] as const) {
    await withBits(bits, async () => {
      await allow().click()
      await page.getByRole('alert').getByText(code).waitFor()
    })
  }
  await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false })
  await allow().click()
  await page.getByRole('alert').getByText('Nothing was allowed').waitFor()
  await devtools.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: true })
  assert.equal(came.length, before)
  await allow().click()
  assert.ok((await back()).has('code'))
})

test('nothing is signed that the page does not show', async () => {
  await open()
  await allow().waitFor()
  const lies: readonly ((offered: Offered) => object)[] = [
    ({ statement, ...rest }) => ({ ...rest, statement: { ...statement, scope: ['hold', 'read'] } }),
    ({ statement, ...rest }) => ({ ...rest, statement: { ...statement, details: [] } }),
    ({ options, ...rest }) => ({
      ...rest,
      options: { ...options, challenge: randomBytes(32).toString('base64url') },
    }),
  ]
  for (const lie of lies) {
    const path = '**/api/consents/*/options'
    await page.route(path, async (route: Route) => {
      const answer = await route.fetch()
      await route.fulfill({ response: answer, json: lie((await answer.json()) as Offered) })
    })
    await allow().click()
    await page.getByRole('alert').getByText('Nothing was signed').waitFor()
    await page.unroute(path)
    await page.evaluate('document.getElementById("error").textContent = ""')
  }
  await allow().click()
  assert.ok((await back()).has('code'))
})

interface Offered {
  readonly statement: object
  readonly options: object
}

test('no page frames it', async () => {
  await open()
  await allow().waitFor()
  const consent = page.url()
  const answer = await page.goto(consent)
  const headers = answer?.headers() ?? {}
  assert.match(headers['content-security-policy'] ?? '', /frame-ancestors 'none'/)
  assert.equal(headers['x-frame-options'], 'DENY')
  const framed = async (url: string): Promise<string> => {
    await page.goto(`${callback.replace('/callback', '/')}?framed=${encodeURIComponent(url)}`)
    const frame = page.frames().find((one) => one !== page.mainFrame()) ?? assert.fail('no frame')
    return frame.url()
  }
  const own = callback.replace('/callback', '/other')
  assert.equal(await framed(own), own, 'a page that may be framed is')
  assert.match(await framed(consent), /^chrome-error:/)
  assert.match(complaints.splice(0).join('\n'), /frame-ancestors 'none'/)
})

const HOSTILE = '<img src=x onerror=alert(1)> \u202eknab ruoy\u202c \u200b'

test('names and descriptions of any kind are text, spelled out, and leave the page whole at 360 px in both themes', async () => {
  const path = '**/api/consents/*/view'
  await page.route(path, async (route: Route) => {
    const answer = await route.fetch()
    const view = (await answer.json()) as { statement: object; operations: readonly object[] }
    const json = {
      ...view,
      ...{ agent: `${HOSTILE}${'n'.repeat(1000)}`, agentDescription: 'd'.repeat(5000) },
      ...{ system: 'S'.repeat(1000), systemDescription: HOSTILE },
      operations: Array.from({ length: 64 }, (_, i) => ({
        ...{ name: `operation-${i}-${'o'.repeat(100)}`, kind: i % 2 === 0 ? 'read' : 'write' },
        description: `${HOSTILE} ${'long '.repeat(200)}`,
      })),
      statement: {
        ...view.statement,
        details: Array.from({ length: 16 }, (_, i) => ({
          ...{ type: 'payment', amount: Number.MAX_SAFE_INTEGER - i, currency: 'EUR' },
          ...{ creditor: 'C'.repeat(128), operations: Array(64).fill('o'.repeat(128)) },
        })),
      },
    }
    await route.fulfill({ response: answer, json })
  })
  try {
    for (const [width, colorScheme] of [
      [1024, 'light'],
      [360, 'light'],
      [360, 'dark'],
    ] as const) {
      await page.setViewportSize({ width, height: 740 })
      await page.emulateMedia({ colorScheme })
      await open()
      await allow().waitFor()
      assert.equal(await page.locator('main img').count(), 0)
      const title = (await page.getByRole('heading', { level: 1 }).textContent()) ?? ''
      assert.ok(
        title.includes('<img src=x onerror=alert(1)> \\u{202e}knab ruoy\\u{202c} \\u{200b}'),
      )
      const wide = await page.evaluate('document.documentElement.scrollWidth')
      assert.equal(wide, width, `${width} px, ${colorScheme}`)
      // The whole of what is signed; of what is not, the beginning.
      await page.getByText('n'.repeat(1000)).waitFor()
      await page.getByText('… (4700 more letters)').waitFor()
      await refuse().scrollIntoViewIfNeeded()
      const { violations, passes } = await new AxeBuilder({ page }).setLegacyMode().analyze()
      assert.ok(passes.length > 0)
      assert.deepEqual(
        violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`),
        [],
      )
    }
  } finally {
    await page.unroute(path)
    await page.setViewportSize({ width: 1024, height: 800 })
  }
})

test('whoever is not signed in is told so, and can allow nothing', async () => {
  const stranger = await chromium.newContext()
  try {
    const other = await stranger.newPage()
    await open(other)
    await other.getByText('Sign in to the console, then come back').waitFor()
    await other.getByRole('link', { name: 'Open the console to sign in' }).waitFor()
    assert.equal(await other.getByRole('button').count(), 0)
  } finally {
    await stranger.close()
  }
  assert.deepEqual(complaints, [])
  assert.deepEqual(plane.errors, [])
})
