import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { Role, TaskState } from '@a2a-js/sdk'
import type { Part, SendMessageRequest } from '@a2a-js/sdk'
import { AgentEvent } from '@a2a-js/sdk/server'
import { parseJson } from '@sallyport/base'
import { mandateToken } from '@sallyport/wire'
import type { DecisionRecord, MandateStatement } from '@sallyport/wire'
import { a2aClient, clerkCard, startPeers } from './support/a2a.ts'
import type { TestPeer } from './support/a2a.ts'
import { json } from './support/service.ts'
import { TestIssuer } from './support/tokens.ts'
import { deskAnswer, until, word } from './support/world.ts'
import type { Json, TestAgent, World } from './support/world.ts'

const rpc = (method: string, params: unknown): object => ({ jsonrpc: '2.0', id: 1, method, params })

interface Said {
  readonly code: unknown
  readonly decision: string
  readonly needs: Json[]
  readonly answer: unknown
}

/** The same work, asked of a tool and of a skill. */
class Both {
  readonly #agent: TestAgent
  #session = ''

  constructor(agent: TestAgent) {
    this.#agent = agent
  }

  async open(): Promise<this> {
    const hello = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: {} }
    const reply = await this.#mcp(rpc('initialize', hello))
    this.#session = word(reply.headers['mcp-session-id'])
    return this
  }

  #mcp(body: object) {
    const headers = {
      accept: 'application/json, text/event-stream',
      ...(this.#session === '' ? {} : { 'mcp-session-id': this.#session }),
    }
    return this.#agent.ask({ method: 'POST', path: '/desk/mcp', body, headers })
  }

  async tool(input: Json, meta: Json): Promise<Said> {
    const params = { name: 'move_money', arguments: input, _meta: meta }
    const { body, headers } = await this.#mcp(rpc('tools/call', params))
    const result = body['result'] as Json | undefined
    return said(body, headers, result?.['structuredContent'])
  }

  async skill(input: Json, meta: Json): Promise<Said> {
    const message = {
      ...{ messageId: 'm', role: 'ROLE_USER', parts: [{ data: input }] },
      metadata: { skillId: 'move', ...meta },
    }
    const { body, headers } = await this.#agent.ask({
      ...{ method: 'POST', path: '/clerk/a2a', body: rpc('SendMessage', { message }) },
      headers: { 'a2a-version': '1.0' },
    })
    const result = body['result'] as { message: { parts: Json[] } } | undefined
    return said(body, headers, result?.message.parts[0]?.['data'])
  }
}

function said(body: Json, headers: Readonly<Record<string, unknown>>, answer: unknown): Said {
  const error = body['error'] as { data: Json } | undefined
  return {
    code: error?.data['code'] ?? 'allowed',
    decision: word(error?.data['decision'] ?? headers['sallyport-decision']),
    needs: (error?.data['needs'] ?? []) as Json[],
    answer,
  }
}

describe('A2A beside MCP: one policy, one decision', () => {
  let world: World
  let peer: TestPeer
  let close: () => Promise<void>
  let agent: TestAgent
  let both: Both
  before(async () => {
    ;({ world, peer, close } = await startPeers())
    agent = world.agent('teller', 'i1', 900)
    both = await new Both(agent).open()
    world.desk.answer = (seen, res) => {
      const message = parseJson(seen.body) as Json
      if (message['method'] !== 'tools/call') deskAnswer(seen, res)
      else {
        const structuredContent = { id: 'T-1', internal: 'pii' }
        json(res, { jsonrpc: '2.0', id: message['id'], result: { content: [], structuredContent } })
      }
    }
    peer.raw = ({ body }, res) => {
      const parts = [{ data: { id: 'T-1', internal: 'pii' } }]
      const message = { messageId: 'p', role: 'ROLE_AGENT', parts }
      json(res, { jsonrpc: '2.0', id: body?.['id'], result: { message } })
    }
  })
  after(() => close())
  beforeEach(() => {
    world.plane.limit = 'grant'
  })

  const recordOf = async (id: string): Promise<DecisionRecord> => {
    const find = () => world.plane.records().find((one) => one.kind === 'decision' && one.id === id)
    await until(() => find() !== undefined)
    const found = find()
    assert.ok(found?.kind === 'decision')
    return found
  }

  /** What was decided, and by what; a session is one, so what one of both leaves behind the other sees. */
  const compare = async (input: Json, meta: Json = {}): Promise<{ tool: Said; skill: Said }> => {
    const tool = await both.tool(input, meta)
    const skill = await both.skill(input, meta)
    const facts = async ({ decision }: Said): Promise<unknown> => {
      const {
        operation,
        code,
        decision: outcome,
        reasons,
        errors,
        needs,
        labels,
        risk,
      } = await recordOf(decision)
      return { operation, code, outcome, reasons, errors, needs, labels, risk }
    }
    const [one, other] = [await facts(tool), await facts(skill)]
    assert.deepEqual(other, one)
    assert.equal(skill.code, tool.code)
    assert.deepEqual(skill.answer, tool.answer)
    return { tool, skill }
  }

  it('decides alike about every kind of input', async () => {
    for (const [input, code] of [
      [{ account: 'A', amount: 5 }, 'allowed'],
      [{ account: 'A', amount: 1000, reason: 'rent' }, 'allowed'],
      [{ account: 'mallory', amount: 5 }, 'SP_DENIED_FORBIDDEN'],
      [{ account: 'A', amount: 5000 }, 'SP_NEEDS_APPROVAL'],
    ] as const) {
      const { skill } = await compare(input)
      assert.equal(skill.code, code)
      if (code === 'allowed') assert.deepEqual(skill.answer, { id: 'T-1' })
    }
    for (const [input, code] of [
      [{ account: 'A' }, 'SP_INPUT_MISSING'],
      [{ account: 'A', amount: 0 }, 'SP_INPUT_VALUE'],
      [{ account: 'A', amount: 5.5 }, 'SP_INPUT_TYPE'],
      [{ account: 'A', amount: 5, more: 1 }, 'SP_INPUT_UNKNOWN'],
    ] as const) {
      // Neither became a typed call.
      assert.equal((await both.tool(input, {})).code, code)
      assert.equal((await both.skill(input, {})).code, code)
    }
  })

  it('reserves alike under limits, and refuses alike', async () => {
    const from = world.plane.reserved.length
    await compare({ account: 'A', amount: 77 })
    const [tool, skill] = world.plane.reserved.slice(from)
    assert.deepEqual([tool?.['limitId'], tool?.['amount']], [skill?.['limitId'], skill?.['amount']])
    assert.equal(skill?.['amount'], 77)
    world.plane.limit = 'refuse'
    assert.equal((await compare({ account: 'A', amount: 5 })).skill.code, 'SP_LIMIT_REACHED')
  })

  it('asks for the same approval, of the very same input', async () => {
    const input = { account: 'B', amount: 7000 }
    const { tool, skill } = await compare(input)
    const approvals = [tool, skill].map(({ needs }) => word(needs[0]?.['approval']))
    const inputs = approvals.map((id) => world.plane.approvals.get(id)?.call['input'])
    assert.deepEqual(inputs[1], inputs[0])
    assert.deepEqual(inputs[1], input)
  })

  it('takes an approval with the message, once', async () => {
    const input = { account: 'C', amount: 8000 }
    const { needs } = await both.skill(input, {})
    const approval = word(needs[0]?.['approval'])
    world.plane.approve(approval)
    const meta = { 'sallyport/approval': approval }
    assert.equal((await both.skill(input, meta)).code, 'allowed')
    assert.notEqual((await both.skill(input, meta)).code, 'allowed')
    const other = { account: 'C', amount: 8001 }
    assert.notEqual((await both.skill(other, meta)).code, 'allowed')
  })

  it('carries a mandate on to the peer', async () => {
    const id = `spiffe://${world.plane.trustDomain}/agent/teller`
    const statement: MandateStatement = {
      ...{ kind: 'mandate', nonce: 'nonce-0123456789abcdef', delegator: 'operator:olga' },
      ...{ delegate: id, task: 'pay the rent', uses: 10 },
      grants: [{ system: 'clerk', operations: ['move_money'] }],
      ...{ issuedAt: Date.now(), notBefore: Date.now(), expiresAt: Date.now() + 600_000 },
    }
    const signed = { statement, passkey: world.plane.operator.sign(statement) }
    const token = mandateToken([signed])
    const meta = { 'sallyport/mandate': token }
    const { code, decision } = await both.skill({ account: 'A', amount: 5 }, meta)
    assert.equal(code, 'allowed')
    const { mandate } = await recordOf(decision)
    assert.ok(mandate)
    assert.equal(peer.seen.at(-1)?.token.mandate, mandate.id)
    assert.doesNotMatch(JSON.stringify(peer.seen.at(-1)?.body), new RegExp(token.slice(0, 40)))
    // It is for nothing else.
    const desk = await both.tool({ account: 'A', amount: 5 }, meta)
    assert.notEqual(desk.code, 'allowed')
  })

  it('carries on for whom it is, and keeps what is done for one from the other', async () => {
    const issuer = new TestIssuer()
    world.plane.tokens = issuer.trust()
    const { revision } = world.gateway.stats()
    world.plane.publish()
    await until(() => world.gateway.stats().revision?.n !== revision?.n)
    const instance = `spiffe://${world.plane.trustDomain}/agent/teller/i1`
    const forWhom = (sub: string): Promise<string> =>
      issuer.token(instance, {
        ...{ sub, scope: 'explain move_money', act: { sub: instance } },
        aud: `https://gateway.${world.plane.trustDomain}/clerk`,
      })
    const ask = async (token: string | undefined, method: string, params: unknown) =>
      (
        await agent.ask({
          ...{ method: 'POST', path: '/clerk/a2a', body: rpc(method, params) },
          headers: {
            'a2a-version': '1.0',
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          },
        })
      ).body
    peer.raw = undefined
    peer.execute = ({ taskId, contextId }, bus) => {
      const status = { state: TaskState.TASK_STATE_COMPLETED, message: undefined }
      bus.publish(
        AgentEvent.task({
          ...{ id: taskId, contextId, artifacts: [], history: [], metadata: undefined },
          status: { ...status, timestamp: undefined },
        }),
      )
      bus.finished()
      return Promise.resolve()
    }
    const olga = await forWhom('operator:olga')
    const message = {
      ...{ messageId: 'm', role: 'ROLE_USER', parts: [{ text: 'x' }] },
      metadata: { skillId: 'explain' },
    }
    const made = await ask(olga, 'SendMessage', { message })
    assert.ok(made['result'], JSON.stringify(made))
    const { token } = peer.seen.at(-1) ?? assert.fail()
    assert.deepEqual(token.obo, { subject: 'operator:olga', actors: [instance] })
    const { id } = (made['result'] as Json)['task'] as { id: string }
    assert.ok((await ask(olga, 'GetTask', { id }))['result'])
    assert.deepEqual(peer.seen.at(-1)?.token.obo, token.obo)
    const own = (await ask(undefined, 'GetTask', { id })) as { error: { data: Json } }
    assert.equal(own.error.data['code'], 'SP_A2A_TASK')
  })

  it('labels a session with what a peer’s words are declared to be', async () => {
    const words = () =>
      world.plane
        .records()
        .flatMap((one) => (one.kind === 'labels' && one.added.includes('hearsay') ? [one] : []))
    await until(() => words().length > 0)
    assert.equal(words()[0]?.instance, `spiffe://${world.plane.trustDomain}/agent/teller/i1`)
  })
})

describe('A2A 0.3, on either side', () => {
  const say = (parts: Part[]): SendMessageRequest => ({
    ...{ tenant: '', configuration: undefined, metadata: undefined },
    message: {
      ...{ messageId: 'm', contextId: '', taskId: '', role: Role.ROLE_USER, parts },
      ...{ metadata: { skillId: 'move' }, extensions: [], referenceTaskIds: [] },
    },
  })
  const data = (value: unknown): Part => ({
    ...{ content: { $case: 'data', value }, metadata: undefined, filename: '', mediaType: '' },
  })

  for (const [client, server] of [
    [true, false],
    [true, true],
    [false, true],
  ] as const) {
    it(`a client of ${client ? '0.3' : '1.0'} and a peer of ${server ? '0.3' : '1.0'}`, async () => {
      const { world, peer, close } = await startPeers(
        {},
        ({ network, policies }) => ({
          network: {
            ...network,
            systems: network.systems.map((system) =>
              system.a2a && server
                ? { ...system, a2a: { ...system.a2a, speaks: '0.3' as const } }
                : system,
            ),
          },
          policies,
        }),
        server,
      )
      try {
        peer.card = clerkCard()
        peer.execute = ({ taskId, contextId, userMessage }, bus) => {
          const said = userMessage.parts[0]?.content
          const artifact = {
            ...{ artifactId: 'a', name: '', description: '', metadata: undefined, extensions: [] },
            parts: [data({ id: 'T-1', internal: said?.$case })],
          }
          const at = (state: TaskState) => ({ state, message: undefined, timestamp: undefined })
          const ids = { contextId, metadata: undefined }
          bus.publish(
            AgentEvent.task({
              ...{ ...ids, id: taskId, artifacts: [], history: [] },
              status: at(TaskState.TASK_STATE_WORKING),
            }),
          )
          bus.publish(
            AgentEvent.artifactUpdate({ ...ids, taskId, artifact, append: false, lastChunk: true }),
          )
          bus.publish(
            AgentEvent.statusUpdate({ ...ids, taskId, status: at(TaskState.TASK_STATE_COMPLETED) }),
          )
          bus.finished()
          return Promise.resolve()
        }
        const sdk = await a2aClient(world.agent('teller', 'i1', 900), 'clerk', client)
        assert.equal(sdk.protocolVersion, client ? '0.3' : '1.0')
        const request = say([data({ account: 'A', amount: 5 })])
        const made = await sdk.sendMessage(request)
        assert.ok('artifacts' in made)
        assert.equal(made.status?.state, TaskState.TASK_STATE_COMPLETED)
        assert.deepEqual(made.artifacts[0]?.parts[0]?.content?.value, { id: 'T-1' })
        const { body } = peer.seen.at(-1) ?? assert.fail()
        assert.equal(body?.['method'], server ? 'message/send' : 'SendMessage')
        assert.equal((await sdk.getTask({ tenant: '', id: made.id })).id, made.id)
        const cases: unknown[] = []
        for await (const event of sdk.sendMessageStream(request)) cases.push(event.payload?.$case)
        assert.deepEqual(cases, ['task', 'artifactUpdate', 'statusUpdate'])
        await assert.rejects(
          sdk.sendMessage(say([data({ account: 'mallory', amount: 5 })])),
          /forbidden/,
        )
      } finally {
        await close()
      }
    })
  }
})
