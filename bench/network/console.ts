import { setTimeout as sleep } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import { launch, virtualPasskey } from '../../packages/console/test/support/browser.ts'
import { bounded, percentile, stated } from '../row.ts'
import type { Row } from '../row.ts'
import type { Caller, Harness } from './harness.ts'

const CALLERS = 4
/** Between two calls of one caller. */
const PACE_MS = 50
const READS = 100
const WATCH_MS = 15_000
const BOUND_MS = 400

/** What the overview asks for when it is opened, all at once. */
const OVERVIEW = [
  '/api/network',
  '/api/agents',
  '/api/edges',
  '/api/health',
  '/api/incidents',
  '/api/approvals?status=pending',
  '/api/decisions?limit=60',
]
const FEED_PAGE = ['/api/decisions?limit=100']

/**
 * The console while calls are made: how long the control plane's own API answers, and how long a browser takes from the event of a
 * decision to the frame that shows its row.
 */
export async function benchConsole(harness: Harness, note: (text: string) => void): Promise<Row[]> {
  note(`the console under the calls of ${CALLERS} agents`)
  const callers = await Promise.all(Array.from({ length: CALLERS }, () => harness.caller()))
  const over = new AbortController()
  const load = { calls: 0, failed: 0 }
  const started = performance.now()
  const calling = callers.map((caller) => callOn(caller, over.signal, load))
  const browser = await launch()
  try {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
    const page = await context.newPage()
    page.setDefaultTimeout(60_000)
    await page.addInitScript({ content: PROBE })
    await virtualPasskey({ context, page, complaints: [] })
    await page.goto(harness.link)
    await page.getByRole('button', { name: 'Create a passkey' }).click()
    await page.locator('.live-row').first().waitFor()

    const origin = new URL(harness.link).origin
    const cookie = (await context.cookies()).map(({ name, value }) => `${name}=${value}`).join('; ')
    const read = (paths: readonly string[]): Promise<number> => readAll(origin, cookie, paths)
    const feed: number[] = []
    const overview: number[] = []
    for (let trial = 0; trial < READS; trial++) {
      feed.push(await read(FEED_PAGE))
      overview.push(await read(OVERVIEW))
      await sleep(20)
    }

    await page.evaluate('sallyportBench.reset()')
    await sleep(WATCH_MS)
    const seen = await watched(page)
    const perSecond = load.calls / ((performance.now() - started) / 1000)
    const { eventToRow, decisionToRow, deaf } = seen
    return [
      stated('console: calls a second meanwhile', perSecond, 'calls/s'),
      bounded('console: calls that failed meanwhile', load.failed, 'calls', '=', 0),
      stated('console: a page of 100 decisions, p50', percentile(feed, 0.5), 'ms'),
      bounded(
        'console: a page of 100 decisions, p95',
        percentile(feed, 0.95),
        'ms',
        '<=',
        BOUND_MS,
      ),
      stated('console: the reads of the overview, p50', percentile(overview, 0.5), 'ms'),
      bounded(
        'console: the reads of the overview, p95',
        percentile(overview, 0.95),
        'ms',
        '<=',
        BOUND_MS,
      ),
      bounded('console: rows that came live', eventToRow.length, 'rows', '>=', 100),
      stated('console: event to row in a browser, p50', percentile(eventToRow, 0.5), 'ms'),
      bounded(
        'console: event to row in a browser, p95',
        percentile(eventToRow, 0.95),
        'ms',
        '<=',
        BOUND_MS,
      ),
      stated(
        'console: decision at the gateway to row in a browser, p95',
        percentile(decisionToRow, 0.95),
        'ms',
      ),
      bounded('console: longest time the page was deaf', deaf, 'ms', '<=', BOUND_MS),
    ]
  } finally {
    over.abort()
    await Promise.all(calling)
    await browser.close()
    for (const caller of callers) await caller.close()
  }
}

async function callOn(
  caller: Caller,
  over: AbortSignal,
  load: { calls: number; failed: number },
): Promise<void> {
  while (!over.aborted) {
    try {
      await caller.client.request({ method: 'GET', path: '/store/v1/items/1' })
      load.calls++
    } catch {
      load.failed++
    }
    await sleep(PACE_MS)
  }
}

/** @returns milliseconds until the last of them was read whole */
async function readAll(origin: string, cookie: string, paths: readonly string[]): Promise<number> {
  const started = performance.now()
  await Promise.all(
    paths.map(async (path) => {
      const answer = await fetch(`${origin}${path}`, { headers: { cookie } })
      const text = await answer.text()
      if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${text.slice(0, 200)}`)
    }),
  )
  return performance.now() - started
}

interface Watched {
  readonly eventToRow: readonly number[]
  readonly decisionToRow: readonly number[]
  readonly deaf: number
}

// What `PROBE` below returns.
const watched = (page: Page): Promise<Watched> =>
  page.evaluate('sallyportBench.read()') as Promise<Watched>

/** Runs in the page, before its own scripts: notes when each decision's event came and when a frame with its row was drawn. */
const PROBE = `{
  const came = new Map()
  let eventToRow = [], decisionToRow = [], deaf = 0, last = performance.now()
  const Native = window.EventSource
  window.EventSource = class extends Native {
    constructor(...how) {
      super(...how)
      this.addEventListener('decision', ({ data }) => {
        const { id, at } = JSON.parse(data)
        came.set(id, { event: performance.now(), at })
      })
    }
  }
  const drawn = (ids) => requestAnimationFrame(() => {
    for (const id of ids) {
      const noted = came.get(id)
      if (!noted) continue
      came.delete(id)
      eventToRow.push(performance.now() - noted.event)
      decisionToRow.push(Date.now() - noted.at)
    }
  })
  new MutationObserver((changes) => {
    const ids = []
    for (const { addedNodes } of changes) for (const node of addedNodes) {
      if (!(node instanceof Element)) continue
      for (const link of node.querySelectorAll('a.live-row')) ids.push(link.pathname.split('/').pop())
    }
    if (ids.length > 0) drawn(ids)
  }).observe(document, { childList: true, subtree: true })
  setInterval(() => {
    const now = performance.now()
    deaf = Math.max(deaf, now - last)
    last = now
  }, 10)
  window.sallyportBench = {
    reset() { came.clear(); eventToRow = []; decisionToRow = []; deaf = 0; last = performance.now() },
    read: () => ({ eventToRow, decisionToRow, deaf }),
  }
}`
