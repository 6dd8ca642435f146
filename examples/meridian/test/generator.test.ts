import assert from 'node:assert/strict'
import { test } from 'node:test'
import { generate } from '../src/generator.ts'
import { DAY, TYPOLOGIES } from '../src/transaction.ts'

test('the same seed gives the same bank, another seed another', () => {
  const one = generate({ seed: 42, accounts: 250, days: 50 })
  assert.deepEqual(generate({ seed: 42, accounts: 250, days: 50 }), one)
  assert.notDeepEqual(
    generate({ seed: 43, accounts: 250, days: 50 }).transactions,
    one.transactions,
  )
})

test('a bank has one ring of each typology, on different people, within ordinary traffic', () => {
  const bank = generate({ seed: 1 })
  assert.deepEqual(bank.rings.map((ring) => ring.typology).sort(), [...TYPOLOGIES].sort())
  const members = bank.rings.flatMap((ring) => ring.accounts)
  assert.equal(new Set(members).size, members.length)
  const planted = new Set(bank.rings.flatMap((ring) => ring.transactions))
  assert.ok(planted.size * 50 < bank.transactions.length)
  // Nobody in a ring is only in a ring.
  const ordinary = bank.transactions.filter((transaction) => !planted.has(transaction.id))
  const alive = new Set(ordinary.flatMap(({ from, to }) => [from, to]))
  for (const member of members) assert.ok(alive.has(member))
})

test('payments come in order of time, in whole positive minor units, between different accounts', () => {
  const { transactions } = generate({ seed: 9, accounts: 300 })
  let last = 0
  for (const { time, amount, from, to } of transactions) {
    assert.ok(time >= last && Number.isInteger(time) && time < 91 * DAY)
    assert.ok(Number.isSafeInteger(amount) && amount > 0)
    assert.notEqual(from, to)
    last = time
  }
})

test('too small a bank is refused', () => {
  assert.throws(() => generate({ seed: 1, accounts: 10 }), RangeError)
  assert.throws(() => generate({ seed: 1, days: 5 }), RangeError)
})
