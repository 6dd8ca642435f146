import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { inspect } from 'node:util'
import {
  contextFromJson,
  reading,
  recordFromJson,
  refFromJson,
  refOf,
  unreadable,
  valueFromJson,
} from '../src/data.ts'
import type { EntityUid } from '../src/index.ts'
import { parseIp } from '../src/ip.ts'
import {
  DatetimeValue,
  DecimalValue,
  DurationValue,
  EntityRef,
  RecordValue,
  SetValue,
} from '../src/value.ts'
import type { Value } from '../src/value.ts'

const read = (x: unknown): Value | undefined => recordFromJson({ x }).fields.get('x')
const refused = (x: unknown, message: string): void =>
  assert.throws(() => read(x), { code: 'SP_CEDAR_VALUE', message })
const extension = (fn: unknown, arg: unknown) => ({ __extn: { fn, arg } })
const many = (fn: unknown, ...args: unknown[]) => ({ __extn: { fn, args } })

describe('values out of JSON', () => {
  const taken: [name: string, json: unknown, value: Value][] = [
    ['a bool', true, true],
    ['a text', 'é😀', 'é😀'],
    ['an integer', -5, -5],
    ['-0 as 0', -0, 0],
    ['the largest exact integer', Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ['a small bigint as a number', 5n, 5],
    ['the largest integer', 2n ** 63n - 1n, 2n ** 63n - 1n],
    ['an empty set', [], new SetValue([])],
    ['a set', [1, 1, 'a'], new SetValue([1, 'a'])],
    ['an empty record', {}, new RecordValue(new Map())],
    [
      'a record of records',
      { a: { b: [true] } },
      new RecordValue(new Map([['a', new RecordValue(new Map([['b', new SetValue([true])]]))]])),
    ],
    ['an object without prototype', Object.create(null), new RecordValue(new Map())],
    ['an entity', { __entity: { type: 'U', id: 'a' } }, new EntityRef('U', 'a')],
    ['an address', extension('ip', '10.0.0.0/8'), parseIp('10.0.0.0/8')],
    ['a decimal', extension('decimal', '1.5'), new DecimalValue(15_000)],
    ['a datetime', extension('datetime', '1970-01-02'), new DatetimeValue(86_400_000)],
    ['a duration', extension('duration', '1s'), new DurationValue(1000)],
    ['an address as a list of one', many('ip', '10.0.0.0/8'), parseIp('10.0.0.0/8')],
    [
      'an offset',
      many('offset', extension('datetime', '1970-01-01'), extension('duration', '5ms')),
      new DatetimeValue(5),
    ],
  ]
  for (const [name, json, value] of taken) {
    it(`takes ${name}`, () => assert.deepEqual(read(json), value))
  }

  const untaken: [json: unknown, message: string][] = [
    [null, 'null is not a Cedar value'],
    [undefined, 'a undefined is not a Cedar value'],
    [() => 1, 'a function is not a Cedar value'],
    [Symbol('x'), 'a symbol is not a Cedar value'],
    ['\ud800', 'a string has an unpaired surrogate'],
    [1.5, 'the number `1.5` is not an exact integer'],
    [2 ** 53, 'the number `9007199254740992` is not an exact integer'],
    [Number.NaN, 'the number `NaN` is not an exact integer'],
    [2n ** 63n, 'an integer does not fit 64 bits'],
    [new Date(0), 'an object is not a plain record'],
    [new Map(), 'an object is not a plain record'],
    [{ '\ud800': 1 }, 'an attribute name has an unpaired surrogate'],
    [{ a: [null] }, 'null is not a Cedar value'],
    [{ __entity: { type: 'U', id: 'a' }, y: 1 }, 'an `__entity` stands beside other members'],
    [{ __entity: null }, 'an entity reference is not an object'],
    [{ __entity: 'U::"a"' }, 'an entity reference is not an object'],
    [{ __entity: { type: 'U' } }, 'an entity reference needs exactly `type` and `id`'],
    [
      { __entity: { type: 'U', id: 'a', x: 1 } },
      'an entity reference needs exactly `type` and `id`',
    ],
    [{ __entity: { type: 'U', name: 'a' } }, 'an entity reference needs `type` and `id` as texts'],
    [{ __entity: { type: 1, id: 'a' } }, 'an entity reference needs `type` and `id` as texts'],
    [{ __entity: { type: 'U', id: 1 } }, 'an entity reference needs `type` and `id` as texts'],
    [{ __entity: { type: 'U', id: '\ud800' } }, 'an entity has an unpaired surrogate'],
    [{ __entity: { type: '\ud800', id: 'a' } }, '`\ud800` is not the name of a type'],
    [{ __expr: 'ip("::1")' }, '`__expr` is not supported'],
    [Array.from<number>({ length: 2 }), 'a undefined is not a Cedar value'],
    [{ __extn: { fn: 'ip', arg: '::1' }, y: 1 }, 'an `__extn` is malformed'],
    [{ __extn: null }, 'an `__extn` is malformed'],
    [{ __extn: 'ip' }, 'an `__extn` is malformed'],
    [extension('exec', 'ls'), 'an `__extn` calls no known constructor'],
    [extension(1, '::1'), 'an `__extn` calls no known constructor'],
    [extension('isIpv4', '::1'), 'an `__extn` calls no known constructor'],
    [extension('offset', '::1'), 'an `__extn` calls no known constructor'],
    [many('ip'), 'an `__extn` calls no known constructor'],
    [many('ip', '::1', '::1'), 'an `__extn` calls no known constructor'],
    [{ __extn: { fn: 'ip', arg: '::1', x: 1 } }, 'an `__extn` calls no known constructor'],
    [{ __extn: { fn: 'ip', x: '::1' } }, 'a undefined is not a Cedar value'],
    [extension('ip', '1.2.3'), '`1.2.3` is not an IP address or range'],
    [extension('ip', 5), 'type error: expected string, got long'],
    [extension('ip', null), 'null is not a Cedar value'],
    [
      many('offset', extension('datetime', '1970-01-01'), 5),
      'type error: expected duration, got long',
    ],
  ]
  for (const [json, message] of untaken) {
    it(`refuses ${inspect(json)}`, () => {
      refused(json, message)
      refused([json], message)
      refused({ inner: json }, message)
    })
  }

  it('takes inherited members for none', () => {
    const inherits: unknown = Object.create({ __entity: { type: 'U', id: 'a' } })
    refused(inherits, 'an object is not a plain record')
    const own = JSON.parse('{"__proto__": 1}') as object
    assert.deepEqual(recordFromJson(own).fields, new Map([['__proto__', 1]]))
  })

  it('nests 64 deep, and refuses what is deeper, of whichever kind', () => {
    const nest = (depth: number, wrap: (inner: unknown) => unknown): unknown => {
      let value: unknown = 1
      for (let i = 0; i < depth; i++) value = wrap(value)
      return value
    }
    const deeper = 'a value nests deeper than 64'
    const [list, object] = [(x: unknown) => [x], (x: unknown) => ({ x })]
    for (const wrap of [list, object]) {
      // The record around it is the first level.
      assert.ok(read(nest(63, wrap)) !== undefined)
      refused(nest(64, wrap), deeper)
    }
    const zero = extension('duration', '0ms')
    const later = (inner: unknown) => many('offset', inner, zero)
    const start: unknown = extension('datetime', '1970-01-01')
    let chain = start
    for (let i = 0; i < 62; i++) chain = later(chain)
    assert.deepEqual(read(chain), new DatetimeValue(0))
    refused(later(chain), deeper)
    const knot: Record<string, unknown> = {}
    knot['self'] = knot
    refused(knot, deeper)
  })
})

describe('records of attributes and contexts', () => {
  it('are plain objects, and no entity or extension value', () => {
    for (const json of [null, 5, 'x', undefined]) {
      assert.throws(() => recordFromJson(json), {
        code: 'SP_CEDAR_VALUE',
        message: 'what should be a record is none',
      })
    }
    assert.throws(() => recordFromJson([1]), { message: 'an object is not a plain record' })
    for (const name of ['__entity', '__extn', '__expr']) {
      assert.throws(() => contextFromJson({ a: 1, [name]: 1 }), {
        code: 'SP_CEDAR_VALUE',
        message: `the context is an \`${name}\`, not a record`,
      })
      assert.deepEqual(recordFromJson({ [name]: 1 }).fields, new Map([[name, 1]]))
    }
    assert.deepEqual(read({ __expr: 5 }), new RecordValue(new Map([['__expr', 5]])))
    assert.deepEqual(contextFromJson({ a: 1 }).fields, new Map([['a', 1]]))
  })

  it('take as they are the members that are said to be values', () => {
    const ready = new SetValue([1])
    const isValue = (member: unknown): member is Value => member === ready
    assert.equal(recordFromJson({ x: ready, y: 1 }, isValue).fields.get('x'), ready)
    assert.equal(contextFromJson({ x: ready, y: 1 }, isValue).fields.get('y'), 1)
    assert.throws(() => recordFromJson({ x: ready }), {
      message: 'an object is not a plain record',
    })
  })

  it('hold 131,072 values and no more, shared ones each time', () => {
    const message = 'there are more than 131072 values'
    const list = (length: number): number[] => Array.from({ length }, () => 1)
    // The list itself is one of them.
    assert.ok(read(list(131_071)) !== undefined)
    assert.throws(() => read(list(131_072)), { code: 'SP_CEDAR_VALUE', message })
    assert.throws(() => read(list(1e7)), { message })
    let tree: unknown = 1
    for (let i = 0; i < 40; i++) tree = [tree, tree]
    assert.throws(() => read(tree), { message })
    const members = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, i]))
    assert.equal(recordFromJson(members(131_072)).fields.size, 131_072)
    assert.throws(() => recordFromJson(members(131_073)), { message })
    // Each record counts from the beginning.
    assert.ok(read(list(131_071)) !== undefined)
    assert.ok(valueFromJson(list(131_071)) instanceof SetValue)
    assert.throws(() => valueFromJson(list(131_072)), { message })
  })

  it('refuse with a code what throws when it is read', () => {
    const boom = {
      get x(): number {
        throw new Error('boom')
      },
    }
    assert.throws(() => valueFromJson(boom), {
      code: 'SP_CEDAR_VALUE',
      message: 'the request or the entities cannot be read',
    })
    assert.equal(
      reading(() => 5),
      5,
    )
    const own = unreadable(new Error('boom'))
    assert.throws(
      () =>
        reading(() => {
          throw own
        }),
      (error) => error === own,
    )
    assert.ok(own.cause instanceof Error)
  })
})

describe('entity references', () => {
  const types = ['U', '_', 'N::U', 'N::M::U', 'a1_B', 'True', 'x'.repeat(4096)]
  for (const type of types) {
    it(`may be of type ${type.slice(0, 30)}`, () => {
      assert.deepEqual(refOf({ type, id: 'a' }), new EntityRef(type, 'a'))
    })
  }
  const none = [
    '',
    '1a',
    'a b',
    'a-b',
    'é',
    ' a',
    'a ',
    'a\n',
    'N:U',
    'N::',
    '::U',
    'N:::U',
    'N::::U',
    'U::"a"',
    'x'.repeat(4097),
    ...'true false if then else in is like has __cedar'.split(' '),
    'N::if',
    'in::U',
  ]
  for (const type of none) {
    it(`cannot be of type \`${type.slice(0, 30)}\``, () => {
      for (let round = 0; round < 2; round++) {
        assert.throws(() => refOf({ type, id: 'a' }), {
          code: 'SP_CEDAR_VALUE',
          message: `\`${type.slice(0, 60)}\` is not the name of a type`,
        })
      }
    })
  }

  it('hold a type and an id, both texts', () => {
    assert.deepEqual(refOf({ type: 'U', id: 'a' }), new EntityRef('U', 'a'))
    assert.deepEqual(refFromJson({ type: 'U', id: '' }), new EntityRef('U', ''))
    const odd = { type: 'U', id: 5 } as unknown as EntityUid
    assert.throws(() => refOf(odd), {
      code: 'SP_CEDAR_VALUE',
      message: 'an entity reference needs `type` and `id` as texts',
    })
  })
})
