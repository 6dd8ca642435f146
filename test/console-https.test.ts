/**
 * The console off loopback, as people set it up: `init` fixes an https origin, `up` is given a certificate of the bank's own CA, and a
 * real browser enrols the first passkey there and signs in with it.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createPublicKey, hash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'node:tls'
import type { Browser } from 'playwright-core'
import { adminClient } from '../packages/cli/src/admin.ts'
import { consoleDir } from '../packages/cli/src/console.ts'
import { textOf } from '../packages/cli/src/shape.ts'
import { selfCommand, supervise } from '../packages/cli/src/supervise.ts'
import type { Line, Supervised } from '../packages/cli/src/supervise.ts'
import { launch, virtualPasskey } from '../packages/console/test/support/browser.ts'
import { Files, HOST, WebCa } from '../packages/control/test/support/tls.ts'
import { claimPorts } from './support/ports.ts'

/** Of a machine that does much else. */
const READY_MS = 180_000
const dir = mkdtempSync(join(tmpdir(), 'sp-https-'))
const data = join(dir, 'data')
const networkFile = join(dir, 'network.yaml')
const ca = new WebCa()
const files = new Files()
const said: string[] = []
let ports: readonly number[]
let origin: string
let up: Supervised | undefined
let line: Line
const browsers: Browser[] = []

const where = (): string[] => [
  ...['--network', networkFile, '--data', data],
  ...['--plane', `127.0.0.1:${ports[1]}`, '--listen', `127.0.0.1:${ports[2]}`],
]
const site = (): string[] => [
  ...['--console-listen', `127.0.0.1:${ports[0]}`],
  ...['--console-cert', files.certFile, '--console-key', files.keyFile],
]

function sallyport(...args: string[]) {
  const { command, args: all } = selfCommand(...args)
  return spawnSync(command, all, { encoding: 'utf8', timeout: READY_MS })
}

before(async () => {
  const first = await claimPorts()
  ports = [first, first + 1, first + 2]
  origin = `https://${HOST}:${ports[0]}`
  const made = sallyport(
    ...['init', '--network', networkFile, '--data', data],
    ...['--console-origin', origin, '--json'],
  )
  assert.equal(made.status, 0, made.stderr)
  assert.equal((JSON.parse(made.stdout) as { console: string }).console, origin)
})
after(async () => {
  for (const browser of browsers) await browser.close()
  await up?.stop(15_000)
  files.remove()
  rmSync(dir, { recursive: true, force: true })
})

test('without a certificate, or with a bad one, nothing is started', () => {
  const leaf = ca.leaf()
  const refused = (code: string, command: 'up' | 'control', args: readonly string[]): void => {
    const plane = command === 'up' ? where() : where().slice(0, 6)
    const { status, stdout, stderr } = sallyport(command, ...plane, ...args)
    assert.equal(status, 3, stderr)
    assert.equal(stdout, '')
    assert.match(stderr, new RegExp(`\\[${code}\\]`))
    assert.match(stderr, /fix: /)
  }
  refused('SP_CONSOLE_NO_CERTIFICATE', 'up', site().slice(0, 2))
  files.put(ca.leaf({ dns: ['other.bank.example'] }), ca.issuer)
  refused('SP_CONSOLE_CERT_NAME', 'control', site())
  files.putRaw(leaf.pem, ca.leaf().keyPem)
  refused('SP_CONSOLE_KEY_MISMATCH', 'up', site())
})

test('a real browser enrols the first passkey at the https origin and signs in with it', async (t: TestContext) => {
  if (consoleDir() === undefined) {
    t.skip('the console is not built: npm run build -w @sallyport/console')
    return
  }
  files.put(ca.leaf(), ca.issuer)
  up = supervise({
    name: 'up',
    ...selfCommand('up', ...where(), ...site()),
    onError: (text) => said.push(text),
  })
  line = await up.line(({ ready }) => ready === 'up', READY_MS)
  assert.equal(line.console, origin)
  const link = textOf(line.link)
  assert.ok(link.startsWith(`${origin}/enrol#splink_`), link)

  // A browser that does not know the CA shows an error page and no console: what a wrong certificate would do to everybody.
  const foreign = await open([])
  await assert.rejects(foreign.goto(link), /ERR_CERT_AUTHORITY_INVALID/)

  const page = await open([`--ignore-certificate-errors-spki-list=${spki(ca.issuer.pem)}`])
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (message) => {
    // A read that was under way when its session ended is answered with 401, and the browser says so.
    if (message.type() === 'error' && !message.text().includes('status of 401')) {
      complaints.push(message.text())
    }
  })
  await virtualPasskey({ context: page.context(), page, complaints })
  await page.goto(link)
  assert.equal(await page.evaluate('isSecureContext'), true)
  await page.getByRole('button', { name: 'Create a passkey' }).click()
  await page.getByRole('application', { name: /^Network map/ }).waitFor()
  const cookies = await page.context().cookies()
  assert.deepEqual(
    cookies.map(({ name, domain, path, secure, httpOnly, sameSite }) => ({
      ...{ name, domain, path, secure, httpOnly, sameSite },
    })),
    [
      {
        name: '__Host-sp_session',
        domain: HOST,
        path: '/',
        secure: true,
        httpOnly: true,
        sameSite: 'Strict',
      },
    ],
  )

  // Live over TLS: what the administrator does here shows there.
  await page.getByText('Live', { exact: true }).waitFor()
  await page.goto(`${origin}/incidents`)
  const admin = adminClient(data)
  const subject = 'spiffe://starter.example/agent/assistant'
  await admin.post('/api/quarantine', { subject, reason: 'a drill over TLS' })
  await page.getByRole('main').getByRole('link', { name: 'assistant' }).first().waitFor()
  // Nothing of it ever ran: what is cut off is the agent.
  assert.match(sallyport('agent', 'list', '--data', data).stdout, /^assistant .* yes$/m)
  await page.goto(`${origin}/agents`)
  await page
    .getByRole('row', { name: /assistant/ })
    .getByText('Quarantined')
    .waitFor()

  await page.getByRole('button', { name: /First Operator/ }).click()
  await page.getByRole('menuitem', { name: 'Sign out' }).click()
  await page.getByRole('button', { name: 'Sign in with a passkey' }).click()
  await page.getByRole('button', { name: /First Operator/ }).waitFor()
  assert.deepEqual(complaints, [])
})

test('a new certificate is served without a restart, a bad one is not, and doctor says which', async (t) => {
  if (!up) {
    t.skip('the console is not built')
    return
  }
  const first = await shown()
  files.put(ca.leaf({ dns: [HOST, 'second.bank.example'] }), ca.issuer)
  await until(async () => (await shown()) !== first)
  const second = await shown()
  const doctor = (): string => sallyport('doctor', '--data', data).stdout
  assert.match(doctor(), /^gateway gw1 +ok +revision \d+\.\d+, \d+ ms after it was signed$/m)
  assert.match(doctor(), /certificate +ok +console\.bank\.example, second\.bank\.example; 0 days/)

  files.put(ca.leaf({ dns: ['other.bank.example'] }), ca.issuer)
  await until(() => said.some((text) => text.includes('SP_CONSOLE_CERT_KEPT')))
  assert.equal(await shown(), second)
  assert.match(doctor(), /next certificate +bad +.*does not cover/)
  const before = sallyport(
    ...['doctor', '--data', data, '--console-cert', files.certFile, '--console-key', files.keyFile],
  )
  assert.equal(before.status, 1)
  assert.match(before.stdout, /certificate files +bad +.*SP_CONSOLE_CERT_NAME/)
})

async function open(args: readonly string[]) {
  const browser = await launch([`--host-resolver-rules=MAP ${HOST} 127.0.0.1`, ...args])
  browsers.push(browser)
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  return page
}

/** How Chromium is told to trust what a key certifies. */
const spki = (pem: string): string =>
  hash('sha256', createPublicKey(pem).export({ type: 'spki', format: 'der' }), 'base64')

/** The certificate that a new connection is shown. */
async function shown(): Promise<string> {
  const socket = connect({
    host: '127.0.0.1',
    port: ports[0],
    servername: HOST,
    ca: ca.root.pem,
    ALPNProtocols: ['http/1.1'],
  })
  await once(socket, 'secureConnect')
  const { fingerprint256 } = socket.getPeerCertificate()
  socket.destroy()
  return fingerprint256
}

async function until(met: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if (await met()) return
    await sleep(100)
  }
  assert.fail('it did not happen')
}
