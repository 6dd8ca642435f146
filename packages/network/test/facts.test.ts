import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { checkPolicies, closeCedar, EntityStore, loadPolicySet } from '@sallyport/cedar'
import { deriveEntities, deriveSchema, instanceEntity, localClock } from '@sallyport/network'
import type { Network } from '@sallyport/network'
import { MINIMAL, parse } from './minimal.ts'

after(closeCedar)

const READER = 'reader: { owner: us, segment: inner, roles: [reads]'
const ATTRIBUTED = MINIMAL.replace(
  `${READER} }`,
  `${READER}, attributes: { region: eu, tier: 2, validated: true, exportsTo: [us, uk] } }
  writer: { owner: us, segment: inner, attributes: { region: us } }`,
).replace('    protocol: http\n', '    protocol: http\n    attributes: { region: eu }\n')

function accepted(text: string): Network {
  const { network, problems } = parse(text)
  assert.deepEqual(problems, [])
  assert.ok(network)
  return network
}

const fits = async (network: Network, condition: string): Promise<boolean> => {
  const source = `permit (principal, action == Action::"bank.pay", resource) when { ${condition} };`
  return (await checkPolicies({ policies: [{ id: 'p', source }], schema: deriveSchema(network) }))
    .ok
}

test('attributes are typed, and required where all have them', async () => {
  const network = accepted(ATTRIBUTED)
  for (const [condition, ok] of [
    ['principal.agent.attributes.region == resource.attributes.region', true],
    ['principal.agent.attributes has tier && principal.agent.attributes.tier <= 2', true],
    ['principal.agent.attributes has validated && principal.agent.attributes.validated', true],
    [
      'principal.agent.attributes has exportsTo && principal.agent.attributes.exportsTo.contains("us")',
      true,
    ],
    // Only one of the two agents has it.
    ['principal.agent.attributes.tier <= 2', false],
    ['principal.agent.attributes.region == 1', false],
    ['principal.agent.attributes.regoin == "eu"', false],
    ['resource.attributes.tier == 1', false],
  ] as const) {
    assert.equal(await fits(network, condition), ok, condition)
  }
  // A network that declares none has no such member.
  assert.equal(await fits(accepted(MINIMAL), 'principal.agent.attributes has region'), false)
})

test('policies decide by them', async () => {
  const network = accepted(ATTRIBUTED)
  const source = `permit (principal, action, resource is System)
when { principal.agent.attributes.region == resource.attributes.region };`
  const policies = await loadPolicySet({ policies: [{ id: 'p', source }] })
  for (const [agent, decision] of [
    ['reader', 'allow'],
    ['writer', 'deny'],
  ] as const) {
    const id = `spiffe://small.example/agent/${agent}/1`
    const store = EntityStore.from([...deriveEntities(network), instanceEntity(network, agent, id)])
    const request = {
      principal: { type: 'Instance', id },
      action: { type: 'Action', id: 'bank.pay' },
      resource: { type: 'System', id: 'bank' },
      context: {},
    }
    assert.equal(policies.decide(request, store).decision, decision, agent)
  }
})

test('an attribute has one type, and a value that Cedar has', () => {
  for (const [from, to, code] of [
    ['{ region: us }', '{ region: 1 }', 'SP_NETWORK_RULE'],
    ['{ region: us }', '{ region: [us] }', 'SP_NETWORK_RULE'],
    ['{ region: us }', '{ region: 1.5 }', 'SP_NETWORK_SHAPE'],
    ['{ region: us }', '{ region: { a: b } }', 'SP_NETWORK_SHAPE'],
    ['{ region: us }', '{ region: [1] }', 'SP_NETWORK_SHAPE'],
    ['{ region: us }', '{ re gion: us }', 'SP_NETWORK_SHAPE'],
    ['{ region: us }', '{ __region: us }', 'SP_NETWORK_SHAPE'],
  ] as const) {
    assert.ok(ATTRIBUTED.includes(from))
    const { network, problems } = parse(ATTRIBUTED.replace(from, to))
    assert.equal(network, undefined, to)
    assert.deepEqual(
      problems.map(({ code, span }) => [code, span.line]),
      [[code, 8]],
      to,
    )
  }
})

test('a time zone gives policies the local time, and an unknown one is refused', async () => {
  const zone = (name: string): string =>
    MINIMAL.replace('quorum: 1', `quorum: 1\nsettings: { timeZone: ${name} }`)
  const local = 'context.time.local.hour < 18 && context.time.local.date == "2026-01-05"'
  assert.equal(await fits(accepted(zone('Europe/Berlin')), local), true)
  assert.equal(await fits(accepted(MINIMAL), local), false)
  const { problems } = parse(zone('Europe/Berlim'))
  assert.deepEqual(
    problems.map(({ code, span }) => [code, span.line]),
    [['SP_NETWORK_RULE', 4]],
  )
})

test('local time follows the zone, its summer time and its date', () => {
  const at = (zone: string, iso: string): unknown => localClock(zone)?.(Date.parse(iso))
  const time = (date: string, weekday: number, hour: number, minute: number): unknown => ({
    ...{ date, weekday, hour, minute },
  })
  assert.deepEqual(at('UTC', '2026-01-05T12:34:56Z'), time('2026-01-05', 1, 12, 34))
  assert.deepEqual(at('Europe/Berlin', '2026-01-05T23:30:00Z'), time('2026-01-06', 2, 0, 30))
  // Clocks go forward on 29 March 2026 at 02:00, and back on 25 October at 03:00.
  assert.deepEqual(at('Europe/Berlin', '2026-03-29T00:59:59Z'), time('2026-03-29', 7, 1, 59))
  assert.deepEqual(at('Europe/Berlin', '2026-03-29T01:00:00Z'), time('2026-03-29', 7, 3, 0))
  assert.deepEqual(at('Europe/Berlin', '2026-10-25T00:30:00Z'), time('2026-10-25', 7, 2, 30))
  assert.deepEqual(at('Europe/Berlin', '2026-10-25T01:30:00Z'), time('2026-10-25', 7, 2, 30))
  assert.deepEqual(at('Asia/Kolkata', '2026-12-31T18:30:00Z'), time('2027-01-01', 5, 0, 0))
  assert.deepEqual(at('America/New_York', '2026-01-01T04:59:00Z'), time('2025-12-31', 3, 23, 59))
  assert.equal(localClock('Nowhere/Atlantis'), undefined)
})
