import { join } from 'node:path'
import type { GatewayOptions } from '@sallyport/gateway'
import { NODE_FLAGS } from '@sallyport/gateway/node-flags'
import { Pool } from 'undici'
import { Callers } from '../../packages/gateway/test/support/callers.ts'
import { bounded, median, stated } from '../row.ts'
import type { Row } from '../row.ts'
import type { GatewayState } from './gateway-process.ts'
import { ask, at, child } from './children.ts'
import { inFolder } from './folder.ts'
import type { ModelBackend } from './llm-backend.ts'

/**
 * Where Portkey's gateway listens (`npx @portkey-ai/gateway`): it is measured beside ours, with the same prompts to the same model
 * server, over plain HTTP on both of its sides.
 */
const RIVAL = process.env['SALLYPORT_BENCH_PORTKEY']
const ROUNDS = 5
const ROUND_MS = 2000
const BODY = JSON.stringify({
  model: 'small',
  messages: [
    {
      role: 'system',
      content: 'You help the analysts of a bank. Be brief, and say what you do not know.',
    },
    {
      role: 'user',
      content:
        'The account shows several transfers of similar size within a short time, split, and sent on to parties with no other ' +
        'business with the customer. Write to bob@example.com about DE89370400440532013000, and say whether it is layering. ',
    },
  ],
})

/** Calls to a model: proven, decided, redacted, counted and logged on both sides of the call. */
export const benchLlm = (note: (text: string) => void): Promise<Row[]> =>
  inFolder(async (dir, undo) => {
    // Each process says first what its file says it does.
    const backend = (await child('llm-backend.ts', {}, undo)).message as ModelBackend
    const options: Partial<GatewayOptions> = {
      id: 'gw1',
      dataDir: join(dir, 'gateway'),
      control: at(backend.planePort),
      listen: at(0),
      trustPins: backend.pins,
      joinToken: 'join',
      secrets: { 'model-key': 'vendor-key-0' },
      upstreams: {},
      settings: { maxCallsPerSecond: 1e6, maxCallBurst: 1e6, keepAliveTimeoutMs: 600_000 },
    }
    const started = await child(
      'gateway-process.ts',
      { BENCH_GATEWAY: JSON.stringify(options) },
      undo,
      NODE_FLAGS,
    )
    // As above.
    const { port } = started.message as GatewayState
    const callers = new Callers(backend.agents, port, '/models/v1/chat/completions', BODY)
    undo.push(() => callers.close())
    const own: number[] = []
    const others: number[] = []
    const straight: number[] = []
    const count = backend.agents.length
    await callers.run(ROUND_MS, count)
    const { plainPort } = backend
    const model = plainAt(`http://127.0.0.1:${plainPort}`, plainPort, count)
    undo.push(() => model.close())
    await model.run(ROUND_MS)
    const rival = RIVAL === undefined ? undefined : plainAt(RIVAL, plainPort, count)
    if (rival) {
      undo.push(() => rival.close())
      await rival.run(ROUND_MS)
    } else note('SALLYPORT_BENCH_PORTKEY is not set: nothing to compare with')
    for (let round = 0; round < ROUNDS; round++) {
      own.push((await callers.run(ROUND_MS, count)).rate)
      straight.push(await model.run(ROUND_MS))
      if (rival) others.push(await rival.run(ROUND_MS))
      note(`models: ${own.at(-1)?.toFixed(0)}/s, Portkey: ${others.at(-1)?.toFixed(0) ?? '-'}/s`)
    }
    const before = await ask(started.process)
    const { calls } = await callers.run(ROUND_MS, count)
    const after = await ask(started.process)
    const rows = [
      stated('calls to a model, full path, 64 connections', median(own), 'calls/s'),
      stated('processor time of a call', (after.cpu - before.cpu) / Math.max(1, calls), 'µs'),
      stated('straight to the model, in the clear, nothing between', median(straight), 'calls/s'),
    ]
    if (others.length === 0) return rows
    const ratioOf = (rates: readonly number[]): number =>
      median(rates.map((rate, round) => rate / (others[round] ?? Number.NaN)))
    return [
      ...rows,
      stated('Portkey, without TLS, decision or log', median(others), 'calls/s'),
      bounded('calls to a model / Portkey', ratioOf(own), '×', '>=', 10),
      // What no gateway can pass on this machine.
      stated('calls straight to the model / Portkey', ratioOf(straight), '×'),
    ]
  })

/** Without TLS; the headers are Portkey's, the model server does not look at them. */
function plainAt(
  url: string,
  port: number,
  connections: number,
): { readonly run: (ms: number) => Promise<number>; readonly close: () => Promise<void> } {
  const pool = new Pool(url, { connections })
  const request = {
    method: 'POST',
    path: '/v1/chat/completions',
    headers: {
      'content-type': 'application/json',
      authorization: 'Bearer vendor-key-0',
      'x-portkey-provider': 'openai',
      'x-portkey-custom-host': `http://127.0.0.1:${port}/v1`,
    },
    body: BODY,
  } as const
  return {
    async run(ms) {
      const started = performance.now()
      let calls = 0
      await Promise.all(
        Array.from({ length: connections }, async () => {
          while (performance.now() - started < ms) {
            const answer = await pool.request(request)
            const text = await answer.body.text()
            if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${text}`)
            calls++
          }
        }),
      )
      return calls / ((performance.now() - started) / 1000)
    },
    close: () => pool.close(),
  }
}
