/** A projection of a stream, in whatever pieces it comes, against what reads a whole text. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseJson, SallyportError } from '@sallyport/base'
import { indexNetwork } from '@sallyport/network'
import { createTokeniser } from '@sallyport/redact'
import { planProjection, project, ProjectionStream } from '../src/index.ts'
import type { Projection } from '../src/index.ts'
import { network } from './fixture.ts'

const index = indexNetwork(network)
const tokeniser = createTokeniser(new Uint8Array(32).fill(7))

const RETURNS = { 'items[]': 'account', total: 'public' }
const PROJECTION: Projection = {
  account: { id: 'tokenise', name: 'drop', pan: 'mask', balance: 'whole', payments: 'whole' },
  payment: { amount: 'whole', memo: 'whole', to: 'tokenise' },
}

const refused = (code: string) => (error: unknown) =>
  error instanceof SallyportError && error.code === code && error.message.length > 10

describe('a stream', () => {
  const make = (): ProjectionStream =>
    new ProjectionStream(planProjection(RETURNS, PROJECTION, index), tokeniser)

  const text = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

  it('gives what the whole gives, of every kind of value in every kind of place', () => {
    const long = 'x'.repeat(300)
    const values = [
      null,
      true,
      false,
      0,
      -12.5,
      1 / 3,
      '',
      'text',
      long,
      'a"b\\c\né😀',
      [],
      {},
      ['a', 1, null, true, ['b'], { a: 1 }],
      { amount: 1, memo: 'm', to: 't', other: 1 },
      [{ amount: 1 }, { to: 'x' }, { memo: [1, { a: 2 }] }, 5, [{ amount: 2 }]],
    ]
    const names = ['id', 'name', 'pan', 'balance', 'payments', 'undeclared']
    const bodies = [
      ...values,
      ...values.map((total) => ({ total })),
      ...values.map((items) => ({ items })),
      ...names.flatMap((name) => values.map((value) => ({ items: [{ [name]: value }] }))),
      { items: [Object.fromEntries(names.map((name, i) => [name, values[i + 5]])), {}], total: 1 },
      // More comes out than goes in.
      { items: Array.from({ length: 300 }, (_, id) => ({ id, pan: id })) },
      { items: [{ balance: long.repeat(40), id: long.repeat(10), pan: long.repeat(10) }] },
    ]
    for (const body of bodies) {
      const bytes = text(body)
      const { value, released } = project(parseJson(bytes), RETURNS, PROJECTION, index, tokeniser)
      const expected = JSON.stringify(value ?? {})
      for (const size of [1, 7, 64, bytes.length]) {
        const stream = make()
        assert.equal(stream.hasReleased, false)
        const out: Buffer[] = []
        for (let at = 0; at < bytes.length; at += size) {
          out.push(Buffer.from(stream.push(bytes.subarray(at, at + size))))
        }
        out.push(Buffer.from(stream.finish()))
        assert.equal(Buffer.concat(out).toString(), expected, `${bytes.toString()} by ${size}`)
        assert.deepEqual(stream.released, released)
        assert.equal(stream.hasReleased, Object.keys(released).length > 0)
      }
    }
  })

  it('refuses what is no JSON text, with why', () => {
    for (const bad of [
      ...[
        '',
        ' ',
        '{',
        '[',
        '{"a"',
        '{"a":',
        '{"a":1',
        '{"a":1,',
        '{"a":1,}',
        '[1,',
        '[1,]',
        '[,1]',
      ],
      ...['{,}', '{"a" 1}', '{"a":1 "b":2}', '[1 2]', '{1:2}', '{"a"::1}', '[1}', '{"a":1]', '1 2'],
      ...[
        '{}{}',
        '[]x',
        'tru',
        'nul',
        'falsey',
        '-',
        '01',
        '"a',
        '"\\x"',
        '+1',
        '{"a":}',
        '[:]',
        ']',
      ],
      ...[
        '}',
        ',',
        ':',
        '{"a":1,"b"}',
        '{"a":1,2}',
        '"a"b',
        '1,',
        'trueE',
        'ntrue',
        '{x}',
        '\u00a01',
      ],
    ]) {
      for (const size of [1, 100]) {
        const stream = make()
        assert.throws(
          () => {
            const bytes = Buffer.from(bad)
            for (let at = 0; at < bytes.length; at += size) {
              stream.push(bytes.subarray(at, at + size))
            }
            stream.finish()
          },
          refused('SP_JSON_SYNTAX'),
          bad,
        )
      }
    }
    const half = make()
    half.push(Buffer.from('"a'))
    half.push(Buffer.from([0xc3]))
    assert.throws(() => half.finish(), refused('SP_JSON_UNICODE'))
    assert.throws(() => make().push(Buffer.from([0x22, 0xff, 0x22])), refused('SP_JSON_UNICODE'))
    assert.throws(
      () => make().push(Buffer.from('{"__proto__":1}')),
      refused('SP_JSON_FORBIDDEN_KEY'),
    )
  })

  it('reads objects as deep as it reads anything, each with names of its own', () => {
    const objects = (depth: number, inner = ''): string =>
      '{"a":'.repeat(depth - 1) + `{${inner}}` + '}'.repeat(depth - 1)
    const read = (given: string): void => {
      const stream = make()
      stream.push(Buffer.from(given))
      stream.finish()
    }
    assert.doesNotThrow(() => {
      read(objects(64, '"a":1,"b":2'))
      read(`[${objects(63)},${objects(63)}]`)
    })
    assert.throws(() => {
      read(objects(65))
    }, refused('SP_JSON_TOO_DEEP'))
    for (const depth of [1, 2, 33, 63, 64]) {
      assert.throws(() => {
        read(objects(depth, '"a":1,"b":2,"a":3'))
      }, refused('SP_JSON_DUPLICATE_KEY'))
    }
  })

  it('is used again after an answer that was whole, and holds nothing of it', () => {
    const plan = planProjection(RETURNS, PROJECTION, index)
    const through = (given: unknown): string => {
      const stream = ProjectionStream.of(plan, tokeniser)
      const pieces = [stream.push(text(given)).toString(), stream.finish().toString()]
      stream.free()
      return pieces.join('')
    }
    assert.equal(
      through({ items: [{ balance: 1 }], total: 2 }),
      '{"items":[{"balance":1}],"total":2}',
    )
    const [kept] = plan.spare
    assert.ok(kept)
    assert.equal(plan.spare.length, 1)
    assert.equal(kept.hasReleased, false)
    assert.deepEqual(kept.strangers, [])
    assert.equal(through({ total: 3 }), '{"total":3}')
    assert.equal(plan.spare[0], kept)
    assert.equal(through([]), '{}')
    assert.equal(through({ items: [{ balance: 4 }] }), '{"items":[{"balance":4}]}')
    assert.equal(plan.spare[0], kept)
    // So many wait, and no more.
    const more = Array.from({ length: 20 }, () => ProjectionStream.of(plan, tokeniser))
    assert.equal(plan.spare.length, 0)
    for (const stream of more) {
      stream.push(text({}))
      stream.finish()
      stream.free()
    }
    assert.equal(plan.spare.length, 16)
  })

  it('is not used again after one that was broken off, or that made it large', () => {
    const plan = planProjection(RETURNS, PROJECTION, index)
    const after = (given: string | Buffer, ended = true): number => {
      const stream = ProjectionStream.of(plan, tokeniser)
      stream.push(Buffer.from(given))
      if (ended) stream.finish()
      stream.free()
      return plan.spare.splice(0).length
    }
    assert.equal(after('{"total":1}'), 1)
    assert.equal(after('{"total":1', false), 0)
    assert.equal(after('{"total":"text', false), 0)
    // It makes room for what came.
    assert.equal(after(text({ total: 'x'.repeat(60_000) })), 1)
    assert.equal(after(text({ total: 'x'.repeat(70_000) })), 0)
    const names = (count: number): Buffer =>
      text(Object.fromEntries(Array.from({ length: count }, (_, i) => [`n${i}`, 0])))
    assert.equal(after(names(200)), 1)
    assert.equal(after(names(300)), 0)
    // A long part that had to be held.
    const held = ProjectionStream.of(plan, tokeniser)
    held.push(Buffer.from('{"items":[{"id":"'))
    for (let i = 0; i < 70; i++) held.push(Buffer.alloc(1000, 0x61))
    held.push(Buffer.from('"}]}'))
    held.finish()
    held.free()
    assert.equal(plan.spare.length, 0)
  })

  it('is freed once, and not again for the same answer', () => {
    const plan = planProjection(RETURNS, PROJECTION, index)
    const stream = ProjectionStream.of(plan, tokeniser)
    stream.push(text({ total: 1 }))
    stream.finish()
    stream.free()
    stream.free()
    assert.equal(plan.spare.length, 1)
  })
})
