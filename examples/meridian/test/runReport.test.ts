import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planDemo } from '../src/demo.ts'
import { RunReport } from '../src/runReport.ts'

const line = (event: string, facts: object = {}, who = 'x'): string =>
  JSON.stringify({ ...facts, event, who, at: 5 })

test('lines of a run add up', () => {
  const report = new RunReport([
    { typology: 'cycle', accounts: ['a', 'b', 'c', 'd'], transactions: [] },
    { typology: 'fan-in', accounts: ['e', 'f', 'g'], transactions: [] },
  ])
  for (const text of [
    line('ring', { accounts: ['a', 'b', 'c'] }),
    line('ring', { accounts: ['y', 'z'] }),
    line('hold-requested'),
    line('hold-requested'),
    line('hold-waiting'),
    line('hold-decided', { status: 'approved' }),
    line('hold-decided', { status: 'denied' }),
    line('hold-placed'),
    line('rotation'),
    line('failed-call'),
    line('failed-call', {}, 'pattern-analyst'),
    line('hijacked', {}, 'pattern-analyst'),
    line('failed-call', {}, 'pattern-analyst'),
    line('attempt', { attempt: 'dial', layer: 'mtls', refused: true }),
    line('attempt', { attempt: 'flood', layer: 'none', refused: false, records: 100 }),
  ]) {
    report.addLine(text)
  }
  const summary = report.summary()
  assert.deepEqual(summary.rings, { present: 2, found: 1, reported: 2 })
  assert.deepEqual(summary.holds, { requested: 2, waiting: 1, approved: 1, placed: 1 })
  assert.equal(summary.rotations, 1)
  assert.equal(summary.failedCalls, 2)
  assert.deepEqual(summary.attack, {
    name: 'poisoned-memo',
    attempts: 2,
    refused: 1,
    recordsExposed: 100,
    byLayer: { dial: { mtls: 1 }, flood: { none: 1 } },
    startedAt: 5,
    agent: 'pattern-analyst',
  })
})

test('a call that a limit put off is failed only where its time came and it was not made', () => {
  const now = Date.now()
  const of = (calls: readonly string[]): ReturnType<RunReport['summary']> => {
    const report = new RunReport([])
    for (const call of calls) report.addLine(call)
    report.close()
    return report.summary()
  }
  const putOff = (dueAt: number, call = 1, who = 'x'): string =>
    line('call-put-off', { call, dueAt }, who)
  const done = of([putOff(now - 60_000), putOff(now - 50_000), line('call-resumed', { call: 1 })])
  assert.equal(done.failedCalls, 0)
  assert.deepEqual(done.putOff, { calls: 1, resumed: 1, waiting: 0 })
  // Told to come back in an hour, and the run is over before.
  const waiting = of([putOff(now - 60_000), putOff(now + 3_600_000)])
  assert.equal(waiting.failedCalls, 0)
  assert.deepEqual(waiting.putOff, { calls: 1, resumed: 0, waiting: 1 })
  const overdue = of([putOff(now - 60_000), putOff(now - 60_000, 2, 'y'), putOff(now, 2)])
  assert.equal(overdue.failedCalls, 2)
  assert.deepEqual(overdue.putOff, { calls: 3, resumed: 0, waiting: 1 })
  const failed = of([putOff(now - 60_000), line('failed-call', { call: 1 })])
  assert.equal(failed.failedCalls, 1)
  assert.deepEqual(failed.putOff, { calls: 1, resumed: 0, waiting: 0 })
  // Another agent's call of the same number is another call.
  assert.equal(of([putOff(now - 60_000), line('call-resumed', { call: 1 }, 'y')]).failedCalls, 1)
  const hijacked = of([putOff(now - 60_000), line('hijacked'), putOff(now - 60_000, 2)])
  assert.equal(hijacked.failedCalls, 0)
})

test('what is overdue is named among what failed', () => {
  const report = new RunReport([])
  report.addLine(line('call-put-off', { call: 1, what: 'case-store.list_rings', dueAt: 5 }))
  assert.deepEqual([...report.failureCodes()], ['x case-store.list_rings overdue'])
})

test('what is no event is counted as malformed and changes nothing else', () => {
  const report = new RunReport([])
  const before = report.summary()
  for (const text of ['', 'hello', '[]', 'null', '{"a":1,"a":2}', 'x'.repeat(100_000)]) {
    report.addLine(text)
  }
  assert.equal(report.malformedLines, 6)
  assert.deepEqual(report.summary(), before)
})

test('the plan starts services before agents, gives secrets to the gateway and its truth to the report', () => {
  const plan = planDemo({ dataDir: '/tmp/x', attack: 'poisoned-memo' })
  assert.deepEqual(
    plan.processes.map((process) => process.kind),
    ['external', ...Array(4).fill('service'), ...Array(8).fill('agent')],
  )
  assert.equal(plan.rings.length, 8)
  const key = plan.secrets['watchlist-api-key'] ?? ''
  assert.ok(key.length >= 32)
  // No agent and no other service is given the key.
  const others = plan.processes.filter((process) => process.name !== 'watchlist')
  assert.ok(!JSON.stringify(others).includes(key))
  assert.deepEqual(
    planDemo({ dataDir: '/tmp/x', attack: 'none', transactionsFile: 'f.csv' }).rings,
    [],
  )
})
