import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { launchAgent } from '@sallyport/agent'
import { members, textOf } from '../../packages/cli/src/shape.ts'
import { bounded, median, percentile, stated } from '../row.ts'
import type { Row } from '../row.ts'
import type { Harness } from './harness.ts'

const TRIALS = 15
const AGENTS = 8
const READY_MS = 30_000
const BOUND_MS = 400
const AGENT = fileURLToPath(import.meta.resolve('./launched-agent.ts'))

type Isolate = 'require' | 'off'

/** From the call of the launcher to a program that runs, and to an agent that the gateway has admitted; isolated and not. */
export async function benchLaunch(harness: Harness, note: (text: string) => void): Promise<Row[]> {
  const rows: Row[] = []
  for (const isolate of ['off', 'require'] as const) {
    const how = isolate === 'off' ? 'not isolated' : 'isolated'
    note(`${TRIALS} programs and ${AGENTS} agents, ${how}`)
    try {
      // The first one also finds out what the machine permits.
      await launchOnce(harness, isolate, 'program')
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      rows.push(stated(`launch, ${how}`, `not possible on this machine: ${why}`, ''))
      continue
    }
    const programs = await trials(TRIALS, () => launchOnce(harness, isolate, 'program'))
    const agents = await trials(AGENTS, () => launchOnce(harness, isolate, 'agent'))
    rows.push(
      bounded(
        `launch, ${how}: to a program that says ready, p50`,
        median(programs),
        'ms',
        '<=',
        BOUND_MS,
      ),
      stated(`launch, ${how}: to a program that says ready, fastest`, Math.min(...programs), 'ms'),
      stated(`launch, ${how}: to a program that says ready, p95`, percentile(programs, 0.95), 'ms'),
      stated(
        `launch, ${how}: to an agent in Node, enrolled and admitted by the gateway, p50`,
        median(agents),
        'ms',
      ),
    )
  }
  return rows
}

async function trials(count: number, run: () => Promise<number>): Promise<number[]> {
  const times: number[] = []
  for (let trial = 0; trial < count; trial++) times.push(await run())
  return times
}

/** @returns milliseconds until it said `ready` */
async function launchOnce(
  { admin, data, gateway, plane }: Harness,
  isolate: Isolate,
  what: 'program' | 'agent',
): Promise<number> {
  const roots = join(data, 'trust/ca.pem')
  const { token } = members(await admin.post('/api/join-tokens', { kind: 'agent', name: 'caller' }))
  const ready = Promise.withResolvers<number>()
  const timer = setTimeout(
    () => ready.reject(new Error(`no ready within ${READY_MS} ms`)),
    READY_MS,
  )
  const said: string[] = []
  const started = performance.now()
  const launched = await launchAgent({
    name: 'caller',
    ...(what === 'agent'
      ? { command: process.execPath, args: [AGENT] }
      : { command: 'sh', args: ['-c', 'echo ready; exec sleep 60'] }),
    env: {
      SALLYPORT_JOIN_TOKEN: textOf(token),
      SALLYPORT_ROOTS: roots,
      SALLYPORT_TRUST_DOMAIN: 'bench.example',
    },
    runDir: join(data, 'run', 'launch'),
    gateway,
    control: plane,
    isolate,
    hide: [data],
    expose: [roots],
    cwd: import.meta.dirname,
    stdio: 'lines',
    onStdout: (line) => {
      if (line === 'ready') ready.resolve(performance.now() - started)
    },
    onStderr: (line) => said.push(line),
    onExit: () => ready.reject(new Error(`it ended: ${said.slice(-3).join(' ')}`)),
  })
  try {
    return await ready.promise
  } finally {
    clearTimeout(timer)
    await launched.stop()
  }
}
