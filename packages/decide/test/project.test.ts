import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { JsonValue } from '@sallyport/base'
import { indexNetwork } from '@sallyport/network'
import { createTokeniser } from '@sallyport/redact'
import fc from 'fast-check'
import { project } from '../src/project.ts'
import type { Projection } from '../src/index.ts'
import { network } from './fixture.ts'

const index = indexNetwork(network)
const tokeniser = createTokeniser(new Uint8Array(32).fill(7))
const token = (value: string): string => tokeniser.tokenise('account', value)
const RETURNS = { 'items[]': 'account', total: 'public' }

describe('projection', () => {
  // What the policies of the fixture grant: `decide.test.ts` pins it.
  const granted: Projection = {
    account: { id: 'tokenise', name: 'drop', pan: 'mask', balance: 'whole', payments: 'whole' },
    payment: { amount: 'whole', memo: 'whole', to: 'tokenise' },
  }
  const run = (body: JsonValue, returns: Record<string, string> = RETURNS) =>
    project(body, returns, granted, index, tokeniser)

  it('treats every field as granted and drops the rest', () => {
    const { value, released, dropped } = run({
      items: [
        {
          id: 'acc-1',
          name: 'Ada',
          pan: '4111 1111 1111 1234',
          balance: 5,
          secret: 'x',
          payments: [{ amount: 1, memo: 'hi', to: 'acc-2', extra: true }],
        },
        { id: 'acc-2' },
      ],
      total: 2,
      debug: { sql: 'select' },
    })
    assert.deepEqual(value, {
      items: [
        {
          id: token('acc-1'),
          pan: '***1234',
          balance: 5,
          payments: [{ amount: 1, memo: 'hi', to: token('acc-2') }],
        },
        { id: token('acc-2') },
      ],
      total: 2,
    })
    assert.deepEqual(released, {
      account: { records: 2, maxWholeClass: 'internal' },
      payment: { records: 1, maxWholeClass: 'confidential' },
    })
    assert.deepEqual(dropped.toSorted(), [
      '$.debug',
      '$.items[].name',
      '$.items[].payments[].extra',
      '$.items[].secret',
    ])
  })

  const hostile: [string, JsonValue, JsonValue | undefined][] = [
    ['an object where a scalar is declared', { total: { name: 'Ada' } }, {}],
    ['an array where an object is declared', { items: [[{ balance: 1 }]] }, { items: [] }],
    ['an object where an array is declared', { items: { balance: 1 } }, {}],
    ['a text for a record', { items: ['Ada'] }, { items: [] }],
    ['a text for nested records', { items: [{ payments: 'Ada' }] }, { items: [{}] }],
    ['an object in a plain field', { items: [{ balance: { name: 'Ada' } }] }, { items: [{}] }],
    [
      'objects within a plain field',
      { items: [{ balance: [1, { name: 'Ada' }] }] },
      { items: [{ balance: [1] }] },
    ],
    ['an object to tokenise', { items: [{ id: { name: 'Ada' } }] }, { items: [{}] }],
    ['a value too long to tokenise', { items: [{ id: 'a'.repeat(5000) }] }, { items: [{}] }],
    ['a bool to tokenise', { items: [{ id: true }] }, { items: [{}] }],
    ['an object to mask', { items: [{ pan: { name: 'Ada' } }] }, { items: [{ pan: '***' }] }],
    [
      'members named like built-ins',
      JSON.parse(
        '{"items":[{"__proto__":{"balance":1},"constructor":1}],"__proto__":1}',
      ) as JsonValue,
      { items: [{}] },
    ],
    ['a bare scalar', 'Ada', undefined],
    ['null', null, undefined],
  ]
  for (const [name, body, expected] of hostile) {
    it(`lets nothing through: ${name}`, () => {
      assert.deepEqual(run(body).value, expected)
      assert.ok(!JSON.stringify(run(body)).includes('Ada'))
    })
  }

  it('drops a data set that the decision does not name', () => {
    const { value, dropped } = project({ items: [{ balance: 1 }] }, RETURNS, {}, index, tokeniser)
    assert.deepEqual([value, dropped], [{ items: [] }, ['$.items[]']])
  })

  it('projects a whole body, single or a list', () => {
    assert.deepEqual(run({ balance: 1, name: 'Ada' }, { $: 'account' }).value, { balance: 1 })
    assert.deepEqual(run([{ balance: 1 }, { name: 'Ada' }], { $: 'account' }).value, [
      { balance: 1 },
      {},
    ])
    assert.equal(run({ balance: 1 }, {}).released['account'], undefined)
  })

  it('leaves a trace of what is dropped that a hostile upstream cannot grow', () => {
    const body = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`k${i}`, i]))
    assert.equal(run(body).dropped.length, 100)
  })

  const shapes: [string, Record<string, string>, JsonValue, JsonValue | undefined, string[]][] = [
    ['null for a record', { $: 'account' }, null, null, []],
    [
      'null among records',
      RETURNS,
      { items: [null, { balance: 1 }] },
      { items: [null, { balance: 1 }] },
      [],
    ],
    [
      'an array of arrays of records',
      { 'a[][]': 'account' },
      { a: [[{ balance: 1 }], 5] },
      { a: [[{ balance: 1 }]] },
      ['$.a[]'],
    ],
    [
      'a path of several steps',
      { 'a.b.c[]': 'account' },
      { a: { b: { c: [{ balance: 1 }], d: 1 } } },
      { a: { b: { c: [{ balance: 1 }] } } },
      ['$.a.b.d'],
    ],
    [
      'two paths with one beginning',
      { 'a.b': 'public', 'a.c': 'public' },
      { a: { b: 1, c: 2 } },
      { a: { b: 1, c: 2 } },
      [],
    ],
    ['a bare list, said so', { '$[]': 'account' }, [{ balance: 1 }, 5], [{ balance: 1 }], ['$[]']],
    [
      'a bare list, not said so',
      { $: 'account' },
      [[{ balance: 1 }], { balance: 1 }],
      [{ balance: 1 }],
      ['$[]'],
    ],
    ['a member named `$`', { 'a.$': 'public' }, { a: { $: 1 } }, { a: { $: 1 } }, []],
    [
      'a list inside where one record is declared',
      { a: 'account' },
      { a: [{ balance: 1 }] },
      {},
      ['$.a'],
    ],
    [
      'public scalars of each kind',
      { 'a[]': 'public' },
      { a: [1, 'x', true, null] },
      { a: [1, 'x', true, null] },
      [],
    ],
    ['a public value that is none', { a: 'public' }, { a: [1] }, {}, ['$.a']],
    ['a scalar where there are members', { 'a.b': 'public' }, { a: 5 }, {}, ['$.a']],
    ['an object where items are declared', { 'a[]': 'public' }, { a: {} }, {}, ['$.a']],
    ['null where members are declared', { 'a.b': 'public' }, { a: null }, {}, ['$.a']],
    [
      'a list in a plain field',
      { $: 'account' },
      { balance: [1, null, [2]] },
      { balance: [1, null] },
      ['$.balance[]'],
    ],
    ['null in a field of records', { $: 'account' }, { payments: null }, { payments: null }, []],
    [
      'one record in a field of records',
      { $: 'account' },
      { payments: { amount: 1 } },
      { payments: { amount: 1 } },
      [],
    ],
    [
      'scalars in a field of records',
      { $: 'account' },
      { payments: [1, null, { amount: 2 }] },
      { payments: [{ amount: 2 }] },
      ['$.payments[]'],
    ],
    [
      'lists in a field of records',
      { $: 'account' },
      { payments: [[{ amount: 1 }]] },
      { payments: [] },
      ['$.payments[]'],
    ],
    [
      'a list to tokenise',
      { $: 'account' },
      { id: ['a', null, 5, true, ['b'], { c: 1 }] },
      { id: [token('a'), null, token('5')] },
      ['$.id', '$.id[]'],
    ],
    ['a text too long to tokenise', { $: 'account' }, { id: 'a'.repeat(5000) }, {}, ['$.id']],
    ['null to tokenise', { $: 'account' }, { id: null }, { id: null }, []],
    ['nothing declared', {}, { a: 1 }, undefined, ['$']],
  ]
  for (const [name, returns, body, value, dropped] of shapes) {
    it(`takes the shape as declared: ${name}`, () => {
      const projected = run(body, returns)
      assert.deepEqual(projected.value, value)
      assert.deepEqual(projected.dropped.toSorted(), dropped)
    })
  }

  it('counts the records of which something left, with the highest class of it', () => {
    const released = (body: JsonValue) => run(body, { '$[]': 'account' }).released
    assert.deepEqual(released([]), {})
    assert.deepEqual(released([null, 5]), {})
    assert.deepEqual(released([{ name: 'Ada' }, {}]), {
      account: { records: 0, maxWholeClass: 'public' },
    })
    // Masked and tokenised values do not leave whole.
    assert.deepEqual(released([{ id: 'a' }, { pan: 'x' }, { name: 'Ada' }]), {
      account: { records: 2, maxWholeClass: 'public' },
    })
    assert.deepEqual(released([{ payments: [{ memo: 'm' }, { amount: 1 }] }]), {
      account: { records: 1, maxWholeClass: 'internal' },
      payment: { records: 2, maxWholeClass: 'confidential' },
    })
    // What is dropped for its shape did not leave at all.
    assert.deepEqual(released([{ balance: {} }]), {
      account: { records: 0, maxWholeClass: 'public' },
    })
  })

  it('drops what the decision does not name, though the network declares it, and the other way round', () => {
    const only = (projection: Projection) =>
      project({ balance: 1, id: 'a' }, { $: 'account' }, projection, index, tokeniser).value
    assert.deepEqual(only({ account: { balance: 'whole' } }), { balance: 1 })
    assert.deepEqual(only({ account: {} }), {})
    const foreign: Projection = { account: { balance: 'whole', nothing: 'whole' } }
    const body = { nothing: 1, balance: 2 }
    const { value, dropped } = project(body, { $: 'account' }, foreign, index, tokeniser)
    assert.deepEqual([value, dropped], [{ balance: 2 }, ['$.nothing']])
  })

  it('masks as each field declares', () => {
    assert.deepEqual(run({ pan: '4111111111111234' }, { $: 'account' }).value, { pan: '***1234' })
  })

  it('follows data sets and paths 64 deep, and no further', () => {
    const [account, ...others] = network.datasets
    assert.ok(account)
    const nested = (dataset: string) => ({ ...account.fields[3], name: 'next', dataset })
    const chain = indexNetwork({
      ...network,
      // The fourth field of the fixture is plain and whole.
      datasets: [
        { ...account, fields: [nested('account') as (typeof account.fields)[0]] },
        ...others,
      ],
    })
    const whole: Projection = { account: { next: 'whole' } }
    const levels = (value: unknown): number => JSON.stringify(value).split('{').length - 1
    let [bare, listed]: [JsonValue, JsonValue] = [{}, {}]
    for (let i = 0; i < 200; i++) [bare, listed] = [{ next: bare }, { next: [listed] }]
    const records = project(bare, { $: 'account' }, whole, chain, tokeniser)
    assert.equal(levels(records.value), 65)
    assert.deepEqual(records.dropped, [`$${'.next'.repeat(65)}`])
    const lists = project(listed, { $: 'account' }, whole, chain, tokeniser)
    assert.equal(levels(lists.value), 65)
    assert.deepEqual(lists.dropped, [`$${'.next[]'.repeat(65)}`])

    const [arrays, objects] = ['$' + '[]'.repeat(70), '$' + '.a'.repeat(70)]
    let [array, object]: [JsonValue, JsonValue] = [1, 1]
    for (let i = 0; i < 70; i++) [array, object] = [[array], { a: object }]
    assert.deepEqual(run(array, { [arrays]: 'public' }).dropped, [`$${'[]'.repeat(65)}`])
    assert.deepEqual(run(object, { [objects.slice(2)]: 'public' }).dropped, [`$${'.a'.repeat(65)}`])
    const [shallow, flat] = ['$' + '[]'.repeat(64), 'a' + '.a'.repeat(63)]
    let [kept, member]: [JsonValue, JsonValue] = [1, 1]
    for (let i = 0; i < 64; i++) [kept, member] = [[kept], { a: member }]
    assert.deepEqual(run(kept, { [shallow]: 'public' }).value, kept)
    assert.deepEqual(run(member, { [flat]: 'public' }).value, member)
  })

  it('never lets a secret value out, wherever it stands', () => {
    const secret = fc.constant('SECRET-VALUE')
    const name = fc.constantFrom(
      'items',
      'name',
      'pan',
      'id',
      'payments',
      'to',
      'x',
      'total',
      '__proto__',
    )
    const { tree } = fc.letrec<{ tree: JsonValue }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 6 },
        secret,
        fc.array(tie('tree'), { maxLength: 3 }),
        fc.dictionary(name, tie('tree'), { maxKeys: 4 }),
      ),
    }))
    let reached = 0
    fc.assert(
      fc.property(tree, (body) => {
        const { value } = run(body, { 'items[]': 'account' })
        if (value !== undefined) reached++
        return !JSON.stringify(value ?? null).includes('SECRET-VALUE')
      }),
      { numRuns: 500 },
    )
    assert.ok(reached > 50, 'the property saw too few bodies that are projected at all')
  })
})
