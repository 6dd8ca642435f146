/** What a denied call needs is asked of the person behind its client, and whatever they say is no evidence. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { ElicitRequestSchema, McpError } from '@modelcontextprotocol/sdk/types.js'
import type { ElicitRequest, ElicitResult } from '@modelcontextprotocol/sdk/types.js'
import { mandateId } from '@sallyport/wire'
import type { MandateStatement } from '@sallyport/wire'
import { startWorld, until } from '../packages/gateway/test/support/world.ts'
import type { World } from '../packages/gateway/test/support/world.ts'
import { connectSdk, declareTools } from './support/mcp.ts'
import type { Connected } from './support/mcp.ts'
import { ScriptedMcp } from './support/scripted-mcp.ts'

const tool = (name: string) => ({
  name,
  description: 'Does it.',
  inputSchema: { type: 'object', properties: { to: { type: 'string', maxLength: 40 } } },
})

describe('what a denied call needs', () => {
  let server: ScriptedMcp
  let world: World
  let client: Connected
  const asked: ElicitRequest['params'][] = []
  let answer: () => ElicitResult | Promise<ElicitResult> = () => ({ action: 'cancel' })
  const connect = (instance: string): Promise<Connected> =>
    connectSdk(world.agent('reader', instance), { elicitation: {} }, (one) => {
      one.setRequestHandler(ElicitRequestSchema, ({ params }) => {
        asked.push(params)
        return answer()
      })
    })

  before(async () => {
    server = await new ScriptedMcp().listen()
    const declaration = await declareTools({
      upstream:
        '{ url: https://tools.example/mcp, serverName: tools.example, caFile: tools-ca.pem }',
      caPem: server.front.caPem,
      offer: { tools: [tool('pay'), tool('hire')] },
      operations: `      pay: { kind: write, content: tool-content }
      hire: { kind: write, content: tool-content }`,
      flows: { reader: ['pay', 'hire'] },
      policies: `@id("tools.pay")
permit (principal, action == Action::"tools.pay", resource)
when { context.evidence.approvals >= 1 };

@id("tools.hire")
permit (principal, action == Action::"tools.hire", resource)
when { context has mandate };
`,
    })
    world = await startWorld(
      { upstreams: { tools: { host: '127.0.0.1', port: server.front.port } } },
      undefined,
      () => declaration,
    )
    client = await connect('i1')
  })
  after(async () => {
    await client?.close()
    await world?.close()
    server?.close()
  })
  beforeEach(() => {
    asked.length = 0
    server.methods.length = 0
  })

  const made = (): number => server.methods.filter((method) => method === 'tools/call').length
  const call = async (name: string, to: string, by: Connected = client): Promise<string> =>
    JSON.stringify((await by.client.callTool({ name, arguments: { to } })).content)
  /** The problem that a call is refused with. */
  async function refused(name: string, to: string, by?: Connected): Promise<string> {
    let problem = ''
    await assert.rejects(call(name, to, by), (error) => {
      assert.ok(error instanceof McpError)
      problem = JSON.stringify(error.data)
      return true
    })
    assert.equal(made(), 0)
    return problem
  }
  const approvalOf = (text: string): string => /apr_\w+/.exec(text)?.[0] ?? ''
  const yes: ElicitResult = { action: 'accept', content: { approved: true } }

  it('is asked for, and the call made once it is there', async () => {
    answer = () => {
      world.plane.approve(approvalOf(asked.at(-1)?.message ?? ''))
      return yes
    }
    assert.match(await call('pay', 'ann'), /done/)
    assert.equal(asked.length, 1)
    assert.equal(made(), 1)
    const decided = world.plane
      .records()
      .flatMap((one) => (one.kind === 'decision' && one.operation === 'pay' ? [one.decision] : []))
    // That its client hears the server out is decided once more.
    assert.deepEqual(decided.slice(0, 2), ['needs', 'allow'])
  })

  it('is not there because somebody says so', async () => {
    answer = () => yes
    assert.match(await refused('pay', 'bob'), /SP_NEEDS_APPROVAL.*"approval":"apr_/)
    assert.equal(asked.length, 3)
    // Nor where what was signed is another call.
    answer = () => {
      world.plane.approve(approvalOf(asked.at(-1)?.message ?? ''), { input: { to: 'mallory' } })
      return yes
    }
    assert.match(await refused('pay', 'cara'), /SP_NEEDS_APPROVAL/)
    assert.equal(asked.length, 6)
  })

  it('is told as ever to whoever declines, and to clients that cannot ask', async () => {
    answer = () => ({ action: 'decline' })
    assert.match(await refused('pay', 'dan'), /SP_NEEDS_APPROVAL.*"approval":"apr_/)
    assert.equal(asked.length, 1)
    answer = () => ({ action: 'accept', content: { approved: false } })
    assert.match(await refused('pay', 'dan'), /SP_NEEDS_APPROVAL/)
    assert.equal(asked.length, 2)
    const mute = await connectSdk(world.agent('reader', 'i2'))
    assert.match(await refused('pay', 'dan', mute), /SP_NEEDS_APPROVAL/)
    assert.equal(asked.length, 2)
    await mute.close()
  })

  it('may be a mandate that somebody names, if it is one that covers the call', async () => {
    const statement: MandateStatement = {
      kind: 'mandate',
      nonce: 'nonce-0000000000000001',
      delegator: 'operator:olga',
      delegate: `spiffe://${world.plane.trustDomain}/agent/reader`,
      task: 'hire Eve',
      grants: [{ system: 'tools', operations: ['hire'], arguments: { to: { equals: 'eve' } } }],
      issuedAt: Date.now(),
      notBefore: Date.now(),
      expiresAt: Date.now() + 600_000,
      uses: 10,
    }
    const mandate = mandateId(statement)
    const named = (id: string) => (): ElicitResult => ({
      action: 'accept',
      content: { mandate: id },
    })
    answer = named(mandate)
    assert.match(await refused('hire', 'eve'), /SP_MANDATE_UNKNOWN/)
    world.plane.mandates.set(mandate, [
      { statement, passkey: world.plane.operator.sign(statement) },
    ])
    assert.match(await refused('hire', 'fay'), /SP_MANDATE_CALL/)
    answer = named('anything')
    assert.match(await refused('hire', 'eve'), /SP_NEEDS_MANDATE/)
    answer = named(mandate)
    assert.match(await call('hire', 'eve'), /done/)
    assert.equal(asked.length, 4)
  })

  it('is asked for no longer than somebody waits for the call', async () => {
    answer = () => new Promise(() => undefined)
    const other = await connect('i3')
    const gone = new AbortController()
    const waiting = other.client.callTool({ name: 'pay', arguments: { to: 'gil' } }, undefined, {
      signal: gone.signal,
    })
    waiting.catch(() => undefined)
    await until(() => asked.length === 1)
    const { inFlight } = world.gateway.stats()
    gone.abort()
    await assert.rejects(waiting)
    await until(() => world.gateway.stats().inFlight < inFlight)
    assert.equal(made(), 0)
    await other.close()
  })
})
