import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canonicalJson } from '@sallyport/base'
import fc from 'fast-check'
import { either, finite, integer, list, map, members, oneOf, text } from '../src/shape.ts'
import type { Check } from '../src/shape.ts'

interface Part {
  readonly ct: string
  readonly n?: number
}
interface Whole {
  readonly a: string
  readonly at: number
  readonly digest: string
  readonly facts: Readonly<Record<string, unknown>>
  readonly kind: 'one' | 'two'
  readonly list: readonly string[]
  readonly part: Part
  readonly risk: number
  readonly v: 1
  readonly b?: string
  readonly parts?: readonly Part[]
  readonly zz?: string
}

const part = members<Part>({ ct: text(8) }, { n: integer(-3, 3) })
const SHAPE = members<Whole>(
  {
    // Not in the order of their names.
    v: oneOf(1),
    kind: oneOf('one', 'two'),
    at: integer(),
    a: text(8),
    digest: text(4, /^[0-9a-f]{2,}$/),
    facts: map(either(text(8), finite(-Infinity, Infinity), oneOf(true, false))),
    list: list(text(8), 3),
    part,
    risk: finite(0, 100),
  },
  { zz: text(8), parts: list(part), b: text(8) },
)

const fits = (check: Check, value: unknown): boolean => {
  try {
    check(value)
    return true
  } catch {
    return false
  }
}

/** What writing has to come to: the canonical form of what fits, and nothing else. */
function slow(value: unknown): string | undefined {
  if (!fits(SHAPE, value)) return undefined
  try {
    return canonicalJson(value)
  } catch {
    return undefined
  }
}

/** Seldom a value that does not fit: one is enough, and a whole has many parts. */
const seldom = <T, U>(often: fc.Arbitrary<T>, now: fc.Arbitrary<U>): fc.Arbitrary<T | U> =>
  fc.oneof({ weight: 30, arbitrary: often }, { weight: 1, arbitrary: now })

const word = seldom(
  fc.oneof(
    fc.string({ maxLength: 8, unit: 'binary-ascii' }),
    fc.constantFrom('', '"', '\\', '\n', '\u2028', 'é', '\ud83d\ude00', 'a', 'b'),
  ),
  fc.oneof(fc.string({ maxLength: 9, unit: 'binary' }), fc.constantFrom('\ud800', 'x\udc00')),
)
const number = seldom(
  fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constantFrom(-0, 2 ** 53, 2 ** 53 - 1, 1e21, 5e-324),
  ),
  fc.constantFrom(NaN, Infinity, -Infinity),
)
const name = fc.oneof(word, fc.constantFrom('10', '9', '__proto__', 'constructor', 'toJSON'))
const anyPart = fc.record<Record<string, unknown>>(
  { n: seldom(fc.constantFrom(-3, -0, 0, 3, undefined), number), ct: word },
  { requiredKeys: ['ct'] },
)
const facts = fc
  .array(fc.tuple(name, seldom(fc.oneof(word, number, fc.boolean()), fc.constant(null))), {
    maxLength: 4,
  })
  // So that `__proto__` is a member like another.
  .map((entries) => Object.fromEntries(entries))

/** Mostly of the shape, in any order, and with anything where it is not. */
const candidate = fc
  .record<Record<string, unknown>>(
    {
      zz: fc.oneof(word, fc.constant(undefined)),
      v: seldom(fc.constant(1), fc.constantFrom('1', 2)),
      risk: seldom(fc.double({ min: 0, max: 100, noNaN: true }), number),
      part: anyPart,
      parts: fc.array(anyPart, { maxLength: 2 }),
      list: seldom(
        fc.array(word, { maxLength: 3 }),
        fc.array(word, { minLength: 4, maxLength: 4 }),
      ),
      kind: seldom(fc.constantFrom('one', 'two'), fc.constant('three')),
      facts,
      digest: seldom(fc.constantFrom('00', 'beef'), fc.constantFrom('gg', 'beef1')),
      b: fc.oneof(word, fc.constant(undefined)),
      at: seldom(fc.nat(), number),
      a: word,
    },
    { requiredKeys: ['v', 'risk', 'part', 'list', 'kind', 'facts', 'digest', 'at', 'a'] },
  )
  .chain((whole) =>
    fc.oneof(
      { weight: 6, arbitrary: fc.constant(whole) },
      {
        weight: 6,
        arbitrary: fc.constant(Object.fromEntries(Object.entries(whole).toSorted(byName))),
      },
      { weight: 1, arbitrary: fc.anything() },
      // A member missing, one too many, one that is inherited, one that only looks like a member, a hole.
      {
        weight: 1,
        arbitrary: fc.constantFrom(...Object.keys(whole)).map((key) => {
          const { [key]: _, ...rest } = whole
          return rest
        }),
      },
      { weight: 1, arbitrary: name.map((key) => ({ ...whole, [key]: 'x' })) },
      {
        weight: 1,
        arbitrary: fc.constant(
          Object.assign(Object.create({ a: 'x' }) as object, { ...whole, a: undefined, aa: 1 }),
        ),
      },
      {
        weight: 1,
        arbitrary: fc.constant(Object.defineProperty({ ...whole }, 'a', { enumerable: false })),
      },
      { weight: 1, arbitrary: fc.constant({ ...whole, list: Object.assign([], { length: 2 }) }) },
    ),
  )

const byName = ([a]: [string, unknown], [b]: [string, unknown]): number => (a < b ? -1 : 1)

test('what is checked and written in one walk is what is checked and then written', () => {
  let written = 0
  fc.assert(
    fc.property(candidate, (value) => {
      const one = SHAPE.write?.(value)
      assert.equal(one, slow(value))
      if (one !== undefined) written++
    }),
    { numRuns: 5000 },
  )
  assert.ok(written > 500, `${written} of 5000 were written`)
})

const WHOLE = {
  a: 'a',
  at: 1,
  digest: '00',
  facts: { '10': 1, '9': 2, x: -0 },
  kind: 'one',
  list: ['x'],
  part: { ct: 'c' },
  risk: 0,
  v: 1,
}

test('a written object: sorted names, also those that are numbers, and nothing that is undefined', () => {
  const text =
    '{"a":"a","at":1,"digest":"00","facts":{"10":1,"9":2,"x":0},"kind":"one","list":["x"],' +
    '"part":{"ct":"c"},"risk":0,"v":1}'
  assert.equal(SHAPE.write?.(WHOLE), text)
  assert.equal(SHAPE.write?.({ zz: undefined, ...WHOLE, b: undefined }), text)
  assert.equal(SHAPE.write?.({ ...WHOLE, zz: '"' }), `${text.slice(0, -1)},"zz":"\\""}`)
})

test('what was written before does not stand in for what is written now', () => {
  for (const [change, expected] of [
    [{ a: 'other' }, '"a":"other"'],
    [{ at: 2 }, '"at":2'],
    [{ kind: 'two' }, '"kind":"two"'],
    [{ list: ['y'] }, '["y"]'],
    [{ part: { ct: 'd' } }, '{"ct":"d"}'],
    [{ a: 'a' }, '"a":"a"'],
  ] as const) {
    assert.ok(SHAPE.write?.({ ...WHOLE, ...change })?.includes(expected), expected)
  }
  const changing = { ct: 'c' }
  const list = ['x']
  SHAPE.write?.({ ...WHOLE, part: changing, list })
  changing.ct = 'e'
  list[0] = 'z'
  const text = SHAPE.write?.({ ...WHOLE, part: changing, list })
  assert.ok(text?.includes('{"ct":"e"}') && text.includes('["z"]'), text)
})

test('what does not fit is not written, even where it fitted a moment ago', () => {
  assert.notEqual(SHAPE.write?.(WHOLE), undefined)
  for (const change of [
    { a: undefined },
    { a: '\ud800' },
    { a: 'longer than eight' },
    { at: 1.5 },
    { digest: 'xx' },
    { kind: 'three' },
    { list: ['\udfff'] },
    { list: ['1', '2', '3', '4'] },
    { part: { ct: 'c', more: 1 } },
    { facts: { '\ud800': 1 } },
    { risk: NaN },
    { v: '1' },
    { more: 'x' },
  ]) {
    assert.equal(SHAPE.write?.({ ...WHOLE, ...change }), undefined, JSON.stringify(change))
  }
})
