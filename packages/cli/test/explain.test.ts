import assert from 'node:assert/strict'
import test from 'node:test'
import { explainText } from '../src/explain.ts'

const policy = (policyId: string, outcome: string) => ({
  ...{ policyId, outcome, effect: 'permit', conditions: [] },
  scope: [{ text: 'principal', result: 'true', values: {} }],
})

test('of the permits that a call missed the nearest are shown, and whatever took part', () => {
  const record = { id: 'dec_1', at: 0, decision: 'needs', code: 'SP_NEEDS_APPROVAL' }
  const missed = Array.from({ length: 9 }, (_, i) => policy(`missed-${i}`, 'unsatisfied'))
  const policies = [...missed, policy('failed', 'error'), policy('held', 'satisfied')]
  const text = explainText({
    record,
    outcome: { result: 'upstream-error', status: 502, durationMs: 7 },
    explanation: { cedar: { policies }, remedies: ['obtain an approval'] },
  })
  const named = [...text.matchAll(/^permit `(.*)`/gm)].map(([, id]) => id)
  assert.deepEqual(named, [...missed.slice(0, 5).map(({ policyId }) => policyId), 'failed', 'held'])
  assert.match(text, /^and 4 that are further off: --json$/m)
  assert.match(text, /^ended {6}upstream-error, 502, after 7 ms$/m)
  assert.match(text, /- obtain an approval$/)
})
