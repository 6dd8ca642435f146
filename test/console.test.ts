/** The console as people use it, on the real thing: control plane with its database, gateway, agent, service, browser, passkey. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, createService, enrol, RefusedError } from '@sallyport/agent'
import type { AgentClient, CallRequest, Identity } from '@sallyport/agent'
import { systemClock } from '@sallyport/base'
import { initTrust, startControl } from '@sallyport/control'
import type { Control } from '@sallyport/control'
import { startGateway } from '@sallyport/gateway'
import type { Gateway } from '@sallyport/gateway'
import { loadDeclaration } from '@sallyport/network'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { coreBanking } from '../examples/meridian/src/services/coreBanking.ts'
import { serveNode } from '../examples/meridian/src/services/serve.ts'
import { openStream } from '../examples/meridian/src/services/stream.ts'
import { adminClient } from '../packages/cli/src/admin.ts'
import { members, textOf } from '../packages/cli/src/shape.ts'
import { launch, virtualPasskey } from '../packages/console/test/support/browser.ts'
import { builtConsole } from '../packages/console/test/support/built.ts'
import type { Built } from '../packages/console/test/support/built.ts'
import { claimPorts } from './support/ports.ts'

const TRUST_DOMAIN = 'meridian.example'
const HOLD: CallRequest = {
  method: 'POST',
  path: '/core-banking/v1/accounts/acc_000079/holds',
  body: { amount: 2_500_000, currency: 'EUR', caseId: 'case_000001', reason: 'ring of 5 accounts' },
}

const stack = new AsyncDisposableStack()
let control: Control
let gateway: Gateway
let context: BrowserContext
let page: Page
let flagger: AgentClient
let analyst: AgentClient
const complaints: string[] = []

before(async () => {
  const [built, browser] = await Promise.all([builtConsole(), launch()])
  stack.defer(() => (built satisfies Built).remove())
  stack.defer(() => (browser satisfies Browser).close())

  const dataDir = mkdtempSync(join(tmpdir(), 'sp-console-'))
  stack.defer(() => rmSync(dataDir, { recursive: true, force: true }))
  const networkFile = join(import.meta.dirname, '../examples/meridian/network.yaml')
  const { network, policies } = await loadDeclaration({ networkFile })
  // As declared, but one read uses a limit up.
  const limits = network.limits.map((limit) =>
    limit.id === 'transaction-reads' ? { ...limit, maxCalls: 1, windowSeconds: 60 } : limit,
  )
  const declaration = { network: { ...network, limits }, policies }
  // Passkeys belong to an origin, so the port is chosen before the trust root is made.
  const port = await claimPorts()
  const origin = `http://localhost:${port}`
  await initTrust({ dataDir, declaration, rpId: 'localhost', origin })
  control = await startControl({
    dataDir,
    declaration,
    console: { port, staticDir: built.root },
    plane: { host: '127.0.0.1', port: 0 },
  })
  stack.defer(() => control.close())

  const admin = adminClient(dataDir)
  const tokenFor = async (kind: string, name: string): Promise<string> =>
    textOf(members(await admin.post('/api/join-tokens', { kind, name })).token)
  const enrolled = async (kind: string, name: string): Promise<Identity> => {
    const identity = await enrol({
      planeTarget: control.planeAddress,
      rootsPem: readFileSync(join(dataDir, 'trust/ca.pem'), 'utf8'),
      token: await tokenFor(kind, name),
      trustDomain: TRUST_DOMAIN,
    })
    identity.startRotation()
    stack.defer(() => identity.stop())
    return identity
  }
  const stream = await openStream({ seed: 7, accounts: 200, days: 40, seconds: 1 }, systemClock)
  const service = await createService({
    identity: await enrolled('service', 'core-banking'),
    name: 'core-banking',
    handler: serveNode(coreBanking(stream)),
    listen: { host: '127.0.0.1', port: 0 },
  })
  stack.defer(() => service.close())
  assert.ok('port' in service.address)
  gateway = await startGateway({
    id: 'gw1',
    dataDir: join(dataDir, 'gateway/gw1'),
    control: control.planeAddress,
    listen: { host: '127.0.0.1', port: 0 },
    pinsFile: join(dataDir, 'trust/pins.json'),
    joinToken: await tokenFor('gateway', 'gw1'),
    secrets: {},
    upstreams: { 'core-banking': service.address },
  })
  stack.defer(() => gateway.close())
  const client = async (name: string): Promise<AgentClient> => {
    const opened = createClient({
      identity: await enrolled('agent', name),
      gateway: gateway.address,
    })
    stack.defer(() => opened.close())
    return opened
  }
  flagger = await client('account-flagger')
  analyst = await client('pattern-analyst')

  context = await browser.newContext({ baseURL: origin, viewport: { width: 1280, height: 800 } })
  page = await context.newPage()
  page.setDefaultTimeout(60_000)
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(message.text())
  })
})
after(() => stack.disposeAsync())

test('an operator enrols by the one-time link, reads why a call was denied, and approves another', async () => {
  await virtualPasskey({ context, page, complaints })
  await page.goto(control.bootstrapLink ?? assert.fail('there is no link for the first operator'))
  await page.getByRole('button', { name: 'Create a passkey' }).click()
  await page.getByRole('application', { name: /^Network map/ }).waitFor()

  const denied = await refusal(
    analyst.request({ method: 'GET', path: '/pii-vault/v1/customers/cus_000001' }),
  )
  assert.equal(denied.code, 'SP_NO_FLOW')
  const asked = await refusal(flagger.request(HOLD))
  assert.equal(asked.code, 'SP_NEEDS_APPROVAL')
  const approval = asked.needs?.[0]?.approval ?? assert.fail('no approval was asked for')

  // The denial arrives live and opens with its why, though no policy was asked.
  await page.getByRole('link', { name: /No flow/ }).click()
  await page.getByText('the network declares no flow for it').waitFor()
  await page.getByText('Declare a flow from').waitFor()
  assert.equal(new URL(page.url()).pathname, `/decisions/${denied.decision}`)

  await page.getByRole('link', { name: /^Approvals/ }).click()
  await page.getByRole('link', { name: /placeHold/ }).click()
  assert.equal(new URL(page.url()).pathname, `/approvals/${approval}`)
  const amount = page.getByRole('row', { name: /^amount/ })
  assert.match((await amount.textContent()) ?? '', /2500000.*25,000\.00 EUR/)
  await page.getByText('needs an approval: without it, it is not permitted').waitFor()
  await page.getByRole('button', { name: 'Approve with passkey' }).click()
  await page.getByText('It is approved already.').waitFor()

  assert.equal(await flagger.awaitApproval(approval, { timeoutMs: 5000 }), 'approved')
  const other = { ...HOLD, approval, body: { ...members(HOLD.body), amount: 2_500_001 } }
  assert.equal((await refusal(flagger.request(other))).status, 403)
  assert.equal((await flagger.request({ ...HOLD, approval })).status, 201)
  await page.getByText('Approved, used').waitFor()

  // Clause by clause, from the real policies.
  await page.getByRole('link', { name: 'The whole decision' }).click()
  await page.getByText('context.evidence.approvals >= 1').first().waitFor()

  // Allowed by policy and stopped by something else: a gateway explains that in a sentence, without a trace.
  const read: CallRequest = { method: 'GET', path: '/core-banking/v1/transactions' }
  assert.equal((await analyst.request(read)).status, 200)
  const limited = await refusal(analyst.request(read))
  assert.equal(limited.code, 'SP_LIMIT_REACHED')
  await page.goto(`/decisions/${limited.decision}`)
  await page.getByText('Limit transaction-reads.').waitFor()
  await page.getByRole('link', { name: 'analyst.reads-payments' }).waitFor()

  for (const [path, landmark] of [
    ['/', '.react-flow__node-entity'],
    ['/decisions', '[data-row="1"]'],
    ['/agents', 'tbody tr'],
    ['/agents/account-flagger', '.chart canvas'],
    ['/incidents', '.panel'],
    ['/network', '.matrix'],
    ['/network?section=changes', 'tbody tr'],
    ['/mandates', '.panel'],
    ['/inventory?section=uses', 'tbody tr'],
    ['/keys', 'tbody tr'],
    ['/keys?section=leases', '.empty'],
    ['/network?section=partners', '.empty'],
  ] as const) {
    await page.goto(path)
    await page.locator(landmark).first().waitFor()
    assert.equal(await page.getByText('This screen failed').count(), 0, path)
  }
  assert.deepEqual(complaints, [])
})

test('what nobody declared is in the inventory, with what would declare it', async () => {
  await page.goto('/inventory')
  const row = page.getByRole('row', { name: /of pii-vault pattern-analyst/ })
  await row.getByRole('button', { name: /^Suggest/ }).click()
  await page.getByText('- { from: pattern-analyst, to: pii-vault, operations: [').waitFor()
  assert.deepEqual(complaints, [])
})

test('a person gives a mandate, the gateway holds the agent to exactly that, and ending it ends it', async () => {
  const hold = (amount: number): CallRequest => ({
    ...HOLD,
    body: { ...members(HOLD.body), amount },
  })
  await page.goto('/mandates')
  await page.getByRole('link', { name: 'Give a mandate' }).click()
  await page.getByLabel('Agent', { exact: true }).selectOption('account-flagger')
  await page.getByLabel(/^Task/).fill('small holds of case_000001')
  await page.getByRole('button', { name: 'Calls to core-banking' }).click()
  await page.getByLabel(/^placeHold/).check()
  await page.getByRole('button', { name: 'Limit an argument' }).click()
  await page.getByLabel('Input', { exact: true }).selectOption('accountId')
  await page.getByLabel('Value', { exact: true }).fill('acc_000079')
  await page.getByRole('button', { name: 'Limit the amount' }).click()
  await page.getByLabel('At most in each call').fill('50000')
  await page.getByLabel('Calls, all together').fill('2')
  await page.getByRole('button', { name: 'Read what is signed' }).click()
  await page.getByText('accountId is exactly “acc_000079”').waitFor()
  await page.getByRole('button', { name: 'Sign with passkey' }).click()
  await page.getByRole('heading', { name: /small holds/ }).waitFor()
  const mandate = new URL(page.url()).pathname.replace('/mandates/', '')
  assert.match(mandate, /^mdt_/)

  assert.equal((await flagger.request({ ...hold(50_000), mandate })).status, 201)
  const more = await refusal(flagger.request({ ...hold(50_001), mandate }))
  assert.equal(more.code, 'SP_MANDATE_CALL')
  await page.getByText('1 of 2', { exact: true }).waitFor()

  await page.getByRole('button', { name: 'End it…', disabled: false }).click()
  await page.getByText('Nothing that was passed on of it').waitFor()
  await page.getByLabel(/^Reason/).fill('the case is closed')
  await page.keyboard.press('Enter')
  // How fast the gateway says so depends on the machine; that it applies it does not.
  const told = await page.getByText(/in revision \d+\.\d+/).innerText()
  const revision = Number(/in revision \d+\.(\d+)/.exec(told)?.[1])
  const end = Date.now() + 60_000
  while (!((gateway.stats().revision?.n ?? 0) >= revision)) {
    assert.ok(Date.now() < end, 'the gateway applied it')
    await sleep(20)
  }
  const over = await refusal(flagger.request({ ...hold(50_000), mandate }))
  assert.equal(over.code, 'SP_MANDATE_REVOKED')
  assert.deepEqual(complaints, [])
})

test('a signing certificate gets a successor, a root too by a passkey, and they are in the register of keys', async () => {
  const states = (): readonly string[] =>
    control.context.authority.view().generations.map(({ state }) => state)
  assert.deepEqual(states(), ['active'])
  await page.goto('/keys?section=authority')
  await page.getByText('Signs now').waitFor()
  await page.getByRole('button', { name: 'Prepare a successor…' }).click()
  await page.getByRole('button', { name: 'Prepare it now' }).click()
  await page.getByText('Signs next').waitFor()
  await page.getByRole('button', { name: 'Put it in use…' }).click()
  await page.getByRole('button', { name: 'Sign with it from now on' }).click()
  await page.getByText('Signed before').waitFor()
  assert.deepEqual(states().toSorted(), ['active', 'retired'])
  await page.getByRole('button', { name: 'Prepare a root…' }).click()
  await page.getByRole('button', { name: 'Prepare it now' }).click()
  await page.getByRole('button', { name: 'Sign…' }).click()
  await page.getByRole('button', { name: 'Sign with passkey' }).click()
  await page.getByText('Trusted, not in use').waitFor()
  const roots = await control.context.roots.view()
  assert.deepEqual(roots.map(({ state }) => state).toSorted(), ['active', 'trusted'])
  await page.goto('/keys')
  await page.getByRole('rowheader', { name: /signed identities that are still in use/ }).waitFor()
  await page.getByRole('rowheader', { name: /identity of agent account-flagger/ }).waitFor()
  assert.deepEqual(complaints, [])
})

async function refusal(call: Promise<unknown>): Promise<RefusedError> {
  const error: unknown = await call.then(
    () => assert.fail('it was not refused'),
    (failure: unknown) => failure,
  )
  assert.ok(error instanceof RefusedError, String(error))
  return error
}
