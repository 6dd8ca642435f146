import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { checkPolicies, closeCedar, EntityStore, loadPolicySet } from '@sallyport/cedar'
import { deriveEntities, deriveSchema, instanceEntity } from '@sallyport/network'
import type { Network } from '@sallyport/network'
import { MINIMAL, parse } from './minimal.ts'

after(closeCedar)

function small(): Network {
  const { network } = parse(MINIMAL)
  assert.ok(network)
  return network
}
const INSTANCE = 'spiffe://small.example/agent/reader/1'

const check = async (source: string): Promise<boolean> =>
  (await checkPolicies({ policies: [{ id: 'p', source }], schema: deriveSchema(small()) })).ok

test('the derived schema types every part of the Cedar model', async () => {
  for (const condition of [
    'context.input.amount > 10 && context.input.to.iban like "DE*"',
    'context.input has dry && context.input.dry',
    'context.input has labels && context.input.labels.contains("a")',
    'context.time.hour >= 8 && context.time.weekday <= 5 && context.time.date == "2026-11-23"',
    'context.time.epoch > 0 && context.time.minute < 60',
    'context has source && context.source.isInRange(ip("10.0.0.0/8"))',
    'context.session.labels.contains("pii") && context.risk < 10 && context.purpose == "work"',
    'context.evidence.approvals >= 1 && context.evidence.approvers.contains("ann")',
    'context has onBehalfOf && context.onBehalfOf.actors.contains(context.onBehalfOf.subject)',
    'context has mandate && context.mandate.depth < 3 && context.mandate.delegator == context.mandate.id && context.mandate.task like "*"',
    'context has payment && context.input.amount <= context.payment.amount && context.payment.creditor == context.input.to.iban && context.payment.currency == "EUR" && context.payment.by like "operator:*"',
    'principal.agent.segment == "inner" && principal.agent.criticality == "medium"',
    'resource.owner == "us" && resource.name == "bank" && resource in Segment::"inner"',
  ]) {
    const policy = `permit (principal in Agent::"reader", action == Action::"bank.pay", resource) when { ${condition} };`
    assert.ok(await check(policy), condition)
  }
  for (const scope of ['"bank.*"', '"read"', '"write"', '"call"']) {
    assert.ok(
      await check(
        `forbid (principal, action in Action::${scope}, resource) when { context.risk > 1 };`,
      ),
      scope,
    )
  }
  assert.ok(
    await check(`permit (principal in Role::"reads", action in [Action::"field.read", Action::"field.mask", Action::"field.tokenise"], resource in DataSet::"payments")
      when { resource.class < 3 && resource.className == "internal" && !resource.tags.contains("pii") && resource.name == "id" && context.operation == "bank.pay" };`),
  )
})

test('a policy that reads what does not exist is refused', async () => {
  for (const condition of [
    'context.input.amout > 10',
    'context.input.dry',
    'context.input.amount == "10"',
    'context.source.isLoopback()',
    'context.onBehalfOf.subject == "x"',
    'context.mandate.id == "x"',
    'context.payment.amount > 1',
    'context has payment && context.payment.amount == "1"',
    'context.session.tags.contains("x")',
    'resource.class < 3',
  ]) {
    const policy = `permit (principal, action == Action::"bank.pay", resource) when { ${condition} };`
    assert.equal(await check(policy), false, condition)
  }
  assert.equal(await check('permit (principal, action == Action::"bank.refund", resource);'), false)
})

test('the derived entities place an instance in its agent, roles and segment, and actions in their groups', async () => {
  const network = small()
  const schema = deriveSchema(network)
  const entities = EntityStore.from(deriveEntities(network)).with([
    instanceEntity(network, 'reader', INSTANCE),
  ])
  const request = {
    principal: { type: 'Instance', id: INSTANCE },
    action: { type: 'Action', id: 'bank.pay' },
    resource: { type: 'System', id: 'bank' },
    context: {
      input: { account: 'a', amount: 5, to: { iban: 'DE000' } },
      time: { epoch: 0, hour: 0, minute: 0, weekday: 4, date: '1970-01-01' },
      session: { labels: [] },
      risk: 0,
      purpose: 'work',
      evidence: { approvals: 0, approvers: [] },
    },
  }
  const decide = async (source: string, on: object = {}): Promise<string> => {
    const set = await loadPolicySet({ policies: [{ id: 'p', source }], schema })
    const { decision, errors } = set.decide({ ...request, ...on }, entities)
    assert.deepEqual(errors, [])
    return decision
  }
  for (const scope of [
    'principal in Agent::"reader", action, resource',
    'principal in Segment::"inner", action, resource in Segment::"inner"',
    'principal in Role::"reads", action in Action::"write", resource == System::"bank"',
    'principal, action in Action::"bank.*", resource',
    'principal, action in Action::"call", resource',
  ]) {
    assert.equal(await decide(`permit (${scope});`), 'allow', scope)
  }
  assert.equal(await decide('permit (principal, action in Action::"read", resource);'), 'deny')
  const { input: _, ...withoutInput } = request.context
  const field = {
    action: { type: 'Action', id: 'field.read' },
    resource: { type: 'Field', id: 'payments.iban' },
    context: { ...withoutInput, operation: 'bank.pay' },
  }
  const tagged = 'when { resource.tags.contains("pii") && resource.class == 3 }'
  assert.equal(
    await decide(
      `permit (principal, action == Action::"field.read", resource in DataSet::"payments") ${tagged};`,
      field,
    ),
    'allow',
  )
})

test('an instance belongs only to the agent that its SPIFFE id names', () => {
  const network = small()
  assert.equal(instanceEntity(network, 'reader', INSTANCE).uid.id, INSTANCE)
  const wrong: readonly (readonly [string, string])[] = [
    ['writer', 'spiffe://small.example/agent/writer/1'],
    ['reader', 'spiffe://small.example/agent/reader2/1'],
    ['reader', 'spiffe://other.example/agent/reader/1'],
    ['reader', 'spiffe://small.example/service/reader/1'],
    ['reader', 'spiffe://small.example/agent/reader'],
  ]
  for (const [agent, id] of wrong) {
    assert.throws(() => instanceEntity(network, agent, id), { code: 'SP_NETWORK_NO_AGENT' }, id)
  }
})
