/** What a client must not get of an MCP system, or of another caller's session; and what a server cannot do by its streams. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { startWorld, until } from '../packages/gateway/test/support/world.ts'
import type { Reply, TestAgent, World } from '../packages/gateway/test/support/world.ts'
import { connectSdk, declareTools } from './support/mcp.ts'
import type { Connected } from './support/mcp.ts'
import { ScriptedMcp } from './support/scripted-mcp.ts'

const TOOL = {
  name: 'work',
  description: 'Works.',
  inputSchema: { type: 'object', properties: { note: { type: 'string', maxLength: 100 } } },
}
const URI = 'demo://notes/'

describe('clients and streams that are not to be trusted', () => {
  let server: ScriptedMcp
  let world: World
  let client: Connected
  let agent: TestAgent
  before(async () => {
    server = await new ScriptedMcp().listen()
    const declaration = await declareTools({
      upstream:
        '{ url: https://tools.example/mcp, serverName: tools.example, caFile: tools-ca.pem }',
      caPem: server.front.caPem,
      offer: {
        tools: [TOOL],
        resourceTemplates: [
          { uriTemplate: `${URI}{name}`, name: 'notes' },
          { uriTemplate: 'files:///{+path}', name: 'files' },
        ],
      },
      operations: `
      work: { kind: read, content: tool-content }
      note: { kind: read, from: 'template:${URI}{name}', content: tool-content }
      file: { kind: read, from: 'template:files:///{+path}', content: tool-content }
      logs: { kind: read, from: 'mcp:logging', content: tool-logs }`.slice(1),
      flows: { reader: ['work', 'note', 'file', 'logs'], teller: ['work'] },
      policies: '',
    })
    const settings = { upstreamTimeoutMs: 60_000, maxResponseBytes: 200_000 }
    world = await startWorld({ settings }, undefined, () => declaration)
    await world.restart({
      settings,
      upstreams: {
        ...world.options.upstreams,
        tools: { host: '127.0.0.1', port: server.front.port },
      },
    })
    agent = world.agent('reader')
    client = await connectSdk(agent)
  })
  after(async () => {
    await client?.close()
    await world?.close()
    server?.close()
  })

  const post = (
    body: unknown,
    headers: Record<string, string> = {},
    by: TestAgent = agent,
  ): Promise<Reply> =>
    by.ask({
      method: 'POST',
      path: '/tools/mcp',
      body,
      headers: {
        accept: 'application/json, text/event-stream',
        'mcp-session-id': client.transport.sessionId ?? '',
        ...headers,
      },
    })
  const ping = { jsonrpc: '2.0', id: 'p', method: 'ping' }

  it('takes one reading of a message or none: depth, size, members twice, batches', async () => {
    assert.equal((await post(ping)).status, 200)
    let deep: unknown = {}
    for (let i = 0; i < 200; i++) deep = { a: deep }
    for (const [body, status] of [
      [{ ...ping, params: deep }, 400],
      [{ ...ping, params: { a: 'x'.repeat(300_000) } }, 413],
      [[ping, ping], 400],
      [Array.from({ length: 1000 }, () => ping), 400],
    ] as const) {
      assert.equal((await post(body)).status, status)
    }
    const raw = '{"jsonrpc":"2.0","id":"p","method":"tools/list","method":"ping"}'
    const twice = await agent.pool.request({
      method: 'POST',
      path: '/tools/mcp',
      headers: {
        'content-type': 'application/json',
        'mcp-session-id': client.transport.sessionId ?? '',
      },
      body: raw,
    })
    assert.equal(twice.statusCode, 400)
    assert.match(await twice.body.text(), /SP_JSON_/)
  })

  it('answers an id once at a time', async () => {
    let finish: (() => void) | undefined
    server.call = (stream) => {
      stream.begin()
      finish = () => {
        stream.result({ content: [{ type: 'text', text: 'done' }] })
      }
    }
    const call = { jsonrpc: '2.0', id: 'same', method: 'tools/call', params: { name: 'work' } }
    const first = post(call)
    await until(() => finish !== undefined)
    const second = await post(call)
    assert.equal(second.status, 400)
    assert.equal(second.body['code'], 'SP_MCP_MESSAGE')
    finish?.()
    assert.equal((await first).status, 200)
  })

  it('lets no session be taken over, chosen, or ended by another', async () => {
    const id = client.transport.sessionId ?? ''
    for (const thief of [world.agent('teller'), world.agent('reader', 'i2')]) {
      assert.equal((await post(ping, {}, thief)).status, 404)
      const headers = { 'mcp-session-id': id, accept: 'text/event-stream' }
      assert.equal((await thief.ask({ path: '/tools/mcp', headers })).status, 404)
      assert.equal((await thief.ask({ method: 'DELETE', path: '/tools/mcp', headers })).status, 404)
    }
    const hello = {
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { protocolVersion: '2025-11-25', capabilities: {} },
    }
    // A session that somebody else chose the id of is nobody's.
    assert.equal((await post(hello, { 'mcp-session-id': 'chosen-by-me' })).status, 400)
    assert.equal((await post(ping)).status, 200)
  })

  it('lets no page of another origin call', async () => {
    const host = 'gateway.invalid'
    for (const [origin, status] of [
      ['https://evil.example', 403],
      [`https://${host}`, 403],
      ['null', 403],
      ['http://localhost:1', 403],
    ] as const) {
      const reply = await post(ping, { origin })
      assert.equal(reply.status, status, origin)
      assert.equal(reply.body['code'], 'SP_MCP_ORIGIN')
    }
    assert.equal(
      (await post(ping, { host: 'localhost:1', origin: 'http://localhost:1' })).status,
      200,
    )
    assert.equal(
      (await post(ping, { host: 'evil.example', origin: 'http://evil.example' })).status,
      403,
    )
  })

  it('gives nobody events by an id: not their own, and not another’s', async () => {
    const id = client.transport.sessionId ?? ''
    for (const last of ['1', 'server-1', 'a'.repeat(100)]) {
      const headers = { 'mcp-session-id': id, accept: 'text/event-stream', 'last-event-id': last }
      const reply = await agent.ask({ path: '/tools/mcp', headers })
      assert.equal(reply.status, 400)
    }
    assert.ok(server.gets.every((headers) => headers['last-event-id'] === undefined))
  })

  it('reads a URI in its one spelling, and steps out of no folder', async () => {
    const read = async (uri: string): Promise<unknown> => {
      const params = { uri }
      const { body } = await post({ jsonrpc: '2.0', id: 'r', method: 'resources/read', params })
      return body['error'] === undefined ? 'read' : JSON.stringify(body['error'])
    }
    for (const uri of [`${URI}a`, `${URI}a%20b`, 'files:///a/b.txt', 'files:///%C3%A4']) {
      assert.equal(await read(uri), 'read', uri)
    }
    for (const uri of [
      `${URI}a/b`,
      `${URI}a%2Fb`,
      `${URI}%61`,
      `${URI}..`,
      `${URI}%2e%2e`,
      `${URI}a?x=1`,
      `${URI}a#x`,
      URI,
      `${URI}a%00`,
      `${URI}a%ff`,
      'files:///a/../b',
      'files:///../../etc/passwd',
      'files:///a/%2e%2e/b',
      'files:///a%2fb',
      'FILES:///a',
      'files://host/a',
      'http://169.254.169.254/latest/meta-data',
      'file:///etc/passwd',
      'javascript:alert(1)',
    ]) {
      assert.match(String(await read(uri)), /-32002.*SP_NO_OPERATION/, uri)
    }
  })

  it('passes nothing on that was not asked for: logs, progress, updates, answers to others', async () => {
    const heard: string[] = []
    const one = await connectSdk(world.agent('reader', 'i7'), {}, (other) => {
      other.fallbackNotificationHandler = ({ method }) => {
        heard.push(method)
        return Promise.resolve()
      }
    })
    server.call = (stream) => {
      const say = (method: string, params: Record<string, unknown>): void => {
        stream.raw(`data: ${JSON.stringify({ jsonrpc: '2.0', method, params })}\n\n`)
      }
      say('notifications/message', { level: 'emergency', data: 'buy now' })
      say('notifications/progress', { progressToken: 1, progress: 1 })
      say('notifications/resources/updated', { uri: `${URI}a` })
      say('notifications/tools/list_changed', {})
      say('notifications/nothing', {})
      stream.raw('data: {"jsonrpc":"2.0","id":"other","result":{"content":[]}}\n\n')
      stream.raw('id: 7\nretry: 1\ndata: \n\n: a comment\n\n')
      stream.result({ content: [{ type: 'text', text: 'done' }] })
    }
    const { content } = await one.client.callTool({ name: 'work', arguments: {} })
    assert.deepEqual(content, [{ type: 'text', text: 'done' }])
    assert.deepEqual(heard, [])
    await one.close()
  })

  it('ends streams without end: too large, too long, no message, duplicate members', async () => {
    const flood: Readonly<Record<string, string>> = {
      events: 'data: {"jsonrpc":"2.0","method":"notifications/x"}\n\n'.repeat(10_000),
      event: `data: ${'x'.repeat(300_000)}`,
      text: 'data: hello\n\n',
      list: 'data: []\n\n',
      members: 'data: {"jsonrpc":"2.0","jsonrpc":"2.0","method":"x"}\n\n',
      deep: `data: ${'{"a":'.repeat(500)}1${'}'.repeat(500)}\n\n`,
    }
    for (const [what, bytes] of Object.entries(flood)) {
      server.call = (stream) => {
        stream.raw(bytes)
      }
      const reply = await post({
        jsonrpc: '2.0',
        id: what,
        method: 'tools/call',
        params: { name: 'work' },
      })
      assert.match(JSON.stringify(reply.body), /SP_UPSTREAM_RESPONSE/, what)
    }
    server.call = (stream) => {
      stream.result({ content: [{ type: 'text', text: 'done' }] })
    }
    assert.match(
      JSON.stringify((await client.client.callTool({ name: 'work', arguments: {} })).content),
      /done/,
    )
  })
})
