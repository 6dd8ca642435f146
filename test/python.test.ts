/** The agents of `examples/python`, with the clients of OpenAI, MCP and LangChain as they are installed. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TestContext } from 'node:test'
import { createSidecar, launchAgent, lazyWorkload } from '@sallyport/agent'
import type { ServiceHandler } from '@sallyport/agent'
import { parseJson } from '@sallyport/base'
import { members, textOf } from '../packages/cli/src/shape.ts'
import { Ledger } from './support/ledger.ts'
import { World } from './support/world.ts'

const PYTHON = process.env['SALLYPORT_PYTHON'] ?? 'python3'
const found = spawnSync(
  PYTHON,
  [
    '-c',
    'import sys, openai, mcp, langchain, langchain_openai, langchain_mcp_adapters; print(sys.prefix)',
  ],
  { encoding: 'utf8' },
)
const skip =
  found.status === 0
    ? false
    : 'no Python with openai, mcp, langchain, langchain-openai, langchain-mcp-adapters: set SALLYPORT_PYTHON'

const MODELS = `
  models:
    description: Models.
    owner: tests
    segment: core
    criticality: medium
    protocol: llm
    upstream: { service: models, port: 7603 }
    llm:
      dialect: openai
      vendor:
        name: Ours
        region: eu
        retentionDays: 0
        reviewer: officer
        reviewed: 2020-01-01
        reviewBy: 2999-12-31
      mayRead: restricted
      models: { small: { maxOutputTokens: 1000, price: { input: 1, output: 1 } } }
    operations: { chat: { kind: read } }
`

const ledger = new Ledger()
/** What models were asked, and with which key. */
const asked: { readonly key: string | undefined; readonly text: string }[] = []
/** Calls the tool that it is offered first, and says what came of it. */
const models: ServiceHandler = async (request, response) => {
  let text = ''
  for await (const piece of request.setEncoding('utf8')) text += String(piece)
  asked.push({ key: request.headers.authorization, text })
  const { messages, tools } = members(parseJson(text))
  const last = Array.isArray(messages) ? members(messages.at(-1)) : {}
  const call = {
    id: 'call_1',
    type: 'function',
    function: { name: 'read_note', arguments: '{"ref":"a"}' },
  }
  const calls = tools !== undefined && last.role === 'user'
  const message = calls
    ? { role: 'assistant', content: null, tool_calls: [call] }
    : { role: 'assistant', content: `I was told: ${JSON.stringify(last.content)}` }
  response.writeHead(200, { 'content-type': 'application/json' }).end(
    JSON.stringify({
      ...{ id: 'c', object: 'chat.completion', created: 1, model: 'small' },
      choices: [{ index: 0, message, finish_reason: calls ? 'tool_calls' : 'stop' }],
      usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
    }),
  )
}

const folder = mkdtempSync(join(tmpdir(), 'sp-python-'))
let world: World | undefined
before(async () => {
  if (skip !== false) return
  cpSync(join(import.meta.dirname, 'support/declaration'), folder, { recursive: true })
  const networkFile = join(folder, 'network.yaml')
  writeFileSync(
    networkFile,
    readFileSync(networkFile, 'utf8')
      .replace(
        'services:\n',
        'services:\n  models: { description: Models., owner: tests, segment: core }\n',
      )
      .replace('\ndatasets:\n', `${MODELS}\ndatasets:\n`)
      .replace(
        '\nflows:\n',
        '\nflows:\n  - { from: clerk, to: models, operations: [chat], purpose: asking }\n',
      ),
  )
  world = await World.start({ networkFile, services: { ...ledger.services, models } })
})
after(async () => {
  await world?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** What an example prints; undefined where this machine cannot isolate it. */
async function run(
  t: TestContext,
  name: string,
  addresses: Record<string, string>,
): Promise<string[] | undefined> {
  const from = world ?? assert.fail('it has not started')
  const workload = lazyWorkload(() => from.join('agent', 'clerk'))
  const lines: string[] = []
  const wrong: string[] = []
  const ended = Promise.withResolvers<number | null>()
  try {
    const launched = await launchAgent({
      name: 'clerk',
      command: PYTHON,
      args: [join(import.meta.dirname, '../examples/python', name)],
      env: { PYTHONUNBUFFERED: '1', LANGSMITH_TRACING: 'false' },
      runDir: mkdtempSync(join(folder, 'r')),
      gateway: from.gatewayTarget,
      control: from.planeTarget,
      workload,
      sidecar: createSidecar({
        identity: () => workload.identity(),
        gateway: from.gatewayTarget,
      }),
      addresses,
      expose: [found.stdout.trim()],
      isolate: 'require',
      onStdout: (line) => lines.push(line),
      onStderr: (line) => wrong.push(line),
      onExit: (code) => {
        ended.resolve(code)
      },
    })
    assert.equal(await ended.promise, 0, wrong.join('\n'))
    await launched.stop()
    return lines
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'SP_LAUNCH_NOT_ISOLATED'))
      throw error
    t.skip(`this machine cannot isolate: ${error.message}`)
    return undefined
  }
}

test('the OpenAI client of Python asks a model, and has no key', { skip }, async (t) => {
  const lines = await run(t, 'openai_agent.py', { OPENAI_BASE_URL: '/models/v1' })
  if (!lines) return
  assert.deepEqual(lines, ['I was told: "Why was alert 17 raised?"'])
  assert.equal(asked.at(-1)?.key, undefined)
})

test(
  'the MCP client of Python calls a tool, and is told what another call needs',
  { skip },
  async (t) => {
    const lines = await run(t, 'mcp_agent.py', { DESK_URL: '/desk/mcp' })
    if (!lines) return
    const [tools, note, refused] = lines
    assert.match(tools ?? '', /^tools: .*'read_note'/)
    assert.match(note ?? '', /^note: \{'note': \{'id': '1', 'text': 'hello'\}\}/)
    assert.match(refused ?? '', /^refused: SP_NEEDS_APPROVAL \[\{.*'kind': 'approval'/)
    assert.equal(lines.length, 3)
    assert.deepEqual(
      ledger.entries.map(({ operation }) => operation),
      ['read_note'],
    )
  },
)

test('LangChain has its model and its tools by way of the gateway', { skip }, async (t) => {
  const before = ledger.entries.length
  const lines = await run(t, 'langchain_agent.py', {
    OPENAI_BASE_URL: '/models/v1',
    DESK_URL: '/desk/mcp',
  })
  if (!lines) return
  assert.match(lines.at(-1) ?? '', /^AIMessage I was told: .*hello/)
  assert.deepEqual(
    ledger.entries.slice(before).map(({ operation, ref }) => `${operation} ${textOf(ref)}`),
    ['read_note a'],
  )
})
