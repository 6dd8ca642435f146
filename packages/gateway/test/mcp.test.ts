import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { parseJson } from '@sallyport/base'
import { json } from './support/service.ts'
import { deskAnswer, startWorld, word } from './support/world.ts'
import type { Json, Reply, TestAgent, World } from './support/world.ts'

const ACCEPT = 'application/json, text/event-stream'

class Client {
  readonly agent: TestAgent
  session: string | undefined
  #id = 0

  constructor(agent: TestAgent) {
    this.agent = agent
  }

  post(body: unknown, headers: Record<string, string> = {}): Promise<Reply> {
    return this.agent.ask({
      method: 'POST',
      path: '/desk/mcp',
      body,
      headers: {
        accept: ACCEPT,
        ...(this.session === undefined ? {} : { 'mcp-session-id': this.session }),
        ...headers,
      },
    })
  }

  async open(): Promise<this> {
    const reply = await this.rpc('initialize', {
      protocolVersion: '2025-06-18',
      capabilities: {},
      clientInfo: { name: 't', version: '1' },
    })
    assert.equal(reply.status, 200)
    this.session = String(reply.headers['mcp-session-id'])
    const done = await this.post({ jsonrpc: '2.0', method: 'notifications/initialized' })
    assert.equal(done.status, 202)
    return this
  }

  rpc(method: string, params: unknown = {}): Promise<Reply> {
    return this.post({ jsonrpc: '2.0', id: ++this.#id, method, params })
  }

  async call(name: string, args: unknown, meta?: Json): Promise<Json> {
    const params = { name, arguments: args, ...(meta ? { _meta: meta } : {}) }
    return (await this.rpc('tools/call', params)).body
  }
}

const errorOf = (body: Json): { code: unknown; data: Json } => {
  const { code, data } = body['error'] as Json
  return { code, data: data as Json }
}

describe('MCP calls through a gateway', () => {
  let world: World
  let reader: Client
  let teller: Client
  before(async () => {
    world = await startWorld()
    reader = await new Client(world.agent('reader')).open()
    teller = await new Client(world.agent('teller')).open()
  })
  after(() => world.close())
  beforeEach(() => {
    world.desk.answer = deskAnswer
  })

  it('lists what the caller may reach, as declared', async () => {
    const names = async (client: Client): Promise<unknown[]> => {
      const { result } = (await client.rpc('tools/list')).body as { result: { tools: Json[] } }
      return result.tools.map(({ name }) => name)
    }
    assert.deepEqual(await names(reader), ['read_note'])
    assert.deepEqual(await names(teller), ['read_note', 'write_note'])
    assert.deepEqual((await reader.rpc('ping')).body['result'], {})
  })

  it('projects structured content and writes the text anew', async () => {
    const { result } = await reader.call('read_note', { id: 'N-1' })
    assert.deepEqual(result, {
      content: [{ type: 'text', text: '{"note":{"id":"N-1","text":"hello"}}' }],
      structuredContent: { note: { id: 'N-1', text: 'hello' } },
      isError: false,
    })
    const seen = parseJson(world.desk.seen.at(-1)?.body ?? '') as Json
    assert.equal(seen['method'], 'tools/call')
    assert.deepEqual(seen['params'], { name: 'read_note', arguments: { id: 'N-1' } })
    assert.equal(world.desk.seen.at(-1)?.headers['mcp-session-id'], 'upstream-secret-session')
  })

  it('takes answers as event streams, text alone, and tool errors without their words', async () => {
    const data = { note: { id: 'N-2', text: 'hi', secret: 'pii' } }
    const answering =
      (result: unknown, events: boolean): typeof deskAnswer =>
      (seen, res) => {
        const { id, method } = parseJson(seen.body) as Json
        if (method !== 'tools/call') deskAnswer(seen, res)
        else if (events) {
          res.writeHead(200, { 'content-type': 'text/event-stream' })
          res.write(': hello\n\ndata: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n')
          res.write(`data: {"jsonrpc":"2.0","id":"other","result":{}}\r\n\r\n`)
          res.end(`event: message\ndata: ${JSON.stringify({ jsonrpc: '2.0', id, result })}\n\n`)
        } else json(res, { jsonrpc: '2.0', id, result })
      }
    const text = { content: [{ type: 'text', text: JSON.stringify(data) }] }
    for (const events of [false, true]) {
      world.desk.answer = answering(text, events)
      const { result } = await reader.call('read_note', { id: 'N-2' })
      assert.deepEqual((result as Json)['structuredContent'], { note: { id: 'N-2', text: 'hi' } })
    }
    world.desk.answer = answering(
      { content: [{ type: 'text', text: 'pii leaked' }], isError: true },
      false,
    )
    const failed = await reader.call('read_note', { id: 'N-2' })
    assert.equal((failed['result'] as Json)['isError'], true)
    assert.doesNotMatch(JSON.stringify(failed), /pii/)
    world.desk.answer = answering({ content: [{ type: 'text', text: 'pii in prose' }] }, false)
    assert.doesNotMatch(JSON.stringify(await reader.call('read_note', { id: 'N-2' })), /pii/)
  })

  it('refuses with -32001 and the same problem as over HTTP', async () => {
    const { code, data } = errorOf(await reader.call('write_note', { id: 'a', text: 'b' }))
    assert.equal(code, -32001)
    const { decision, title: _title, ...rest } = data
    assert.match(word(decision), /^dec_/)
    assert.deepEqual(rest, {
      type: 'https://sallyport.dev/errors/SP_NO_FLOW',
      status: 403,
      code: 'SP_NO_FLOW',
      outcome: 'not-permitted',
    })
    assert.equal(errorOf(await reader.call('drop_all', {})).data['code'], 'SP_NO_OPERATION')
  })

  it('checks arguments as declared, whatever the server would take', async () => {
    const from = world.desk.seen.length
    for (const [args, code] of [
      [{ id: 'a', extra: 1 }, 'SP_INPUT_UNKNOWN'],
      [{}, 'SP_INPUT_MISSING'],
      [{ id: 7 }, 'SP_INPUT_TYPE'],
      [{ id: 'x'.repeat(65) }, 'SP_INPUT_VALUE'],
    ] as const) {
      const error = errorOf(await reader.call('read_note', args))
      assert.deepEqual([error.code, error.data['code']], [-32602, code])
    }
    assert.equal(world.desk.seen.length, from)
  })

  it('decides with what the session has touched', async () => {
    const fresh = await new Client(world.agent('teller', 'tainted')).open()
    assert.ok((await fresh.call('write_note', { id: 'a', text: 'b' }))['result'])
    await fresh.agent.ask({ path: '/bank/v1/accounts/A' })
    const { data } = errorOf(await fresh.call('write_note', { id: 'a', text: 'b' }))
    assert.equal(data['code'], 'SP_DENIED_NOT_PERMITTED')
  })

  const hostile: Readonly<Record<string, readonly [unknown, number]>> = {
    'a batch': [[{ jsonrpc: '2.0', id: 1, method: 'ping' }], 400],
    'an empty batch': [[], 400],
    'a text': ['ping', 400],
    null: [null, 400],
    'no version': [{ id: 1, method: 'ping' }, 400],
    'another version': [{ jsonrpc: '1.0', id: 1, method: 'ping' }, 400],
    'a null id': [{ jsonrpc: '2.0', id: null, method: 'ping' }, 400],
    'a fraction as id': [{ jsonrpc: '2.0', id: 1.5, method: 'ping' }, 400],
    'an object as id': [{ jsonrpc: '2.0', id: {}, method: 'ping' }, 400],
    'a long id': [{ jsonrpc: '2.0', id: 'x'.repeat(200), method: 'ping' }, 400],
    'a response': [{ jsonrpc: '2.0', id: 1, result: {} }, 400],
    'an error response': [{ jsonrpc: '2.0', id: 1, error: { code: 1, message: '' } }, 400],
    'a request that is also a response': [
      { jsonrpc: '2.0', id: 1, method: 'ping', result: {} },
      400,
    ],
    'params as a list': [
      { jsonrpc: '2.0', id: 1, method: 'tools/call', params: ['read_note'] },
      400,
    ],
    'a notification that means nothing': [
      { jsonrpc: '2.0', method: 'notifications/roots/list_changed' },
      400,
    ],
    'a call as a notification': [
      {
        jsonrpc: '2.0',
        method: 'tools/call',
        params: { name: 'read_note', arguments: { id: 'a' } },
      },
      400,
    ],
  }
  for (const [what, [message, status]] of Object.entries(hostile)) {
    it(`refuses ${what}`, async () => {
      const from = world.desk.seen.length
      const reply = await reader.post(message)
      assert.equal(reply.status, status, JSON.stringify(reply.body))
      assert.equal(reply.body['code'], 'SP_MCP_MESSAGE')
      assert.equal(world.desk.seen.length, from)
    })
  }

  it('has no other methods', async () => {
    for (const method of [
      'resources/list',
      'prompts/get',
      'sampling/createMessage',
      'logging/setLevel',
      'x',
    ]) {
      assert.equal(errorOf((await reader.rpc(method)).body).code, -32601)
    }
    const params = { name: 'read_note', arguments: { id: 'a' }, task: {} }
    assert.equal(errorOf((await reader.rpc('tools/call', params)).body).code, -32602)
  })

  it('binds sessions to their owner', async () => {
    const thief = new Client(world.agent('teller', 'i9'))
    thief.session = reader.session
    assert.equal((await thief.rpc('ping')).status, 404)
    thief.session = 'mcp_nonsense'
    assert.equal((await thief.rpc('ping')).status, 404)
    thief.session = undefined
    assert.equal((await thief.rpc('ping')).status, 400)
    assert.equal((await reader.rpc('ping')).status, 200)
    const own = await new Client(world.agent('reader', 'i3')).open()
    const path = '/desk/mcp'
    const headers = { 'mcp-session-id': own.session ?? '' }
    assert.equal((await thief.agent.ask({ method: 'DELETE', path, headers })).status, 404)
    assert.equal((await own.agent.ask({ method: 'DELETE', path, headers })).status, 204)
    assert.equal((await own.rpc('ping')).status, 404)
  })

  it('opens no stream without a session, and speaks known versions', async () => {
    const ask = (headers: Record<string, string>) =>
      reader.post({ jsonrpc: '2.0', id: 'v', method: 'ping' }, headers)
    assert.equal((await reader.agent.ask({ path: '/desk/mcp' })).status, 400)
    assert.equal((await ask({ 'mcp-protocol-version': '1999-01-01' })).status, 400)
    assert.equal((await ask({ 'mcp-protocol-version': '2025-06-18' })).status, 200)
    assert.equal((await ask({ accept: 'text/html' })).status, 406)
    assert.equal(
      (await reader.agent.ask({ method: 'POST', path: '/desk/other', body: {} })).body['code'],
      'SP_NO_OPERATION',
    )
  })
})
