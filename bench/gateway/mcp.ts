import { join } from 'node:path'
import { IdentityHolder, mtlsConnector } from '@sallyport/transport'
import { buildConnector, Client } from 'undici'
import { bounded, median, percentile, stated } from '../row.ts'
import type { Row } from '../row.ts'
import { startBackend, startGatewayChild } from './children.ts'
import { inFolder } from './folder.ts'
import { syncTime } from './sync-time.ts'

const ROUNDS = 5
const CALLS = 300
const WARM_CALLS = 1500

/** Calls of one tool, one at a time, through the gateway and straight to the server, in turns. */
export const mcp = (note: (text: string) => void): Promise<Row[]> =>
  inFolder(async (dir, undo) => {
    const backend = await startBackend(undo)
    const [agent] = backend.agents
    if (agent === undefined) throw new Error('no callers')
    const gateway = await startGatewayChild(backend, join(dir, 'gateway'), undo)
    const through = new Client('https://gateway.invalid', {
      keepAliveTimeout: 600_000,
      connect: mtlsConnector({
        identity: new IdentityHolder(agent),
        target: { host: '127.0.0.1', port: gateway.message.port },
        expect: () => true,
        timeoutMs: 60_000,
      }),
    })
    const straight = new Client(`https://127.0.0.1:${backend.toolsPort}`, {
      keepAliveTimeout: 600_000,
      connect: buildConnector({ ca: backend.toolsCa, servername: 'tools.example' }),
    })
    undo.push(async () => {
      await Promise.all([through.destroy(), straight.destroy()])
    })
    const callers = {
      straight: await session(straight, '/mcp'),
      through: await session(through, '/tools/mcp'),
    }
    const times: Record<keyof typeof callers, number[]> = { straight: [], through: [] }
    await calls(callers.straight, WARM_CALLS)
    await calls(callers.through, WARM_CALLS)
    for (let round = 0; round < ROUNDS; round++) {
      for (const name of ['straight', 'through'] as const) {
        const p50 = percentile(await calls(callers[name], CALLS), 0.5)
        times[name].push(p50)
        note(`${name}: p50 ${p50.toFixed(2)} ms`)
      }
    }
    const added = median(
      times.through.map((ms, round) => ms - (times.straight[round] ?? Number.NaN)),
    )
    return [
      stated('MCP tool call, straight to the server, p50', median(times.straight), 'ms'),
      stated('MCP tool call, through the gateway, p50', median(times.through), 'ms'),
      stated('fdatasync of a kilobyte, median', await syncTime(join(dir, 'sync')), 'ms'),
      bounded('MCP tool call, full path, added at p50', added, 'ms', '<=', 1),
    ]
  })

type Ask = (message: unknown) => Promise<string>

/** A session of Streamable HTTP (MCP 2025-11-25), opened. */
async function session(client: Client, path: string): Promise<Ask> {
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
  }
  const ask = async (
    message: unknown,
  ): Promise<{ readonly text: string; readonly id: string | undefined }> => {
    const body = JSON.stringify(message)
    const answer = await client.request({ method: 'POST', path, headers, body })
    const text = await answer.body.text()
    if (answer.statusCode >= 300) throw new Error(`${answer.statusCode} ${text}`)
    const id = answer.headers['mcp-session-id']
    return { text, id: typeof id === 'string' ? id : undefined }
  }
  const clientInfo = { name: 'bench', version: '1' }
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo }
  const { id } = await ask({ jsonrpc: '2.0', id: 0, method: 'initialize', params })
  if (id === undefined) throw new Error('no session')
  headers['mcp-session-id'] = id
  headers['mcp-protocol-version'] = '2025-11-25'
  await ask({ jsonrpc: '2.0', method: 'notifications/initialized' })
  return async (message) => (await ask(message)).text
}

async function calls(ask: Ask, count: number): Promise<number[]> {
  const times: number[] = []
  const params = { name: 'work', arguments: { note: 'rent' } }
  for (let i = 0; i < count; i++) {
    const from = performance.now()
    const text = await ask({ jsonrpc: '2.0', id: i + 1, method: 'tools/call', params })
    times.push(performance.now() - from)
    if (!text.includes('rent for november')) throw new Error(text)
  }
  return times
}
