/** How much MCP servers may say. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { JsonValue } from '@sallyport/base'
import { startWorld } from '../packages/gateway/test/support/world.ts'
import type { World } from '../packages/gateway/test/support/world.ts'
import { connectSdk, declareTools } from './support/mcp.ts'
import { ScriptedMcp } from './support/scripted-mcp.ts'

const TOOL = {
  name: 'work',
  description: 'Works.',
  inputSchema: { type: 'object', properties: {} },
}
const OFFER = {
  tools: [TOOL],
  prompts: [{ name: 'talk' }],
  resources: [{ uri: 'x://y', name: 'y' }],
}
const MAX = 200_000
const text = (words: string): JsonValue => ({ type: 'text', text: words })
const times = <T>(count: number, make: (i: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i))

describe('what MCP servers say is bounded', () => {
  let server: ScriptedMcp
  let world: World
  before(async () => {
    server = await new ScriptedMcp().listen()
    const declaration = await declareTools({
      upstream:
        '{ url: https://tools.example/mcp, serverName: tools.example, caFile: tools-ca.pem }',
      caPem: server.front.caPem,
      offer: OFFER,
      pins: OFFER,
      operations: `      work: { kind: read, content: tool-content }
      talk: { kind: read, from: 'prompt:talk', content: tool-content }
      look: { kind: read, from: 'resource:x://y', content: tool-content }`,
      flows: { reader: ['work', 'talk', 'look'] },
      policies: '',
    })
    world = await startWorld(
      {
        settings: { maxResponseBytes: MAX },
        upstreams: { tools: { host: '127.0.0.1', port: server.front.port } },
      },
      undefined,
      () => declaration,
    )
  })
  after(async () => {
    await world?.close()
    server?.close()
  })
  /** What it answers by method; of all else, its lists as they are pinned. */
  function answers(by: Record<string, () => JsonValue>): void {
    server.answer = ({ method }) => {
      const own = typeof method === 'string' ? by[method] : undefined
      if (own) return own()
      return typeof method === 'string' && method.endsWith('/list') ? OFFER : {}
    }
  }
  /** What comes of one request of a new session: `ok`, or the code of its refusal. */
  async function outcome(method: string, params: Record<string, JsonValue>): Promise<unknown> {
    const agent = world.agent('reader')
    const session = await connectSdk(agent)
    const { body } = await agent.ask({
      method: 'POST',
      path: '/tools/mcp',
      body: { jsonrpc: '2.0', id: 'r', method, params },
      headers: {
        accept: 'application/json, text/event-stream',
        'mcp-session-id': session.transport.sessionId ?? '',
      },
    })
    await session.close()
    const { error } = body as { error?: { data?: { code?: unknown } } }
    return error === undefined ? 'ok' : error.data?.code
  }

  it('prompts by the number of their messages, and by their length', async () => {
    const talk = (messages: JsonValue): Promise<unknown> => {
      answers({ 'prompts/get': () => ({ messages }) })
      return outcome('prompts/get', { name: 'talk' })
    }
    const said = (words: string): JsonValue => ({ role: 'user', content: text(words) })
    assert.equal(await talk(times(1000, () => said('x'))), 'ok')
    assert.equal(await talk(times(1001, () => said('x'))), 'SP_UPSTREAM_RESPONSE')
    assert.equal(await talk(times(10, () => said('x'.repeat(MAX / 10)))), 'SP_UPSTREAM_RESPONSE')
  })

  it('results and resources by the number of their pieces', async () => {
    for (const [count, expected] of [
      [1000, 'ok'],
      [1001, 'SP_UPSTREAM_RESPONSE'],
    ] as const) {
      server.call = (stream) => {
        stream.result({ content: times(count, () => text('x')) })
      }
      const contents = times(count, () => ({ uri: 'x://y', text: 'x' }))
      answers({ 'resources/read': () => ({ contents }) })
      assert.equal(await outcome('tools/call', { name: 'work' }), expected)
      assert.equal(await outcome('resources/read', { uri: 'x://y' }), expected)
    }
  })

  it('lists by the length of all their pages', async () => {
    server.call = (stream) => {
      stream.result({ content: [] })
    }
    let asked = 0
    const listing = (pages: number, length: number): Promise<unknown> => {
      asked = 0
      const padding = { ...TOOL, name: 'other', description: 'x'.repeat(length) }
      server.answer = ({ method, params }) => {
        if (method !== 'tools/list') return {}
        asked++
        const { cursor = '0' } = params as { cursor?: string }
        const page = Number(cursor)
        return page + 1 < pages
          ? { tools: [padding], nextCursor: String(page + 1) }
          : { tools: [TOOL] }
      }
      return outcome('tools/call', { name: 'work' })
    }
    assert.equal(await listing(4, MAX / 5), 'ok')
    assert.equal(asked, 4)
    assert.equal(await listing(40, MAX / 5), 'SP_UPSTREAM_RESPONSE')
    assert.ok(asked < 6, `${asked} pages`)
    assert.equal(await listing(1000, 1), 'SP_UPSTREAM_RESPONSE')
    assert.equal(asked, 100)
  })
})
