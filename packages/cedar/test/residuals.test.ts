import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { closeCedar, EntityStore, loadPolicySet, renderAst } from '../src/index.ts'
import type { CedarType } from '../src/index.ts'
import { PartialEvaluator } from '../src/partial/evaluate.ts'
import { residualOf } from '../src/partial/residual.ts'
import type { PartialRequest } from '../src/partial/types.ts'

after(closeCedar)

const attributes = (
  of: Readonly<Record<string, readonly [type: CedarType, required: boolean]>>,
): Map<string, { type: CedarType; required: boolean }> =>
  new Map(Object.entries(of).map(([name, [type, required]]) => [name, { type, required }]))

const bool: CedarType = { kind: 'bool' }
const long: CedarType = { kind: 'long' }
const string: CedarType = { kind: 'string' }
const record: CedarType = {
  kind: 'record',
  attributes: attributes({ a: [bool, true], b: [bool, false] }),
}

/** Of the principal some is known, of the resource its type, of the context two members and the types of the others. */
const REQUEST: PartialRequest = {
  principal: {
    unknown: true,
    type: 'U',
    ancestors: [{ type: 'G', id: 'g' }],
    attributes: { n: 1, s: 'x', r: { a: 1 } },
  },
  action: { type: 'Action', id: 'a' },
  resource: { unknown: true, type: 'R' },
  context: {
    known: { k: 5, t: 'ab' },
    unknown: {
      kind: 'record',
      attributes: attributes({
        k: [long, true],
        t: [string, true],
        must: [bool, true],
        may: [bool, false],
        num: [long, true],
        maybe: [long, false],
        list: [{ kind: 'set', element: long }, true],
        txt: [string, true],
        rec: [record, true],
        ent: [{ kind: 'entity', type: 'U' }, true],
      }),
    },
  },
}

async function left(condition: string): Promise<string> {
  const source = `permit(principal, action, resource) when { ${condition} };`
  const set = await loadPolicySet({ policies: [{ id: 'p', source }] })
  const [policy] = set.policies()
  assert.ok(policy)
  const residual = residualOf(policy, new PartialEvaluator(REQUEST, EntityStore.from([])))
  return residual.condition ? renderAst(residual.condition) : residual.outcome
}

/** Whatever the rest is, these hold. */
const SATISFIED: readonly string[] = [
  '-context.k == -5',
  '[].isEmpty()',
  'context.t like "a*"',
  'principal is U',
  'principal is U in G::"g"',
  'context.ent is U',
  '[context.k, 1].contains(5)',
  'ip("127.0.0.1").isLoopback()',
  'context.num < 3 || true',
  'context.num <= 3 || true',
  'context.num > 3 || true',
  'context.num >= 3 || true',
  '3 < context.num || true',
  'context.k + 1 == 6',
  'context.list.contains(1) || true',
  'context.list.containsAll([1]) || true',
  'context.list.containsAny([1]) || true',
  '[1].containsAll(context.list) || true',
  'context.num == 1 || true',
  'context.num != 1 || true',
  'true || context.maybe == 1',
  '(context.must && context.rec.a) || true',
  '(context.must || context.rec.a) || true',
  'context.rec.a || true',
  'principal.n == 1',
  'principal.r.a == 1',
  'principal has n',
  'principal has r.a',
  'resource has n || true',
  'context has must',
  'context has may || true',
  'context has k',
  'context.rec has a',
  'principal != R::"x"',
  'R::"x" != principal',
  'action == Action::"a"',
  'principal in G::"g"',
  'principal in [G::"h", G::"g"]',
  'action in Action::"a"',
]

/** … do not hold. */
const UNSATISFIED: readonly string[] = [
  'principal is R',
  'principal is U in G::"h"',
  'principal is R in G::"g"',
  'action is Action in Action::"b"',
  'action is U in Action::"b"',
  'context.ent is R',
  'context.num == 1 && false',
  'false && context.maybe == 1',
  'false && 1',
  'principal.s == "y"',
  'principal has r.b',
  'context has absent',
  'principal == R::"x"',
  'R::"x" == principal',
  'principal == 1',
  'context.ent == R::"x"',
  'action == Action::"b"',
  'principal in G::"h"',
  'principal in [G::"h"]',
  'principal in []',
  'principal in R::"x"',
  'action in [Action::"b"]',
  'action.hasTag("a")',
]

/** … fail. */
const FAILING: readonly string[] = [
  'context.k is U',
  '1 is U in G::"g"',
  '[context.num, "a" + 1].contains(1)',
  '1 && context.must',
  '"x" || context.must',
  'if 1 then true else false',
  'if context.absent then true else true',
  'context.rec.c',
  'context.absent == 1',
  'principal.r.b == 1',
  'principal.n.a == 1',
  'context.t.a == 1',
  'context.absent in G::"g"',
  'principal in context.absent',
  'context.absent && context.must',
  'context.absent || true',
  '[context.absent].contains(1)',
  '{a: context.absent} == {a: 1}',
  'context.absent like "a"',
  'context.absent is U',
  'context.absent is U in G::"g"',
  '-context.absent == 1',
  '!context.absent',
  'context.absent has a',
  'context.num == context.absent',
]

/** Depend on all that they read, or may fail by it: nothing is concluded. */
const LEFT: readonly string[] = [
  '!context.must',
  '!context.num',
  '-context.num == 1',
  'context.list.isEmpty()',
  'context.txt like "a*"',
  'context.num like "a*"',
  'context.txt is U',
  '[context.num, 1].contains(1)',
  'ip(context.txt).isLoopback()',
  'decimal(context.txt).lessThan(decimal("1.0"))',
  'context.maybe < 3 || true',
  'context.num < context.txt || true',
  '"a" < context.num || true',
  'context.num + 1 > 3 || true',
  'context.num - 1 > 3',
  'context.num * 2 > 3',
  'context.txt.contains(1) || true',
  'context.list.containsAny(context.txt) || true',
  '[1].containsAny(context.txt) || true',
  'context.maybe == 1 || true',
  'context.maybe == 1 && false',
  'context.num && true',
  'context.must && 1',
  'context.must || 1',
  'context.must && context.may',
  'true && context.num',
  'if context.must then true else false',
  'if context.must then context.rec.a else context.must',
  'if context.must then context.absent else true',
  '(if context.must then context.num else 1) == 1',
  'context.rec.a',
  'context.rec.b',
  'context.rec.b || true',
  'principal.q == 1',
  'context.ent.n == 1',
  'principal has q',
  'resource has n',
  'context has may',
  'context has rec.a',
  'context has rec.b',
  'context has rec.b || true',
  'context has rec.c',
  'context.rec has b',
  'context.ent has n',
  'context.maybe has n',
  'context.txt has n',
  'principal == U::"x"',
  'principal != U::"x"',
  'U::"x" == principal',
  'principal == resource',
  'principal == context.ent',
  'context.ent == U::"x"',
  'principal in U::"x"',
  'principal in 1',
  'resource in G::"g"',
  'context.ent in G::"g"',
  'principal in context.ent',
  'principal.hasTag("a")',
  'resource.hasTag("a") || true',
  'resource.getTag("a") == 1',
  'context.must && context.absent',
  'context.must || context.absent',
]

/** What is left of an expression where some of it is settled. */
const SMALLER: readonly (readonly [whole: string, residual: string])[] = [
  ['!!context.must', 'context.must'],
  ['!!context.may', 'context.may'],
  ['!(!context.num)', '!!context.num'],
  ['!true || context.must', 'context.must'],
  ['-context.num == -context.k', '-context.num == -5'],
  ['resource is R in G::"g"', 'resource in G::"g"'],
  ['context.ent is U in G::"g"', 'context.ent in G::"g"'],
  ['{a: context.must}.a', 'true && {"a": context.must}.a'],
  [
    '{a: context.k, b: context.num} == {a: 5, b: 1}',
    '{"a": 5, "b": context.num} == {"a": 5, "b": 1}',
  ],
  ['ip(context.txt) == ip("::1")', 'ip(context.txt) == ip("0:0:0:0:0:0:0:1")'],
  ['context.k + context.num == 6', '5 + context.num == 6'],
  ['context.must && true', 'context.must'],
  ['(context.must && context.may) || true', 'context.must && context.may || true'],
  ['context.must || false', 'context.must'],
  ['context.may || false', 'context.may'],
  ['false || context.may', 'context.may'],
  ['true && context.may', 'context.may'],
  ['if context.must then 1 else 2', 'true && (if context.must then 1 else 2)'],
  ['if context.num then true else false', 'if true && context.num then true else false'],
  ['if true then context.must else 1', 'context.must'],
  ['if false then 1 else context.may', 'context.may'],
  [
    '(if context.must then context.rec.a else false) && true',
    'if context.must then context.rec.a else false',
  ],
  ['resource.n', 'true && resource.n'],
  ['principal in [G::"g", 1]', 'principal in [1, G::"g"]'],
]

describe('residuals, expression by expression', () => {
  const rows = [
    ...SATISFIED.map((text) => [text, 'satisfied'] as const),
    ...UNSATISFIED.map((text) => [text, 'unsatisfied'] as const),
    ...FAILING.map((text) => [text, 'error'] as const),
    ...LEFT.map((text) => [text, text] as const),
    ...SMALLER,
  ]
  for (const [whole, residual] of rows) {
    it(whole, async () => assert.equal(await left(whole), residual))
  }
})
