import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  DatetimeValue,
  DecimalValue,
  DurationValue,
  EntityRef,
  equal,
  EvaluationError,
  IpValue,
  RecordValue,
  SetValue,
  typeError,
} from '../src/value.ts'
import type { Value } from '../src/value.ts'

const set = (...items: Value[]) => new SetValue(items)
const record = (fields: Readonly<Record<string, Value>>) =>
  new RecordValue(new Map(Object.entries(fields)))

/** Makes one value of each of many kinds, all different; a second call makes equal ones anew. */
const make = (): [name: string, value: Value][] => [
  ['true', true],
  ['false', false],
  ['0', 0],
  ['1', 1],
  ['a big 1', 2n ** 60n],
  ['empty text', ''],
  ['text 1', '1'],
  ['text true', 'true'],
  ['text b', 'b'],
  ['a quote', '"'],
  ['an entity', new EntityRef('U', 'a')],
  ['another id', new EntityRef('U', 'b')],
  ['another type', new EntityRef('V', 'a')],
  ['the two run together', new EntityRef('Ua', '')],
  ['empty set', set()],
  ['set 1', set(1)],
  ['set text 1', set('1')],
  ['set 1 2', set(1, 2)],
  ['set 1 3', set(1, 3)],
  ['set of a set', set(set(1))],
  ['set of an entity', set(new EntityRef('U', 'a'))],
  ['set of two entities', set(new EntityRef('U', 'a'), new EntityRef('U', 'b'))],
  ['set of another entity', set(new EntityRef('U', 'c'))],
  ['mixed set', set(1, new EntityRef('U', 'a'))],
  ['other mixed set', set(2, new EntityRef('U', 'a'))],
  ['empty record', record({})],
  ['record a', record({ a: 1 })],
  ['record b', record({ b: 1 })],
  ['record a 2', record({ a: 2 })],
  ['record a b', record({ a: 1, b: 2 })],
  ['record a b swapped', record({ a: 2, b: 1 })],
  ['record nested', record({ a: record({ a: 1 }) })],
  ['address', new IpValue(false, 1n, 32)],
  ['other address', new IpValue(false, 2n, 32)],
  ['range', new IpValue(false, 1n, 31)],
  ['v6 address', new IpValue(true, 1n, 32)],
  ['decimal', new DecimalValue(1)],
  ['other decimal', new DecimalValue(2)],
  ['datetime', new DatetimeValue(1)],
  ['other datetime', new DatetimeValue(2)],
  ['duration', new DurationValue(1)],
  ['other duration', new DurationValue(2)],
]

describe('values', () => {
  it('are equal to what is made alike, and to nothing else', () => {
    const [ours, theirs] = [make(), make()]
    for (const [a, left] of ours) {
      for (const [b, right] of theirs) assert.equal(equal(left, right), a === b, `${a} == ${b}`)
    }
  })

  it('are found in sets by the same equality', () => {
    const [ours, theirs] = [make(), make()]
    for (const [a, left] of ours) {
      const only = set(left)
      for (const [b, right] of theirs) {
        const same = a === b
        assert.equal(only.has(right), same, `${a} has ${b}`)
        assert.equal(only.containsAll(set(right)), same, `${a} containsAll ${b}`)
        assert.equal(only.containsAny(set(right)), same, `${a} containsAny ${b}`)
        // Deep inside too.
        assert.equal(equal(set(set(left)), set(set(right))), same, `{{${a}}} == {{${b}}}`)
        assert.equal(
          set(record({ x: left })).has(record({ x: right })),
          same,
          `{x: ${a}} has {x: ${b}}`,
        )
        assert.equal(set(left, right, left).size, same ? 1 : 2, `${a}, ${b}`)
      }
    }
    const all = set(...ours.map(([, value]) => value))
    assert.equal(all.size, ours.length)
    assert.equal([...all.values()].length, ours.length)
    assert.ok(theirs.every(([, value]) => all.has(value)))
  })

  it('make sets of which order and repetition mean nothing', () => {
    const values = make().map(([, value]) => value)
    const [forth, back] = [set(...values), set(...values.toReversed(), ...values)]
    assert.ok(equal(forth, back) && equal(back, forth))
    assert.ok(set(forth).has(back))
    assert.ok(equal(record({ a: 1, b: 2 }), record({ b: 2, a: 1 })))
    assert.ok(set(record({ a: 1, b: 2 })).has(record({ b: 2, a: 1 })))
    assert.ok(set(set(1, 2, 'x')).has(set('x', 2, 1)))
  })

  const [a, b, c] = [new EntityRef('U', 'a'), new EntityRef('U', 'b'), new EntityRef('U', 'c')]
  const all: [SetValue, SetValue, boolean][] = [
    [set(), set(), true],
    [set(1), set(), true],
    [set(), set(1), false],
    [set(1, 2, 3), set(3, 1), true],
    [set(1, 2, 3), set(3, 4), false],
    [set(a, b), set(b), true],
    [set(a, b), set(c), false],
    [set(1, a), set(a, 1), true],
    [set(1, a), set(1, b), false],
    [set(1, a), set(2, a), false],
    [set(1), set(1, 2), false],
  ]
  it('tell whether one set holds all of another', () => {
    for (const [i, [left, right, holds]] of all.entries()) {
      assert.equal(left.containsAll(right), holds, `case ${i}`)
    }
  })

  const any: [SetValue, SetValue, boolean][] = [
    [set(), set(), false],
    [set(1), set(), false],
    [set(1, 2, 3), set(3), true],
    [set(1, 2), set(3, 4, 5), false],
    [set(1, 2), set(3, 2, 5), true],
    [set(1, a), set(2, a, b), true],
    [set(1, a), set(2, b, c), false],
    [set(a, b), set(c, b), true],
  ]
  it('tell whether two sets share anything, asked either way', () => {
    for (const [i, [left, right, shares]] of any.entries()) {
      assert.equal(left.containsAny(right), shares, `case ${i}`)
      assert.equal(right.containsAny(left), shares, `case ${i}, swapped`)
    }
  })

  it('are named in type errors as Cedar names them', () => {
    const names: [Value, string][] = [
      [true, 'bool'],
      ['x', 'string'],
      [1, 'long'],
      [1n, 'long'],
      [a, 'entity of type `U`'],
      [set(), 'set'],
      [record({}), 'record'],
      [new IpValue(true, 1n, 128), 'ipaddr'],
      [new DecimalValue(1), 'decimal'],
      [new DatetimeValue(1), 'datetime'],
      [new DurationValue(1), 'duration'],
    ]
    for (const [value, name] of names) {
      const error = typeError('something', value)
      assert.ok(error instanceof EvaluationError)
      assert.equal(error.name, 'EvaluationError')
      assert.equal(error.message, `type error: expected something, got ${name}`)
    }
  })
})
