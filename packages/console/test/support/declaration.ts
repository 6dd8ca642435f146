import type { InputSchema, Network, PolicySource } from '../../src/api/network-types.ts'

type Operation = Network['systems'][number]['operations'][number]
type Field = Network['datasets'][number]['fields'][number]

const member = (
  schema: InputSchema['members'][string]['schema'],
): InputSchema['members'][string] => ({
  schema,
  required: true,
})
const TEXT = member({ type: 'string' })
const INPUTS: Readonly<Record<string, InputSchema['members']>> = {
  getAccount: { accountId: TEXT },
  placeHold: {
    accountId: TEXT,
    amount: member({ type: 'long' }),
    currency: TEXT,
    reason: TEXT,
    urgent: member({ type: 'boolean' }),
    party: member({ type: 'record', members: { iban: TEXT } }),
  },
  send: { to: member({ type: 'set', items: { type: 'string' } }), text: TEXT },
  getCase: { caseId: TEXT },
}
const op = (name: string, kind: 'read' | 'write', path: string, returns: string): Operation => ({
  name,
  description: `${kind === 'read' ? 'Reads' : 'Changes'} ${returns}`,
  kind,
  binding: { kind: 'http', method: kind === 'read' ? 'GET' : 'POST', path },
  input: { type: 'record', members: INPUTS[name] ?? {} },
  returns: { $: returns },
})
const field = (name: string, cls: Field['class'], ...tags: string[]): Field => ({
  name,
  class: cls,
  tags,
  mask: cls === 'restricted' ? 'last4' : 'full',
})

/** The bank that the fixture server declares: Meridian in small. */
export const MERIDIAN: Network = {
  name: 'Meridian Bank',
  trustDomain: 'meridian.example',
  quorum: 1,
  settings: {
    svidTtlSeconds: 900,
    stalenessSeconds: 300,
    strictStalenessSeconds: 30,
    riskTtlSeconds: 60,
    staleRisk: 50,
    quarantineAtRisk: 90,
    approvalTtlSeconds: 900,
  },
  segments: ['raw', 'analytics', 'screening', 'action', 'cases', 'edge'].map((name) => ({
    name,
    description: `The ${name} zone`,
    owner: 'platform-security',
  })),
  agents: (
    [
      ['transaction-monitor', 'raw', 'critical', 'Watches raw transactions and scores them'],
      ['pattern-analyst', 'analytics', 'high', 'Finds rings over pseudonyms only'],
      ['sanctions-screener', 'screening', 'high', 'Screens parties against list snapshots'],
      ['account-flagger', 'action', 'critical', 'Places holds; large ones need a person'],
      ['case-manager', 'cases', 'high', 'Opens and closes cases'],
      ['sar-drafter', 'cases', 'high', 'Drafts suspicious activity reports'],
      ['sar-filer', 'cases', 'critical', 'Submits reports a human officer signed'],
      ['notifier', 'edge', 'medium', 'Tells customers what they may know'],
    ] as const
  ).map(([name, segment, criticality, description]) => ({
    name,
    segment,
    criticality,
    description,
    owner: 'financial-crime',
    roles: [segment],
  })),
  operators: [
    { name: 'olivia', displayName: 'Olivia Reyes', roles: ['admin', 'approver'] },
    {
      name: 'viktor',
      displayName: 'Viktor Lund',
      roles: ['viewer'],
      breakGlass: { roles: ['responder'] },
    },
  ],
  systems: [
    [
      'core-banking',
      'raw',
      [
        op('listTransactions', 'read', '/v1/transactions', 'transactions'),
        op('getAccount', 'read', '/v1/accounts/{id}', 'accounts'),
        op('placeHold', 'write', '/v1/accounts/{id}/holds', 'holds'),
      ],
    ],
    ['pii-vault', 'raw', [op('getPerson', 'read', '/v1/people/{id}', 'people')]],
    [
      'feature-store',
      'analytics',
      [
        op('getFeatures', 'read', '/v1/features', 'features'),
        op('putScore', 'write', '/v1/scores', 'scores'),
      ],
    ],
    ['sanctions-lists', 'screening', [op('match', 'read', '/v1/match', 'matches')]],
    [
      'case-store',
      'cases',
      [
        op('openCase', 'write', '/v1/cases', 'cases'),
        op('getCase', 'read', '/v1/cases/{id}', 'cases'),
      ],
    ],
    [
      'sar-vault',
      'cases',
      [
        op('draft', 'write', '/v1/sars', 'reports'),
        op('file', 'write', '/v1/sars/{id}/file', 'reports'),
      ],
    ],
    ['message-gateway', 'edge', [op('send', 'write', '/v1/messages', 'messages')]],
  ].map(([name, segment, operations]) => ({
    // The literals above are name, segment, operations in this order.
    name: name as string,
    segment: segment as string,
    operations: operations as Operation[],
    description: 'One of the bank’s own systems',
    owner: 'core-platform',
    criticality: 'high',
    protocol: 'http',
    upstream: { kind: 'service', service: name as string, port: 8443 },
  })),
  datasets: [
    {
      name: 'transactions',
      description: 'Every payment, with its memo as the payer wrote it',
      system: 'core-banking',
      owner: 'payments',
      fields: [
        field('id', 'internal'),
        field('amount', 'confidential'),
        field('from', 'confidential', 'pii'),
        field('to', 'confidential', 'pii'),
        field('memo', 'confidential', 'untrusted'),
      ],
    },
    {
      name: 'people',
      description: 'Who an account belongs to',
      system: 'pii-vault',
      owner: 'privacy',
      fields: [
        field('name', 'restricted', 'pii'),
        field('pan', 'restricted', 'pan', 'pii'),
        field('country', 'public'),
      ],
    },
  ],
  flows: (
    [
      ['transaction-monitor', 'core-banking', ['listTransactions'], 'transaction monitoring'],
      ['transaction-monitor', 'feature-store', ['putScore'], 'transaction monitoring'],
      ['pattern-analyst', 'feature-store', ['getFeatures', 'putScore'], 'ring detection'],
      ['pattern-analyst', 'case-store', ['openCase'], 'ring detection'],
      ['sanctions-screener', 'sanctions-lists', ['match'], 'sanctions screening'],
      ['sanctions-screener', 'pii-vault', ['getPerson'], 'sanctions screening'],
      ['account-flagger', 'core-banking', ['getAccount', 'placeHold'], 'holds'],
      ['account-flagger', 'case-store', ['getCase'], 'holds'],
      ['case-manager', 'case-store', ['openCase', 'getCase'], 'case handling'],
      ['sar-drafter', 'case-store', ['getCase'], 'reporting'],
      ['sar-drafter', 'sar-vault', ['draft'], 'reporting'],
      ['sar-filer', 'sar-vault', ['file'], 'reporting'],
      ['notifier', 'message-gateway', ['send'], 'customer notice'],
    ] as const
  ).map(([from, to, operations, purpose]) => ({
    id: `${from}-to-${to}`,
    from,
    to,
    operations,
    purpose,
  })),
  limits: [
    {
      id: 'holds-a-day',
      description: 'Holds an hour, and their sum in minor units',
      agents: ['account-flagger'],
      operations: ['core-banking.placeHold'],
      windowSeconds: 3600,
      maxCalls: 20,
      maxSum: { input: 'amount', max: 50_000_000 },
    },
  ],
}

export const POLICIES: readonly PolicySource[] = [
  {
    id: 'flagger-may-hold',
    file: 'policies/action.cedar',
    line: 3,
    source:
      '@id("flagger-may-hold")\npermit (principal in Agent::"account-flagger", action == Action::"core-banking.placeHold", resource)\nwhen { context.input.amount <= 1000000 || context.evidence.approvals >= 1 };',
  },
  {
    id: 'analyst-never-reads-people',
    file: 'policies/analytics.cedar',
    line: 9,
    source:
      '@id("analyst-never-reads-people")\nforbid (principal in Segment::"analytics", action in Action::"pii-vault.*", resource);',
  },
  {
    id: 'no-writes-at-risk',
    file: 'policies/guard.cedar',
    line: 1,
    source:
      '@id("no-writes-at-risk")\nforbid (principal, action in Action::"write", resource)\nwhen { context.risk >= 70 };',
  },
  {
    id: 'reads-on-flows',
    file: 'policies/guard.cedar',
    line: 6,
    source: '@id("reads-on-flows")\npermit (principal, action in Action::"read", resource);',
  },
]

/** A network of `agents` agents and a third as many systems, for the map under load. */
export function largeNetwork(agents: number): Network {
  const segments = Array.from({ length: 6 }, (_, i) => `zone-${i + 1}`)
  const pick = <T>(items: readonly T[], i: number): T => {
    const item = items[i % items.length]
    if (item === undefined) throw new Error('nothing to pick from')
    return item
  }
  const [template] = MERIDIAN.systems
  if (!template) throw new Error('the bank has no system')
  const systems = Array.from({ length: Math.floor(agents / 3) }, (_, i) => ({
    ...template,
    name: `system-${i + 1}`,
    segment: pick(segments, i),
  }))
  return {
    ...MERIDIAN,
    name: 'A large network',
    segments: segments.map((name) => ({ name, description: name, owner: 'platform' })),
    agents: Array.from({ length: agents }, (_, i) => ({
      ...pick(MERIDIAN.agents, i),
      name: `agent-${i + 1}`,
      segment: pick(segments, i),
    })),
    systems,
    flows: Array.from({ length: agents * 2 }, (_, i) => ({
      id: `flow-${i}`,
      from: `agent-${(i % agents) + 1}`,
      to: pick(systems, i * 7 + Math.floor(i / agents)).name,
      operations: ['getAccount'],
      purpose: 'load',
    })),
  }
}
