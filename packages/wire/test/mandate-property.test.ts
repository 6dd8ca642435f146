/** What holds of every pair of mandates, not only of those somebody thought of. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { coverOf, verifyMandate } from '../src/index.ts'
import type { ArgumentConstraint, MandateGrant, MandateStatement } from '../src/index.ts'
import { widens } from '../src/mandate/narrow.ts'
import { below, byOperator, instance, NOW, rules, statement } from './support/mandate.ts'

const word = fc.constantFrom('a', 'ab', 'abc', 'b', 'ba')
const small = fc.integer({ min: -2, max: 4 })
const scalar = fc.oneof(word, small)
const names = ['x', 'y', 'z.w']

const range = fc
  .record({ min: fc.option(small, { nil: undefined }), max: fc.option(small, { nil: undefined }) })
  .filter(({ min, max }) => min !== undefined || max !== undefined)
  .map(({ min, max }): ArgumentConstraint => ({
    ...(min === undefined ? {} : { min }),
    ...(max === undefined ? {} : { max }),
  }))
const constraint: fc.Arbitrary<ArgumentConstraint> = fc.oneof(
  fc.oneof(scalar, fc.boolean()).map((equals) => ({ equals })),
  fc.array(scalar, { minLength: 1, maxLength: 3 }).map((oneOf) => ({ oneOf })),
  range,
  word.map((prefix) => ({ prefix })),
)
const subset = <T>(items: readonly T[]): fc.Arbitrary<T[]> =>
  fc.subarray([...items], { minLength: 1 })

const grant: fc.Arbitrary<MandateGrant> = fc.record(
  {
    system: fc.constantFrom('core', 'vault'),
    operations: subset(['hold', 'list']),
    arguments: fc.dictionary(fc.constantFrom(...names), constraint, {
      maxKeys: 1,
      noNullPrototype: true,
    }),
    amount: fc.record(
      {
        input: fc.constantFrom('amount', 'fee'),
        currencyInput: fc.constant('currency'),
        currency: fc.constantFrom('EUR', 'JPY'),
        perUse: fc.nat(4),
        total: fc.nat(9),
      },
      { requiredKeys: ['input', 'currency', 'perUse'] },
    ),
    counterparties: fc.record({
      input: fc.constantFrom('account', 'payee'),
      values: subset(['a1', 'a2', 'a3']),
    }),
  },
  { requiredKeys: ['system', 'operations'] },
)
const grants = fc.array(grant, { minLength: 1, maxLength: 3 })
const mandate: fc.Arbitrary<MandateStatement> = fc
  .record({
    grants,
    uses: fc.integer({ min: 1, max: 3 }),
    from: fc.nat(2),
    until: fc.nat(2),
  })
  .map(({ grants: given, uses, from, until }) =>
    statement({
      grants: given,
      uses,
      issuedAt: NOW - 1000,
      notBefore: NOW - 1000 + from,
      expiresAt: NOW + 60_000 + until,
    }),
  )
const call = fc.record({
  system: fc.constantFrom('core', 'vault'),
  operation: fc.constantFrom('hold', 'list', 'pay'),
  input: fc.record(
    {
      x: fc.oneof(scalar, fc.boolean(), fc.array(word, { maxLength: 2 })),
      y: fc.oneof(scalar, fc.boolean()),
      z: fc.record({ w: scalar }),
      amount: fc.integer({ min: -1, max: 5 }),
      fee: fc.integer({ min: -1, max: 5 }),
      currency: fc.constantFrom('EUR', 'JPY'),
      account: fc.oneof(fc.constantFrom('a1', 'a2', 'a3', 'a4'), subset(['a1', 'a2', 'a4'])),
      payee: fc.constantFrom('a1', 'a4'),
    },
    { requiredKeys: ['x', 'amount', 'currency', 'account'] },
  ),
})

/** A part of a mandate more often than not: otherwise nearly no pair would be comparable. */
const child = (parent: MandateStatement): fc.Arbitrary<MandateStatement> =>
  fc.oneof(
    { weight: 1, arbitrary: mandate },
    {
      weight: 3,
      arbitrary: fc
        .tuple(subset(parent.grants), grants, fc.boolean(), constraint, fc.nat(3))
        .map(([kept, others, mixed, extra, less]) => ({
          ...parent,
          uses: Math.max(1, parent.uses - less),
          grants: (mixed ? [...kept, ...others] : kept).map((one) => ({
            ...one,
            arguments: { ...(mixed ? { x: extra } : {}), ...one.arguments },
            ...(one.amount
              ? { amount: { ...one.amount, perUse: Math.max(0, one.amount.perUse - less) } }
              : {}),
          })),
        })),
    },
  )
const pair = mandate.chain((parent) => fc.tuple(fc.constant(parent), child(parent)))

test('a mandate that does not widen covers no call that its parent does not cover, for no more money', () => {
  let compared = 0
  let covered = 0
  fc.assert(
    fc.property(pair, fc.array(call, { minLength: 60, maxLength: 60 }), ([parent, own], calls) => {
      if (widens(own, parent) !== undefined) return
      compared++
      assert.ok(own.uses <= parent.uses && own.expiresAt <= parent.expiresAt)
      assert.ok(own.notBefore >= parent.notBefore)
      for (const one of calls) {
        if (coverOf(own, one) === undefined) continue
        covered++
        assert.ok(coverOf(parent, one), JSON.stringify(one))
      }
    }),
    { numRuns: 2000 },
  )
  assert.ok(compared > 300 && covered > 300, `${compared} compared, ${covered} calls covered`)
})

test('a mandate is never wider than itself, and being narrower carries over', () => {
  fc.assert(
    fc.property(
      pair.chain(([parent, own]) => fc.tuple(fc.constant(parent), fc.constant(own), child(own))),
      ([parent, own, least]) => {
        assert.equal(widens(parent, parent), undefined)
        if (widens(own, parent) === undefined && widens(least, own) === undefined) {
          assert.equal(widens(least, parent), undefined)
        }
      },
    ),
    { numRuns: 1000 },
  )
})

test('no signed chain that widens anywhere is accepted', () => {
  fc.assert(
    fc.property(pair, ([parent, own]) => {
      const root = byOperator(parent)
      const {
        kind: _kind,
        delegator: _delegator,
        delegate: _delegate,
        parent: _parent,
        ...rest
      } = own
      const hop = below(root.statement, instance('lead'), rest)
      let accepted = true
      try {
        verifyMandate([root, hop], rules)
      } catch (error) {
        accepted = false
        assert.equal((error as { code?: string }).code, 'SP_MANDATE_WIDENS')
      }
      assert.equal(accepted, widens(hop.statement, root.statement) === undefined)
    }),
    { numRuns: 200 },
  )
})
