import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { afterEach, beforeEach, test } from 'node:test'
import { openConsole } from './support/console.ts'
import type { TestConsole } from './support/console.ts'
import type { Browser } from './support/browser.ts'

let site: TestConsole
beforeEach(async () => {
  site = await openConsole()
})
afterEach(() => site.close())

/** Reads an event stream until `count` events came or it ended. */
class Reader {
  readonly #response: IncomingMessage
  readonly events: { id: string; event: string; data: string }[] = []
  readonly ended: Promise<void>
  #buffer = ''
  #wake: () => void = () => undefined

  constructor(response: IncomingMessage) {
    this.#response = response
    response.setEncoding('utf8')
    response.on('data', (chunk: string) => {
      this.#buffer += chunk
      const parts = this.#buffer.split('\n\n')
      this.#buffer = parts.pop() ?? ''
      for (const part of parts) {
        const fields = Object.fromEntries(part.split('\n').map((line) => line.split(/: ?(.*)/s)))
        if (fields['data'] !== undefined) {
          this.events.push({
            id: fields['id'] ?? '',
            event: fields['event'] ?? '',
            data: fields['data'],
          })
        }
      }
      this.#wake()
    })
    this.ended = new Promise((resolve) => {
      response.on('close', () => {
        resolve()
        this.#wake()
      })
    })
  }

  async until(count: number): Promise<string[]> {
    while (this.events.length < count && !this.#response.closed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.events.map(({ event, data }) => `${event} ${data}`)
  }

  stop(): void {
    this.#response.destroy()
  }
}

async function listen(browser: Browser, lastEventId?: string): Promise<Reader> {
  const response = await browser.open({
    path: '/api/events',
    headers: { 'last-event-id': lastEventId },
  })
  assert.equal(response.statusCode, 200)
  assert.equal(response.headers['content-type'], 'text/event-stream; charset=utf-8')
  return new Reader(response)
}

test('events arrive live, and a listener that comes back gets what it missed, once', async () => {
  const { browser } = await site.enrolled('vic')
  const first = await listen(browser)
  site.control.publish('decision', { id: 'dec_1' })
  site.control.publish('risk', { score: 3 })
  assert.deepEqual(await first.until(2), ['decision {"id":"dec_1"}', 'risk {"score":3}'])
  const [, last] = first.events
  first.stop()
  await first.ended
  site.control.publish('incident', { id: 'inc_1' })
  const second = await listen(browser, last?.id)
  site.control.publish('approval', { id: 'apr_1' })
  assert.deepEqual(await second.until(2), ['incident {"id":"inc_1"}', 'approval {"id":"apr_1"}'])
  second.stop()
})

test('a listener that was away too long, or never here, is told to load afresh', async () => {
  const { browser } = await site.enrolled('vic')
  for (let i = 0; i < 20; i++) site.control.publish('decision', { i })
  for (const id of ['1001', '1', '999999', 'x', '-1', '1e3', 'NaN']) {
    const reader = await listen(browser, id)
    site.control.publish('agent', {})
    assert.deepEqual(await reader.until(2), ['reset {}', 'agent {}'], id)
    reader.stop()
  }
})

test('data with line breaks stays one event', async () => {
  const { browser } = await site.enrolled('vic')
  const reader = await listen(browser)
  site.control.publish('decision', { memo: 'a\n\nevent: quarantine\ndata: {}\r\n' })
  site.control.publish('agent', {})
  const seen = await reader.until(2)
  assert.equal(seen.length, 2)
  assert.match(seen[0] ?? '', /^decision /)
  reader.stop()
})

test('signing out ends the streams of that session, and of no other', async () => {
  const one = await site.enrolled('vic')
  const two = await site.enrolled('rex')
  const a = await listen(one.browser)
  const b = await listen(two.browser)
  await one.browser.post('/api/auth/logout')
  await a.ended
  site.control.publish('agent', {})
  assert.deepEqual(await b.until(1), ['agent {}'])
  b.stop()
})

test('removing an operator ends their streams with the next revision', async () => {
  const { browser } = await site.enrolled('vic')
  const reader = await listen(browser)
  site.control.removeOperator('vic')
  site.control.publish('revision', { epoch: 1, n: 2 })
  await reader.ended
  assert.equal((await browser.get('/api/events')).status, 401)
})

test('closing the API ends every stream', async () => {
  const { browser } = await site.enrolled('vic')
  const reader = await listen(browser)
  site.api.close()
  await reader.ended
})

test('streams of other origins and strangers are refused', async () => {
  const { browser } = await site.enrolled('vic')
  assert.equal((await site.browser().get('/api/events')).status, 401)
  assert.equal((await browser.get('/api/events', { 'sec-fetch-site': 'cross-site' })).status, 403)
})
