import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Network } from '@sallyport/network'
import { createDecider } from '../src/index.ts'
import type { Call, Decider } from '../src/index.ts'
import { call, network, quiet, sources } from './fixture.ts'

const NAME = 'analyst@partner.example'
const INSTANCE = 'spiffe://partner.example/agent/analyst/i1'
const federated: Network = {
  ...network,
  federation: [
    {
      trustDomain: 'partner.example',
      url: 'https://partner.example/bundle',
      profile: 'https_web',
      agents: [
        {
          name: NAME,
          trustDomain: 'partner.example',
          path: '/agent/analyst/*',
          description: '',
          owner: 'risk',
          purpose: 'settlement',
          until: '2999-12-31',
        },
      ],
    },
  ],
  flows: [
    ...network.flows,
    { id: 'f3', from: NAME, to: 'core', operations: ['list', 'hold'], purpose: 'aml' },
  ],
}
const foreign = (over: Partial<Call> = {}): Call =>
  call({ agent: NAME, instance: INSTANCE, ...over })
const deciderOf = (over: Readonly<Record<string, string | undefined>> = {}): Promise<Decider> =>
  createDecider({ declaration: { network: federated, policies: sources(over) } })
const LISTS = {
  partner: `@id("partner") permit (principal in ForeignAgent::"${NAME}", action == Action::"core.list", resource);`,
}

test('no permit reaches a caller of another trust domain unless its scope says so', async () => {
  const anybody = { anybody: `@id("anybody") permit (principal, action, resource);` }
  const without = await deciderOf(anybody)
  assert.equal(without.decide(foreign(), quiet).code, 'SP_DENIED_NOT_PERMITTED')
  // The very same call of ours.
  assert.equal(without.decide(call(), quiet).code, 'SP_ALLOWED')
  for (const scope of [
    `principal == ForeignInstance::"${INSTANCE}"`,
    'principal is ForeignInstance',
    `principal is ForeignInstance in ForeignAgent::"${NAME}"`,
    `principal in ForeignAgent::"${NAME}"`,
    'principal in ForeignDomain::"partner.example"',
  ]) {
    const source = `@id("partner") permit (${scope}, action == Action::"core.list", resource);`
    const decider = await deciderOf({ partner: source })
    const outcome = decider.decide(foreign(), quiet)
    assert.equal(outcome.code, 'SP_ALLOWED', scope)
    assert.deepEqual(outcome.reasons, ['partner'])
    // Fields too: ours are seen by policies that name nobody.
    assert.equal(outcome.projection['account']?.['balance'], 'drop')
    const own = decider.decide(call(), quiet)
    assert.equal(own.projection['account']?.['balance'], 'whole')
  }
})

test('a forbid that names nobody holds for them; one that names ours does not', async () => {
  const decider = await deciderOf(LISTS)
  assert.equal(decider.decide(foreign(), quiet).code, 'SP_ALLOWED')
  const risky = decider.decide(foreign(), { labels: [], risk: 90 })
  assert.deepEqual([risky.code, risky.reasons], ['SP_DENIED_FORBIDDEN', ['no-risky']])
  const ours = `@id("ours") forbid (principal in Agent::"analyst", action, resource);`
  const narrower = await deciderOf({ ...LISTS, ours })
  assert.equal(narrower.decide(foreign(), quiet).code, 'SP_ALLOWED')
  assert.equal(narrower.decide(call(), quiet).code, 'SP_DENIED_FORBIDDEN')
})

test('a forbid that reads what only our agents have is refused until it says whom it means', async () => {
  const reads = (scope: string) =>
    `@id("reads") forbid (${scope}, action, resource) when { principal.agent.criticality == "high" };`
  await assert.rejects(deciderOf({ ...LISTS, reads: reads('principal') }), {
    code: 'SP_CEDAR_INVALID',
  })
  const decider = await deciderOf({ ...LISTS, reads: reads('principal is Instance') })
  assert.equal(decider.decide(foreign(), quiet).code, 'SP_ALLOWED')
})

test('who is not the declared agent is decided for nobody', async () => {
  const decider = await deciderOf(LISTS)
  for (const instance of [
    'spiffe://bank.test/agent/analyst/i1',
    'spiffe://partner.example/agent/other/i1',
    'spiffe://third.example/agent/analyst/i1',
  ]) {
    assert.notEqual(decider.decide(foreign({ instance }), quiet).decision, 'allow', instance)
  }
  // And the other way round: their id under our agent's name.
  assert.notEqual(decider.decide(call({ instance: INSTANCE }), quiet).decision, 'allow')
})

test('they are offered no mandate as evidence', async () => {
  const mandated = (scope: string) =>
    `@id("mandated") permit (${scope}, action == Action::"core.hold", resource) when { context has mandate };`
  const hold = { operation: 'hold', input: { account: 'a1', amount: 5 } }
  const decider = await deciderOf({ mandated: mandated('principal is ForeignInstance') })
  assert.equal(decider.decide(foreign(hold), quiet).code, 'SP_DENIED_NOT_PERMITTED')
  const own = await deciderOf({
    mandated: mandated('principal in Agent::"flagger"'),
    'small-holds': undefined,
  })
  assert.equal(own.decide(call({ agent: 'flagger', ...hold }), quiet).code, 'SP_NEEDS_MANDATE')
})
