/** Sessions of MCP that end while something of theirs is under way: nothing of them is left behind. */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import { startWorld, until } from '../packages/gateway/test/support/world.ts'
import type { Reply, TestAgent, World } from '../packages/gateway/test/support/world.ts'
import { declareTools } from './support/mcp.ts'
import { ScriptedMcp } from './support/scripted-mcp.ts'

const TOOL = {
  name: 'work',
  description: 'Works.',
  inputSchema: { type: 'object', properties: {} },
}
const BOTH = 'application/json, text/event-stream'

describe('sessions that end while something of theirs is under way', () => {
  let server: ScriptedMcp
  let world: World
  let agent: TestAgent
  before(async () => {
    server = await new ScriptedMcp().listen()
    const declaration = await declareTools({
      upstream:
        '{ url: https://tools.example/mcp, serverName: tools.example, caFile: tools-ca.pem }',
      caPem: server.front.caPem,
      offer: { tools: [TOOL] },
      operations: '      work: { kind: write, content: tool-content }',
      flows: { reader: ['work'] },
      policies: `@id("tools.work")
permit (principal in Agent::"reader", action == Action::"tools.work", resource);
`,
    })
    const settings = { upstreamTimeoutMs: 60_000 }
    world = await startWorld({ settings }, undefined, () => declaration)
    await world.restart({
      settings,
      upstreams: {
        ...world.options.upstreams,
        tools: { host: '127.0.0.1', port: server.front.port },
      },
    })
    agent = world.agent('reader')
  })
  after(async () => {
    await world?.close()
    server?.close()
  })
  afterEach(() => {
    server.greet = (answer) => {
      answer()
    }
    server.hear = (stream) => {
      stream.begin()
    }
  })

  const post = (session: string, body: unknown): Promise<Reply> =>
    agent.ask({
      method: 'POST',
      path: '/tools/mcp',
      body,
      headers: { accept: BOTH, ...(session === '' ? {} : { 'mcp-session-id': session }) },
    })

  async function open(): Promise<string> {
    const params = { protocolVersion: '2025-11-25', capabilities: {} }
    const { headers } = await post('', { jsonrpc: '2.0', id: 1, method: 'initialize', params })
    const id = headers['mcp-session-id']
    assert.ok(typeof id === 'string')
    return id
  }

  const end = (session: string): Promise<Reply> =>
    agent.ask({
      method: 'DELETE',
      path: '/tools/mcp',
      headers: { 'mcp-session-id': session },
    })

  const work = (session: string): Promise<Reply> =>
    post(session, { jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'work' } })

  const count = (method: string): number => server.methods.filter((one) => one === method).length

  it('ends with the server what it opened for one that ended meanwhile, and calls nothing', async () => {
    const kept = await open()
    assert.match(JSON.stringify((await work(kept)).body), /done/)
    assert.equal((await end(kept)).status, 204)
    await until(() => count('DELETE') === 1)

    let answer: (() => void) | undefined
    server.greet = (given) => {
      answer = given
    }
    const calls = count('tools/call')
    const session = await open()
    const call = work(session)
    await until(() => answer !== undefined)
    assert.equal((await end(session)).status, 204)
    answer?.()
    await until(() => count('DELETE') === 2)
    await call
    assert.equal(count('tools/call'), calls)
  })

  it('opens nothing again for a call whose session ended', async () => {
    const session = await open()
    const stream = await agent.pool.request({
      method: 'GET',
      path: '/tools/mcp',
      headers: { accept: 'text/event-stream', 'mcp-session-id': session },
    })
    stream.body.on('error', () => undefined)
    let asked = false
    // The call waits for the server to be heard, and its session ends there.
    server.hear = () => {
      asked = true
    }
    const [opened, calls] = [count('initialize'), count('tools/call')]
    const call = work(session)
    await until(() => asked)
    assert.equal(count('initialize'), opened + 1)
    assert.equal((await end(session)).status, 204)
    await call
    assert.equal(count('initialize'), opened + 1)
    assert.equal(count('tools/call'), calls)
  })
})
