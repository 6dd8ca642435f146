/** Numbers with places behind the point: equal only where no request of four places shows otherwise. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { tenThousandths } from '@sallyport/base'
import type { Declaration, InputType } from '@sallyport/network'
import { declaration, INPUT, network, permit } from './support/bank.ts'
import { confirmed, inputOf } from './support/confirmed.ts'
import { diff } from './support/warm.ts'

/** A declaration whose only operation takes an amount of this type. */
function taking(texts: readonly string[], type: Partial<InputType>): Declaration {
  const [system] = network(1).systems
  const [operation] = system?.operations ?? []
  assert.ok(system && operation)
  const bounds = { minimum: 0, maximum: 100 }
  // Only numbers are given.
  const schema = { type: 'decimal', ...bounds, ...type } as InputType
  const input = { ...INPUT, members: { ...INPUT.members, amount: { schema, required: true } } }
  return declaration(texts, { systems: [{ ...system, operations: [{ ...operation, input }] }] })
}

const amountOf = (difference: Parameters<typeof inputOf>[0]): number =>
  Number(inputOf(difference)['amount'])

const under = (text: string): string => `context.input.amount.lessThan(decimal("${text}"))`
const atMost = (text: string): string => `context.input.amount.lessThanOrEqual(decimal("${text}"))`

test('bounds that differ by less than any amount are equal, and by one are shown by it', async () => {
  const cents = { step: 0.01 }
  const verdict = async (a: string, b: string, type: Partial<InputType>) =>
    (await confirmed(taking([permit(a)], type), taking([permit(b)], type))).verdict
  assert.equal(await verdict(under('10.01'), atMost('10.00'), cents), 'equivalent')
  assert.equal(await verdict(under('10.005'), atMost('10.00'), cents), 'equivalent')
  assert.equal(await verdict(under('10.0001'), atMost('10.00'), {}), 'equivalent')
  assert.equal(await verdict(atMost('100.0'), 'true', {}), 'equivalent')
  assert.equal(await verdict(under('10.01'), atMost('10.00'), {}), 'differs')
  assert.equal(await verdict(under('10.02'), atMost('10.00'), cents), 'differs')
  const report = await confirmed(
    taking([permit(under('0.07'))], cents),
    taking([permit(atMost('0.07'))], cents),
  )
  assert.deepEqual(report.newlyAllowed.map(amountOf), [0.07])
})

test('what an amount is a multiple of is part of what is taken', async () => {
  const compared = (a: Partial<InputType>, b: Partial<InputType>) =>
    // What inputs are taken at all is not the decider's to say: `diff` reads them, and demands that they are so.
    diff({ old: taking([permit('true')], a), new: taking([permit('true')], b) })
  assert.equal((await compared({ step: 0.01 }, { step: 0.01 })).verdict, 'equivalent')
  const finer = await compared({ step: 0.01 }, {})
  assert.equal(finer.verdict, 'differs')
  const [scaled = 0] = finer.newlyAllowed.map((one) => tenThousandths(amountOf(one)))
  assert.notEqual(scaled % 100, 0)
  // Of two steps one is not encoded: whatever is said, it is not that they are equal.
  assert.notEqual((await compared({ step: 0.01 }, { step: 0.05 })).verdict, 'equivalent')
  assert.equal((await compared({ maximum: 5 }, { maximum: 5.0001 })).verdict, 'differs')
})

test('a whole number that becomes one with places is never proven equal, and its policies are not the same words', async () => {
  const long = { type: 'long' } as const
  const whole = taking([permit('true')], long)
  assert.equal(
    (await diff({ old: whole, new: taking([permit('true')], long) })).verdict,
    'equivalent',
  )
  for (const [a, b] of [
    [whole, taking([permit('true')], {})],
    [taking([permit('true')], {}), whole],
    [whole, taking([permit('true')], { step: 2 })],
    [taking([permit('context.input.amount <= 5')], long), taking([permit(atMost('5.0'))], {})],
  ] as const) {
    assert.notEqual((await diff({ old: a, new: b })).verdict, 'equivalent')
  }
  // What does not read it is compared as before.
  const not = [permit('false')] as const
  assert.equal((await diff({ old: taking(not, long), new: taking(not, {}) })).verdict, 'equivalent')
})
