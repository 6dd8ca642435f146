import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { after, test } from 'node:test'
import { checkPolicies, closeCedar, EntityStore, loadPolicySet } from '@sallyport/cedar'
import type { CedarJson, PolicySet } from '@sallyport/cedar'
import {
  deriveEntities,
  deriveSchema,
  GATEWAY_PORT,
  indexNetwork,
  instanceEntity,
  loadDeclaration,
  reach,
  reachability,
} from '@sallyport/network'

after(closeCedar)

const networkFile = fileURLToPath(
  new URL('../../../examples/meridian/network.yaml', import.meta.url),
)
const { network, policies } = await loadDeclaration({ networkFile })
const index = indexNetwork(network)
const set = await loadPolicySet({ policies, schema: deriveSchema(network) })
const resident = EntityStore.from(deriveEntities(network))

interface Situation {
  readonly input?: Readonly<Record<string, CedarJson>>
  readonly labels?: readonly string[]
  readonly risk?: number
  readonly approvals?: readonly string[]
}

/** Policy alone: whether some flow declares the call is asked of the index. */
function decide(
  agent: string,
  action: string,
  resource: { readonly type: string; readonly id: string },
  purpose: string,
  situation: Situation,
  extra: Readonly<Record<string, CedarJson>>,
  policySet: PolicySet = set,
): boolean {
  const id = `spiffe://meridian.example/agent/${agent}/1`
  const { labels = [], risk = 0, approvals = [] } = situation
  const answer = policySet.decide(
    {
      principal: { type: 'Instance', id },
      action: { type: 'Action', id: action },
      resource,
      context: {
        ...extra,
        time: { epoch: 1_795_000_000, hour: 9, minute: 0, weekday: 1, date: '2026-11-23' },
        session: { labels },
        risk,
        purpose,
        evidence: { approvals: approvals.length, approvers: approvals },
      },
    },
    resident.with([instanceEntity(network, agent, id)]),
  )
  assert.deepEqual(answer.errors, [], `${agent} ${action}`)
  return answer.decision === 'allow'
}

/** A plausible input for an operation, for decisions that hang on none of it. */
function anyInput(system: string, operation: string): Record<string, CedarJson> {
  const members = index.findOperation(system, operation)?.input.members ?? {}
  return Object.fromEntries(
    Object.entries(members)
      .filter(([, member]) => member.required)
      .map(([name, { schema }]): [string, CedarJson] => [
        name,
        schema.type === 'long' ? 1 : schema.type === 'set' ? [] : 'x',
      ]),
  )
}

function allowed(agent: string, call: string, situation: Situation = {}): boolean {
  const [system = '', operation = ''] = call.split('.')
  const flow = index.findFlow(agent, system, operation)
  if (!flow) return false
  const input = { ...anyInput(system, operation), ...situation.input }
  return decide(agent, call, { type: 'System', id: system }, flow.purpose, situation, { input })
}

/** How a field leaves for an agent by a declared call, as the gateway tries it. */
function treatment(agent: string, call: string, field: string): string {
  const [system = '', operation = ''] = call.split('.')
  const flow = index.findFlow(agent, system, operation)
  if (!flow) return 'no flow'
  for (const way of ['read', 'mask', 'tokenise']) {
    const resource = { type: 'Field', id: field }
    if (decide(agent, `field.${way}`, resource, flow.purpose, {}, { operation: call })) return way
  }
  return 'drop'
}

const calls = network.systems.flatMap((s) => s.operations.map((o) => `${s.name}.${o.name}`))
const agents = network.agents.map((agent) => agent.name)
const EVERY_EVIDENCE: Situation = { approvals: ['officer', 'second-officer'] }
const holders = (call: string): string[] =>
  agents.filter((agent) => allowed(agent, call, EVERY_EVIDENCE))

test('the declaration and its policies pass every check, and each file opens for editors', async () => {
  assert.deepEqual(await checkPolicies({ policies, schema: deriveSchema(network) }), {
    ok: true,
    diagnostics: [],
  })
  assert.match(readFileSync(networkFile, 'utf8'), /^# yaml-language-server: \$schema=/)
  for (const policy of policies) assert.match(policy.source, /@id\("[a-z0-9.-]+"\)/)
})

test('every declared call is permitted in some situation, and no other call in any', () => {
  for (const agent of agents) {
    for (const call of calls) {
      const [system = '', operation = ''] = call.split('.')
      const declared = index.findFlow(agent, system, operation) !== undefined
      assert.equal(allowed(agent, call, EVERY_EVIDENCE), declared, `${agent} ${call}`)
    }
  }
})

test('each agent is held to its task by policy alone, were the flows to be lost', () => {
  for (const agent of agents) {
    for (const call of calls) {
      const [system = '', operation = ''] = call.split('.')
      if (index.findFlow(agent, system, operation)) continue
      const input = anyInput(system, operation)
      for (const purpose of new Set(network.flows.map((flow) => flow.purpose))) {
        const resource = { type: 'System', id: system }
        assert.equal(
          decide(agent, call, resource, purpose, EVERY_EVIDENCE, { input }),
          false,
          `${agent} ${call}`,
        )
      }
    }
  }
})

test('nobody holds both personal data and the power to freeze accounts', () => {
  const pii = new Set([...holders('pii-vault.getCustomer'), ...holders('pii-vault.getContact')])
  assert.deepEqual([...pii].toSorted(), ['notifier', 'sanctions-screener', 'sar-drafter'])
  assert.deepEqual(holders('core-banking.placeHold'), ['account-flagger'])
  assert.equal(allowed('account-flagger', 'core-banking.placeHold', { labels: ['pii'] }), false)
  assert.equal(allowed('account-flagger', 'core-banking.placeHold', { labels: [] }), true)
})

test('only the filer files, and only with an approval', () => {
  assert.deepEqual(holders('case-store.file_sar'), ['sar-filer'])
  assert.equal(allowed('sar-filer', 'case-store.file_sar'), false)
  assert.equal(allowed('sar-filer', 'case-store.file_sar', { approvals: ['officer'] }), true)
})

test('a large hold needs a person, a risky instance places none', () => {
  const hold = (amount: number, more: Situation = {}): boolean =>
    allowed('account-flagger', 'core-banking.placeHold', { ...more, input: { amount } })
  assert.equal(hold(1_000_000), true)
  assert.equal(hold(1_000_001), false)
  assert.equal(hold(1_000_001, { approvals: ['officer'] }), true)
  assert.equal(hold(1, { risk: 59 }), true)
  assert.equal(hold(1, { risk: 60, approvals: ['officer'] }), false)
})

test('untrusted text lets a session report rings and change nothing else', () => {
  for (const agent of agents) {
    for (const call of calls) {
      const [system = '', operation = ''] = call.split('.')
      const write = index.findOperation(system, operation)?.kind === 'write'
      const before = allowed(agent, call, EVERY_EVIDENCE)
      const tainted = allowed(agent, call, { ...EVERY_EVIDENCE, labels: ['untrusted'] })
      const expected = before && (!write || call === 'case-store.report_ring')
      assert.equal(tainted, expected, `${agent} ${call}`)
    }
  }
})

test('at risk 80 nothing at all is allowed', () => {
  for (const agent of agents) {
    for (const call of calls) {
      assert.equal(allowed(agent, call, { ...EVERY_EVIDENCE, risk: 80 }), false, `${agent} ${call}`)
    }
  }
})

test('the notifier never learns of a report, and whoever has may not write to customers', () => {
  for (const dataset of network.datasets) {
    for (const field of dataset.fields) {
      if (!field.tags.includes('sar')) continue
      const name = `${dataset.name}.${field.name}`
      assert.equal(treatment('notifier', 'case-store.list_cases', name), 'drop', name)
      assert.equal(treatment('case-manager', 'case-store.get_case', name), 'drop', name)
      assert.equal(treatment('sar-filer', 'case-store.get_sar', name), 'read', name)
    }
  }
  assert.equal(allowed('notifier', 'messages.sendMessage', { labels: ['sar'] }), false)
  assert.equal(allowed('notifier', 'messages.sendMessage', { labels: ['contact'] }), true)
})

test('each agent sees exactly the fields its task needs', () => {
  const view = (agent: string, call: string, dataset: string): Record<string, string> =>
    Object.fromEntries(
      (index.findDataset(dataset)?.fields ?? [])
        .map((field) => [field.name, treatment(agent, call, `${dataset}.${field.name}`)] as const)
        .filter(([, way]) => way !== 'drop'),
    )
  const payments = { id: 'read', time: 'read', amount: 'read', currency: 'read', memo: 'read' }
  assert.deepEqual(view('monitor', 'core-banking.listTransactions', 'transactions'), {
    ...payments,
    from: 'read',
    to: 'read',
  })
  assert.deepEqual(view('pattern-analyst', 'core-banking.listTransactions', 'transactions'), {
    ...payments,
    from: 'tokenise',
    to: 'tokenise',
  })
  assert.deepEqual(view('sanctions-screener', 'pii-vault.getCustomer', 'customers'), {
    id: 'read',
    name: 'read',
    iban: 'mask',
  })
  assert.deepEqual(view('sar-drafter', 'pii-vault.getCustomer', 'customers'), {
    id: 'read',
    name: 'mask',
    dateOfBirth: 'mask',
    iban: 'mask',
  })
  assert.deepEqual(view('notifier', 'pii-vault.getContact', 'contacts'), {
    id: 'read',
    email: 'read',
  })
  assert.deepEqual(view('notifier', 'case-store.list_cases', 'cases'), {
    id: 'read',
    kind: 'read',
    status: 'read',
    openedAt: 'read',
    accounts: 'read',
  })
  assert.deepEqual(view('notifier', 'core-banking.getAccount', 'accounts'), {
    id: 'read',
    customerId: 'read',
    currency: 'read',
  })
})

test('what each agent sees of rings, cases, accounts and holds is exactly this', () => {
  const seen = (agent: string, call: string, dataset: string): string =>
    (index.findDataset(dataset)?.fields ?? [])
      .filter((field) => treatment(agent, call, `${dataset}.${field.name}`) === 'read')
      .map((field) => field.name)
      .join(' ')
  const ring = 'id pattern accounts score caseId reportedAt'
  const aCase = 'id kind status openedAt accounts pattern summary notes'
  assert.deepEqual(
    [
      seen('monitor', 'core-banking.getAccount', 'accounts'),
      seen('pattern-analyst', 'case-store.report_ring', 'rings'),
      seen('account-flagger', 'case-store.list_rings', 'rings'),
      seen('sanctions-screener', 'case-store.list_rings', 'rings'),
      seen('case-manager', 'case-store.list_rings', 'rings'),
      seen('case-manager', 'case-store.get_case', 'cases'),
      seen('case-manager', 'case-store.add_note', 'notes'),
      seen('sar-drafter', 'case-store.get_case', 'cases'),
      seen('account-flagger', 'core-banking.listHolds', 'holds'),
    ],
    [
      'id customerId openedAt balance currency status',
      'id pattern score caseId reportedAt',
      ring,
      ring,
      ring,
      aCase,
      'id caseId at text',
      `${aCase} sarId sarStatus`,
      'id accountId amount currency status',
    ],
  )
})

test('the bounds hold even if someone later permits everything', async () => {
  const source = '@id("careless") permit (principal, action, resource);'
  const careless = await loadPolicySet({
    policies: [...policies, { id: 'careless', source }],
    schema: deriveSchema(network),
  })
  const file = (agent: string): boolean =>
    decide(
      agent,
      'case-store.file_sar',
      { type: 'System', id: 'case-store' },
      'filing',
      EVERY_EVIDENCE,
      { input: { sarId: 'x' } },
      careless,
    )
  assert.equal(file('sar-filer'), true)
  assert.equal(file('sar-drafter'), false)
  for (const way of ['read', 'mask', 'tokenise']) {
    const sees = (agent: string): boolean =>
      decide(
        agent,
        `field.${way}`,
        { type: 'Field', id: 'cases.sarStatus' },
        'notification',
        {},
        { operation: 'case-store.list_cases' },
        careless,
      )
    assert.equal(sees('sar-filer'), true)
    assert.equal(sees('notifier'), false)
    assert.equal(sees('account-flagger'), false)
  }
})

test('the pseudonyms of both ends of a payment are of one kind, and a ring is reported under them', () => {
  assert.equal(index.tokenKind('transactions.from'), index.tokenKind('transactions.to'))
  assert.equal(index.tokenKind('rings.accounts'), 'account')
  const accounts = index.findOperation('case-store', 'report_ring')?.input.members['accounts']
    ?.schema
  assert.ok(accounts?.type === 'set' && accounts.items.type === 'string')
  assert.equal(accounts.items.tokenOf, 'account')
  assert.equal(index.tokenKind('account'), 'account')
})

test('bulk reading fits its ceiling and a flood does not', () => {
  for (const agent of ['monitor', 'pattern-analyst']) {
    const [limit] = index.limitsFor(agent, 'core-banking', 'listTransactions')
    assert.ok(limit?.maxCalls !== undefined)
    assert.ok(30 * limit.windowSeconds <= limit.maxCalls, 'bulk reading passes')
    assert.ok(60 * limit.windowSeconds > limit.maxCalls, 'a flood is limited')
  }
  assert.deepEqual(index.limitsFor('notifier', 'core-banking', 'getAccount'), [])
})

test('at the packet layer agents reach the gateway and no service', () => {
  const { allowed } = reachability(network)
  for (const agent of agents) {
    assert.ok(allowed.has(reach(`agent/${agent}`, 'gateway', GATEWAY_PORT)))
    const reached = [...allowed].filter((entry) => entry.startsWith(`agent/${agent}|`))
    assert.deepEqual([...new Set(reached.map((entry) => entry.split('|')[1] ?? ''))].toSorted(), [
      'control',
      'dns',
      'gateway',
    ])
  }
  const services = [...allowed].filter((entry) => entry.includes('|service/'))
  assert.ok(services.length === 4 && services.every((entry) => entry.startsWith('gateway|')))
})
