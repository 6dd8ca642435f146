import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'node:test'
import { RefusedError } from '@sallyport/agent'
import type { AgentClient, ServiceHandler } from '@sallyport/agent'
import { parseJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { indexNetwork, loadDeclaration } from '@sallyport/network'
import type { Declaration } from '@sallyport/network'
import { readTests, runTests } from '@sallyport/policy'
import { members, textOf } from '../packages/cli/src/shape.ts'
import { selfCommand } from '../packages/cli/src/supervise.ts'
import { PretendWorld } from './support/pretend-world.ts'
import { World } from './support/world.ts'

const MERIDIAN = join(import.meta.dirname, '../examples/meridian/network.yaml')
const MATRIX = join(import.meta.dirname, 'decision-matrix.yaml')

const MEANT = { code: '', needs: 0, why: '' }

const file = readTests(readFileSync(MATRIX, 'utf8'), 'decision-matrix.yaml')
/** Each row with what it expects in one place, as the parts below read it. */
const rows = file.rows.map(({ expect, ...row }) => ({
  ...row,
  ...MEANT,
  ...expect,
  name: `row of line ${row.span.line}: ${row.name} ${expect.code ?? ''}`,
  why: expect.why?.[0] ?? '',
  gateway: row.tags.includes('gateway'),
}))
type Row = (typeof rows)[number]
type Input = Row['input']

const DECISION = (code: string): string =>
  code === 'SP_ALLOWED' ? 'allow' : code === 'SP_NEEDS_APPROVAL' ? 'needs' : 'deny'

test('the library decides every row as written, and its explanation names the policy', async () => {
  const { results } = await runTests([file], await loadDeclaration({ networkFile: MERIDIAN }))
  assert.ok(results.length >= 45)
  for (const { row, mismatches, code, decision } of results) {
    assert.deepEqual(mismatches, [], `row of line ${row.span.line}`)
    assert.equal(decision, DECISION(code))
    // Which policy it was is written down wherever one decides.
    if (code !== 'SP_NO_FLOW' && code !== 'SP_INPUT_VALUE') assert.ok(row.expect.why, row.name)
  }
})

test("Meridian's own tests hold, and see nearly all of its policies", async () => {
  const own = readTests(readFileSync(join(MERIDIAN, '../tests.yaml'), 'utf8'), 'tests.yaml')
  const run = await runTests([own], await loadDeclaration({ networkFile: MERIDIAN }))
  for (const { row, mismatches } of run.results) {
    assert.deepEqual(mismatches, [], `row of line ${row.span.line}`)
  }
  // What is left guards against changes of the network: docs/policy/testing.md says what.
  const unseen = run.coverage.policies.flatMap(({ policyId, unseen }) => unseen.map(() => policyId))
  assert.deepEqual(unseen, [
    'bounds.only-the-filer-files',
    'bounds.only-the-filer-files',
    'fields.ordinary',
    'fields.analyst-sees-pseudonyms',
    'fields.screener-sees-name',
    'fields.screener-sees-last-four-of-iban',
    'screener.looks-people-up',
    'flagger.small-hold',
    'drafter.looks-people-up',
    'notifier.finds-the-address',
  ])
})

/** Answers every call with nothing, over HTTP and MCP, and counts them. */
function empty(reached: { calls: number }): ServiceHandler {
  return async (request, response) => {
    const message = members(await readJson(request))
    const send = (value: unknown): void => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    }
    const reply = (result: unknown): void => send({ jsonrpc: '2.0', id: message.id, result })
    if (message.method === 'initialize') {
      const serverInfo = { name: 'empty', version: '1' }
      reply({ protocolVersion: '2025-06-18', capabilities: {}, serverInfo })
    } else if (message.method === 'notifications/initialized') response.writeHead(202).end()
    else {
      reached.calls++
      if (message.method === undefined) send({})
      else reply({ content: [], structuredContent: {} })
    }
  }
}

async function readJson(request: IncomingMessage): Promise<JsonValue> {
  const chunks: Buffer[] = []
  // Without an encoding set, a request yields buffers.
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return chunks.length === 0 ? null : parseJson(Buffer.concat(chunks))
}

const SERVICES = ['core-banking', 'pii-vault', 'case-store', 'messages']
const services = (reached: { calls: number }): Record<string, ServiceHandler> =>
  Object.fromEntries(SERVICES.map((name) => [name, empty(reached)]))

interface Told {
  readonly code: string
  readonly decision: string
  readonly approval: string
  readonly needs: number
}

/** Makes a call as its operation is declared: over MCP, or with path, query and body in their places. */
async function ask(
  declaration: Declaration,
  client: AgentClient,
  { system, operation, input }: Row['first'][number],
  approval = '',
): Promise<Told> {
  const binding = indexNetwork(declaration.network).findOperation(system, operation)?.binding
  assert.ok(binding)
  const evidence = approval === '' ? {} : { approval }
  try {
    if (binding.kind === 'mcp') await client.mcp(system).callTool(binding.tool, input, evidence)
    else {
      assert.equal(binding.kind, 'http')
      const { method, path, parameters } = binding
      const placed = (place: string): [string, JsonValue][] =>
        Object.entries(input).filter(([name]) => parameters[name] === place)
      const filled = placed('path').reduce(
        (text, [name, value]) => text.replace(`{${name}}`, encodeURIComponent(textOf(value))),
        path,
      )
      const body = placed('body')
      await client.request({
        ...{ method, path: `/${system}${filled}`, ...evidence },
        ...(body.length > 0 ? { body: Object.fromEntries(body) } : {}),
      })
    }
    return { code: 'SP_ALLOWED', decision: '', approval: '', needs: 0 }
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error
    const [need] = error.needs ?? []
    return {
      code: error.code,
      decision: error.decision ?? '',
      approval: need?.approval ?? '',
      needs: need?.count ?? 0,
    }
  }
}

test('a real network decides as written, and `policy explain` names the policy of a denial', async (t) => {
  const declaration = await loadDeclaration({ networkFile: MERIDIAN })
  const reached = { calls: 0 }
  const world = await World.start({
    networkFile: MERIDIAN,
    services: services(reached),
  })
  t.after(() => world.stop())
  const operator = await world.operator()
  const chosen = rows.filter(({ gateway, risk }) => gateway && risk === 0)
  assert.ok(chosen.length >= 15)
  const explained: { row: Row; decision: string }[] = []
  for (const row of chosen) {
    // Each as an instance of its own: what one did says nothing of another.
    const client = await world.caller(row.agent)
    try {
      for (const one of row.first) {
        assert.equal((await ask(declaration, client, one)).code, 'SP_ALLOWED', row.name)
      }
      const before = reached.calls
      let told = await ask(declaration, client, row)
      if (row.approvals.length > 0) {
        assert.equal(told.code, 'SP_NEEDS_APPROVAL', row.name)
        assert.equal(reached.calls, before, row.name)
        await operator.decidePending()
        assert.equal(await client.awaitApproval(told.approval, { timeoutMs: 5000 }), 'approved')
        told = await ask(declaration, client, row, told.approval)
      }
      assert.equal(told.code, row.code, row.name)
      assert.equal(told.needs, row.needs, row.name)
      assert.equal(reached.calls - before, row.code === 'SP_ALLOWED' ? 1 : 0, row.name)
      if (told.decision !== '') explained.push({ row, decision: told.decision })
    } finally {
      await client.close()
    }
  }
  // One of each kind in full; the feed to the control plane follows the answer.
  const kinds = new Map(explained.map((one) => [`${one.row.agent} ${one.row.code}`, one]))
  assert.ok(kinds.size >= 5)
  for (const { row, decision } of kinds.values()) {
    const text = await explain(world, decision)
    assert.match(text, new RegExp(`outcome +${DECISION(row.code)} \\(${row.code}\\)`), row.name)
    assert.ok(text.includes(`${row.system}.${row.operation}`), row.name)
    if (row.why !== '') assert.ok(text.includes(`\`${row.why}\``), `${row.name}:\n${text}`)
  }
})

test('`policy explain` shows what a forbidden and a not permitted call failed on', async (t) => {
  const networkFile = join(import.meta.dirname, 'support/declaration/network.yaml')
  const reached = { calls: 0 }
  const handler = empty(reached)
  const world = await World.start({
    networkFile,
    services: { ledger: handler, desk: handler },
  })
  t.after(() => world.stop())
  const declaration = await loadDeclaration({ networkFile })
  const client = await world.caller('clerk')
  t.after(() => client.close())
  const on = (operation: string, input: Input): Promise<Told> =>
    ask(declaration, client, { system: 'ledger', operation, input })
  assert.equal((await on('post', { ref: 'r', amount: 1 })).code, 'SP_ALLOWED')
  const forbidden = await on('post', { ref: 'r', amount: 82_194 })
  assert.equal(forbidden.code, 'SP_DENIED_FORBIDDEN')
  const text = await explain(world, forbidden.decision)
  assert.match(text, /forbid `bounds\.no-fortunes`: satisfied/)
  assert.match(text, /✓ .*context\.input\.amount > 82193.*82194/)
  const seized = await on('seize', { ref: 'r', amount: 1 })
  assert.equal(seized.code, 'SP_DENIED_NOT_PERMITTED')
  assert.match(await explain(world, seized.decision), /deny \(SP_DENIED_NOT_PERMITTED\)/)
  assert.equal(reached.calls, 1)
})

test('a real gateway decides by the risk that its bundle says', async (t) => {
  const reached = { calls: 0 }
  const world = await PretendWorld.start({ networkFile: MERIDIAN, services: services(reached) })
  t.after(() => world.stop())
  const { plane } = world
  const chosen = rows.filter(({ gateway, risk }) => gateway && risk > 0)
  assert.ok(chosen.length >= 8)
  const id = ({ agent }: Row, i: number): string =>
    `spiffe://${plane.trustDomain}/agent/${agent}/i${i}`
  const at = Date.now()
  const risky = `spiffe://${plane.trustDomain}/agent/monitor/probe`
  const risk = Object.fromEntries(chosen.map((row, i) => [id(row, i), { score: row.risk, at }]))
  plane.publish(plane.bundle(2, { risk: { ...risk, [risky]: { score: 100, at } } }))
  const probe = world.caller('monitor', 'probe')
  const anything = { system: 'core-banking', operation: 'listTransactions', input: {} }
  // The bundle may still be on its way.
  for (let n = 0; (await ask(plane.declaration, probe, anything)).code === 'SP_ALLOWED'; n++) {
    assert.ok(n < 100)
    await sleep(20)
  }
  for (const [i, row] of chosen.entries()) {
    const before = reached.calls
    const told = await ask(plane.declaration, world.caller(row.agent, `i${i}`), row)
    assert.equal(told.code, row.code, row.name)
    assert.equal(reached.calls - before, row.code === 'SP_ALLOWED' ? 1 : 0, row.name)
  }
})

async function explain(world: World, decision: string): Promise<string> {
  const { command, args } = selfCommand('policy', 'explain', decision, '--data', world.data)
  let said = ''
  for (let i = 0; i < 10; i++) {
    const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
    if (status === 0) return stdout
    said = stderr
    await sleep(200)
  }
  throw new Error(`no explanation of ${decision}: ${said}`)
}
