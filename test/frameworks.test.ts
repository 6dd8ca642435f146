import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
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
import type { AgentTool, ToolOutcome } from '@sallyport/agent/frameworks'
import { generateText, isStepCount, jsonSchema } from 'ai'
import { MockLanguageModelV4 } from 'ai/test'
import { AIMessage, createAgent, createMiddleware, fakeModel, tool, ToolMessage } from 'langchain'
import type { SimulatedOperator } from '../examples/meridian/src/simulatedOperator.ts'
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

const post = (awaitApprovalMs?: number): AgentTool =>
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

test('Vercel AI SDK: outcomes of tools are data in the steps', async () => {
  const usage = {
    inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
    outputTokens: { total: 1, text: 1, reasoning: 0 },
  }
  const call = (toolCallId: string, input: object) =>
    ({ type: 'tool-call', toolCallId, toolName: 'post', input: JSON.stringify(input) }) as const
  const model = new MockLanguageModelV4({
    doGenerate: [
      {
        content: [call('a', { ...SMALL, ref: 'ai' }), call('b', FORTUNE)],
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
