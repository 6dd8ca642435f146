/** Calls of MCP that last: what holds now counts, not what held when they began. */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import type { JsonValue } from '@sallyport/base'
import type { Declaration, System } from '@sallyport/network'
import { declarationDigest } from '@sallyport/wire'
import type { Bundle, OutcomeRecord } from '@sallyport/wire'
import { startWorld, until } from '../packages/gateway/test/support/world.ts'
import type { Reply, TestAgent, World } from '../packages/gateway/test/support/world.ts'
import { declareTools } from './support/mcp.ts'
import { ScriptedMcp } from './support/scripted-mcp.ts'
import type { Stream } from './support/scripted-mcp.ts'

const TOOL = {
  name: 'work',
  description: 'Works.',
  inputSchema: { type: 'object', properties: {} },
}
const BOTH = 'application/json, text/event-stream'
const READER = 'spiffe://test.example/agent/reader'

describe('calls that last', () => {
  let server: ScriptedMcp
  let world: World
  let published: Partial<Bundle<Declaration>> = {}
  before(async () => {
    server = await new ScriptedMcp().listen()
    const declaration = await declareTools({
      upstream:
        '{ url: https://tools.example/mcp, serverName: tools.example, caFile: tools-ca.pem }',
      caPem: server.front.caPem,
      offer: { tools: [TOOL] },
      operations: `      work: { kind: read, content: tool-content }
      logs: { kind: read, from: 'mcp:logging', content: tool-logs }`,
      flows: { reader: ['work', 'logs'] },
      policies: `@id("tools.no-words-at-risk")
forbid (principal, action == Action::"field.read", resource == Field::"tool-content.text")
when { context.risk >= 60 };
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
  })
  after(async () => {
    await world?.close()
    server?.close()
  })
  afterEach(async () => {
    world.plane.risk = {}
    await publish()
  })

  /** Publishes, and waits until it is in force. */
  async function publish(): Promise<void> {
    const before = world.gateway.stats().bundlesAccepted
    world.plane.publish(published)
    await until(() => world.gateway.stats().bundlesAccepted > before)
  }

  async function atRisk(instance: string, score: number): Promise<void> {
    world.plane.risk = { [`${READER}/${instance}`]: { score, at: Date.now() } }
    await publish()
  }

  /** Changes the system of the tools, as operators would. */
  async function redeclare(change: (system: System) => System): Promise<void> {
    const { network, ...rest } = world.plane.declaration
    const systems = network.systems.map((one) => (one.name === 'tools' ? change(one) : one))
    const declaration = { ...rest, network: { ...network, systems } }
    const digest = declarationDigest(declaration)
    const signature = world.plane.operator.sign({ kind: 'declaration', digest, epoch: 1 })
    published = { declaration, declarationSignatures: [signature] }
    await publish()
  }

  const post = (agent: TestAgent, session: string, body: unknown): Promise<Reply> =>
    agent.ask({
      method: 'POST',
      path: '/tools/mcp',
      body,
      headers: { accept: BOTH, ...(session === '' ? {} : { 'mcp-session-id': session }) },
    })

  async function open(agent: TestAgent): Promise<string> {
    const params = { protocolVersion: '2025-11-25', capabilities: {} }
    const { headers } = await post(agent, '', {
      ...{ jsonrpc: '2.0', id: 1, method: 'initialize', params },
    })
    const id = headers['mcp-session-id']
    assert.ok(typeof id === 'string')
    return id
  }

  /** A call that the server has, and has not answered. */
  async function begun(agent: TestAgent): Promise<{
    readonly session: string
    /** Its id with the server, which is that of its decision. */
    readonly id: string
    readonly stream: Stream
    readonly reply: Promise<Reply>
  }> {
    const session = await open(agent)
    let held: { id: JsonValue | undefined; stream: Stream } | undefined
    server.call = (stream, message) => {
      stream.begin()
      held = { id: message['id'], stream }
    }
    const call = { jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'work' } }
    const reply = post(agent, session, call)
    reply.catch(() => undefined)
    await until(() => held !== undefined)
    assert.ok(held && typeof held.id === 'string')
    return { session, id: held.id, stream: held.stream, reply }
  }

  const wasCancelled = (id: string): boolean =>
    server.seen.some(
      ({ message }) =>
        message['method'] === 'notifications/cancelled' &&
        JSON.stringify(message['params']) === JSON.stringify({ requestId: id }),
    )

  async function ended(id: string): Promise<OutcomeRecord> {
    const find = () =>
      world.plane.records().find((one) => one.kind === 'outcome' && one.decisionId === id)
    await until(() => find() !== undefined)
    const found = find()
    assert.ok(found?.kind === 'outcome')
    return found
  }

  const cutBy = (id: string): string | undefined =>
    world.plane
      .records()
      .flatMap((one) =>
        one.kind === 'event' && one.event === 'stream-cut' && one.facts?.['decision'] === id
          ? [one.code]
          : [],
      )[0]

  const done = { content: [{ type: 'text', text: 'done' }] }
  const tell = (stream: Stream, id: string, message: string): void => {
    const params = { progressToken: id, progress: 1, message }
    stream.say({ jsonrpc: '2.0', method: 'notifications/progress', params })
  }

  it('are stopped at the server where they are permitted no more, and recorded as cut', async () => {
    const agent = world.agent('reader', 'risky')
    const fine = await begun(agent)
    fine.stream.result(done)
    assert.match(JSON.stringify((await fine.reply).body), /done/)
    assert.equal((await ended(fine.id)).result, 'completed')
    assert.equal(wasCancelled(fine.id), false)

    // The server says nothing that could be the occasion.
    const call = await begun(agent)
    await atRisk('risky', 95)
    assert.match(JSON.stringify((await call.reply).body), /SP_DENIED_FORBIDDEN/)
    await until(() => wasCancelled(call.id))
    assert.equal((await ended(call.id)).result, 'cut')
    await until(() => cutBy(call.id) === 'SP_DENIED_FORBIDDEN')
  })

  it('are stopped at the server where their caller is quarantined, and recorded as cut', async () => {
    const call = await begun(world.agent('reader', 'bad'))
    const other = await begun(world.agent('reader', 'good'))
    world.plane.quarantine(`${READER}/bad`)
    await assert.rejects(call.reply)
    await until(() => wasCancelled(call.id))
    assert.equal((await ended(call.id)).result, 'cut')
    await until(() => cutBy(call.id) === 'SP_QUARANTINED')
    other.stream.result(done)
    assert.match(JSON.stringify((await other.reply).body), /done/)
    assert.equal((await ended(other.id)).result, 'completed')
    assert.equal(wasCancelled(other.id), false)
  })

  it('are recorded as aborted where their client gives them up', async () => {
    const agent = world.agent('reader', 'fickle')
    const call = await begun(agent)
    const params = { requestId: 2 }
    await post(agent, call.session, { jsonrpc: '2.0', method: 'notifications/cancelled', params })
    await until(() => wasCancelled(call.id))
    assert.equal((await ended(call.id)).result, 'aborted')
  })

  it('are projected as is decided when something of them comes', async () => {
    const agent = world.agent('reader', 'shown')
    const before = await begun(agent)
    before.stream.result(done)
    assert.match(JSON.stringify((await before.reply).body), /done/)
    const call = await begun(agent)
    await atRisk('shown', 70)
    call.stream.result(done)
    const { body } = await call.reply
    assert.deepEqual(body['result'], { content: [], isError: false })
    assert.equal((await ended(call.id)).released['tool-content']?.records, 0)
  })

  it('have their messages projected so, too, and all that was shown is counted', async () => {
    const agent = world.agent('reader', 'told')
    const session = await open(agent)
    const level = { jsonrpc: '2.0', id: 7, method: 'logging/setLevel', params: { level: 'info' } }
    assert.equal((await post(agent, session, level)).status, 200)
    let held: { id: string; stream: Stream } | undefined
    server.call = (stream, { id }) => {
      assert.ok(typeof id === 'string')
      held = { id, stream }
      stream.begin()
    }
    const params = { name: 'work', _meta: { progressToken: 'p' } }
    const answer = agent.pool.request({
      method: 'POST',
      path: '/tools/mcp',
      headers: { accept: BOTH, 'content-type': 'application/json', 'mcp-session-id': session },
      body: JSON.stringify({ jsonrpc: '2.0', id: 3, method: 'tools/call', params }),
    })
    await until(() => held !== undefined)
    assert.ok(held)
    const { id, stream } = held
    tell(stream, id, 'first')
    let text = ''
    const { body } = await answer
    body.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    await until(() => text.includes('first'))
    await atRisk('told', 70)
    tell(stream, id, 'second')
    await until(() => text.split('"progress":1').length === 3)
    await atRisk('told', 0)
    const log = { level: 'info', data: 'logged' }
    stream.say({ jsonrpc: '2.0', method: 'notifications/message', params: log })
    stream.result({ content: [...done.content, ...done.content] })
    await until(() => text.includes('"result"'))
    assert.doesNotMatch(text, /second/)
    assert.match(text, /logged/)
    const { released, bytesOut } = await ended(id)
    assert.deepEqual(
      Object.entries(released).map(([name, { records }]) => [name, records]),
      [
        ['tool-content', 3],
        ['tool-logs', 1],
      ],
    )
    assert.ok(bytesOut >= text.length - 100 && bytesOut <= text.length, `${bytesOut}`)
  })

  it('come to nothing where their operation is declared otherwise meanwhile', async () => {
    const agent = world.agent('reader', 'redeclared')
    const kept = await begun(agent)
    await redeclare((system) => ({ ...system, description: 'Others.' }))
    kept.stream.result(done)
    assert.match(JSON.stringify((await kept.reply).body), /done/)
    const call = await begun(agent)
    await redeclare((system) => ({
      ...system,
      operations: system.operations.map((one) =>
        one.name === 'work' ? { ...one, returns: { '$content[]': 'tool-logs' } } : one,
      ),
    }))
    assert.match(JSON.stringify((await call.reply).body), /SP_DECLARATION_CHANGED/)
    assert.equal((await ended(call.id)).result, 'cut')
    await until(() => wasCancelled(call.id))
  })
})
