import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { closeCedar } from '@sallyport/cedar'
import { createDecider } from '../src/index.ts'
import type { Call, Decider } from '../src/index.ts'
import { hold, network, quiet, sources } from './fixture.ts'

after(closeCedar)

const decider = (condition: string): Promise<Decider> => {
  const source = `@id("small-holds")
permit(principal in Agent::"flagger", action == Action::"core.hold", resource) when { ${condition} };`
  const policies = sources({ 'small-holds': source, 'large-holds': undefined })
  return createDecider({ declaration: { network, policies } })
}
const code = async (condition: string, over: Partial<Call>): Promise<string> =>
  (await decider(condition)).decide(hold(5, over), quiet).code

const onBehalfOf = {
  subject: 'operator:olga',
  actors: ['spiffe://bank.test/agent/flagger/i1', 'spiffe://bank.test/agent/analyst/i1'],
}
const mandate = { id: 'mdt_1', delegator: 'operator:olga', depth: 2, task: 'close case 7' }

test('policies read for whom a call is made, and nothing where that is not proven', async () => {
  const condition =
    'context has onBehalfOf && context.onBehalfOf.subject == "operator:olga" && context.onBehalfOf.actors.contains("spiffe://bank.test/agent/analyst/i1")'
  assert.equal(await code(condition, { onBehalfOf }), 'SP_ALLOWED')
  assert.equal(await code(condition, {}), 'SP_DENIED_NOT_PERMITTED')
  const other = { ...onBehalfOf, subject: 'operator:ivan' }
  assert.equal(await code(condition, { onBehalfOf: other }), 'SP_DENIED_NOT_PERMITTED')
})

test('policies read the mandate of a call', async () => {
  const condition =
    'context has mandate && context.mandate.id == "mdt_1" && context.mandate.delegator == "operator:olga" && context.mandate.depth <= 2 && context.mandate.task like "*case 7"'
  assert.equal(await code(condition, { mandate }), 'SP_ALLOWED')
  const deeper = { ...mandate, depth: 3 }
  assert.notEqual(await code(condition, { mandate: deeper }), 'SP_ALLOWED')
  assert.notEqual(await code(condition, {}), 'SP_ALLOWED')
})

test('policies read the payment that somebody agreed to, against what is called', async () => {
  const payment = { amount: 5, currency: 'EUR', creditor: 'ACC-9', by: 'operator:olga' }
  const condition =
    'context has payment && context.input.amount <= context.payment.amount && context.payment.currency == "EUR" && context.payment.creditor like "ACC-*" && context.payment.by like "operator:*"'
  assert.equal(await code(condition, { payment }), 'SP_ALLOWED')
  for (const other of [
    { amount: 4 },
    { currency: 'USD' },
    { creditor: 'X' },
    { by: 'spiffe://bank.test/agent/analyst/i1' },
  ]) {
    const given = { payment: { ...payment, ...other } }
    assert.equal(await code(condition, given), 'SP_DENIED_NOT_PERMITTED', JSON.stringify(other))
  }
  assert.equal(await code(condition, {}), 'SP_DENIED_NOT_PERMITTED')
  const bank = await decider('true')
  assert.notEqual(
    bank.stateDigest(hold(5, { payment }), quiet),
    bank.stateDigest(hold(5, { payment: { ...payment, amount: 6 } }), quiet),
  )
})

test('the state digest holds both, and is what it was for calls without either', async () => {
  const bank = await decider('true')
  const digest = (over: Partial<Call>): string => bank.stateDigest(hold(5, over), quiet)
  const all = [
    digest({}),
    digest({ onBehalfOf }),
    digest({ onBehalfOf: { ...onBehalfOf, actors: [] } }),
    digest({ mandate }),
    digest({ mandate: { ...mandate, task: 'close case 8' } }),
  ]
  assert.equal(new Set(all).size, all.length)
  assert.equal(digest({}), bank.stateDigest(hold(7), quiet))
})

test('a mandate is asked for where it is the least that would do', async () => {
  const needs = async (condition: string, over: Partial<Call> = {}) => {
    const { code, needs } = (await decider(condition)).decide(hold(5, over), quiet)
    return [code, ...needs.map(({ kind, count }) => `${kind} ${count}`)]
  }
  const given = 'context has mandate && context.mandate.delegator like "operator:*"'
  const approved = (n: number): string => `context.evidence.approvals >= ${n}`
  assert.deepEqual(await needs(given), ['SP_NEEDS_MANDATE', 'mandate 1'])
  assert.deepEqual(await needs(given, { mandate }), ['SP_ALLOWED'])
  assert.deepEqual(await needs(`(${given}) || ${approved(1)}`), ['SP_NEEDS_APPROVAL', 'approval 1'])
  assert.deepEqual(await needs(`(${given}) || ${approved(2)}`), ['SP_NEEDS_MANDATE', 'mandate 1'])
  const both = `${given} && ${approved(2)}`
  assert.deepEqual(await needs(both), ['SP_NEEDS_MANDATE', 'approval 2', 'mandate 1'])
  assert.deepEqual(await needs(both, { mandate }), ['SP_NEEDS_APPROVAL', 'approval 2'])
  // A certain one is nobody's to promise.
  const certain = 'context has mandate && context.mandate.id == "mdt_1"'
  assert.deepEqual(await needs(certain), ['SP_DENIED_NOT_PERMITTED'])
  const { summary, remedies } = (await decider(given)).explain(hold(5), quiet)
  assert.match(summary, /needs a mandate: without it, it is not permitted$/)
  assert.deepEqual(remedies, ['have the task delegated by a mandate that covers exactly this call'])
})
