import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { explainPolicies } from '../src/explain.ts'
import type { CedarDecision, ClauseTrace, PolicyTrace, Request } from '../src/index.ts'
import { compilePolicy } from '../src/policy.ts'
import { Pool } from '../src/pool.ts'
import { envOf } from './env.ts'
import { parseSource } from './parse.ts'

const REQUEST: Request = {
  principal: { type: 'U', id: 'a' },
  action: { type: 'Action', id: 'read' },
  resource: { type: 'Doc', id: 'd' },
  context: { n: 5, s: 'text', r: { x: 1 }, big: 9_007_199_254_740_993n },
}
const ENTITIES = [
  {
    uid: REQUEST.principal,
    attrs: { n: 1, boss: { __entity: { type: 'U', id: 'b' } } },
    parents: [{ type: 'G', id: 'g' }],
    tags: { t: 7 },
  },
  { uid: { type: 'U', id: 'b' }, attrs: { n: 2 }, parents: [] },
]
const DENY: CedarDecision = { decision: 'deny', reasons: [], errors: [] }

function explain(
  sources: readonly string[],
  decision: CedarDecision = DENY,
): readonly PolicyTrace[] {
  const pool = new Pool()
  const policies = sources.map((source, i) => {
    const { est, integers } = parseSource(source)
    return compilePolicy({ id: `p${i}`, json: JSON.stringify(est), integers }, i, pool)
  })
  const explained = explainPolicies(policies, decision, envOf(REQUEST, ENTITIES))
  assert.equal(explained.decision, decision)
  return explained.policies
}
const when = (body: string): string => `permit(principal, action, resource) when { ${body} };`
const conditions = (body: string): readonly ClauseTrace[] =>
  explain([when(body)])[0]?.conditions ?? []
const brief = (traces: readonly PolicyTrace[]) =>
  traces.map(({ policyId, outcome }) => `${policyId} ${outcome}`)

describe('a trace', () => {
  const scopes: [scope: string, texts: string[], results: string][] = [
    ['principal, action, resource', ['principal', 'action', 'resource'], 'true true true'],
    [
      'principal == U::"a", action == Action::"write", resource == Doc::"e"',
      ['principal == U::"a"', 'action == Action::"write"', 'resource == Doc::"e"'],
      'true false false',
    ],
    [
      'principal in G::"g", action in Action::"read", resource in G::"g"',
      ['principal in G::"g"', 'action in Action::"read"', 'resource in G::"g"'],
      'true true false',
    ],
    [
      'principal is U, action in [Action::"x", Action::"read"], resource is X',
      ['principal is U', 'action in [Action::"x", Action::"read"]', 'resource is X'],
      'true true false',
    ],
    [
      'principal is U in G::"g", action in [Action::"x"], resource is Doc in G::"g"',
      ['principal is U in G::"g"', 'action in Action::"x"', 'resource is Doc in G::"g"'],
      'true false false',
    ],
    [
      'principal, action in [], resource',
      ['principal', 'action in []', 'resource'],
      'true false true',
    ],
  ]
  for (const [scope, texts, results] of scopes) {
    it(`tells of the scope (${scope})`, () => {
      const [trace] = explain([`permit(${scope});`])
      assert.deepEqual(
        trace?.scope.map(({ text }) => text),
        texts,
      )
      assert.equal(trace.scope.map(({ result }) => result).join(' '), results)
      assert.deepEqual(
        trace.scope.map(({ values }) => values),
        [{ principal: 'U::"a"' }, { action: 'Action::"read"' }, { resource: 'Doc::"d"' }],
      )
      assert.equal(trace.outcome, results === 'true true true' ? 'satisfied' : 'unsatisfied')
    })
  }

  it('tells of each clause what it came to and what it read', () => {
    assert.deepEqual(conditions('context.n == 5 && (context.r.x > 1 && context.s.y == 1)'), [
      { text: 'context.n == 5', result: 'true', values: { 'context.n': '5' } },
      { text: 'context.r.x > 1', result: 'false', values: { 'context.r.x': '1' } },
      {
        text: 'context.s.y == 1',
        result: 'error',
        values: { 'context.s.y': 'absent' },
        error: 'type error: expected record or entity, got string',
      },
    ])
  })

  const reads: [clause: string, values: Record<string, string>][] = [
    ['true', {}],
    ['principal == resource', { principal: 'U::"a"', resource: 'Doc::"d"' }],
    ['context == {}', {}],
    ['principal.boss.n == 2', { 'principal.boss.n': '2' }],
    ['principal.getTag("t") == 7', { 'principal.getTag("t")': '7' }],
    ['principal.boss.getTag("t") == 7', { 'principal.boss.getTag("t")': 'absent' }],
    ['principal.hasTag(context.s)', { principal: 'U::"a"', 'context.s': '"text"' }],
    ['context.n + context.n == 10', { 'context.n': '5' }],
    ['[context.n, 5].contains(context.r.x)', { 'context.n': '5', 'context.r.x': '1' }],
    [
      'if context.n == 5 then principal.n == 1 else false',
      { 'context.n': '5', 'principal.n': '1' },
    ],
    ['{a: context.n}.a == 5', { 'context.n': '5' }],
    ['U::"b".n == 2', {}],
    ['context has n', {}],
    ['principal has n', { principal: 'U::"a"' }],
    ['context.n == 9007199254740993', { 'context.n': '5' }],
    ['context.big == 9007199254740993', { 'context.big': '9007199254740993' }],
    ['action == Action::"read"', { action: 'Action::"read"' }],
  ]
  for (const [clause, values] of reads) {
    it(`of \`${clause}\` names what it read`, () => {
      assert.deepEqual(conditions(clause)[0]?.values, values)
    })
  }

  it('takes an `unless` whole and negates it', () => {
    const [trace] = explain([
      'permit(principal, action, resource) unless { context.n == 5 && context.s == "x" } unless { context.n == 5 };',
    ])
    assert.deepEqual(trace?.conditions, [
      {
        text: '!(context.n == 5 && context.s == "x")',
        result: 'true',
        values: { 'context.n': '5', 'context.s': '"text"' },
      },
      { text: '!(context.n == 5)', result: 'false', values: { 'context.n': '5' } },
    ])
  })

  it('carries effect and annotations', () => {
    const [trace] = explain(['@owner("risk") forbid(principal, action, resource);'], {
      ...DENY,
      reasons: ['p0'],
    })
    assert.deepEqual(
      [trace?.effect, trace?.annotations, trace?.outcome, trace?.conditions],
      ['forbid', { owner: 'risk' }, 'satisfied', []],
    )
  })
})

describe('which policies an explanation tells of', () => {
  const [yes, no, worse, forbid] = [
    when('true'),
    when('false'),
    when('false && context.n == 6'),
    'forbid(principal, action, resource);',
  ]

  it('those that determined or failed first, in order, then the permits that missed, nearest first', () => {
    const decision: CedarDecision = {
      decision: 'deny',
      reasons: ['p3'],
      errors: [{ policyId: 'p1', message: 'broken' }],
    }
    assert.deepEqual(brief(explain([worse, when('1 == context.q'), no, forbid, yes], decision)), [
      'p1 error',
      'p3 satisfied',
      'p4 satisfied',
      'p2 unsatisfied',
      'p0 unsatisfied',
    ])
  })

  it('of an allow, no misses; of a deny, no forbid that missed', () => {
    const allow: CedarDecision = { decision: 'allow', reasons: ['p0'], errors: [] }
    assert.deepEqual(brief(explain([yes, no], allow)), ['p0 satisfied'])
    const missed = 'forbid(principal, action, resource) when { false };'
    assert.deepEqual(brief(explain([missed, no])), ['p1 unsatisfied'])
  })

  it('counts failing scopes and failing conditions alike, errors too', () => {
    const far = 'permit(principal == U::"z", action == Action::"z", resource);'
    assert.deepEqual(brief(explain([far, when('context.q == 1')])), [
      'p1 unsatisfied',
      'p0 unsatisfied',
    ])
  })

  it('25 misses at most', () => {
    assert.equal(explain(Array(30).fill(no) as string[]).length, 25)
    const decision = { ...DENY, reasons: ['p30'] }
    const traces = explain([...(Array(30).fill(no) as string[]), forbid], decision)
    assert.equal(traces.length, 26)
    assert.equal(traces[0]?.policyId, 'p30')
  })
})
