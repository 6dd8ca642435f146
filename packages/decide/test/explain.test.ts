import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { CedarExplanation, ClauseTrace, PolicyTrace } from '@sallyport/cedar'
import { explainOutcome } from '../src/explain.ts'
import type { DecisionCode, Outcome } from '../src/index.ts'
import { call } from './fixture.ts'

const outcome = (code: DecisionCode, over: Partial<Outcome> = {}): Outcome => ({
  decision: 'deny',
  code,
  reasons: [],
  errors: [],
  needs: [],
  projection: {},
  limits: [],
  labels: [],
  maxClass: 'public',
  ...over,
})
const clause = (
  text: string,
  result: ClauseTrace['result'],
  over: Partial<ClauseTrace> = {},
): ClauseTrace => ({ text, result, values: {}, ...over })
const trace = (policyId: string, over: Partial<PolicyTrace> = {}): PolicyTrace => ({
  policyId,
  effect: 'permit',
  outcome: 'unsatisfied',
  scope: [clause('principal', 'true'), clause('action', 'true'), clause('resource', 'true')],
  conditions: [clause('context.n == 1', 'false', { values: { 'context.n': '2' } })],
  annotations: {},
  ...over,
})
const explain = (of: Outcome, ...policies: PolicyTrace[]) => {
  const cedar: CedarExplanation = {
    decision: { decision: 'deny', reasons: of.reasons, errors: of.errors },
    policies,
  }
  const said = explainOutcome(call(), of, cedar)
  assert.equal(said.outcome, of)
  assert.equal(said.cedar, cedar)
  return [said.summary, said.remedies]
}
const CALL = '`analyst` calling `core.list`'

describe('why, in words', () => {
  it('an allow names its permits and needs no remedy', () => {
    assert.deepEqual(explain(outcome('SP_ALLOWED', { reasons: ['a', 'b'] })), [
      `${CALL} is permitted by \`a\`, \`b\``,
      [],
    ])
  })

  it('no flow says which to declare', () => {
    assert.deepEqual(explain(outcome('SP_NO_FLOW')), [
      `${CALL} is denied: the network declares no flow for it`,
      ['declare a flow from `analyst` to `core` with operation `list` in network.yaml'],
    ])
  })

  it('a forbid says under what it would not, and of no other policy', () => {
    const met = trace('stop', {
      effect: 'forbid',
      outcome: 'satisfied',
      conditions: [
        clause('context.risk >= 70', 'true', { values: { 'context.risk': '80' } }),
        clause('true', 'true'),
      ],
    })
    const always = trace('never', { effect: 'forbid', outcome: 'satisfied', conditions: [] })
    const of = outcome('SP_DENIED_FORBIDDEN', { reasons: ['stop', 'never'] })
    assert.deepEqual(explain(of, met, trace('other'), always), [
      `${CALL} is denied: forbidden by \`stop\`, \`never\``,
      [
        'policy `stop` stops forbidding when one of these no longer holds: context.risk >= 70 (context.risk is 80); true',
        'policy `never` forbids every such call: narrow its scope, or do not make the call',
      ],
    ])
  })

  it('not permitted names the clauses that failed, of the three nearest permits', () => {
    const near = trace('near', {
      conditions: [
        clause('context.ok', 'true'),
        clause('context.n == 1 && context.m', 'false', {
          values: { 'context.n': '2', 'context.m': 'true' },
        }),
        clause('context.x > 1', 'error', { values: { 'context.x': 'absent' }, error: 'no `x`' }),
        clause('1 > 2', 'false'),
        clause('1 > true', 'error', { error: 'type error' }),
      ],
    })
    const [summary, remedies] = explain(
      outcome('SP_DENIED_NOT_PERMITTED'),
      near,
      trace('second'),
      trace('third'),
      trace('fourth'),
    )
    assert.equal(summary, `${CALL} is denied: no policy permits it`)
    assert.deepEqual(remedies, [
      'policy `near` would permit it if: context.n == 1 && context.m (context.n is 2, context.m is true); ' +
        'context.x > 1 (context.x is absent, no `x`); 1 > 2; 1 > true (type error)',
      'policy `second` would permit it if: context.n == 1 (context.n is 2)',
      'policy `third` would permit it if: context.n == 1 (context.n is 2)',
    ])
  })

  const far: [string, Partial<PolicyTrace>][] = [
    ['of another scope', { scope: [clause('action', 'true'), clause('principal', 'false')] }],
    ['that forbids', { effect: 'forbid' }],
    ['that holds', { outcome: 'satisfied' }],
    ['that failed', { outcome: 'error' }],
  ]
  for (const [name, over] of far) {
    it(`a policy ${name} is no near miss`, () => {
      const [, remedies] = explain(outcome('SP_DENIED_NOT_PERMITTED'), trace('far', over))
      assert.deepEqual(remedies, [
        'no permit covers `analyst` and `core.list`: add one if the call is meant to be made',
      ])
    })
  }

  it('an answer of bytes that may not leave whole is said to be that', () => {
    assert.deepEqual(explain(outcome('SP_DENIED_PARTIAL', { reasons: ['p'] })), [
      `${CALL} is denied: its answer is bytes, and policies do not let all of it leave whole`,
      [
        'permit `field.read` on the field that `core.list` returns, and oblige nobody to mask, tokenise or drop it',
      ],
    ])
  })

  it('an error names the policies that failed and what with', () => {
    const errors = [
      { policyId: 'p', message: 'overflow' },
      { policyId: '', message: 'odd' },
      { policyId: 'q', message: 'no `x`' },
    ]
    assert.deepEqual(explain(outcome('SP_DENIED_POLICY_ERROR', { errors })), [
      `${CALL} is denied: \`p\`, \`q\` could not be evaluated`,
      ['mend policy `p`: overflow', 'odd', 'mend policy `q`: no `x`'],
    ])
    const none = [{ policyId: '', message: 'SP_CEDAR_VALUE: null is not a Cedar value' }]
    assert.deepEqual(explain(outcome('SP_DENIED_POLICY_ERROR', { errors: none })), [
      `${CALL} is denied: the call could not be put to the policies`,
      ['SP_CEDAR_VALUE: null is not a Cedar value'],
    ])
  })

  it('a need says how many approvals, and what it would be without', () => {
    const of = (count: number, reasons: string[]) =>
      outcome('SP_NEEDS_APPROVAL', { needs: [{ kind: 'approval', count }], reasons })
    assert.deepEqual(explain(of(1, [])), [
      `${CALL} needs an approval: without it, it is not permitted`,
      ['obtain an approval of exactly this call'],
    ])
    assert.deepEqual(explain(of(2, ['stop'])), [
      `${CALL} needs 2 approvals by different operators: without it, it is forbidden by \`stop\``,
      ['obtain 2 approvals by different operators of exactly this call'],
    ])
  })
})
