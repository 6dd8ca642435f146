import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { JsonValue } from '@sallyport/base'
import { closeCedar } from '@sallyport/cedar'
import { indexNetwork } from '@sallyport/network'
import { createTokeniser } from '@sallyport/redact'
import fc from 'fast-check'
import { createDecider, project } from '../src/index.ts'
import type { Projection } from '../src/index.ts'
import { call, network, quiet, sources } from './fixture.ts'

const index = indexNetwork(network)
const tokeniser = createTokeniser(new Uint8Array(32).fill(7))
const token = (value: string): string => tokeniser.tokenise('account', value)
const RETURNS = { 'items[]': 'account', total: 'public' }

after(closeCedar)

describe('projection', () => {
  let granted: Projection = {}
  before(async () => {
    const bank = await createDecider({ declaration: { network, policies: sources() } })
    granted = bank.decide(call(), quiet).projection
  })
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
