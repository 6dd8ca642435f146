import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from '@sallyport/agent'
import type { AgentClient } from '@sallyport/agent'
import { startHarness } from '../network/harness.ts'
import type { Harness } from '../network/harness.ts'
import { bounded, percentile, stated } from '../row.ts'
import type { Row } from '../row.ts'

type Note = (text: string) => void

const GATEWAYS = 20
const TRIALS = 20
const FIRST_PORT = 7501
const RELAY = 7530
const CUT_OFF = 7531
const BUDGET_SECONDS = 6
const DECLARATION = join(import.meta.dirname, '../network/declaration')
const ITEM = { method: 'GET', path: '/store/v1/items/1' } as const
const STREAM = { method: 'GET', path: '/store/v1/stream' } as const

/** Quarantine at twenty gateways at once, an open stream and calls without pause at each. */
export async function benchRevocation(note: Note): Promise<Row[]> {
  const harness = await startHarness(note)
  const gateways: { stop(): Promise<void> }[] = []
  try {
    note(`${GATEWAYS} gateways, each a process`)
    for (let i = 0; i < GATEWAYS; i++) {
      const listen = `127.0.0.1:${FIRST_PORT + i}`
      gateways.push(await harness.addGateway({ id: `many${i}`, listen }))
    }
    const lasts: number[] = []
    let live = 0
    let after = 0
    for (let trial = 0; trial < TRIALS; trial++) {
      const result = await quarantineEverywhere(harness)
      lasts.push(result.last)
      live += result.live
      after += result.after
    }
    return [
      bounded(
        `quarantine at ${GATEWAYS} gateways: live connections cut`,
        live,
        'connections',
        '=',
        GATEWAYS * TRIALS,
      ),
      bounded(
        'the same: action to the last byte and the last call that succeeds at any, p95',
        percentile(lasts, 0.95),
        'ms',
        '<=',
        1000,
      ),
      stated('the same, p50', percentile(lasts, 0.5), 'ms'),
      bounded('the same: calls that succeed once the action has answered', after, 'calls', '=', 0),
    ]
  } finally {
    await Promise.all(gateways.map((gateway) => gateway.stop()))
    await harness.stop()
  }
}

/** @returns milliseconds from the action to the last sign of life anywhere */
async function quarantineEverywhere(
  harness: Harness,
): Promise<{ last: number; live: number; after: number }> {
  const caller = await harness.caller()
  const clients = Array.from({ length: GATEWAYS }, (_, i) =>
    createClient({
      identity: caller.identity,
      gateway: { host: '127.0.0.1', port: FIRST_PORT + i },
    }),
  )
  let lastLife = 0
  let after = 0
  let answered = Number.POSITIVE_INFINITY
  const over = new AbortController()
  const streaming = new Set<AgentClient>()
  const listen = async (client: AgentClient): Promise<void> => {
    try {
      for await (const chunk of client.stream(STREAM)) {
        if (chunk.length > 0) streaming.add(client)
        lastLife = performance.now()
      }
    } catch {
      // Cut, as it has to be.
    }
  }
  const call = async (client: AgentClient): Promise<void> => {
    while (!over.signal.aborted) {
      const from = performance.now()
      try {
        await client.request(ITEM)
        lastLife = performance.now()
        if (from > answered) after++
      } catch {
        await sleep(20)
      }
      // Twenty callers without any pause would measure this process only.
      await sleep(40)
    }
  }
  const lanes = clients.flatMap((client) => [listen(client), call(client)])
  for (let waited = 0; streaming.size < GATEWAYS && waited < 20_000; waited += 50) await sleep(50)
  const live = streaming.size
  const acted = performance.now()
  await harness.admin.post('/api/quarantine', { subject: caller.spiffeId, reason: 'bench' })
  answered = performance.now()
  await sleep(500)
  over.abort()
  await Promise.all(clients.map((client) => client.close()))
  await Promise.all(lanes)
  await caller.close()
  return { last: Math.max(0, lastLife - acted), live, after }
}

/** A gateway that no longer hears the control plane knows of no quarantine; its budget ends what it still answers. */
export async function benchCutOff(note: Note): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'sp-bench-cut-'))
  cpSync(DECLARATION, folder, { recursive: true })
  const file = join(folder, 'network.yaml')
  const budgets = `stalenessSeconds: ${BUDGET_SECONDS}\n  strictStalenessSeconds: ${BUDGET_SECONDS / 2}`
  const text = readFileSync(file, 'utf8').replace(/(svidTtlSeconds: )20/, `$1120\n  ${budgets}`)
  if (!text.includes(budgets)) throw new Error('the declaration has other settings')
  writeFileSync(file, text)
  const harness = await startHarness(note, file)
  const relay = await startRelay(harness.plane.port)
  let gateway: { stop(): Promise<void> } | undefined
  let client: AgentClient | undefined
  try {
    const caller = await harness.caller()
    gateway = await harness.addGateway({
      id: 'far',
      listen: `127.0.0.1:${CUT_OFF}`,
      control: `127.0.0.1:${RELAY}`,
    })
    client = createClient({
      identity: caller.identity,
      gateway: { host: '127.0.0.1', port: CUT_OFF },
    })
    await client.request(ITEM)
    note('cutting one gateway off, then quarantine')
    relay.cut()
    const cut = performance.now()
    await harness.admin.post('/api/quarantine', { subject: caller.spiffeId, reason: 'bench' })
    let last = 0
    let refused = 0
    while (refused < 40 && performance.now() - cut < BUDGET_SECONDS * 5000) {
      try {
        await client.request(ITEM)
        last = performance.now() - cut
        refused = 0
      } catch {
        refused++
      }
      await sleep(50)
    }
    await caller.close()
    return [
      bounded(
        `a gateway cut off, budget ${BUDGET_SECONDS} s: last call of a quarantined agent that it answers`,
        last / 1000,
        's after the cut',
        '<=',
        BUDGET_SECONDS,
      ),
    ]
  } finally {
    await client?.close()
    await gateway?.stop()
    relay.close()
    await harness.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Passes bytes to a port of this machine until it is cut. */
async function startRelay(port: number): Promise<{ cut(): void; close(): void }> {
  const sockets = new Set<Socket>()
  let severed = false
  const server = createServer((near) => {
    if (severed) {
      near.destroy()
      return
    }
    const far = connect({ host: '127.0.0.1', port })
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
      from.pipe(to)
    }
  })
  await new Promise<void>((resolve) => {
    server.listen(RELAY, '127.0.0.1', resolve)
  })
  const cut = (): void => {
    severed = true
    for (const socket of sockets) socket.destroy()
  }
  return {
    cut,
    close() {
      cut()
      server.close()
    },
  }
}
