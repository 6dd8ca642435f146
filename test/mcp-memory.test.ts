/** What sessions of MCP keep of calls that are over. */
import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { it } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { startWorld, until } from '../packages/gateway/test/support/world.ts'
import type { Reply, TestAgent } from '../packages/gateway/test/support/world.ts'
import { declareTools } from './support/mcp.ts'
import { ScriptedMcp } from './support/scripted-mcp.ts'

const NOTE = { type: 'string', maxLength: 65_536 }
const TOOL = {
  name: 'work',
  description: 'Works.',
  inputSchema: { type: 'object', properties: { a: NOTE, b: NOTE, c: NOTE } },
}
const TEXT = 'x'.repeat(NOTE.maxLength)
const LONG = 3 * NOTE.maxLength
const SESSIONS = 24

setFlagsFromString('--expose-gc')
const gc: unknown = runInNewContext('gc')

/** Bytes of buffers that somebody still holds. */
async function held(): Promise<number> {
  assert.ok(typeof gc === 'function')
  for (let i = 0; i < 4; i++) {
    await turn()
    gc()
  }
  return process.memoryUsage().arrayBuffers
}

it('sessions hold nothing of what was sent for them', async () => {
  const server = await new ScriptedMcp().listen()
  const declaration = await declareTools({
    upstream: '{ url: https://tools.example/mcp, serverName: tools.example, caFile: tools-ca.pem }',
    caPem: server.front.caPem,
    offer: { tools: [TOOL] },
    operations: '      work: { kind: read, content: tool-content }',
    flows: { reader: ['work'] },
    policies: '',
  })
  const upstreams = { tools: { host: '127.0.0.1', port: server.front.port } }
  const world = await startWorld({ upstreams }, undefined, () => declaration)
  try {
    const post = (agent: TestAgent, body: unknown, session?: string): Promise<Reply> =>
      agent.ask({
        method: 'POST',
        path: '/tools/mcp',
        body,
        headers: {
          accept: 'application/json, text/event-stream',
          ...(session === undefined ? {} : { 'mcp-session-id': session }),
        },
      })
    const params = { name: 'work', arguments: { a: TEXT, b: TEXT, c: TEXT } }
    const work = async (agent: TestAgent): Promise<void> => {
      const hello = { protocolVersion: '2025-11-25', capabilities: {} }
      const { headers } = await post(agent, {
        ...{ jsonrpc: '2.0', id: 1, method: 'initialize', params: hello },
      })
      const session = headers['mcp-session-id']
      assert.ok(typeof session === 'string')
      const call = { jsonrpc: '2.0', id: 2, method: 'tools/call', params }
      assert.match(JSON.stringify((await post(agent, call, session)).body), /done/)
    }
    const agents = ['a', 'b', 'c'].map((name) => world.agent('reader', name))
    // Whatever is held once, is held by now.
    for (const agent of agents) await work(agent)
    const before = await held()
    for (let i = agents.length; i < SESSIONS; i++) {
      const agent = agents[i % agents.length]
      if (agent) await work(agent)
    }
    await until(() => world.gateway.stats().inFlight === 0)
    assert.equal(server.methods.filter((method) => method === 'DELETE').length, 0)
    const grown = (await held()) - before
    assert.ok(grown < (SESSIONS * LONG) / 4, `${grown} bytes`)
  } finally {
    await world.close()
    server.close()
  }
})
