/** Sessions of MCP that end while something of theirs is under way: nothing of them is left behind. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, afterEach, before, describe, it } from 'node:test'
import { systemClock } from '@sallyport/base'
import { McpSessions } from '../packages/gateway/src/adapters/mcp-sessions.ts'
import { ClientStream } from '../packages/gateway/src/mcp/session-stream.ts'
import { McpStreams } from '../packages/gateway/src/mcp/streams.ts'
import type { McpStreamsParts } from '../packages/gateway/src/mcp/streams.ts'
import type { RequestContext } from '../packages/gateway/src/serve/context.ts'
import { DEFAULT_SETTINGS } from '../packages/gateway/src/settings.ts'
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

  it('gives a large result on a stream that began', async () => {
    const session = await open()
    const text = 'a long text '.repeat(150_000)
    server.call = (stream, { params }) => {
      // As the gateway calls.
      const { _meta } = params as { readonly _meta: { readonly progressToken: string } }
      const progress = { progressToken: _meta.progressToken, progress: 1 }
      stream.say({ jsonrpc: '2.0', method: 'notifications/progress', params: progress })
      stream.result({ content: [{ type: 'text', text }] })
    }
    const params = { name: 'work', _meta: { progressToken: 'p' } }
    const answer = await agent.pool.request({
      method: 'POST',
      path: '/tools/mcp',
      headers: { accept: BOTH, 'content-type': 'application/json', 'mcp-session-id': session },
      body: JSON.stringify({ jsonrpc: '2.0', id: 3, method: 'tools/call', params }),
    })
    const said = await answer.body.text()
    assert.match(said, /notifications\/progress/)
    assert.ok(said.includes(text))
  })
})

it('breaks a stream off that nobody reads, and no other', async (t) => {
  const listener = createServer((_req, res) => {
    const stream = new ClientStream(res)
    // More than may wait, at once.
    assert.equal(stream.send('x'.repeat(2 * 1024 * 1024)), true)
    assert.equal(res.destroyed, false)
    for (let i = 0; i < 64; i++) stream.send('x'.repeat(64 * 1024))
    assert.equal(res.listenerCount('drain'), 1)
    assert.equal(res.destroyed, true)
    assert.equal(stream.send('x'), false)
    listener.emit('judged')
  }).listen(0, '127.0.0.1')
  t.after(() => {
    listener.closeAllConnections()
    listener.close()
  })
  await once(listener, 'listening')
  // Of a TCP listener.
  const { port } = listener.address() as AddressInfo
  get({ port, host: '127.0.0.1' }).on('error', () => undefined)
  await once(listener, 'judged', { signal: AbortSignal.timeout(20_000) })
})

it('lets go of the stream of a client that left before it began', async (t) => {
  // All that is touched of the parts before a server has anything to say.
  const streams = new McpStreams({ settings: DEFAULT_SETTINGS } as McpStreamsParts)
  const sessions = new McpSessions({
    clock: systemClock,
    maxPerHolder: 9,
    maxTotal: 9,
    idleMs: 60_000,
    onEnd: () => undefined,
  })
  const of = { instance: 'i', holder: 'i', system: 's', version: '1', subject: undefined }
  const client = { sampling: false, form: false, url: false }
  const served: string[] = []
  const listener = createServer((req, res) => {
    const gone = new AbortController()
    res.once('close', () => {
      gone.abort()
    })
    const serve = async (): Promise<void> => {
      if (req.url === '/left') await once(res, 'close')
      // What it looks at.
      const context = { res, signal: gone.signal } as unknown as RequestContext
      await streams.serve(context, sessions.open({ ...of, client }))
      served.push(req.url ?? '')
    }
    void serve()
  }).listen(0, '127.0.0.1')
  t.after(() => {
    streams.close()
    listener.closeAllConnections()
    listener.close()
  })
  await once(listener, 'listening')
  // Of a TCP listener.
  const { port } = listener.address() as AddressInfo
  const stays = get({ port, host: '127.0.0.1', path: '/stays' }).on('error', () => undefined)
  await once(stays, 'response')
  const left = get({ port, host: '127.0.0.1', path: '/left' }).on('error', () => undefined)
  await once(listener, 'request')
  left.destroy()
  await until(() => served.includes('/left'))
  assert.deepEqual(served, ['/left'])
  stays.destroy()
  await until(() => served.includes('/stays'))
})
