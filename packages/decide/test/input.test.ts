import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseJson } from '@sallyport/base'
import type { InputSchema, InputType } from '@sallyport/network'
import fc from 'fast-check'
import { readInput } from '../src/index.ts'

const one = (schema: InputType, required = true): InputSchema => ({
  type: 'record',
  members: { x: { schema, required } },
})
const text: InputType = { type: 'string', maxLength: 5 }
const long: InputType = { type: 'long', minimum: -10, maximum: 10 }
const decimal: InputType = { type: 'decimal', minimum: -10, maximum: 1000.5 }
const pair: InputType = {
  type: 'record',
  members: { a: { schema: long, required: true }, b: { schema: long, required: true } },
}

const schema: InputSchema = {
  type: 'record',
  members: {
    account: {
      schema: { type: 'string', maxLength: 40, pattern: '^[a-z]+-[0-9]+$', tokenOf: 'account.id' },
      required: true,
    },
    amount: {
      schema: { type: 'long', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
      required: true,
    },
    urgent: { schema: { type: 'boolean' }, required: false },
    kind: { schema: { type: 'string', maxLength: 9, enum: ['a', 'b'] }, required: false },
    tags: { schema: { type: 'set', maxItems: 2, items: text }, required: false },
    parties: {
      schema: { type: 'set', minItems: 2, maxItems: 3, items: text },
      required: false,
    },
    party: {
      schema: { type: 'record', members: { name: { schema: text, required: true } } },
      required: false,
    },
  },
}

describe('decimals', () => {
  const read = (value: unknown, step?: number): unknown =>
    readInput(one(step === undefined ? decimal : { ...decimal, step }), { x: value })['x']

  it('are numbers of at most four places between the bounds, as they are', () => {
    for (const value of [0, 5, -10, 0.1, 1000.5, 12.3456, -0.0001]) {
      assert.equal(read(value), value)
    }
    assert.ok(Object.is(read(-0), 0))
    for (const [value, code] of [
      ['1.5', 'SP_INPUT_TYPE'],
      [null, 'SP_INPUT_TYPE'],
      [0.1 + 0.2, 'SP_INPUT_VALUE'],
      [0.00001, 'SP_INPUT_VALUE'],
      [1000.5001, 'SP_INPUT_VALUE'],
      [-10.0001, 'SP_INPUT_VALUE'],
      [1e11, 'SP_INPUT_VALUE'],
      [Number.NaN, 'SP_INPUT_VALUE'],
    ] as const) {
      assert.throws(() => read(value), { code }, String(value))
    }
  })

  it('are multiples of their step, which no double need be', () => {
    for (const value of [0, 0.01, 0.07, 0.29, 1.1, 999.99, -0.03])
      assert.equal(read(value, 0.01), value)
    for (const value of [0.001, 0.0299, 1.105]) {
      assert.throws(() => read(value, 0.01), { code: 'SP_INPUT_VALUE' }, String(value))
    }
  })
})

describe('readInput', () => {
  it('reads what is declared', () => {
    const raw = {
      account: 'ab-12',
      amount: 5,
      urgent: true,
      kind: 'a',
      tags: ['x', 'y'],
      parties: ['x', 'y'],
      party: { name: 'é😀' },
    }
    assert.deepEqual(readInput(schema, raw), raw)
    assert.deepEqual(readInput(schema, { account: 'a-1', amount: 0 }), {
      account: 'a-1',
      amount: 0,
    })
  })

  const refused: [string, InputSchema, unknown, string, string][] = [
    [
      'an undeclared member',
      one(text),
      { x: 'a', y: 1 },
      'SP_INPUT_UNKNOWN',
      '`y` is not declared',
    ],
    [
      'an undeclared member within',
      schema,
      { account: 'a-1', amount: 1, party: { name: 'n', z: 1 } },
      'SP_INPUT_UNKNOWN',
      '`party.z` is not declared',
    ],
    [
      'an own `__proto__`',
      one(text),
      JSON.parse('{"x":"a","__proto__":{"x":"b"}}'),
      'SP_INPUT_UNKNOWN',
      '`__proto__` is not declared',
    ],
    [
      'a `constructor`',
      one(text),
      { x: 'a', constructor: 'b' },
      'SP_INPUT_UNKNOWN',
      '`constructor` is not declared',
    ],
    [
      'a required member that is only inherited',
      one(text),
      Object.create({ x: 'a' }),
      'SP_INPUT_MISSING',
      '`x` is required',
    ],
    ['a missing member', one(text), {}, 'SP_INPUT_MISSING', '`x` is required'],
    ['null', one(text), { x: null }, 'SP_INPUT_TYPE', '`x` must be a text'],
    [
      'null for an optional member',
      one(text, false),
      { x: null },
      'SP_INPUT_TYPE',
      '`x` must be a text',
    ],
    ['a number for a text', one(text), { x: 1 }, 'SP_INPUT_TYPE', '`x` must be a text'],
    ['an array for the whole', one(text), ['a'], 'SP_INPUT_TYPE', '`$` must be an object'],
    ['null for the whole', one(text), null, 'SP_INPUT_TYPE', '`$` must be an object'],
    ['a text for the whole', one(text), 'x', 'SP_INPUT_TYPE', '`$` must be an object'],
    ['nothing at all', one(text), undefined, 'SP_INPUT_TYPE', '`$` must be an object'],
    [
      'a text for a record',
      schema,
      { account: 'a-1', amount: 1, party: 'n' },
      'SP_INPUT_TYPE',
      '`party` must be an object',
    ],
    ['a fraction', one(long), { x: 1.5 }, 'SP_INPUT_TYPE', '`x` must be a whole number'],
    ['infinity', one(long), { x: Infinity }, 'SP_INPUT_TYPE', '`x` must be a whole number'],
    ['a text for a number', one(long), { x: '5' }, 'SP_INPUT_TYPE', '`x` must be a whole number'],
    ['a bigint', one(long), { x: 5n }, 'SP_INPUT_TYPE', '`x` must be a whole number'],
    [
      'an integer no double holds',
      one({ type: 'long', minimum: 0, maximum: 2 ** 60 }),
      { x: 2 ** 53 },
      'SP_INPUT_TYPE',
      '`x` must be a whole number',
    ],
    ['a number below', one(long), { x: -11 }, 'SP_INPUT_VALUE', '`x` must be from -10 to 10'],
    ['a number above', one(long), { x: 11 }, 'SP_INPUT_VALUE', '`x` must be from -10 to 10'],
    [
      '1 for true',
      one({ type: 'boolean' }),
      { x: 1 },
      'SP_INPUT_TYPE',
      '`x` must be true or false',
    ],
    [
      'too long a text',
      one(text),
      { x: 'abcdef' },
      'SP_INPUT_VALUE',
      '`x` has more than 5 characters',
    ],
    [
      'a huge text',
      one(text),
      { x: 'a'.repeat(1e6) },
      'SP_INPUT_VALUE',
      '`x` has more than 5 characters',
    ],
    [
      'a lone surrogate',
      one(text),
      { x: 'a\ud800' },
      'SP_INPUT_VALUE',
      '`x` has an unpaired surrogate',
    ],
    [
      'a text of another form',
      schema,
      { account: 'ab12', amount: 1 },
      'SP_INPUT_VALUE',
      '`account` does not have the form declared',
    ],
    [
      'a value outside the enum',
      schema,
      { account: 'a-1', amount: 1, kind: 'c' },
      'SP_INPUT_VALUE',
      '`kind` is not one of the values declared',
    ],
    [
      'too few items',
      schema,
      { account: 'a-1', amount: 1, parties: ['a'] },
      'SP_INPUT_VALUE',
      '`parties` has fewer than 2 items',
    ],
    [
      'no items',
      schema,
      { account: 'a-1', amount: 1, parties: [] },
      'SP_INPUT_VALUE',
      '`parties` has fewer than 2 items',
    ],
    [
      'enough items of which two are one',
      schema,
      { account: 'a-1', amount: 1, parties: ['a', 'a'] },
      'SP_INPUT_VALUE',
      '`parties` names the same item twice',
    ],
    [
      'too many items',
      schema,
      { account: 'a-1', amount: 1, tags: ['a', 'b', 'c'] },
      'SP_INPUT_VALUE',
      '`tags` has more than 2 items',
    ],
    [
      'an item twice',
      schema,
      { account: 'a-1', amount: 1, tags: ['a', 'a'] },
      'SP_INPUT_VALUE',
      '`tags` names the same item twice',
    ],
    [
      'an object twice, its members in the other order',
      one({ type: 'set', maxItems: 2, items: pair }),
      {
        x: [
          { a: 1, b: 2 },
          { b: 2, a: 1 },
        ],
      },
      'SP_INPUT_VALUE',
      '`x` names the same item twice',
    ],
    [
      'an object for a set',
      schema,
      { account: 'a-1', amount: 1, tags: { 0: 'a', length: 1 } },
      'SP_INPUT_TYPE',
      '`tags` must be an array',
    ],
    [
      'an item of another type',
      schema,
      { account: 'a-1', amount: 1, tags: ['a', 1] },
      'SP_INPUT_TYPE',
      '`tags[1]` must be a text',
    ],
  ]
  for (const [name, declared, raw, code, told] of refused) {
    it(`refuses ${name}`, () => {
      assert.throws(() => readInput(declared, raw), { code, message: `the input ${told}` })
    })
  }

  it('refuses a pattern that is none as a fault of the schema', () => {
    const declared = one({ type: 'string', maxLength: 5, pattern: '(' })
    assert.throws(() => readInput(declared, { x: 'a' }), {
      code: 'SP_INPUT_SCHEMA',
      message: 'the declared pattern cannot be used',
      detail: '`(` is not a regular expression',
    })
  })

  it('cuts a long path in what it says', () => {
    assert.throws(() => readInput(one(text), { x: 'a', ['y'.repeat(500)]: 1 }), {
      message: `the input \`${'y'.repeat(120)}\` is not declared`,
    })
  })

  it('takes what stands at its bounds', () => {
    for (const x of [-10, 10]) assert.deepEqual(readInput(one(long), { x }), { x })
    assert.deepEqual(readInput(one(text), { x: 'abcde' }), { x: 'abcde' })
    const tags = ['a', 'b']
    assert.deepEqual(readInput(schema, { account: 'a-1', amount: 0, tags }).tags, tags)
  })

  it('counts characters as JSON Schema does: by code point', () => {
    assert.deepEqual(readInput(one(text), { x: '😀😀😀😀😀' }), { x: '😀😀😀😀😀' })
    assert.throws(() => readInput(one(text), { x: '😀😀😀😀aa' }), { code: 'SP_INPUT_VALUE' })
    assert.throws(() => readInput(one(text), { x: '😀😀😀😀😀😀' }), { code: 'SP_INPUT_VALUE' })
  })

  it('turns -0 into 0, which is what JSON forwards', () => {
    assert.ok(Object.is(readInput(one(long), { x: -0 })['x'], 0))
  })

  it('restores tokens before judging them, and only where they are declared', () => {
    const asked: string[] = []
    const restore = (tokenOf: string, token: string): string => {
      asked.push(`${tokenOf} ${token}`)
      return token === 'tok_good' ? 'ab-12' : 'not the form'
    }
    const read = (account: string) => readInput(schema, { account, amount: 1 }, { restore })
    assert.equal(read('tok_good')['account'], 'ab-12')
    assert.equal(read('cd-3')['account'], 'cd-3')
    assert.deepEqual(asked, ['account.id tok_good'])
    assert.throws(() => read('tok_bad'), { code: 'SP_INPUT_VALUE' })
    // No longer token is even asked for; the bound itself is.
    const before = asked.length
    const message = 'the input `account` is too long'
    assert.throws(() => read(`tok_${'a'.repeat(8189)}`), { code: 'SP_INPUT_VALUE', message })
    assert.equal(asked.length, before)
    assert.throws(() => read(`tok_${'a'.repeat(8188)}`), { code: 'SP_INPUT_VALUE' })
    assert.equal(asked.length, before + 1)
    const elsewhere = readInput(
      one({ type: 'string', maxLength: 9 }),
      { x: 'tok_good' },
      { restore },
    )
    assert.equal(elsewhere['x'], 'tok_good')
    assert.throws(() => readInput(schema, { account: 'tok_good', amount: 1 }), {
      message: 'the input `account` does not have the form declared',
    })
  })

  it('takes no broken text from a token either', () => {
    const declared = one({ type: 'string', maxLength: 9, tokenOf: 'account.id' })
    const read = (value: string) => readInput(declared, { x: 'tok_1' }, { restore: () => value })
    assert.deepEqual(read('whole'), { x: 'whole' })
    assert.throws(() => read('a\ud800'), {
      code: 'SP_INPUT_VALUE',
      message: 'the input `x` has an unpaired surrogate',
    })
  })

  it('takes an input of several shapes where it has one of them', () => {
    const shape = (members: InputSchema['members']): InputSchema => ({ type: 'record', members })
    const iban = shape({ iban: { schema: text, required: true } })
    const bban = shape({
      bban: { schema: text, required: true },
      bic: { schema: text, required: false },
    })
    const optional = shape({ bic: { schema: text, required: false } })
    const members = Object.fromEntries(
      ['iban', 'bban', 'bic'].map((name) => [name, { schema: text, required: false }]),
    )
    const of = (fits: 'one' | 'any', ...shapes: InputSchema[]): InputSchema => ({
      type: 'record',
      members,
      variants: { fits, of: shapes },
    })
    const either = of('one', iban, bban)
    assert.deepEqual(readInput(either, { iban: 'a' }), { iban: 'a' })
    assert.deepEqual(readInput(either, { bban: 'b', bic: 'c' }), { bban: 'b', bic: 'c' })
    for (const bad of [{}, { bic: 'c' }, { iban: 'a', bban: 'b' }, { iban: 'a', bic: 'c' }]) {
      assert.throws(() => readInput(either, bad), { code: 'SP_INPUT_VALUE' }, JSON.stringify(bad))
    }
    // Two of them fit: that is one of any, and not exactly one.
    assert.throws(() => readInput(of('one', optional, optional), { bic: 'c' }), {
      code: 'SP_INPUT_VALUE',
    })
    assert.deepEqual(readInput(of('any', optional, optional), { bic: 'c' }), { bic: 'c' })
  })

  it('gives back only what the schema allows, or refuses with a code', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), (json) => {
        try {
          const input = readInput(schema, parseJson(json))
          return Object.keys(input).every((name) => Object.hasOwn(schema.members, name))
        } catch (error) {
          return error instanceof Error && 'code' in error
        }
      }),
      { numRuns: 300 },
    )
  })
})
