/** Older revisions of MCP: what a client of 2025-03-26 gets, and what nobody gets who names another. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { FetchLike } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js'
import { startWorld } from '../packages/gateway/test/support/world.ts'
import type { Reply, TestAgent, World } from '../packages/gateway/test/support/world.ts'
import { declareTools, fetchOf } from './support/mcp.ts'
import { ScriptedMcp } from './support/scripted-mcp.ts'

const PINNED = '2025-03-26'
const NEWEST = '2025-11-25'
const TOOL = {
  name: 'work',
  description: 'Works.',
  inputSchema: { type: 'object', properties: { note: { type: 'string', maxLength: 100 } } },
}

/** The official transport as it was for a revision: it asks for that one, and 2025-03-26 had no header that names it. */
class PinnedTransport extends StreamableHTTPClientTransport {
  readonly #version: string

  constructor(fetch: FetchLike, version: string) {
    super(new URL('https://gateway.invalid/tools/mcp'), { fetch })
    this.#version = version
  }

  override send(message: JSONRPCMessage): Promise<void> {
    if (!('method' in message) || message.method !== 'initialize') return super.send(message)
    return super.send({ ...message, params: { ...message.params, protocolVersion: this.#version } })
  }

  override setProtocolVersion(): void {
    // Told, it would send the header.
  }
}

describe('older revisions of MCP', () => {
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
      operations: '      work: { kind: read, content: tool-content }',
      flows: { reader: ['work'], teller: ['work'] },
      policies: '',
    })
    world = await startWorld({}, undefined, () => declaration)
    await world.restart({
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
  beforeEach(() => {
    server.revision = NEWEST
    server.call = (stream) => {
      stream.result({ content: [{ type: 'text', text: 'done' }] })
    }
  })

  /** The headers of each request by POST that it made, as it made them. */
  function watched(): { readonly fetch: FetchLike; readonly versions: (string | null)[] } {
    const versions: (string | null)[] = []
    const through = fetchOf(agent)
    return {
      versions,
      fetch: (url, init) => {
        if (init?.method === 'POST') {
          versions.push(new Headers(init.headers).get('mcp-protocol-version'))
        }
        return through(url, init)
      },
    }
  }

  const post = (body: unknown, headers: Record<string, string> = {}): Promise<Reply> =>
    agent.ask({
      method: 'POST',
      path: '/tools/mcp',
      body,
      headers: { accept: 'application/json, text/event-stream', ...headers },
    })
  const hello = (protocolVersion: string): Promise<Reply> =>
    post({
      jsonrpc: '2.0',
      id: 'hello',
      method: 'initialize',
      params: { protocolVersion, capabilities: {}, clientInfo: { name: 't', version: '1' } },
    })
  const agreedOn = ({ body }: Reply): unknown =>
    // Of the answer to `initialize`.
    (body['result'] as { readonly protocolVersion?: unknown } | undefined)?.protocolVersion
  const call = { jsonrpc: '2.0', id: 'c', method: 'tools/call', params: { name: 'work' } }
  const calls = (): number => server.methods.filter((method) => method === 'tools/call').length

  it(`a client of ${PINNED}, which names no revision after its first message, lists and calls`, async () => {
    const { fetch, versions } = watched()
    const client = new Client({ name: 'old', version: '1' })
    const transport = new PinnedTransport(fetch, PINNED)
    await client.connect(transport)
    const { tools } = await client.listTools()
    assert.deepEqual(
      tools.map(({ name }) => name),
      ['work'],
    )
    const { content } = await client.callTool({ name: 'work', arguments: { note: 'n' } })
    assert.deepEqual(content, [{ type: 'text', text: 'done' }])
    assert.ok(versions.length >= 4)
    assert.deepEqual(new Set(versions), new Set([null]))
    await client.close()
  })

  it('a session is of the revision that was asked for, and of the newest where that is unknown here', async () => {
    for (const version of [PINNED, '2025-06-18', NEWEST]) {
      assert.equal(agreedOn(await hello(version)), version)
    }
    for (const version of ['2024-11-05', '2024-10-07', '2099-01-01', '']) {
      const reply = await hello(version)
      assert.equal(reply.status, 200)
      assert.equal(agreedOn(reply), NEWEST, version)
    }
    // The official client knows the newest, so that it stays where it asked for 2024-11-05.
    const client = new Client({ name: 'oldest', version: '1' })
    await client.connect(new PinnedTransport(fetchOf(agent), '2024-11-05'))
    assert.equal((await client.listTools()).tools.length, 1)
    await client.close()
    // The transport of 2024-11-05 begins with a GET, and there is none without a session.
    const sse = await agent.ask({ path: '/tools/mcp', headers: { accept: 'text/event-stream' } })
    assert.equal(sse.status, 400)
    assert.equal(sse.body['code'], 'SP_MCP_MESSAGE')
  })

  it('the header is left out or names a revision that is spoken here', async () => {
    const session = String((await hello(PINNED)).headers['mcp-session-id'])
    const ping = { jsonrpc: '2.0', id: 'p', method: 'ping' }
    for (const [version, status] of [
      [undefined, 200],
      [PINNED, 200],
      [NEWEST, 200],
      ['2024-11-05', 400],
      ['', 400],
      [`${PINNED}, ${PINNED}`, 400],
    ] as const) {
      const named = version === undefined ? {} : { 'mcp-protocol-version': version }
      const reply = await post(ping, { 'mcp-session-id': session, ...named })
      assert.equal(reply.status, status, version)
    }
  })

  it('a batch is refused whole, in the revision that had batches and in others', async () => {
    for (const version of [PINNED, NEWEST]) {
      const session = { 'mcp-session-id': String((await hello(version)).headers['mcp-session-id']) }
      assert.equal((await post(call, session)).status, 200)
      const before = calls()
      for (const batch of [
        [call],
        [call, { ...call, id: 'd' }],
        [{ jsonrpc: '2.0', method: 'notifications/initialized' }, call],
        [],
      ]) {
        const reply = await post(batch, session)
        assert.equal(reply.status, 400)
        assert.equal(reply.body['code'], 'SP_MCP_MESSAGE')
        assert.match(JSON.stringify(reply.body), /it is a batch/)
      }
      assert.equal(calls(), before)
    }
    // Nor is it how a session begins.
    const { body } = await post([{ jsonrpc: '2.0', id: 1, method: 'initialize', params: {} }])
    assert.equal(body['code'], 'SP_MCP_MESSAGE')
  })

  it('servers of older revisions are called, and their batches are no answers', async () => {
    for (const revision of ['2024-11-05', PINNED, '2025-06-18']) {
      server.revision = revision
      const session = { 'mcp-session-id': String((await hello(NEWEST)).headers['mcp-session-id']) }
      assert.ok('result' in (await post(call, session)).body, revision)
      server.call = (stream, { id = null }) => {
        const result = { content: [{ type: 'text', text: 'of a batch' }] }
        stream.say([{ jsonrpc: '2.0', id, result }])
        stream.end()
      }
      const { body } = await post(call, session)
      assert.match(JSON.stringify(body['error']), /SP_UPSTREAM_RESPONSE/)
      server.call = (stream) => {
        stream.result({ content: [] })
      }
    }
    server.revision = '2024-10-07'
    const session = { 'mcp-session-id': String((await hello(NEWEST)).headers['mcp-session-id']) }
    assert.match(JSON.stringify((await post(call, session)).body['error']), /SP_UPSTREAM_RESPONSE/)
  })
})
