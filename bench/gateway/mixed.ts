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
    const counts = new Map<string, number>()
    const answering = (agent: IdentityMaterial, seed: number, goesOn: GoesOn): Promise<void> =>
      call(agent, gateway, seed, goesOn, counts)
    // Once all that there is, so that what is made only once is made.
    const [first] = backend.agents
    if (first) {
      await serves(first, port)
      await answering(first, 0, (turns) => turns < 100)
    }
    await sleep(2 * UPSTREAM_IDLE_MS + 6000)
    const before = await ask(gateway.process, 'held')
    const until = performance.now() + MINUTES * 60_000
    const states: GatewayState[] = []
    await Promise.all([
      watch(gateway, until, states, note),
      ...backend.agents
        .slice(0, CALLERS)
        .map((agent, i) => answering(agent, i, () => performance.now() < until)),
    ])
    note('nobody calls any more')
    await sleep(2 * UPSTREAM_IDLE_MS + 6000)
    const after = await ask(gateway.process, 'held')
    const quarter = Math.max(1, Math.floor(states.length / 4))
    const early = median(states.slice(quarter, 2 * quarter).map(({ rss }) => rss))
    const late = median(states.slice(-quarter).map(({ rss }) => rss))
    const all = [...counts.values()].reduce((sum, count) => sum + count, 0)
    const failed = [...counts].filter(([what]) => what.startsWith(FAILED))
    const failures = failed.reduce((sum, [, count]) => sum + count, 0)
    const rows = [...counts].map(([what, count]) => stated(`mixed load: ${what}`, count, ''))
    return [
      stated('mixed load, 16 callers', MINUTES, 'minutes'),
      ...rows,
      bounded(
        'calls that failed: 502, 503, 504 or no whole answer, whatever the cause',
        (100 * failures) / all,
        '%',
        '<=',
        1,
      ),
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

/** Before the status or the code of what failed. A busy machine has no time to hear its control plane, or its upstream. */
const FAILED = 'failed: '
const MAY_FAIL: ReadonlySet<number> = new Set([502, 503, 504])

type GoesOn = (turns: number) => boolean

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
  { process: gateway, message: { port } }: GatewayChild,
  seed: number,
  goesOn: GoesOn,
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
      const { statusCode, headers, body } = answer
      if (MAY_FAIL.has(statusCode)) what = `${FAILED}${statusCode}`
      else if (statusCode !== (kind.status || 200)) {
        throw new Error(`${kind.path}: ${statusCode} ${JSON.stringify(headers)}`)
      } else if (kind.status === 0) gone.abort()
      for await (const _piece of body);
    } catch (error) {
      if (!signal.aborted) {
        const known = error instanceof errors.UndiciError || error instanceof SallyportError
        // Of a gateway that is gone nothing more can be asked.
        if (!known || !gateway.connected) throw error
        what = `${FAILED}${error.code}`
      }
    }
    counts.set(what, (counts.get(what) ?? 0) + 1)
  }
  await client.destroy()
}
