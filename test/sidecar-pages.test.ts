/** Pages in a browser that an agent runs, and the agent's sidecar. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createSidecar } from '@sallyport/agent'
import type { Identity, Sidecar } from '@sallyport/agent'
import { launch } from '../packages/console/test/support/browser.ts'
import { Ledger } from './support/ledger.ts'
import { World } from './support/world.ts'

const ledger = new Ledger()
let world: World
let identity: Identity
let sidecar: Sidecar
let port = 0

before(async () => {
  const networkFile = join(import.meta.dirname, 'support/declaration/network.yaml')
  world = await World.start({ networkFile, services: ledger.services })
  identity = await world.join('agent', 'clerk')
  sidecar = createSidecar({ identity: async () => identity, gateway: world.gatewayTarget })
  const listener = createServer()
  sidecar.accept(listener)
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  // Of a TCP listener.
  port = (listener.address() as AddressInfo).port
})
after(async () => {
  sidecar?.cut()
  identity?.stop()
  await world?.stop()
})

async function ask(headers: Record<string, string>): Promise<string> {
  const req = request({ port, host: '127.0.0.1', path: '/ledger/v1/entries/1', headers })
  req.end()
  // Node's HTTP client emits one response.
  const [answer] = (await once(req, 'response')) as [IncomingMessage]
  let text = ''
  for await (const piece of answer.setEncoding('utf8')) text += String(piece)
  return `${answer.statusCode} ${/SP_[A-Z_]+/.exec(text)?.[0] ?? ''}`
}

test('a program calls by whatever name loopback has, and by no other', async () => {
  for (const host of ['127.0.0.1', `127.0.0.1:${port}`, 'localhost', `[::1]:${port}`])
    assert.equal(await ask({ host }), '200 ', host)
  const own = `127.0.0.1:${port}`
  assert.equal(await ask({ host: own, 'sec-fetch-mode': 'cors' }), '200 ')
  for (const headers of [
    { host: 'evil.test' },
    { host: `evil.test:${port}` },
    { host: '127.0.0.1.evil.test' },
    { host: own, origin: 'http://evil.test' },
    { host: own, origin: 'null' },
    { host: own, origin: 'http://127.0.0.1:1' },
    { host: own, 'sec-fetch-site': 'cross-site' },
    { host: own, 'sec-fetch-site': 'same-site' },
  ])
    assert.equal(await ask(headers), '403 SP_SIDECAR_PAGE', JSON.stringify(headers))
})

test('no page that Chromium shows acts for the agent, under whatever name', async (t) => {
  const browser = await launch([
    '--host-resolver-rules=MAP *.test 127.0.0.1',
    // As it was in all browsers until lately, and is in some.
    '--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests',
  ])
  t.after(() => browser.close())
  const page = await browser.newPage()
  const before = ledger.entries.length
  const statuses: number[] = []
  page.on('response', (answer) => {
    if (answer.url().includes('/ledger/')) statuses.push(answer.status())
  })
  const show = async (url: string): Promise<void> => {
    const html = '<!doctype html><title>hostile</title>'
    await page.route(url, (route) => route.fulfill({ contentType: 'text/html', body: html }))
    await page.goto(url)
  }

  // Its name is resolved to the sidecar's address once the page is there: to the browser both are one place.
  const rebound = `http://evil.test:${port}`
  await show(`${rebound}/page`)
  const told = await page.evaluate(async () => {
    const answer = await fetch('/ledger/v1/entries', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ref: 'rebound', amount: 10 }),
    })
    return [answer.status, await answer.text()] as const
  })
  assert.equal(told[0], 403)
  assert.match(told[1], /SP_SIDECAR_PAGE/)

  // Another place, by what needs no leave of the one that is called: requests whose answers it cannot read.
  await show('http://other.test/page')
  await page.evaluate(async (to) => {
    await fetch(`${to}/ledger/v1/entries/1`, { mode: 'no-cors' })
    await fetch(`${to}/ledger/v1/entries`, { method: 'POST', mode: 'no-cors', body: 'ref=a' })
  }, `http://127.0.0.1:${port}`)
  // Of what a page may not read, a browser does not always tell that it was answered.
  assert.ok(statuses.length >= 2 && statuses.every((status) => status === 403), statuses.join())
  assert.equal(ledger.entries.length, before)
})
