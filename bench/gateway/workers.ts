import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Callers } from '../../packages/gateway/test/support/callers.ts'
import { bounded, median, stated } from '../row.ts'
import type { Row } from '../row.ts'
import { ask, at, cpuOf, startBackend, startGatewayChild } from './children.ts'
import { inFolder } from './folder.ts'

const ROUNDS = 5
const ROUND_MS = 4000
const WARM_MS = 6000

/** One gateway, and two that share a port (what workers would be: see ADR 11), in turns under the same 64 callers. */
export const workers = (note: (text: string) => void): Promise<Row[]> =>
  inFolder(async (dir, undo) => {
    const backend = await startBackend(undo)
    const { agents } = backend
    const path = '/bank/v1/accounts/ACC-1'
    const alone = await startGatewayChild(backend, join(dir, 'alone'), undo)
    const first = await startGatewayChild(backend, join(dir, 'gw2'), undo, {}, shared('gw2', 0))
    const { port } = first.message
    const second = await startGatewayChild(backend, join(dir, 'gw3'), undo, {}, shared('gw3', port))
    // Each keeps its connections, so who serves a caller is settled once: by the kernel.
    const one = new Callers(agents, alone.message.port, path)
    const two = new Callers(agents, port, path)
    undo.push(async () => {
      await one.close()
      await two.close()
    })
    for (const callers of [one, two]) await callers.run(WARM_MS, agents.length)
    const shares = [first, second].map(async ({ process: at_ }) => (await ask(at_)).openConnections)
    const [of1 = 0, of2 = 0] = await Promise.all(shares)
    note(`connections of the two: ${of1} and ${of2}`)
    const figures: Record<'one' | 'two', { rate: number; cpu: number }[]> = { one: [], two: [] }
    const serving = { one: [alone], two: [first, second] }
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, callers] of [
        ['one', one],
        ['two', two],
      ] as const) {
        await sleep(500)
        const pids = serving[name].flatMap(({ process: { pid } }: { process: ChildProcess }) =>
          pid === undefined ? [] : [pid],
        )
        const before = cpuOf(pids)
        const { rate, calls } = await callers.run(ROUND_MS, agents.length)
        const cpu = (cpuOf(pids) - before) / calls
        figures[name].push({ rate, cpu })
        note(`${name}: ${rate.toFixed(0)}/s, ${cpu.toFixed(0)} µs of processor time a call`)
      }
    }
    const ratio = median(
      figures.two.map(({ cpu }, round) => cpu / (figures.one[round]?.cpu ?? Number.NaN)),
    )
    return [
      stated('connections of the gateway with fewer, of 64', Math.min(of1, of2), ''),
      stated('one gateway', median(figures.one.map(({ rate }) => rate)), 'calls/s'),
      stated('two gateways', median(figures.two.map(({ rate }) => rate)), 'calls/s'),
      bounded('processor time a call, two gateways / one', ratio, '×', '<=', 1.1),
    ]
  })

const shared = (id: string, port: number): Parameters<typeof startGatewayChild>[4] => ({
  id,
  joinToken: `join:${id}`,
  sharePorts: true,
  listen: at(port),
})
