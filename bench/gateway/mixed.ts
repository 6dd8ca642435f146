import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SallyportError } from '@sallyport/base'
import { IdentityHolder, mtlsConnector } from '@sallyport/transport'
import type { IdentityMaterial } from '@sallyport/transport'
import { Client, errors } from 'undici'
import { bounded, median, stated } from '../row.ts'
import type { Row } from '../row.ts'
import { LONG, MEDIUM } from './backend.ts'
import { ask, startBackend, startGatewayChild } from './children.ts'
import type { GatewayChild } from './children.ts'
import { inFolder } from './folder.ts'
import type { GatewayState } from './gateway-process.ts'

/** A day, scaled; `BENCH_MINUTES` says otherwise. */
const MINUTES = Number(process.env['BENCH_MINUTES'] ?? 20)
const CALLERS = 16
const UPSTREAM_IDLE_MS = 2000
/** What a process takes from the system settles in minutes; what it holds can be asked at any time. */
const SETTLED_MINUTES = 5
const MIB = 1_048_576

/** Short, long and very long answers, refusals of every door, callers that go away: memory and sockets must be as before. */
export const mixed = (note: (text: string) => void): Promise<Row[]> =>
  inFolder(async (dir, undo) => {
    const backend = await startBackend(undo)
    const settings = { upstreamIdleMs: UPSTREAM_IDLE_MS }
    const gateway = await startGatewayChild(backend, join(dir, 'gateway'), undo, settings)
    const { port } = gateway.message
    // Once all that there is, so that what is made only once is made.
    const [first] = backend.agents
    if (first) {
      await serves(first, port)
      await call(first, port, 0, (turns) => turns < 100, new Map())
    }
    await sleep(2 * UPSTREAM_IDLE_MS + 6000)
    const before = await ask(gateway.process, 'held')
    const counts = new Map<string, number>()
    const until = performance.now() + MINUTES * 60_000
    const states: GatewayState[] = []
    const watching = watch(gateway, until, states, note)
    await Promise.all(
      backend.agents
        .slice(0, CALLERS)
        .map((agent, i) => call(agent, port, i, () => performance.now() < until, counts)),
    )
    await watching
    note('nobody calls any more')
    await sleep(2 * UPSTREAM_IDLE_MS + 6000)
    const after = await ask(gateway.process, 'held')
    const quarter = Math.max(1, Math.floor(states.length / 4))
    const early = median(states.slice(quarter, 2 * quarter).map(({ rss }) => rss))
    const late = median(states.slice(-quarter).map(({ rss }) => rss))
    const all = [...counts.values()].reduce((sum, count) => sum + count, 0)
    const refused = (100 * (counts.get(NO_TIME) ?? 0)) / all
    const rows = [...counts].map(([what, count]) => stated(`mixed load: ${what}`, count, ''))
    return [
      stated('mixed load, 16 callers', MINUTES, 'minutes'),
      ...rows,
      bounded('calls that the machine had no time for', refused, '%', '<=', 1),
      stated('memory of the process in the second quarter, median', early / MIB, 'MiB'),
      MINUTES < SETTLED_MINUTES
        ? stated(GROWTH, (late - early) / MIB, 'MiB')
        : bounded(GROWTH, (late - early) / MIB, 'MiB', '<=', 16),
      stated('memory in use before, collected', before.used / MIB, 'MiB'),
      bounded(
        'growth of it, when nobody calls any more',
        (after.used - before.used) / MIB,
        'MiB',
        '<=',
        16,
      ),
      bounded('connections of callers left', after.openConnections, '', '=', 0),
      bounded('calls left in flight', after.inFlight, '', '=', 0),
      bounded('connections to upstreams left', after.upstreamPools, 'pools', '=', 0),
      bounded('sockets beyond those at the start', after.sockets - before.sockets, '', '<=', 0),
    ]
  })

const GROWTH = 'growth of memory from the second quarter to the last'

async function watch(
  gateway: GatewayChild,
  until: number,
  states: GatewayState[],
  note: (text: string) => void,
): Promise<void> {
  const every = Math.max(500, (MINUTES * 60_000) / 120)
  while (performance.now() < until || states.length < 4) {
    await sleep(every)
    // What ended it is told by whoever failed.
    if (!gateway.process.connected) return
    const state = await ask(gateway.process)
    states.push(state)
    if (states.length % 10 === 0) note(`${(state.rss / MIB).toFixed(0)} MiB`)
  }
}

/** What callers do: how often of a hundred, where, and how it has to end. */
const KINDS = [
  { what: 'answers of 1 KB', weight: 70, path: '/bank/v1/accounts/ACC-1', status: 200 },
  { what: 'answers of 100 KB', weight: 8, path: `/bank/v1/accounts/${MEDIUM}`, status: 200 },
  { what: 'answers of 10 MB', weight: 1, path: `/bank/v1/accounts/${LONG}`, status: 200 },
  { what: 'no flow', weight: 8, path: '/bank/v1/accounts', status: 403 },
  { what: 'no such operation', weight: 5, path: '/bank/v1/nothing', status: 403 },
  { what: 'no canonical target', weight: 4, path: '/bank/v1/accounts/..%2f', status: 400 },
  { what: 'callers that went away', weight: 4, path: `/bank/v1/accounts/${LONG}`, status: 0 },
] as const

const NO_TIME = 'no time, on a busy machine'

/** Until it has heard of the network a gateway refuses; on a busy machine that takes a while. */
async function serves(agent: IdentityMaterial, port: number): Promise<void> {
  const client = clientOf(agent, port)
  for (let tries = 0; ; tries++) {
    const { statusCode, body } = await client.request({ method: 'GET', path: KINDS[0].path })
    const text = await body.text()
    if (statusCode === KINDS[0].status) break
    if (statusCode !== 503 || tries === 600) throw new Error(`it does not serve: ${text}`)
    await sleep(100)
  }
  await client.destroy()
}

function clientOf(agent: IdentityMaterial, port: number): Client {
  const connect = mtlsConnector({
    identity: new IdentityHolder(agent),
    target: { host: '127.0.0.1', port },
    expect: () => true,
    timeoutMs: 60_000,
  })
  return new Client('https://gateway.invalid', { connect, keepAliveTimeout: 600_000 })
}

async function call(
  agent: IdentityMaterial,
  port: number,
  seed: number,
  goesOn: (turns: number) => boolean,
  counts: Map<string, number>,
): Promise<void> {
  const client = clientOf(agent, port)
  const total = KINDS.reduce((sum, { weight }) => sum + weight, 0)
  for (let turn = seed; goesOn(turn - seed); turn++) {
    // Every kind in its share, spread evenly and the same each time.
    let at = (turn * 37) % total
    const kind = KINDS.find(({ weight }) => (at -= weight) < 0) ?? KINDS[0]
    const gone = new AbortController()
    const { signal } = gone
    let what: string = kind.what
    try {
      const answer = await client.request({ method: 'GET', path: kind.path, signal })
      if (kind.status === 0) gone.abort()
      for await (const _piece of answer.body);
      // What had no time to hear its control plane, or its upstream, refuses, as it has to.
      if ([502, 503, 504].includes(answer.statusCode)) what = NO_TIME
      else if (kind.status !== 0 && answer.statusCode !== kind.status) {
        const { statusCode, headers } = answer
        throw new Error(`${kind.path}: ${statusCode} ${JSON.stringify(headers)}`)
      }
    } catch (error) {
      if (!signal.aborted) {
        if (!(error instanceof errors.UndiciError || error instanceof SallyportError)) throw error
        what = NO_TIME
      }
    }
    counts.set(what, (counts.get(what) ?? 0) + 1)
  }
  await client.destroy()
}
