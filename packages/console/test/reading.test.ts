import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { readExplanation } from '../src/lib/explanation.ts'
import { moneyOf } from '../src/lib/money.ts'
import { elapsed, milestonesOf, stepsOf } from '../src/lib/timeline.ts'

describe('explanations as gateways send them', () => {
  it('of a call that something other than policy stopped have a sentence and no trace', () => {
    assert.deepEqual(
      readExplanation({
        code: 'SP_LIMIT_REACHED',
        detail: 'limit customer-reads',
        summary: 'a limit is reached',
      }),
      {
        summary: 'a limit is reached',
        detail: 'limit customer-reads',
        remedies: [],
        policies: [],
      },
    )
  })
  it('of a call outside every flow have remedies and no trace', () => {
    const { remedies, policies } = readExplanation({
      cedar: { decision: { decision: 'deny', errors: [], reasons: [] }, policies: [] },
      outcome: { decision: 'deny', code: 'SP_NO_FLOW' },
      remedies: ['declare a flow from `a` to `b` with operation `c` in network.yaml'],
      summary: '`a` calling `b.c` is denied: the network declares no flow for it',
    })
    assert.equal(remedies.length, 1)
    assert.deepEqual(policies, [])
  })
  it('keep every clause with what it read', () => {
    const trace = {
      policyId: 'flagger.small-hold',
      effect: 'permit',
      outcome: 'unsatisfied',
      scope: [{ text: 'principal in Agent::"account-flagger"', result: 'true', values: {} }],
      conditions: [
        {
          text: 'context.input.amount <= 1000000',
          result: 'false',
          values: { 'context.input.amount': '2500000' },
        },
      ],
      annotations: { id: 'flagger.small-hold' },
    }
    assert.deepEqual(readExplanation({ cedar: { policies: [trace] } }).policies, [trace])
  })
  it('never break the page, whatever comes', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), fc.jsonValue(), (a, b, c) => {
        for (const value of [
          a,
          undefined,
          { summary: a, remedies: b, cedar: c },
          {
            remedies: [a],
            cedar: { policies: [b, { scope: [c], conditions: c, annotations: a }] },
          },
        ]) {
          const read = readExplanation(value)
          assert.equal(typeof read.summary, 'string')
          for (const policy of read.policies) {
            for (const { text, values } of [...policy.scope, ...policy.conditions]) {
              assert.equal(typeof text, 'string')
              for (const each of Object.values(values)) assert.equal(typeof each, 'string')
            }
          }
        }
      }),
    )
  })
})

const money = (amount: unknown, currency: unknown): string | undefined =>
  moneyOf('amount', { amount, currency }, ['amount'])

describe('money', () => {
  it('has the decimal point where ISO 4217 puts it', () => {
    assert.equal(money(2_500_000, 'EUR'), '25,000.00 EUR')
    assert.equal(money(2_500_000, 'JPY'), '2,500,000 JPY')
    assert.equal(money(2_500_000, 'KWD'), '2,500.000 KWD')
    assert.equal(money(5, 'USD'), '0.05 USD')
    assert.equal(money(0, 'EUR'), '0.00 EUR')
    assert.equal(money(-105, 'GBP'), '-1.05 GBP')
    assert.equal(money(Number.MAX_SAFE_INTEGER, 'EUR'), '90,071,992,547,409.91 EUR')
  })
  it('is not read into what may be something else', () => {
    for (const amount of [1.5, 2 ** 53, '2500000', null, Number.NaN]) {
      assert.equal(money(amount, 'EUR'), undefined)
    }
    for (const currency of ['eur', 'XXX', 'EURO', '', 978, undefined, 'constructor']) {
      assert.equal(money(100, currency), undefined)
    }
    // Three digits by ISO 4217, none in daily use; and one of the past.
    for (const currency of ['IQD', 'ITL']) assert.equal(money(100, currency), undefined)
    assert.equal(
      moneyOf('limit', { limit: 5, amount: 5, currency: 'EUR' }, ['limit', 'amount']),
      undefined,
    )
    assert.equal(moneyOf('amount', { amount: 5 }, ['amount']), undefined)
    // A decimal, or nobody knows what: five, and no five hundredths.
    assert.equal(moneyOf('amount', { amount: 5, currency: 'EUR' }, []), undefined)
    assert.equal(moneyOf('amount', { amount: 5, currency: 'EUR' }, ['amount']), '0.05 EUR')
  })
  it('is exact at any size', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (amount) => {
        assert.equal(BigInt((money(amount, 'EUR') ?? '').replace(/[,.]| EUR/g, '')), BigInt(amount))
      }),
    )
  })
})

describe('an incident’s timeline', () => {
  const denial = (at: number, what: string, id: string) => ({
    at,
    kind: 'decision',
    text: `deny ${what}`,
    decisionId: id,
  })
  it('counts from the first event and folds runs of equal refusals', () => {
    const steps = stepsOf([
      { at: 8000, kind: 'quarantine', text: 'quarantined by detector: risk 88' },
      denial(4500, 'pii-vault.getCustomer', 'd1'),
      ...Array.from({ length: 46 }, (_, i) => denial(7700 + i, 'core.list', `e${i}`)),
      denial(8010, 'core.list', 'f'),
    ])
    assert.deepEqual(
      steps.map(({ text, count, after, decisions }) => [text, count, after, decisions.at(-1)]),
      [
        ['deny pii-vault.getCustomer', 1, 0, 'd1'],
        ['deny core.list', 46, 3200, 'e45'],
        ['quarantined by detector: risk 88', 1, 3500, undefined],
        ['deny core.list', 1, 3510, 'f'],
      ],
    )
    assert.deepEqual(
      milestonesOf(steps).map(({ text }) => text),
      ['deny pii-vault.getCustomer', 'quarantined by detector: risk 88'],
    )
  })
  it('never folds what is not a refusal, and never counts below nothing', () => {
    const signal = { kind: 'signal', text: 'burst: 3 calls' }
    assert.equal(
      stepsOf([
        { at: 1, ...signal },
        { at: 2, ...signal },
      ]).length,
      2,
    )
    fc.assert(
      fc.property(
        fc.array(fc.record({ at: fc.nat(), kind: fc.constantFrom('decision', 'risk') })),
        (events) => {
          const steps = stepsOf(events.map((event) => ({ ...event, text: event.kind })))
          assert.ok(steps.every(({ at, until, after }) => after >= 0 && until >= at))
          assert.equal(
            steps.reduce((sum, { count }) => sum + count, 0),
            events.length,
          )
        },
      ),
    )
    assert.equal(elapsed(3500), '3.50 s')
    assert.equal(elapsed(-10), '0.00 s')
    assert.equal(elapsed(65_000), '1 min 05 s')
  })
})
