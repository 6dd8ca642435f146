import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { renderExpr, renderUid, renderValue } from '../src/render.ts'
import {
  DatetimeValue,
  DecimalValue,
  DurationValue,
  EntityRef,
  IpValue,
  RecordValue,
  SetValue,
} from '../src/value.ts'
import type { Value } from '../src/value.ts'
import { parseSource } from './parse.ts'

const rendered = (expression: string): string => {
  const { est, integers } = parseSource(
    `permit(principal, action, resource) when { ${expression} };`,
  )
  const [condition] = est.conditions
  assert.ok(condition)
  return renderExpr(condition.body, integers)
}

describe('expressions as text', () => {
  // Already written as they are rendered: no parenthesis too many, none too few.
  const same = [
    'true',
    'principal == U::"a"',
    'action == N::M::Action::"a b"',
    'context.a.b["c d"].e == 1',
    'context[""] == 1',
    'context["9a"] == context._a9',
    'a::"x" in [a::"x", a::"y"]',
    '[] == [1, "a", true]',
    '{} == {"a": 1, "b c": {"d": []}}',
    '!true',
    '!!context.a',
    '!(context.a && context.b)',
    '!(context.a == 1)',
    'context.a && context.b && context.c',
    'context.a && (context.b && context.c)',
    'context.a || context.b || context.c',
    'context.a || (context.b || context.c)',
    'context.a || context.b && context.c',
    '(context.a || context.b) && context.c',
    'context.a && (context.b || context.c)',
    'context.a == 1 && context.b != 2',
    '(context.a == 1) == (context.b == 2)',
    '(context.a < 1) != context.b',
    '(context has a) == true',
    '(principal in U::"a") == (principal is U)',
    '((context.a == 1) == context.b) == context.c',
    'context.a < 1 || context.b <= 1 || context.c > 1 || context.d >= 1',
    'context.a + 1 + 2 == 3',
    'context.a + (1 + 2) == 3',
    'context.a - (1 - 2) == 3',
    'context.a * 2 + 3 * context.b == 4',
    '(context.a + 2) * 3 == 4',
    'context.a * (2 + 3) == 4',
    'context.a * (2 * 3) == 4',
    '-context.a == 1',
    '-(-1) == 1',
    '-(0) == 0',
    '-(5) == 5',
    '-5 == context.a',
    '-(context.a + 1) == 1',
    '-context.a * 2 == 1',
    'context.a - -5 == 1',
    '(-5).x == 1',
    '5.x == 1',
    '(-context.a).x == 1',
    '(context.a + 1).x == 1',
    '(if context.a then 1 else 2) == 1',
    'if context.a then context.b else context.c',
    'if context.a then if context.b then 1 else 2 else 3',
    '(if context.a then context.b else context.c) && context.d',
    '!(if context.a then context.b else context.c)',
    'context has a',
    'context has a.b.c',
    'context has "a b"',
    'context.x has a',
    'context.a + 1 has a',
    '(context.a == 1) has a',
    'context.s like "a*b"',
    'context.s like "a\\*b*"',
    'context.s like "\\"*"',
    '(context.a == 1) like "*"',
    'principal is U',
    'principal is N::U in G::"g"',
    'principal is U in context.a + 1',
    'principal is U in (context.a == 1)',
    '(context.a == 1) is U',
    'principal in G::"g"',
    'context.l.contains(1 + 2)',
    'context.l.containsAll([1])',
    'context.l.containsAny([1])',
    'context.l.isEmpty()',
    '(context.a + 1).isEmpty()',
    'principal.hasTag("a")',
    'principal.getTag(context.s) == 1',
    '(context.a && context.b).contains(1)',
    'ip("1.2.3.4").isInRange(ip("1.2.3.0/24"))',
    'ip(context.s).isIpv4()',
    'decimal("1.0").lessThan(decimal("2.0"))',
    'datetime("2024-01-01").offset(duration("1d")).toDate() == context.t',
    'context.t.offset(duration("1d")) == context.t',
    '(context.a + 1).isIpv4()',
    '9223372036854775807 == context.n',
    '-9223372036854775808 == context.n',
    'context.n - -9223372036854775808 == 1',
    'context.s == "é😀"',
    'context.s == "a\\\\b\\"c"',
    'context.s == "\\u{0}\\u{a}\\u{7f}\\u{200b}\\u{2028}\\u{2029}\\u{feff}\\u{e000}"',
  ]
  for (const expression of same) {
    it(expression, () => {
      assert.equal(rendered(expression), expression)
    })
  }

  const simpler: [string, string][] = [
    ['((true))', 'true'],
    ['(context.a && context.b) && context.c', 'context.a && context.b && context.c'],
    ['(1 * 2) + 3 == 4', '1 * 2 + 3 == 4'],
    ['context["a"] == 1', 'context.a == 1'],
    ['{a: 1}.a == 1', '{"a": 1}.a == 1'],
    ['context has "a"', 'context has a'],
    ['"tab\\t" == "\\x41"', '"tab\\u{9}" == "A"'],
    ['ip() == 1', 'ip() == 1'],
    ['ip("a", "b") == 1', 'ip("a", "b") == 1'],
  ]
  for (const [written, text] of simpler) {
    it(`${written} as ${text}`, () => assert.equal(rendered(written), text))
  }
})

describe('values as text', () => {
  const ref = new EntityRef('N::U', 'a"b')
  const taken: [Value, string][] = [
    [true, 'true'],
    [-5, '-5'],
    [2n ** 63n - 1n, '9223372036854775807'],
    ['a"b\n', '"a\\"b\\u{a}"'],
    [ref, 'N::U::"a\\"b"'],
    [new SetValue([]), '[]'],
    [new SetValue([1, 'a', ref]), '[1, "a", N::U::"a\\"b"]'],
    [new RecordValue(new Map()), '{}'],
    [
      new RecordValue(
        new Map<string, Value>([
          ['a', 1],
          ['b c', new SetValue([true])],
        ]),
      ),
      '{"a": 1, "b c": [true]}',
    ],
    [new IpValue(false, 0x0a000000n, 8), 'ip("10.0.0.0/8")'],
    [new DecimalValue(0), 'decimal("0.0")'],
    [new DecimalValue(1), 'decimal("0.0001")'],
    [new DecimalValue(-1), 'decimal("-0.0001")'],
    [new DecimalValue(10_000), 'decimal("1.0")'],
    [new DecimalValue(-15_000), 'decimal("-1.5")'],
    [new DecimalValue(123_400), 'decimal("12.34")'],
    [new DecimalValue(1_000_500), 'decimal("100.05")'],
    [new DecimalValue(2n ** 63n - 1n), 'decimal("922337203685477.5807")'],
    [new DatetimeValue(0), 'datetime("1970-01-01T00:00:00.000Z")'],
    [new DatetimeValue(2n ** 62n), 'datetime("4611686018427387904ms since 1970-01-01")'],
    [new DurationValue(-5), 'duration("-5ms")'],
  ]
  for (const [value, text] of taken) {
    it(text, () => assert.equal(renderValue(value), text))
  }

  it('is cut to 200 characters', () => {
    assert.equal(renderValue('a'.repeat(198)), `"${'a'.repeat(198)}"`)
    assert.equal(renderValue('a'.repeat(199)), `"${'a'.repeat(198)}…`)
    assert.equal(renderValue('a'.repeat(10_000)).length, 200)
  })

  it('names an entity', () => assert.equal(renderUid({ type: 'U', id: '\u0000' }), 'U::"\\u{0}"'))
})
