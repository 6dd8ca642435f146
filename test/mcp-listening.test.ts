/** The stream on which a server is heard beside its answers is decided on who listens, when it is opened and while it lasts. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
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

describe('hearing a server out', () => {
  let server: ScriptedMcp
  let world: World
  before(async () => {
    server = await new ScriptedMcp().listen()
    server.tools = [TOOL]
    const declaration = await declareTools({
      upstream:
        '{ url: https://tools.example/mcp, serverName: tools.example, caFile: tools-ca.pem }',
      caPem: server.front.caPem,
      offer: { tools: [TOOL] },
      pins: { tools: [TOOL] },
      operations: '      work: { kind: read, content: tool-content }',
      flows: { reader: ['work'] },
      policies: `@id("tools.nothing-of-money")
forbid (principal, action == Action::"tools.work", resource)
when { context.session.labels.contains("money") };
`,
    })
    const settings = { upstreamTimeoutMs: 60_000, streamRecheckMs: 100 }
    world = await startWorld({ settings }, undefined, () => declaration)
    await world.restart({
      settings,
      upstreams: {
        ...world.options.upstreams,
        tools: { host: '127.0.0.1', port: server.front.port },
      },
    })
  })
  after(async () => {
    await world?.close()
    server?.close()
  })

  const post = (agent: TestAgent, session: string, body: unknown): Promise<Reply> =>
    agent.ask({
      method: 'POST',
      path: '/tools/mcp',
      body,
      headers: { accept: BOTH, ...(session === '' ? {} : { 'mcp-session-id': session }) },
    })
  const work = (agent: TestAgent, session: string): Promise<Reply> =>
    post(agent, session, {
      ...{ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'work' } },
    })

  /** A session in which a call was made. */
  async function open(agent: TestAgent): Promise<string> {
    const params = { protocolVersion: '2025-11-25', capabilities: {} }
    const { headers } = await post(agent, '', {
      ...{ jsonrpc: '2.0', id: 1, method: 'initialize', params },
    })
    const id = headers['mcp-session-id']
    assert.ok(typeof id === 'string')
    assert.match(JSON.stringify((await work(agent, id)).body), /done/)
    return id
  }

  const listen = async (agent: TestAgent, session: string): Promise<void> => {
    const { body } = await agent.pool.request({
      method: 'GET',
      path: '/tools/mcp',
      headers: { accept: 'text/event-stream', 'mcp-session-id': session },
    })
    body.on('error', () => undefined)
    body.resume()
  }
  const taint = async (agent: TestAgent): Promise<void> => {
    assert.equal((await agent.ask({ path: '/bank/v1/accounts/A' })).status, 200)
  }
  const decided = (instance: string, decision: string): number =>
    world.plane
      .records()
      .filter(
        (record) =>
          record.kind === 'decision' &&
          record.operation === 'work' &&
          record.instance.endsWith(`/${instance}`) &&
          record.decision === decision,
      ).length

  it('is decided on what the listener may do now, and recorded', async () => {
    const [may, mayNot] = [world.agent('reader', 'i1'), world.agent('reader', 'i2')]
    const [one, other] = [await open(may), await open(mayNot)]
    const { length } = server.gets
    await listen(may, one)
    await until(() => server.gets.length === length + 1)
    // The call, and the listening.
    await until(() => decided('i1', 'allow') === 2)
    await taint(mayNot)
    await listen(mayNot, other)
    await until(() => decided('i2', 'deny') === 1)
    assert.equal(server.gets.length, length + 1)
  })

  it('ends where the listener may not go on', async () => {
    const agent = world.agent('reader', 'i3')
    const session = await open(agent)
    const { size } = server.streams
    await listen(agent, session)
    await until(() => server.streams.size === size + 1)
    const stream = [...server.streams.values()].at(-1)
    assert.equal(stream?.gone, false)
    await taint(agent)
    await until(() => stream.gone)
  })

  it('looks at a tool again where the server forgot the session in which it was looked at', async () => {
    const agent = world.agent('reader', 'i4')
    const session = await open(agent)
    const calls = (): number => server.methods.filter((one) => one === 'tools/call').length
    const before = calls()
    // Believed for a while, of that session: the call itself is what finds it forgotten.
    server.tools = [{ ...TOOL, description: 'Works otherwise.' }]
    server.forget()
    assert.match(JSON.stringify((await work(agent, session)).body), /SP_MCP_CHANGED/)
    assert.equal(calls(), before)
    server.tools = [TOOL]
    assert.match(JSON.stringify((await work(agent, session)).body), /done/)
    server.forget()
    assert.match(JSON.stringify((await work(agent, session)).body), /done/)
    assert.equal(calls(), before + 2)
  })
})
