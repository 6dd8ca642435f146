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
    party: {
      schema: { type: 'record', members: { name: { schema: text, required: true } } },
      required: false,
    },
  },
}

describe('readInput', () => {
  it('reads what is declared', () => {
    const raw = {
      account: 'ab-12',
      amount: 5,
      urgent: true,
      kind: 'a',
      tags: ['x', 'y'],
      party: { name: 'é😀' },
    }
    assert.deepEqual(readInput(schema, raw), raw)
    assert.deepEqual(readInput(schema, { account: 'a-1', amount: 0 }), {
      account: 'a-1',
      amount: 0,
    })
  })

  const refused: [string, InputSchema, unknown, string][] = [
    ['an undeclared member', one(text), { x: 'a', y: 1 }, 'SP_INPUT_UNKNOWN'],
    [
      'an undeclared member within',
      schema,
      { account: 'a-1', amount: 1, party: { name: 'n', z: 1 } },
      'SP_INPUT_UNKNOWN',
    ],
    [
      'an own `__proto__`',
      one(text),
      JSON.parse('{"x":"a","__proto__":{"x":"b"}}'),
      'SP_INPUT_UNKNOWN',
    ],
    ['a `constructor`', one(text), { x: 'a', constructor: 'b' }, 'SP_INPUT_UNKNOWN'],
    [
      'a required member that is only inherited',
      one(text),
      Object.create({ x: 'a' }),
      'SP_INPUT_MISSING',
    ],
    ['a missing member', one(text), {}, 'SP_INPUT_MISSING'],
    ['null', one(text), { x: null }, 'SP_INPUT_TYPE'],
    ['null for an optional member', one(text, false), { x: null }, 'SP_INPUT_TYPE'],
    ['a number for a text', one(text), { x: 1 }, 'SP_INPUT_TYPE'],
    ['an array for the whole', one(text), ['a'], 'SP_INPUT_TYPE'],
    ['nothing at all', one(text), undefined, 'SP_INPUT_TYPE'],
    ['a fraction', one(long), { x: 1.5 }, 'SP_INPUT_TYPE'],
    ['infinity', one(long), { x: Infinity }, 'SP_INPUT_TYPE'],
    ['a text for a number', one(long), { x: '5' }, 'SP_INPUT_TYPE'],
    ['a bigint', one(long), { x: 5n }, 'SP_INPUT_TYPE'],
    [
      'an integer no double holds',
      one({ type: 'long', minimum: 0, maximum: 2 ** 60 }),
      { x: 2 ** 53 },
      'SP_INPUT_TYPE',
    ],
    ['a number below', one(long), { x: -11 }, 'SP_INPUT_VALUE'],
    ['a number above', one(long), { x: 11 }, 'SP_INPUT_VALUE'],
    ['1 for true', one({ type: 'boolean' }), { x: 1 }, 'SP_INPUT_TYPE'],
    ['too long a text', one(text), { x: 'abcdef' }, 'SP_INPUT_VALUE'],
    ['a huge text', one(text), { x: 'a'.repeat(1e6) }, 'SP_INPUT_VALUE'],
    ['a lone surrogate', one(text), { x: 'a\ud800' }, 'SP_INPUT_VALUE'],
    ['a text of another form', schema, { account: 'ab12', amount: 1 }, 'SP_INPUT_VALUE'],
    [
      'a value outside the enum',
      schema,
      { account: 'a-1', amount: 1, kind: 'c' },
      'SP_INPUT_VALUE',
    ],
    [
      'too many items',
      schema,
      { account: 'a-1', amount: 1, tags: ['a', 'b', 'c'] },
      'SP_INPUT_VALUE',
    ],
    ['an item twice', schema, { account: 'a-1', amount: 1, tags: ['a', 'a'] }, 'SP_INPUT_VALUE'],
    [
      'an object for a set',
      schema,
      { account: 'a-1', amount: 1, tags: { 0: 'a', length: 1 } },
      'SP_INPUT_TYPE',
    ],
    ['an item of another type', schema, { account: 'a-1', amount: 1, tags: [1] }, 'SP_INPUT_TYPE'],
    [
      'a pattern that is none',
      one({ type: 'string', maxLength: 5, pattern: '(' }),
      { x: 'a' },
      'SP_INPUT_SCHEMA',
    ],
  ]
  for (const [name, declared, raw, code] of refused) {
    it(`refuses ${name}`, () => {
      assert.throws(() => readInput(declared, raw), { code })
    })
  }

  it('counts characters as JSON Schema does: by code point', () => {
    assert.deepEqual(readInput(one(text), { x: '😀😀😀😀😀' }), { x: '😀😀😀😀😀' })
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
    assert.throws(() => read(`tok_${'a'.repeat(9000)}`), { code: 'SP_INPUT_VALUE' })
    const elsewhere = readInput(
      one({ type: 'string', maxLength: 9 }),
      { x: 'tok_good' },
      { restore },
    )
    assert.equal(elsewhere['x'], 'tok_good')
  })

  const slow = ['^(a+)+$', '^(a|a)*$', '^(?:a?){30}a{30}$', 'a*a*a*a*a*b', '(x+x+)+y']
  for (const pattern of slow) {
    it(`is not held up by the pattern ${pattern}`, () => {
      const declared = one({ type: 'string', maxLength: 4096, pattern })
      const start = performance.now()
      const text = `${'a'.repeat(29)}${'x'.repeat(2000)}!`
      assert.throws(() => readInput(declared, { x: text }), { code: 'SP_INPUT_VALUE' })
      assert.ok(performance.now() - start < 1000)
      const good = { '^(?:a?){30}a{30}$': 'a'.repeat(30), 'a*a*a*a*a*b': 'aab', '(x+x+)+y': 'xxy' }
      const fits = Object.entries(good).find(([known]) => known === pattern)?.[1] ?? 'aaa'
      assert.deepEqual(readInput(declared, { x: fits }), { x: fits })
    })
  }

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
