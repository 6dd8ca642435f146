/** A draft in shadow, through real processes: it is told apart in records and reports, and changes no decision. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { RefusedError } from '@sallyport/agent'
import type { AgentClient } from '@sallyport/agent'
import type { Declaration } from '@sallyport/network'
import { declarationDigest } from '@sallyport/wire'
import type { Bundle, DecisionRecord } from '@sallyport/wire'
import { list, members, numberOf, textOf } from '../packages/cli/src/shape.ts'
import { selfCommand } from '../packages/cli/src/supervise.ts'
import { readLog } from './support/audit.ts'
import { Ledger } from './support/ledger.ts'
import { PretendWorld } from './support/pretend-world.ts'
import { World } from './support/world.ts'

const FOLDER = join(import.meta.dirname, 'support/declaration')
/** Live, the clerk may neither seize nor write long notes without an approval. */
const WIDER = `
@id("draft.seizes")
permit (principal in Agent::"clerk", action == Action::"ledger.seize", resource);
@id("draft.writes-all")
permit (principal in Agent::"clerk", action == Action::"desk.add_note", resource);
`

function drafted(t: TestContext, policies: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'sp-draft-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  cpSync(FOLDER, folder, { recursive: true })
  writeFileSync(join(folder, 'policies/draft.cedar'), policies)
  return join(folder, 'network.yaml')
}

const seize = (client: AgentClient): ReturnType<AgentClient['request']> =>
  client.request({ method: 'POST', path: '/ledger/v1/seizures', body: { ref: 'r', amount: 10 } })
const post = (client: AgentClient, amount: number): ReturnType<AgentClient['request']> =>
  client.request({ method: 'POST', path: '/ledger/v1/entries', body: { ref: 'r', amount } })

async function codeOf(act: Promise<unknown>): Promise<string> {
  try {
    await act
    return 'SP_ALLOWED'
  } catch (error) {
    if (error instanceof RefusedError) return error.code
    throw error
  }
}

async function eventually(met: () => Promise<boolean>): Promise<void> {
  const until = performance.now() + 30_000
  while (!(await met())) {
    assert.ok(performance.now() < until, 'it did not happen')
    await sleep(100)
  }
}

const decisions = async (gatewayDir: string): Promise<readonly DecisionRecord[]> =>
  (await readLog(gatewayDir)).all.filter((record) => record.kind === 'decision')

test('a widened draft in shadow: the live decision stays, the record says what would have been, the report counts it', async (t) => {
  const ledger = new Ledger()
  const networkFile = join(FOLDER, 'network.yaml')
  const world = await World.start({ networkFile, services: ledger.services })
  t.after(() => world.stop())
  const clerk = await world.caller('clerk')
  t.after(() => clerk.close())
  const cli = (
    ...args: readonly string[]
  ): { status: number | null; stdout: string; stderr: string } => {
    const { command, args: own } = selfCommand('policy', ...args, '--data', world.data)
    return spawnSync(command, [...own], { encoding: 'utf8' })
  }
  assert.equal(await codeOf(seize(clerk)), 'SP_DENIED_NOT_PERMITTED')

  const proposed = cli('propose', drafted(t, WIDER), '--json')
  assert.equal(proposed.status, 0, proposed.stderr)
  const digest = textOf(members(JSON.parse(proposed.stdout) as never).digest)
  const started = cli('shadow', digest.slice(0, 12))
  assert.match(started.stdout, new RegExp(`in shadow  ${digest}`), started.stderr)
  const readyAt = async (): Promise<boolean> =>
    (await readLog(world.gatewayDir)).all.some(
      (record) => record.kind === 'event' && record.event === 'shadow-ready',
    )
  await eventually(readyAt)

  // On a busy machine a call may be left out of the comparison: each is made until one was not.
  const compared = (operation: string) => async (): Promise<boolean> =>
    (await decisions(world.gatewayDir)).some((each) => each.operation === operation && each.shadow)
  await eventually(async () => {
    assert.equal(await codeOf(seize(clerk)), 'SP_DENIED_NOT_PERMITTED')
    return compared('seize')()
  })
  const desk = clerk.mcp('desk')
  await eventually(async () => {
    const note = desk.callTool('add_note', { ref: 'r', words: 5000 })
    await assert.rejects(note, { code: 'SP_NEEDS_APPROVAL' })
    return compared('add_note')()
  })
  assert.equal(await codeOf(post(clerk, 5)), 'SP_ALLOWED')
  assert.equal(
    ledger.entries.some(({ operation }) => operation === 'seize'),
    false,
  )

  const recorded = await decisions(world.gatewayDir)
  const [before, ...later] = recorded.filter(({ operation }) => operation === 'seize')
  const after = later.find(({ shadow }) => shadow)
  assert.equal(before?.shadow, undefined)
  assert.ok(after && later.every(({ decision }) => decision === 'deny'))
  assert.deepEqual(after.shadow, { digest, decision: 'allow', code: 'SP_ALLOWED' })
  // Only where it differs.
  assert.equal(recorded.findLast(({ operation }) => operation === 'post')?.shadow, undefined)

  const report = async (): Promise<ReturnType<typeof members>> =>
    members(await world.admin.get(`/api/declaration/${digest}/shadow`))
  await eventually(async () => {
    assert.equal(await codeOf(post(clerk, 5)), 'SP_ALLOWED')
    const counts = members((await report()).counts)
    return numberOf(counts.agreed) >= 1 && numberOf(counts.needsChanged) >= 1
  })
  const { counts, changes, stage } = await report()
  assert.equal(stage, 'shadow')
  assert.ok(numberOf(members(counts).denyToAllow) >= 1)
  assert.deepEqual([members(counts).allowToDeny, members(counts).otherwise], [0, 0])
  const widened = list(changes)
    .map(members)
    .find(({ from }) => from === 'deny')
  assert.equal(textOf(members(list(widened?.examples)[0]).decisionId), after.id)
  const shown = cli('shadow-report')
  assert.equal(shown.status, 0, shown.stderr)
  assert.match(shown.stdout, /widens +[1-9]\d* DENY → ALLOW/)
  assert.match(shown.stdout, new RegExp(after.id))

  // It widens only when operators sign, which no command can do for them.
  const promote = cli('promote', digest.slice(0, 12))
  assert.equal(promote.status, 6)
  assert.match(promote.stderr, /SP_NEEDS_PASSKEY[^]*section=changes/)
  assert.equal(await codeOf(seize(clerk)), 'SP_DENIED_NOT_PERMITTED')
  assert.equal(cli('shadow', '--stop').status, 0)
  assert.equal(members((await report()) as never).stage, 'draft')
})

/** What records say of the first hostile shadows. */
const COMPARED = [['seize deny allow', 'post deny allow'], ['post allow deny']]

test('a hostile control plane’s shadow changes no decision, however it is made', async (t) => {
  const world = await PretendWorld.start()
  t.after(() => world.stop())
  const { plane, ledger } = world
  const clerk = world.clerk('c1')
  const reader = world.clerk('c2')
  const expected = async (): Promise<readonly string[]> => [
    await codeOf(seize(clerk)),
    await codeOf(post(reader, 5)),
    await codeOf(post(reader, 90_000)),
  ]
  const honest = ['SP_DENIED_NOT_PERMITTED', 'SP_ALLOWED', 'SP_DENIED_FORBIDDEN']
  assert.deepEqual(await expected(), honest)

  const all = (source: string): Declaration => ({
    ...plane.declaration,
    policies: [{ id: 'all', source, file: 'x.cedar', line: 1 }],
  })
  const { network } = plane.declaration
  const hostile: readonly unknown[] = [
    all('permit (principal, action, resource);'),
    all('forbid (principal, action, resource);'),
    all(
      'permit (principal, action, resource) when { 9223372036854775807 + context.time.weekday > 0 };',
    ),
    all('permit (principal, action, resource) when {'),
    { ...plane.declaration, network: { ...network, flows: [], limits: [] } },
    { ...plane.declaration, network: { ...network, systems: null } },
    { policies: 7 },
    null,
    'x',
  ]
  let n = 2
  const events = async (): Promise<readonly string[]> =>
    (await readLog(world.gatewayDir)).all.flatMap((record) =>
      record.kind === 'event' && /^shadow-(ready|refused)$/.test(record.event)
        ? [record.event]
        : [],
    )
  for (const [i, declaration] of hostile.entries()) {
    const shadow = {
      digest: declarationDigest(declaration),
      declaration,
    } as Bundle<Declaration>['shadow']
    plane.publish(plane.bundle(n++, shadow ? { shadow } : {}))
    await eventually(async () => (await events()).length === i + 1)
    assert.deepEqual(await expected(), honest, `hostile shadow ${i}`)
    const lines = COMPARED[i]
    // The records say what it would have decided, so the comparison did run.
    if (lines) {
      await eventually(async () => {
        assert.deepEqual(await expected(), honest, `hostile shadow ${i}`)
        const said = (await decisions(world.gatewayDir)).flatMap((each) =>
          each.shadow ? [`${each.operation} ${each.decision} ${each.shadow.decision}`] : [],
        )
        return lines.every((line) => said.includes(line))
      })
    }
  }
  assert.deepEqual((await events()).slice(0, 3), ['shadow-ready', 'shadow-ready', 'shadow-ready'])
  assert.equal(
    ledger.entries.some(({ operation }) => operation === 'seize'),
    false,
  )

  // One whose digest is another's is refused with its bundle; the gateway goes on with the one before.
  const misnamed = {
    digest: 'a'.repeat(64),
    declaration: all('permit (principal, action, resource);'),
  }
  plane.publish(plane.bundle(n++, { shadow: misnamed }))
  await eventually(async () =>
    (await readLog(world.gatewayDir)).all.some(
      (record) => record.kind === 'event' && record.code === 'SP_BUNDLE_DIGEST',
    ),
  )
  assert.deepEqual(await expected(), honest)
})
