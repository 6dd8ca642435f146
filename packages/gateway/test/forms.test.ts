import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { InputMember, InputType } from '@sallyport/network'
import { readForm, writeForm } from '../src/adapters/forms.ts'

const text: InputType = { type: 'string', maxLength: 100 }
const long: InputType = { type: 'long', minimum: -1000, maximum: 1_000_000 }
const flag: InputType = { type: 'boolean' }
const optional = (schema: InputType): InputMember => ({ schema, required: false })
const list = (items: InputType): InputType => ({ type: 'set', items, maxItems: 10 })
const record = (members: Readonly<Record<string, InputType>>): InputType => ({
  type: 'record',
  members: Object.fromEntries(Object.entries(members).map(([k, v]) => [k, optional(v)])),
})
const MEMBERS: Readonly<Record<string, InputMember>> = {
  amount: optional(long),
  currency: optional(text),
  capture: optional(flag),
  tag: optional(list(text)),
  card: optional(record({ number: text, exp: long, owner: record({ name: text }) })),
  items: optional(list(record({ price: text, quantity: long }))),
  expand: optional(list(text)),
}
const DEEP = ['card', 'items', 'expand']
const read = (form: string) => readForm(Buffer.from(form), MEMBERS, DEEP)

describe('forms', () => {
  const good: Readonly<Record<string, unknown>> = {
    'amount=2000&currency=usd&capture=true': { amount: 2000, currency: 'usd', capture: true },
    'currency=a+b%20c%2B%C3%A9%26%3D': { currency: 'a b c+é&=' },
    'currency=': { currency: '' },
    'currency=a=b==': { currency: 'a=b==' },
    'curr%65ncy=usd': { currency: 'usd' },
    'tag=a&amount=1&tag=b': { tag: ['a', 'b'], amount: 1 },
    'card[number]=4242&card%5Bexp%5D=12&card[owner][name]=Ann': {
      card: { number: '4242', exp: 12, owner: { name: 'Ann' } },
    },
    'items[0][price]=p1&items[0][quantity]=2&items[1][price]=p2': {
      items: [{ price: 'p1', quantity: 2 }, { price: 'p2' }],
    },
    'expand[]=a&expand[]=b': { expand: ['a', 'b'] },
    'expand[0]=a&expand[1]=b': { expand: ['a', 'b'] },
  }
  for (const [form, value] of Object.entries(good)) {
    it(`are read as JSON would be: ${form}`, () => {
      assert.deepEqual(read(form), value)
    })
  }

  const bad: Readonly<Record<string, string>> = {
    'amount=1&amount=2': 'SP_REQUEST_FORM',
    'amount=1&%61mount=2': 'SP_REQUEST_FORM',
    'card[number]=1&card[number]=2': 'SP_REQUEST_FORM',
    'card[number]=1&card[number][x]=2': 'SP_REQUEST_FORM',
    'expand[]=a&expand[0]=b': 'SP_REQUEST_FORM',
    'expand=a&expand[]=b': 'SP_REQUEST_FORM',
    'expand[1]=a': 'SP_REQUEST_FORM',
    'expand[0]=a&expand[2]=b': 'SP_REQUEST_FORM',
    'expand[00]=a': 'SP_REQUEST_FORM',
    'items[][price]=p': 'SP_REQUEST_FORM',
    'card[number][][][][][][][][][][]=1': 'SP_REQUEST_FORM',
    'currency=%': 'SP_REQUEST_FORM',
    'currency=%4': 'SP_REQUEST_FORM',
    'currency=%zz': 'SP_REQUEST_FORM',
    'currency=%u0041': 'SP_REQUEST_FORM',
    'currency=%FF': 'SP_REQUEST_FORM',
    'currency=%C0%AF': 'SP_REQUEST_FORM',
    'currency=%ED%A0%80': 'SP_REQUEST_FORM',
    'currency=é': 'SP_REQUEST_FORM',
    'currency=a b': 'SP_REQUEST_FORM',
    'currency=a;amount=1': 'SP_REQUEST_FORM',
    'currency=a\r\n': 'SP_REQUEST_FORM',
    'currency=a\0': 'SP_REQUEST_FORM',
    '': 'SP_REQUEST_FORM',
    '&': 'SP_REQUEST_FORM',
    'amount=1&': 'SP_REQUEST_FORM',
    amount: 'SP_REQUEST_FORM',
    '=1': 'SP_REQUEST_FORM',
    'other=1': 'SP_INPUT_UNKNOWN',
    'Amount=1': 'SP_INPUT_UNKNOWN',
    'amount[]=1': 'SP_INPUT_UNKNOWN',
    'tag[]=a': 'SP_INPUT_UNKNOWN',
    'card[other]=1': 'SP_INPUT_UNKNOWN',
    '__proto__[x]=1': 'SP_INPUT_UNKNOWN',
    'constructor=1': 'SP_INPUT_UNKNOWN',
    'card[__proto__]=1': 'SP_INPUT_UNKNOWN',
    'card[constructor][x]=1': 'SP_INPUT_UNKNOWN',
    'card[number=1': 'SP_INPUT_UNKNOWN',
    'card]number[=1': 'SP_INPUT_UNKNOWN',
    'card[number]x=1': 'SP_INPUT_UNKNOWN',
    'amount%00=1': 'SP_INPUT_UNKNOWN',
    'amount=01': 'SP_INPUT_TYPE',
    'amount=1e3': 'SP_INPUT_TYPE',
    'amount=+1': 'SP_INPUT_TYPE',
    'amount=%201': 'SP_INPUT_TYPE',
    'capture=yes': 'SP_INPUT_TYPE',
    'card=1': 'SP_INPUT_TYPE',
    'items[0]=1': 'SP_INPUT_TYPE',
    'card[number][x]=1': 'SP_INPUT_TYPE',
  }
  for (const [form, code] of Object.entries(bad)) {
    it(`are refused where they have no one reading: ${JSON.stringify(form)}`, () => {
      assert.throws(() => read(form), { code })
    })
  }

  it('are bounded', () => {
    const many = Array.from({ length: 3000 }, () => 'tag=a').join('&')
    assert.throws(() => read(many), { code: 'SP_REQUEST_FORM' })
    assert.throws(() => read(`currency=${'%'.repeat(200_000)}`), { code: 'SP_REQUEST_FORM' })
  })

  it('go on in one spelling, whichever they came in', () => {
    const spellings = [
      'tag=b&tag=a+b&amount=1',
      'amount=1&tag=b&tag=a%20b',
      '%74ag=b&tag=a+b&amount=1',
    ]
    for (const form of spellings) {
      assert.equal(String(writeForm(read(form) as never, DEEP)), 'amount=1&tag=b&tag=a%20b')
    }
    const nested = writeForm({ items: [{ quantity: 1, price: 'ü&' }], expand: ['x'] }, DEEP)
    assert.equal(
      String(nested),
      'expand%5B0%5D=x&items%5B0%5D%5Bprice%5D=%C3%BC%26&items%5B0%5D%5Bquantity%5D=1',
    )
  })

  it('say after writing what they said before', () => {
    const words = fc.string({ unit: 'binary', maxLength: 20 }).filter((one) => one.isWellFormed())
    const plain = { noNullPrototype: true }
    const some = fc.record(
      {
        amount: fc.integer(),
        currency: words,
        capture: fc.boolean(),
        tag: fc.array(words, { minLength: 1, maxLength: 4 }),
        card: fc.record({ number: words }, plain),
        items: fc.array(fc.record({ price: words, quantity: fc.nat() }, plain), {
          minLength: 1,
          maxLength: 3,
        }),
      },
      { requiredKeys: ['amount'], noNullPrototype: true },
    )
    fc.assert(
      fc.property(some, (value) => {
        assert.deepEqual(readForm(writeForm(value, DEEP), MEMBERS, DEEP), value)
      }),
    )
  })
})
