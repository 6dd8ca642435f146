import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { prepareContext, prepareValue } from '../src/prepare.ts'
import { EntityRef, RecordValue, SetValue } from '../src/value.ts'

const extension = (fn: string, arg: string) => ({ __extn: { fn, arg } })

describe('what is converted once', () => {
  const kinds = [
    extension('datetime', '2024-01-01'),
    extension('decimal', '1.0'),
    extension('duration', '1s'),
    extension('ip', '::1'),
    { __entity: { type: 'U', id: 'a' } },
    { a: 1 },
    [1, 2],
  ]
  for (const json of kinds) {
    it(`stands in a context as it is: ${JSON.stringify(json)}`, () => {
      const value = prepareValue(json)
      const context = prepareContext({ x: value, y: json, z: 1 })
      assert.equal(context.fields.get('x'), value)
      assert.deepEqual(context.fields.get('y'), value)
      assert.equal(context.fields.get('z'), 1)
    })
  }

  it('is what this package made, and nothing that looks like it', () => {
    const forged = Object.assign(Object.create(null), { type: 'U', id: 'a' }) as { type: string }
    assert.ok(prepareContext({ x: forged }).fields.get('x') instanceof RecordValue)
    class Sub extends EntityRef {}
    const refused = (x: unknown): void =>
      assert.throws(() => prepareContext({ x } as never), { code: 'SP_CEDAR_VALUE' })
    refused(new Sub('U', 'a'))
    refused(new Map())
    refused(null)
    refused(Object.create(new SetValue([])))
  })

  it('refuses what is no Cedar value, and what throws', () => {
    assert.throws(() => prepareValue([1.5]), { code: 'SP_CEDAR_VALUE' })
    const boom = {
      get x(): number {
        throw new Error('boom')
      },
    }
    for (const convert of [prepareContext, prepareValue]) {
      assert.throws(() => convert(boom), {
        code: 'SP_CEDAR_VALUE',
        message: 'the request or the entities cannot be read',
      })
    }
    assert.throws(() => prepareContext({ __entity: { type: 'U', id: 'a' } }), {
      message: 'the context is an `__entity`, not a record',
    })
  })
})
