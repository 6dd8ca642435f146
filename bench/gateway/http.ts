import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { Callers } from '../../packages/gateway/test/support/callers.ts'
import type { Load } from '../../packages/gateway/test/support/callers.ts'
import { bounded, median, stated } from '../row.ts'
import type { Row } from '../row.ts'
import type { BareProxyReady } from './bare-proxy.ts'
import { child, cpuOf, startBackend, startGatewayChild } from './children.ts'
import type { DecisionsReady } from './decision-service.ts'
import { inFolder } from './folder.ts'
import { hasNginx, startRivals } from './nginx.ts'
import type { Rivals } from './nginx.ts'
import { syncTime } from './sync-time.ts'

const ROUNDS = 5
const ROUND_MS = 2000
/** Until the compilers of both sides have seen enough. */
const WARM_MS = 6000
const ALONE_MS = 1500
/** On a busy machine 64 handshakes at once take long, and that is not what is measured. */
const PATIENT = {
  handshakeTimeoutMs: 60_000,
  headersTimeoutMs: 60_000,
  requestTimeoutMs: 60_000,
  upstreamConnectTimeoutMs: 60_000,
}

type Name = 'gateway' | 'lean' | 'direct' | 'carried' | 'bare' | 'buffered' | 'synced'

/** The full path over HTTP/1.1 beside what one would put together today, in turns. */
export const benchHttp = (note: (text: string) => void): Promise<Row[]> =>
  inFolder(async (dir, undo) => {
    const backend = await startBackend(undo)
    const gateway = await startGatewayChild(backend, join(dir, 'gateway'), undo, PATIENT)
    const settings = { ...PATIENT, codec: 'lean' } as const
    const lean = await startGatewayChild(backend, join(dir, 'lean'), undo, settings)
    const pids = new Map<Name, readonly number[]>([
      ['gateway', pidsOf(gateway.process)],
      ['lean', pidsOf(lean.process)],
    ])
    const { rival: identity, upstreamPort: service } = backend
    const told = JSON.stringify({ rival: identity, upstreamPort: service })
    const carrier = await child('bare-proxy.ts', { BENCH_BACKEND: told }, undo)
    pids.set('carried', pidsOf(carrier.process))
    let rivals: Rivals | undefined
    if (hasNginx) {
      const socket = join(dir, 'decisions.sock')
      const env = { BENCH_SOCKET: socket, BENCH_LOG: join(dir, 'decisions.log') }
      const ready: DecisionsReady = 'ready'
      const { message: said, process: decisions } = await child('decision-service.ts', env, undo)
      if (said !== ready) throw new Error('the decision service is not ready')
      const { rival, upstreamPort } = backend
      const started = await startRivals(join(dir, 'nginx'), rival, upstreamPort, socket)
      undo.push(() => started.stop())
      rivals = started
      pids.set('bare', [started.pid])
      const both = [started.pid, ...pidsOf(decisions)]
      pids.set('buffered', both)
      pids.set('synced', both)
    } else note('no nginx on this machine: its rows are left out')
    const { agents, upstreamPort } = backend
    const callers = new Map<Name, Callers>()
    const path = '/bank/v1/accounts/ACC-1'
    callers.set('gateway', new Callers(agents, gateway.message.port, path))
    callers.set('lean', new Callers(agents, lean.message.port, path))
    // Each process says first what its file says it does.
    const { port: carried } = carrier.message as BareProxyReady
    callers.set('carried', new Callers(agents, carried, path))
    callers.set('direct', new Callers(agents, upstreamPort, '/v1/accounts/ACC-1'))
    for (const [name, port] of Object.entries(rivals?.ports ?? {})) {
      // The names of `ports` are among those above.
      callers.set(name as Name, new Callers(agents, port, path))
    }
    undo.push(async () => {
      for (const one of callers.values()) await one.close()
    })
    note('connections are made, and everything is warm')
    for (const one of callers.values()) await one.run(WARM_MS, agents.length)
    const many = await inTurns(callers, pids, ROUNDS, ROUND_MS, agents.length, note)
    const alone = await inTurns(callers, pids, 3, ALONE_MS, 1, note)
    const sync = await syncTime(join(dir, 'sync'))
    return [
      ...throughput(many),
      ...processorTime(many),
      stated('fdatasync of a kilobyte, median', sync, 'ms'),
      bounded(
        'added latency, 1 in flight, synced, beyond one fdatasync',
        p50(alone, 'gateway') - p50(alone, 'direct') - sync,
        'ms',
        '<=',
        0.5,
      ),
    ]
  })

/** With the processor time that each call took of those who served it, in microseconds. */
interface Measured extends Load {
  readonly cpu: number
}

type Loads = ReadonlyMap<Name, readonly Measured[]>

const pidsOf = ({ pid }: ChildProcess): number[] => (pid === undefined ? [] : [pid])

async function inTurns(
  callers: ReadonlyMap<Name, Callers>,
  pids: ReadonlyMap<Name, readonly number[]>,
  rounds: number,
  ms: number,
  inFlight: number,
  note: (text: string) => void,
): Promise<Loads> {
  const loads = new Map<Name, Measured[]>([...callers.keys()].map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, one] of callers) {
      const serving = pids.get(name) ?? []
      const before = cpuOf(serving)
      const load = await one.run(ms, inFlight)
      const cpu = (cpuOf(serving) - before) / Math.max(1, load.calls)
      loads.get(name)?.push({ ...load, cpu })
      note(
        `${name}, ${inFlight} in flight: ${load.rate.toFixed(0)}/s, p50 ${load.p50.toFixed(2)} ms`,
      )
    }
  }
  return loads
}

const rates = (loads: Loads, name: Name): number[] =>
  (loads.get(name) ?? []).map(({ rate }) => rate)
const p50 = (loads: Loads, name: Name): number =>
  median((loads.get(name) ?? []).map((one) => one.p50))
const p99 = (loads: Loads, name: Name): number =>
  median((loads.get(name) ?? []).map((one) => one.p99))

/** Of each round, so that what the machine did meanwhile weighs on both. */
function ratio(loads: Loads, one: Name, other: Name): number {
  const others = rates(loads, other)
  return median(rates(loads, one).map((rate, round) => rate / (others[round] ?? Number.NaN)))
}

/** Of each round, as above. */
function cpuRatio(loads: Loads): number {
  const others = loads.get('gateway') ?? []
  const own = loads.get('lean') ?? []
  return median(own.map(({ cpu }, round) => cpu / (others[round]?.cpu ?? Number.NaN)))
}

function throughput(loads: Loads): Row[] {
  const own = [
    stated(
      'gateway, full path, synced, 64 connections',
      median(rates(loads, 'gateway')),
      'calls/s',
    ),
    stated('the same with the lean codec towards systems', median(rates(loads, 'lean')), 'calls/s'),
    stated('a proxy in Node that only carries', median(rates(loads, 'carried')), 'calls/s'),
  ]
  if (!loads.has('synced')) {
    return [...own, stated('nginx + auth_request and bare nginx', 'skipped: no nginx', '')]
  }
  return [
    ...own,
    stated('nginx + auth_request, synced', median(rates(loads, 'synced')), 'calls/s'),
    stated('nginx + auth_request, buffered', median(rates(loads, 'buffered')), 'calls/s'),
    stated('bare nginx, no decision, no audit', median(rates(loads, 'bare')), 'calls/s'),
    bounded(
      'full path / rival, intent synced on both sides',
      ratio(loads, 'gateway', 'synced'),
      '×',
      '>=',
      1,
    ),
    // The gateway has no log that is only buffered: it syncs here too, the rival does not.
    bounded(
      'full path, synced / rival, buffered',
      ratio(loads, 'gateway', 'buffered'),
      '×',
      '>=',
      0.7,
    ),
    bounded(
      'full path with the lean codec, synced / rival, buffered',
      ratio(loads, 'lean', 'buffered'),
      '×',
      '>=',
      1,
    ),
    stated('full path / bare nginx', ratio(loads, 'gateway', 'bare'), '×'),
    bounded(
      'p99 at 64 in flight, beyond that of the rival (synced)',
      p99(loads, 'gateway') - p99(loads, 'synced'),
      'ms',
      '<=',
      0,
    ),
  ]
}

function processorTime(loads: Loads): Row[] {
  const of = (name: Name): number => median((loads.get(name) ?? []).map(({ cpu }) => cpu))
  const own = [
    stated('gateway: processor time a call', of('gateway'), 'µs'),
    stated('gateway with the lean codec: processor time a call', of('lean'), 'µs'),
    stated('processor time a call, lean codec / llhttp', cpuRatio(loads), '×'),
    stated('a proxy in Node that only carries: processor time a call', of('carried'), 'µs'),
  ]
  if (!loads.has('synced')) return own
  return [
    ...own,
    stated('nginx + decision service, synced: processor time a call', of('synced'), 'µs'),
    stated('nginx + decision service, buffered: processor time a call', of('buffered'), 'µs'),
    stated('bare nginx: processor time a call', of('bare'), 'µs'),
  ]
}
