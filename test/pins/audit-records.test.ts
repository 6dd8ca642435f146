/** The members of every kind of audit record, as frozen text: a log outlives the code that wrote it. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { RefusedError } from '@sallyport/agent'
import type { AgentClient } from '@sallyport/agent'
import { loadDeclaration } from '@sallyport/network'
import type { AuditRecord } from '@sallyport/wire'
import { members } from '../../packages/cli/src/shape.ts'
import { readLog } from '../support/audit.ts'
import { Ledger } from '../support/ledger.ts'
import { World } from '../support/world.ts'

const NETWORK = join(import.meta.dirname, '../support/declaration/network.yaml')
const BASE = 'at gateway kind v'
const DECISION = `${BASE} agent code decision decidedAt declarationDigest errors id input instance labels needs operation peer reasons requestHash revision risk stateDigest system`

/** What is recorded, by what it is about → its members. */
const PINNED: Readonly<Record<string, string>> = {
  'decision allow': DECISION,
  'decision allow, traced': `${DECISION} trace`,
  'decision allow, approved': `${DECISION} approvalId approvers`,
  'decision deny': `${DECISION} why`,
  'decision needs': `${DECISION} why approvalId`,
  'decision deny, shadow': `${DECISION} shadow why`,
  outcome: `${BASE} bytesOut decisionId durationMs released result status`,
  labels: `${BASE} added decisionId instance`,
  'approval-used': `${BASE} approvalId approvers decisionId statements`,
  'event gateway-started': `${BASE} event facts`,
  'event bundle-accepted': `${BASE} event facts`,
  'event quarantine-applied': `${BASE} event facts subject`,
  'event shadow-ready': `${BASE} event facts`,
  'event shadow-counts': `${BASE} event facts`,
  'event request-refused': `${BASE} code event facts subject`,
}

const sorted = (members: Iterable<string>): string => [...members].toSorted().join(' ')

function aboutOf(record: AuditRecord): string {
  if (record.kind === 'event') return `event ${record.event}`
  if (record.kind !== 'decision') return record.kind
  const approved = record.decision === 'allow' && record.approvalId !== undefined
  const shadow = record.shadow ? ', shadow' : ''
  const traced = record.trace ? ', traced' : ''
  return `decision ${record.decision}${approved ? ', approved' : ''}${shadow}${traced}`
}

const isReady = (record: AuditRecord): boolean =>
  record.kind === 'event' && record.event === 'shadow-ready'

const isShadowed = (record: AuditRecord): boolean =>
  record.kind === 'decision' && record.shadow !== undefined

async function refusal(call: Promise<unknown>): Promise<RefusedError> {
  try {
    await call
  } catch (error) {
    if (error instanceof RefusedError) return error
    throw error
  }
  throw new Error('the call was not refused')
}

test('the members of every kind of record', async (t) => {
  const ledger = new Ledger()
  const world = await World.start({ networkFile: NETWORK, services: ledger.services })
  t.after(() => world.stop())
  const operator = await world.operator()
  const clerk = await world.caller('clerk')
  t.after(() => clerk.close())
  const post = (amount: unknown, approval?: string): ReturnType<AgentClient['request']> =>
    clerk.request({
      ...{ method: 'POST', path: '/ledger/v1/entries' },
      // Some of them are no amounts at all.
      body: { ref: 'r', amount: amount as number },
      ...(approval === undefined ? {} : { approval }),
    })
  await post(1)
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  await clerk.request({
    ...{ method: 'GET', path: '/ledger/v1/entries/1' },
    headers: { traceparent },
  })
  await clerk.mcp('desk').callTool('read_note', { ref: 'r' })
  await refusal(post(90_000))
  await refusal(post('many'))
  const [need] = (await refusal(post(5000))).needs ?? []
  assert.ok(need?.approval)
  await operator.decidePending()
  await clerk.awaitApproval(need.approval, { timeoutMs: 5000 })
  await post(5000, need.approval)
  const declaration = await loadDeclaration({ networkFile: NETWORK })
  const policies = declaration.policies.filter(({ id }) => id !== 'bounds.no-fortunes')
  const draft = { ...declaration, policies }
  const { digest } = members(
    await world.admin.post('/api/declaration/propose', { declaration: draft }),
  )
  await world.admin.post('/api/declaration/shadow', { digest })
  while (!(await readLog(world.gatewayDir)).all.some(isReady)) await sleep(100)
  // On a busy machine a call may be left out of the comparison.
  while (!(await readLog(world.gatewayDir)).all.some(isShadowed)) await refusal(post(90_000))
  await world.admin.post('/api/quarantine', { subject: clerk.instance, reason: 'to be recorded' })
  await world.gateway.stop()

  const { all, ok, statement } = await readLog(world.gatewayDir)
  assert.ok(ok, statement)
  const seen = new Set<string>()
  for (const record of all) {
    const about = aboutOf(record)
    const members = PINNED[about]
    assert.ok(members, `${about} is not pinned: ${sorted(Object.keys(record))}`)
    assert.equal(sorted(Object.keys(record)), sorted(members.split(' ')), about)
    seen.add(about)
    assert.equal(record.v, 1)
    if (record.kind === 'decision') {
      assert.equal(sorted(Object.keys(record.peer)), 'serial', about)
      assert.equal(sorted(Object.keys(record.revision)), 'epoch n')
      assert.equal(sorted(Object.keys(record.input ?? {})), 'ct iv k')
      const { shadow, trace } = record
      if (trace) assert.equal(sorted(Object.keys(trace)), 'parentId traceId')
      if (shadow) assert.equal(sorted(Object.keys(shadow)), 'code decision digest needs')
    }
  }
  assert.equal(sorted(seen), sorted(Object.keys(PINNED)))
})
