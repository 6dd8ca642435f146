import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import * as wasm from '@cedar-policy/cedar-wasm/nodejs'
import { closeCedar, EntityStore, loadPolicySet, prepareContext } from '../src/index.ts'
import type { Request } from '../src/index.ts'
import { liftIntegers, restoreInteger } from '../src/est.ts'
import type { ExprEst } from '../src/est.ts'
import { tokenise } from '../src/lex.ts'
import { renderExpr } from '../src/render.ts'
import { EXPRESSION_ENTITIES, EXPRESSION_REQUEST, EXPRESSIONS as TABLE } from './expressions.ts'
import { generateTrial } from './generate.ts'

after(closeCedar)

const policy = (expression: string): string =>
  `permit(principal, action, resource) when { ${expression} };`

const REQUEST: Request = {
  principal: { type: 'U', id: 'a' },
  action: { type: 'Action', id: 'a' },
  resource: { type: 'U', id: 'missing' },
  context: { a: { b: { c: 1 } }, s: 'text', n: 5, l: [1, 'a'], none: {} },
}
const ENTITIES = [
  {
    uid: { type: 'U', id: 'a' },
    attrs: { r: { n: 1 } },
    parents: [{ type: 'G', id: 'g' }],
    tags: { t: 1 },
  },
  { uid: { type: 'G', id: 'g' }, attrs: {}, parents: [{ type: 'G', id: 'top' }] },
]

const ADDRESSES = [
  '1.2.3.4',
  '1.2.3.4/32',
  '1.2.3.4/33',
  '1.2.3.4/08',
  '1.2.3.4/',
  '1.2.3',
  '1.2.3.4.5',
  '01.2.3.4',
  '256.1.1.1',
  ' 1.2.3.4',
  '1.2.3.4/+8',
  '1.2.3.4/1/2',
  '1.2.3.4/0',
  '1.2.3.4/00',
  '',
  '/',
  '::',
  '::1',
  '::/0',
  '::1/128',
  '::1/129',
  '::1%1',
  '::/00',
  '::ABCD',
  '1::2::3',
  ':::',
  ':1',
  '1:',
  '12345::',
  '::ffff:1.2.3.4',
  '1:2:3:4:5:6:7::',
  '1:2:3:4:5:6:7::8',
  '1:2:3:4:5:6:7:8',
  '1:2:3:4:5:6:7',
  '::2:3:4:5:6:7:8',
  '1:2:3:4:5:6:7:8:9',
]
const RANGES = [
  '10.0.0.0/8',
  '10.1.0.0/16',
  '10.1.2.3',
  '0.0.0.0/0',
  '127.0.0.0/7',
  '127.0.0.0/9',
  '224.0.0.0/3',
  '224.0.0.0/4',
  '239.1.1.1',
  '::1',
  '::/127',
  '::/0',
  'ff00::/8',
  'ff00::/7',
  '2001:db8::/32',
]
const DECIMALS = [
  '1.0',
  '1',
  '-0.5',
  '-0.0',
  '+1.0',
  '1.',
  '.1',
  '1.12345',
  '001.10',
  '1.1000',
  '1e5',
  ' 1.0',
  '922337203685477.5807',
  '922337203685477.5808',
  '-922337203685477.5808',
  '-922337203685477.5809',
  '1.-1',
  `${'0'.repeat(90)}1.0`,
]
const DATETIMES = [
  '2024-01-01',
  '2024-1-1',
  '2024-02-29',
  '2023-02-29',
  '2024-02-30',
  '2024-13-01',
  '2024-00-01',
  '0000-01-01',
  '9999-12-31T23:59:59.999-2359',
  '2024-02-20T23:59:60Z',
  '2024-02-20T24:00:00Z',
  '2024-02-20T23:59:50+2400',
  '2024-02-20T23:59:50+2360',
  '2024-02-20T23:59:50',
  '2024-02-20T23:59:50.1Z',
  '2024-02-20T23:59:50.123+0130',
  '2024-02-20T23:59:50.123Z',
  '2024-02-20 23:59:50Z',
  '2024-02-20T23:59Z',
  '',
  '1900-02-29',
  '2000-02-29',
]
const DURATIONS = [
  '1d',
  '-1d',
  '1d2h3m4s5ms',
  '5ms4s',
  '1ms1d',
  '',
  '-',
  '--1d',
  '+1d',
  '1',
  '1w',
  '1.5h',
  '0ms',
  '-0ms',
  '9223372036854775807ms',
  '9223372036854775808ms',
  '-9223372036854775808ms',
  '-9223372036854775809ms',
  '-1d9223372036854775807ms',
  '106751991167d',
  '106751991168d',
  `${'0'.repeat(90)}1d`,
  '1m',
  '1ms',
  '1m1ms',
  '1s1m',
]

/** Expressions whose answer, allow or error we hold to be cedar-wasm's. */
const EXPRESSIONS: readonly string[] = [
  ...ADDRESSES.map((a) => `ip("${a}") == ip("1.2.3.4/32")`),
  ...RANGES.flatMap((a) => RANGES.map((b) => `ip("${a}").isInRange(ip("${b}"))`)),
  ...RANGES.flatMap((a) => [
    `ip("${a}").isLoopback()`,
    `ip("${a}").isMulticast()`,
    `ip("${a}").isIpv6()`,
  ]),
  ...DECIMALS.flatMap((d) => [
    `decimal("${d}") == decimal("1.1")`,
    `decimal("${d}").lessThan(decimal("0.0"))`,
  ]),
  ...DATETIMES.flatMap((t) => [
    `datetime("${t}") < datetime("2024-02-20T22:30:00Z")`,
    `datetime("${t}").toDate() == datetime("2024-02-20")`,
    `datetime("${t}").toTime() < duration("12h")`,
  ]),
  ...DURATIONS.flatMap((d) => [
    `duration("${d}") > duration("1h")`,
    ...['Days', 'Hours', 'Minutes', 'Seconds', 'Milliseconds'].map(
      (u) => `duration("${d}").to${u}() == 0`,
    ),
    `datetime("1970-01-01").offset(duration("${d}")).toDate() < datetime("1970-01-01")`,
    `datetime("1970-01-01").offset(duration("${d}")).toTime() == duration("0ms")`,
    `datetime("1969-12-31").offset(duration("${d}")) < datetime("1970-01-01")`,
  ]),
  '9223372036854775807 + 1 == 1',
  '-9223372036854775808 - 1 == 1',
  '-(-9223372036854775808) == 1',
  '9223372036854775807 - 1 == 9223372036854775806',
  '9007199254740993 == 9007199254740992',
  '9007199254740992 + 1 == 9007199254740993',
  '3037000500 * 3037000500 == 1',
  '3037000499 * 3037000499 > 0',
  '4611686018427387904 * -2 == -9223372036854775808',
  '0 * -5 == 0',
  '[0].contains(0 * -5)',
  '-9007199254740993 < -9007199254740992',
  '9007199254740991 == 9007199254740991',
  '[9007199254740993].contains(9007199254740992 + 1)',
  'true && 5',
  'false && 5',
  'true || 5',
  'false || 5',
  '5 && true',
  '!5',
  '1',
  '-true',
  'if 1 then true else false',
  'if true then true else 1',
  'if false then 1 else true',
  '1 in 2',
  'principal in 1',
  'principal in [1]',
  'principal in [principal, 1]',
  'principal in []',
  'principal in G::"top"',
  'principal in [G::"x", G::"g"]',
  'resource in resource',
  'resource in G::"top"',
  'G::"g" in G::"top"',
  '5 has x',
  'principal has r',
  'principal has r.n',
  'principal has r.n.x',
  'principal has x.y',
  'resource has x',
  'context has a.b.c',
  'context has a.b.c.d',
  'context has s.x',
  'context.none has x',
  'principal.x == 1',
  'resource.x == 1',
  'context.x == 1',
  'context.s.x == 1',
  'principal.r.n == 1',
  'principal.hasTag("t")',
  'principal.hasTag("x")',
  'resource.hasTag("t")',
  'resource.hasTag(1)',
  'principal.hasTag(1)',
  'principal.getTag("t") == 1',
  'principal.getTag("x") == 1',
  'resource.getTag("t") == 1',
  '5.hasTag("a")',
  '5 is U',
  'principal is U',
  'principal is G',
  'principal is U in G::"top"',
  'principal is U in 5',
  'principal is G in 5',
  '"a" < 1',
  '1 < "a"',
  '1 < datetime("2024-01-01")',
  'datetime("2024-01-01") < duration("1d")',
  'decimal("1.0") < decimal("2.0")',
  'datetime("2024-01-01") + duration("1d") == 1',
  '1 == true',
  '"1" == 1',
  '[1, 2, 1] == [2, 1]',
  '[[1]] == [[1, 1]]',
  '{a: 1} == {a: 1}',
  '{a: 1, b: 2} == {b: 2, a: 1}',
  '{a: 1} == {b: 1}',
  '{a: 1}.b == 1',
  '{a: 1 + "x"}.b == 1',
  '[1, "a", true, ip("1.1.1.1")].contains(ip("1.1.1.1/32"))',
  '[1].containsAll([])',
  '[].containsAny([])',
  '[1, 2].containsAll([2, 2])',
  '[1].containsAll(1)',
  '1.contains(1)',
  '[].isEmpty()',
  '1.isEmpty()',
  '["1"].contains(1)',
  '["true"].contains(true)',
  '[{a: [1]}].contains({a: [1, 1]})',
  'context.l.containsAny(["a"])',
  '"a" like "*"',
  '"" like "*"',
  '"" like ""',
  '5 like "*"',
  '"aXbXc" like "a*b*c"',
  '"ab" like "a*b*b"',
  '"a*b" like "a\\*b"',
  '"axb" like "a\\*b"',
  '"😀" like "*😀*"',
  '"aa" like "a*a"',
  '"a" like "a*a"',
  '"abab" like "*ab"',
  'context.s like "t*t"',
  'ip() == 1',
  'ip("1.1.1.1", "2") == 1',
  'ip(1) == 1',
  '1.isIpv4()',
  'false && ip("x") == 1',
  'true || ip("x") == 1',
  'principal == principal',
  'principal == U::"a"',
  'principal != resource',
  'action in Action::"a"',
  'context == context',
  'context.a.b == {c: 1}',
]

/** What `context.big` holds, which the oracle cannot be handed as data. */
const BIG = '(if context.yes then 9007199254740993 else 0)'

describe('semantics', () => {
  const store = EntityStore.from(ENTITIES)
  it(`gives cedar-wasm's answer to each of ${EXPRESSIONS.length} expressions`, async () => {
    const tally = { allow: 0, deny: 0, error: 0 }
    const set = await loadPolicySet({
      policies: EXPRESSIONS.map((expression, i) => ({ id: `e${i}`, source: policy(expression) })),
    })
    const answer = set.decide(REQUEST, store)
    for (const [i, expression] of EXPRESSIONS.entries()) {
      const oracle = wasm.isAuthorized({
        // The same JSON forms under types of their own.
        ...(REQUEST as unknown as wasm.AuthorizationCall),
        policies: { staticPolicies: policy(expression) },
        entities: ENTITIES,
      })
      assert.ok(oracle.type === 'success', expression)
      const theirs =
        oracle.response.diagnostics.errors.length > 0 ? 'error' : oracle.response.decision
      const ours = answer.reasons.includes(`e${i}`)
        ? 'allow'
        : answer.errors.some(({ policyId }) => policyId === `e${i}`)
          ? 'error'
          : 'deny'
      assert.equal(ours, theirs, expression)
      tally[ours]++
    }
    assert.ok(Math.min(tally.allow, tally.deny, tally.error) > 50, JSON.stringify(tally))
  })

  it(`holds the table of ${TABLE.length} expressions to cedar-wasm`, () => {
    for (const [expression, comes] of TABLE) {
      const oracle = wasm.isAuthorized({
        // The same JSON forms under types of their own; the one large integer needs its own way through JSON.
        ...(EXPRESSION_REQUEST as unknown as wasm.AuthorizationCall),
        context: { ...EXPRESSION_REQUEST.context, big: 0 },
        policies: { staticPolicies: policy(expression.replaceAll('context.big', BIG)) },
        entities: EXPRESSION_ENTITIES as unknown as wasm.Entities,
      })
      assert.ok(oracle.type === 'success', expression)
      const { decision, diagnostics } = oracle.response
      const theirs = diagnostics.errors.length > 0 ? 'error' : String(decision === 'allow')
      assert.equal(comes === 'true' || comes === 'false' ? comes : 'error', theirs, expression)
    }
  })

  it('decides alike with a prepared context', async () => {
    const set = await loadPolicySet({ policies: [{ id: 'p', source: policy('context.n == 5') }] })
    const context = prepareContext(REQUEST.context)
    assert.equal(set.decide({ ...REQUEST, context }, store).decision, 'allow')
  })

  it('takes bigints in data', async () => {
    const set = await loadPolicySet({
      policies: [{ id: 'p', source: policy('context.n == 9007199254740993') }],
    })
    assert.equal(
      set.decide({ ...REQUEST, context: { n: 9_007_199_254_740_993n } }, store).decision,
      'allow',
    )
    assert.equal(
      set.decide({ ...REQUEST, context: { n: 9_007_199_254_740_992n } }, store).decision,
      'deny',
    )
  })

  it('keeps annotations and effects by id', async () => {
    const source = `@owner("risk") @flag ${policy('true')}`
    const set = await loadPolicySet({ policies: [{ id: 'p', source }] })
    assert.deepEqual(set.annotations('p'), { owner: 'risk', flag: '' })
    assert.deepEqual(set.annotations('q'), {})
    assert.deepEqual([set.effect('p'), set.effect('q'), set.size], ['permit', undefined, 1])
  })
})

describe('explanations', () => {
  const store = EntityStore.from(ENTITIES)

  it('traces clause by clause and puts the nearest miss first', async () => {
    const set = await loadPolicySet({
      policies: [
        { id: 'far', source: 'permit(principal == U::"z", action == Action::"z", resource);' },
        {
          id: 'near',
          source: policy('context.n == 5 && context.n > 9007199254740993 && principal in G::"top"'),
        },
        { id: 'broken', source: policy('context.absent == 1') },
        {
          id: 'stop',
          source: 'forbid(principal, action, resource) unless { context.s == "other" };',
        },
      ],
    })
    const { decision, policies } = set.explain(REQUEST, store)
    assert.deepEqual(decision.reasons, ['stop'])
    assert.deepEqual(
      policies.map(({ policyId, outcome }) => [policyId, outcome]),
      [
        ['broken', 'error'],
        ['stop', 'satisfied'],
        ['near', 'unsatisfied'],
        ['far', 'unsatisfied'],
      ],
    )
    const near = policies.find(({ policyId }) => policyId === 'near')
    assert.deepEqual(near?.conditions, [
      { text: 'context.n == 5', result: 'true', values: { 'context.n': '5' } },
      { text: 'context.n > 9007199254740993', result: 'false', values: { 'context.n': '5' } },
      { text: 'principal in G::"top"', result: 'true', values: { principal: 'U::"a"' } },
    ])
    const stop = policies.find(({ policyId }) => policyId === 'stop')
    assert.equal(stop?.conditions[0]?.text, '!(context.s == "other")')
    const broken = policies.find(({ policyId }) => policyId === 'broken')
    assert.equal(broken?.conditions[0]?.result, 'error')
    assert.deepEqual(broken.conditions[0].values, { 'context.absent': 'absent' })
    const far = policies.find(({ policyId }) => policyId === 'far')
    assert.deepEqual(
      far?.scope.map(({ text, result }) => [text, result]),
      [
        ['principal == U::"z"', 'false'],
        ['action == Action::"z"', 'false'],
        ['resource', 'true'],
      ],
    )
  })

  it('renders clauses as Cedar that means the same', () => {
    let rendered = 0
    for (let seed = 1; seed <= 150; seed++) {
      for (const { source } of generateTrial(seed).input.policies) {
        const { bodies, integers } = conditions(source)
        for (const body of bodies) {
          const text = renderExpr(body, integers)
          const again = conditions(policy(text))
          assert.equal(plain(again.bodies[0], again.integers), plain(body, integers), text)
          rendered++
        }
      }
    }
    assert.ok(rendered > 300, `only ${rendered} conditions were rendered`)
  })
})

function conditions(source: string): { bodies: ExprEst[]; integers: ReadonlyMap<number, bigint> } {
  const lifted = liftIntegers(source, tokenise(source))
  const answer = wasm.policyToJson(lifted.source)
  assert.ok(answer.type === 'success', JSON.stringify(answer))
  return { bodies: answer.json.conditions.map(({ body }) => body), integers: lifted.integers }
}

/** An expression with its large integers as they were written. */
function plain(body: ExprEst | undefined, integers: ReadonlyMap<number, bigint>): string {
  return JSON.stringify(body, (_key, value: unknown) =>
    typeof value === 'number' ? `integer ${restoreInteger(value, integers)}` : value,
  )
}
