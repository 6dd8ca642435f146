import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { after, before, describe, it, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import {
  Command,
  INTERRUPT,
  interrupt,
  isInterrupted,
  MemorySaver,
  MessagesAnnotation,
  StateGraph,
} from '@langchain/langgraph'
import type { ClientTool } from '@langchain/core/tools'
import { ToolNode } from '@langchain/langgraph/prebuilt'
import { Agent, run, setTracingDisabled, tool as agentsTool } from '@openai/agents'
import { assistantMessage, functionCall, ScriptedModel } from '@openai/agents/testing'
import type { AgentClient } from '@sallyport/agent'
import {
  aiSdkTools,
  approvalOf,
  httpTool,
  langchainTools,
  mcpTools,
  openaiAgentsTools,
  refusals,
} from '@sallyport/agent/frameworks'
import type { AgentTool, HttpToolOptions, ToolOutcome } from '@sallyport/agent/frameworks'
import { generateText, isStepCount, jsonSchema } from 'ai'
import { MockLanguageModelV4 } from 'ai/test'
import { AIMessage, createAgent, createMiddleware, fakeModel, tool, ToolMessage } from 'langchain'
import type { SimulatedOperator } from '../examples/meridian/src/simulatedOperator.ts'
import { readLog } from './support/audit.ts'
import { Ledger } from './support/ledger.ts'
import { World } from './support/world.ts'

// The models here only say what they were told to: what is tried is what stands between any model and the systems.

const SMALL = { ref: 'small', amount: 4000 }
const LARGE = { ref: 'large', amount: 5000 }
const FORTUNE = { ref: 'fortune', amount: 90_000 }

const ledger = new Ledger()
let world: World
let operator: SimulatedOperator
let client: AgentClient

before(async () => {
  const networkFile = join(import.meta.dirname, 'support/declaration/network.yaml')
  world = await World.start({ networkFile, services: ledger.services })
  operator = await world.operator()
  client = await world.caller('clerk')
  setTracingDisabled(true)
})
after(async () => {
  await client?.close()
  await world?.stop()
})

const post = (
  awaitApprovalMs?: number,
  more: Partial<Pick<HttpToolOptions, 'traceparent' | 'request'>> = {},
): AgentTool =>
  httpTool(client, {
    name: 'post',
    description: 'Posts to the ledger.',
    inputSchema: {
      type: 'object',
      required: ['ref', 'amount'],
      properties: { ref: { type: 'string' }, amount: { type: 'integer' } },
    },
    request: (body) => ({ method: 'POST', path: '/ledger/v1/entries', body }),
    ...(awaitApprovalMs === undefined ? {} : { awaitApprovalMs }),
    ...more,
  })
const posted = (ref: string): number => ledger.entries.filter((one) => one.ref === ref).length

/** Has the call decided as soon as it asks. */
async function approving<T>(asked: Promise<T>, decision: 'approve' | 'deny'): Promise<T> {
  const over = new AbortController()
  const ends = asked.finally(() => {
    over.abort()
  })
  ends.catch(() => undefined)
  while (!over.signal.aborted && (await operator.decidePending(decision)) === 0) await sleep(100)
  return ends
}

function refusedIn(outcome: ToolOutcome | undefined): string {
  return outcome?.status === 'refused' ? outcome.refused.code : `not refused: ${outcome?.status}`
}

test('a tool: done, refused with why, or done once it is approved', async () => {
  const done = await post().call(SMALL)
  assert.deepEqual(done, { status: 'done', value: { entry: { id: '1' } } })
  assert.equal(refusedIn(await post().call(FORTUNE)), 'SP_DENIED_FORBIDDEN')
  const asking = await post().call(LARGE)
  assert.equal(refusedIn(asking), 'SP_NEEDS_APPROVAL')
  assert.equal(posted('large'), 0)
  const approval = approvalOf(asking) ?? assert.fail('no approval was asked for')
  await operator.decidePending()
  assert.equal((await post().call(LARGE, { approval })).status, 'done')

  const denied = { ref: 'denied', amount: 5001 }
  const kept = await approving(post(60_000).call(denied), 'deny')
  assert.equal(refusedIn(kept), 'SP_NEEDS_APPROVAL')
  assert.equal(posted('denied'), 0)
  const awaited = { ref: 'awaited', amount: 5002 }
  assert.equal((await approving(post(60_000).call(awaited), 'approve')).status, 'done')
  assert.equal(posted('awaited'), 1)
  // Whoever stops waiting has not been refused: it ends as aborted.
  const aborting = AbortSignal.abort()
  await assert.rejects(post(60_000).call({ ...LARGE, amount: 5003 }, { signal: aborting }), {
    name: 'AbortError',
  })
})

test('LangChain: tools of an MCP system, and refusals as messages with data', async () => {
  const tools = await mcpTools(client, 'desk')
  const note = tools.find(({ name }) => name === 'read_note') ?? assert.fail('no such tool')
  await assert.rejects(note.call({ ref: 'x' }, { signal: AbortSignal.abort() }), {
    name: 'AbortError',
  })
  const model = fakeModel()
    .respondWithTools([
      { id: 'a', name: 'read_note', args: { ref: 'x' } },
      { id: 'b', name: 'add_note', args: { ref: 'long', words: 5000 } },
      { id: 'c', name: 'post', args: FORTUNE },
    ])
    .respond(new AIMessage('done'))
  // A tool that calls the gateway by itself, and knows nothing of refusals.
  const bare = tool(
    () => client.request({ method: 'POST', path: '/ledger/v1/entries', body: FORTUNE }),
    {
      name: 'post',
      description: 'Posts a fortune.',
      schema: { type: 'object', properties: {} },
    },
  )
  const all: ClientTool[] = [...langchainTools(tools, tool), bare]
  const agent = createAgent({
    model,
    tools: all,
    middleware: [refusals({ createMiddleware, ToolMessage })],
  })
  const { messages } = await agent.invoke({ messages: [{ role: 'user', content: 'go' }] })
  const told = new Map(
    messages.filter((one) => ToolMessage.isInstance(one)).map((one) => [one.tool_call_id, one]),
  )
  assert.deepEqual(JSON.parse(told.get('a')?.text ?? ''), { note: { id: '1', text: 'hello' } })
  assert.equal(refusedIn(told.get('b')?.artifact), 'SP_NEEDS_APPROVAL')
  assert.match(told.get('b')?.text ?? '', /SP_NEEDS_APPROVAL/)
  assert.equal(refusedIn(told.get('c')?.artifact), 'SP_DENIED_FORBIDDEN')
  assert.equal(told.get('c')?.status, 'error')
  assert.equal(posted('fortune') + posted('long'), 0)
})

test('LangGraph: a graph stops for an approval and goes on with it', async () => {
  const graphed = post()
  const node = async ({ messages }: typeof MessagesAnnotation.State): Promise<object> => {
    const last = messages.at(-1)
    const [asked] = AIMessage.isInstance(last) ? (last.tool_calls ?? []) : []
    const input = { ref: String(asked?.args['ref']), amount: Number(asked?.args['amount']) }
    let outcome = await graphed.call(input)
    if (approvalOf(outcome) !== undefined) {
      const approval: unknown = interrupt({ approval: approvalOf(outcome) })
      outcome = await graphed.call(input, { approval: String(approval) })
    }
    const message = { content: outcome.status, tool_call_id: asked?.id ?? '', artifact: outcome }
    return { messages: [new ToolMessage(message)] }
  }
  const graph = new StateGraph(MessagesAnnotation)
    .addNode('post', node)
    .addEdge('__start__', 'post')
    .compile({ checkpointer: new MemorySaver() })
  const args = { ref: 'graph', amount: 5010 }
  const ask = new AIMessage({ content: '', tool_calls: [{ id: 'g', name: 'post', args }] })
  const how = { configurable: { thread_id: 'one' } }
  const stopped = await graph.invoke({ messages: [ask] }, how)
  assert.equal(posted('graph'), 0)
  assert.ok(isInterrupted<{ approval: string }>(stopped))
  const approval = stopped[INTERRUPT][0]?.value?.approval
  await operator.decidePending()
  const { messages } = await graph.invoke(new Command({ resume: approval }), how)
  assert.equal(messages.at(-1)?.content, 'done')
  assert.equal(posted('graph'), 1)

  // The prebuilt node takes the same tools.
  const prebuilt = new ToolNode(langchainTools([post()], tool))
  const calls = [{ id: 'h', name: 'post', args: FORTUNE }]
  const answer = await prebuilt.invoke({
    messages: [new AIMessage({ content: '', tool_calls: calls })],
  })
  assert.equal(refusedIn(answer.messages[0]?.artifact), 'SP_DENIED_FORBIDDEN')
})

/** A model that calls `post` so, and then is done. */
function aiModel(calls: readonly (readonly [id: string, input: object])[]): MockLanguageModelV4 {
  const usage = {
    inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
    outputTokens: { total: 1, text: 1, reasoning: 0 },
  }
  const call = (toolCallId: string, input: object) =>
    ({ type: 'tool-call', toolCallId, toolName: 'post', input: JSON.stringify(input) }) as const
  return new MockLanguageModelV4({
    doGenerate: [
      {
        content: calls.map(([id, input]) => call(id, input)),
        finishReason: { unified: 'tool-calls', raw: undefined },
        ...{ usage, warnings: [] },
      },
      {
        content: [{ type: 'text', text: 'done' }],
        finishReason: { unified: 'stop', raw: undefined },
        ...{ usage, warnings: [] },
      },
    ],
  })
}

test('Vercel AI SDK: outcomes of tools are data in the steps', async () => {
  const model = aiModel([
    ['a', { ...SMALL, ref: 'ai' }],
    ['b', FORTUNE],
  ])
  const { steps, text } = await generateText({
    model,
    prompt: 'go',
    tools: aiSdkTools([post()], jsonSchema),
    stopWhen: isStepCount(3),
  })
  const results = steps[0]?.toolResults ?? []
  const of = (id: string): ToolOutcome | undefined =>
    // What `aiSdkTools` says its tools give.
    results.find(({ toolCallId }) => toolCallId === id)?.output as ToolOutcome | undefined
  assert.equal(of('a')?.status, 'done')
  assert.equal(refusedIn(of('b')), 'SP_DENIED_FORBIDDEN')
  assert.equal(text, 'done')
  assert.equal(posted('ai'), 1)
})

test('OpenAI Agents SDK: the model reads what was done and what was refused', async () => {
  const model = new ScriptedModel([
    [
      functionCall('post', { ...SMALL, ref: 'agents' }, { callId: 'a' }),
      functionCall('post', FORTUNE, { callId: 'b' }),
    ],
    [assistantMessage('done')],
  ])
  const agent = new Agent({ name: 'clerk', model, tools: openaiAgentsTools([post()], agentsTool) })
  const { finalOutput } = await run(agent, 'go')
  assert.equal(finalOutput, 'done')
  assert.equal(posted('agents'), 1)
  const read = JSON.stringify(model.calls.at(-1)?.request.input)
  assert.match(read, /SP_DENIED_FORBIDDEN/)
  assert.match(read, /\\"entry\\"/)
})

test('`fetch` of a client: an official MCP client through it, and no other address', async () => {
  const official = new Client({ name: 'official', version: '1' })
  const transport = new StreamableHTTPClientTransport(new URL(client.url('/desk/mcp')), {
    fetch: client.fetch,
  })
  await official.connect(transport)
  const { tools } = await official.listTools()
  assert.ok(tools.some(({ name }) => name === 'read_note'))
  const { structuredContent } = await official.callTool({
    name: 'read_note',
    arguments: { ref: 'y' },
  })
  assert.deepEqual(structuredContent, { note: { id: '1', text: 'hello' } })
  await official.close()
  for (const url of [
    'https://example.com/desk/mcp',
    'http://gateway.sallyport.invalid/desk',
    world.consoleUrl,
  ]) {
    await assert.rejects(client.fetch(url), { code: 'SP_CLIENT_ORIGIN' })
  }
})

/** A trace of its own, as whoever made the agent's span would write it. */
function newTrace(): { readonly id: string; readonly traceparent: string } {
  const id = randomBytes(16).toString('hex')
  return { id, traceparent: `00-${id}-${randomBytes(8).toString('hex')}-01` }
}

/** The trace that the record of a call has, once it is one and the service was told of it as of the same call. */
async function tracesOf(ref: string): Promise<(string | undefined)[]> {
  const { all } = await readLog(world.gatewayDir)
  const done = ledger.entries.filter((one) => one.ref === ref)
  return done.map(({ decision, trace }) => {
    const record = all.find((one) => one.kind === 'decision' && one.id === decision)
    const traceId = record?.kind === 'decision' ? record.trace?.traceId : undefined
    const span = createHash('sha256').update(decision).digest('hex').slice(0, 16)
    assert.equal(trace, traceId === undefined ? undefined : `00-${traceId}-${span}-01`)
    return traceId
  })
}

describe('a run’s trace goes with the calls of its tools', () => {
  it('LangChain, LangGraph: `configurable` of the run', async () => {
    const [one, other] = [newTrace(), newTrace()]
    const tools = await mcpTools(client, 'desk')
    const model = (ref: string) =>
      fakeModel()
        .respondWithTools([{ id: 'a', name: 'read_note', args: { ref } }])
        .respond(new AIMessage('done'))
    for (const [ref, configurable] of [
      ['lc', { traceparent: one.traceparent }],
      ['lc-none', {}],
    ] as const) {
      const agent = createAgent({ model: model(ref), tools: langchainTools(tools, tool) })
      await agent.invoke({ messages: [{ role: 'user', content: 'go' }] }, { configurable })
    }
    assert.deepEqual(await tracesOf('lc'), [one.id])
    assert.deepEqual(await tracesOf('lc-none'), [undefined])

    const graph = new StateGraph(MessagesAnnotation)
      .addNode('tools', new ToolNode(langchainTools([post()], tool)))
      .addEdge('__start__', 'tools')
      .compile()
    const args = { ...SMALL, ref: 'lg' }
    const ask = new AIMessage({ content: '', tool_calls: [{ id: 'g', name: 'post', args }] })
    await graph.invoke({ messages: [ask] }, { configurable: { traceparent: other.traceparent } })
    assert.deepEqual(await tracesOf('lg'), [other.id])
  })

  it('Vercel AI SDK: what the tools of the run were made with', async () => {
    const { id, traceparent } = newTrace()
    for (const [ref, options] of [
      ['vercel', { traceparent }],
      ['vercel-none', {}],
    ] as const) {
      await generateText({
        model: aiModel([['a', { ...SMALL, ref }]]),
        prompt: 'go',
        tools: aiSdkTools([post()], jsonSchema, options),
        stopWhen: isStepCount(3),
      })
    }
    assert.deepEqual(await tracesOf('vercel'), [id])
    assert.deepEqual(await tracesOf('vercel-none'), [undefined])
  })

  it('OpenAI Agents SDK: `context` of the run', async () => {
    const { id, traceparent } = newTrace()
    for (const [ref, context] of [
      ['oa', { traceparent, tenant: 't' }],
      ['oa-none', 'no object'],
      ['oa-empty', undefined],
    ] as const) {
      const called = functionCall('post', { ...SMALL, ref }, { callId: 'a' })
      const model = new ScriptedModel([[called], [assistantMessage('done')]])
      const tools = openaiAgentsTools([post()], agentsTool)
      await run(new Agent<unknown>({ name: 'clerk', model, tools }), 'go', { context })
    }
    assert.deepEqual(await tracesOf('oa'), [id])
    assert.deepEqual(await tracesOf('oa-none'), [undefined])
    assert.deepEqual(await tracesOf('oa-empty'), [undefined])
  })

  it('any: whatever is current where the tool runs, in every framework; a run’s own goes before it', async () => {
    const active = new AsyncLocalStorage<string>()
    const current = { traceparent: () => active.getStore() }
    const spans = Array.from({ length: 5 }, newTrace)
    const [mcp, chain, vercel, openai, given] = spans
    assert.ok(mcp && chain && vercel && openai && given)
    const notes = await mcpTools(client, 'desk', current)
    const note = notes.find(({ name }) => name === 'read_note') ?? assert.fail('no such tool')
    await Promise.all([
      active.run(mcp.traceparent, () => note.call({ ref: 'als-mcp' })),
      active.run(mcp.traceparent, () =>
        note.call({ ref: 'als-given' }, { traceparent: given.traceparent }),
      ),
      active.run(chain.traceparent, () => {
        const args = { ref: 'als-chain' }
        const model = fakeModel()
          .respondWithTools([{ id: 'a', name: 'read_note', args }])
          .respond(new AIMessage('done'))
        const agent = createAgent({ model, tools: langchainTools(notes, tool) })
        return agent.invoke({ messages: [{ role: 'user', content: 'go' }] })
      }),
      active.run(vercel.traceparent, () =>
        generateText({
          model: aiModel([['a', { ...SMALL, ref: 'als-vercel' }]]),
          prompt: 'go',
          tools: aiSdkTools([post(undefined, current)], jsonSchema),
          stopWhen: isStepCount(3),
        }),
      ),
      active.run(openai.traceparent, () => {
        const called = functionCall('post', { ...SMALL, ref: 'als-openai' }, { callId: 'a' })
        const model = new ScriptedModel([[called], [assistantMessage('done')]])
        const tools = openaiAgentsTools([post(undefined, current)], agentsTool)
        return run(new Agent({ name: 'clerk', model, tools }), 'go')
      }),
      note.call({ ref: 'als-none' }),
    ])
    assert.deepEqual(await tracesOf('als-mcp'), [mcp.id])
    assert.deepEqual(await tracesOf('als-given'), [given.id])
    assert.deepEqual(await tracesOf('als-chain'), [chain.id])
    assert.deepEqual(await tracesOf('als-vercel'), [vercel.id])
    assert.deepEqual(await tracesOf('als-openai'), [openai.id])
    assert.deepEqual(await tracesOf('als-none'), [undefined])
  })

  it('a call that is made again once it is approved is in the trace of the first', async () => {
    const spans = [newTrace(), newTrace()]
    let asked = 0
    const traceparent = (): string | undefined => spans[asked++]?.traceparent
    const body = { ref: 'traced', amount: 5004 }
    const outcome = await approving(post(60_000, { traceparent }).call(body), 'approve')
    assert.equal(outcome.status, 'done')
    assert.deepEqual(await tracesOf('traced'), [spans[0]?.id])
    const { all } = await readLog(world.gatewayDir)
    const first = all.filter(
      (one) => one.kind === 'decision' && one.trace?.traceId === spans[0]?.id,
    )
    assert.equal(first.length, 2, 'the refusal and what came of it')
  })

  it('what is no trace breaks no call, and two are not sent', async () => {
    const { id, traceparent } = newTrace()
    for (const [index, broken] of [
      () => 'nonsense',
      () => `${traceparent}\r\nsallyport-mandate: x`,
      () => traceparent.toUpperCase(),
      () => {
        throw new Error('no telemetry today')
      },
    ].entries()) {
      const ref = `broken-${index}`
      const made = await post(undefined, { traceparent: broken }).call({ ...SMALL, ref })
      assert.equal(made.status, 'done')
      assert.deepEqual(await tracesOf(ref), [undefined])
    }
    const request: HttpToolOptions['request'] = (body) => ({
      ...{ method: 'POST', path: '/ledger/v1/entries', body },
      headers: { Traceparent: newTrace().traceparent },
    })
    const twice = post(undefined, { request })
    assert.equal((await twice.call({ ...SMALL, ref: 'twice' }, { traceparent })).status, 'done')
    assert.deepEqual(await tracesOf('twice'), [id])
  })
})
