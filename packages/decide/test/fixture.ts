import type { InputType, Network, Operation, PolicySource } from '@sallyport/network'
import type { Call, SessionState } from '../src/index.ts'

const text = (maxLength = 64): InputType => ({ type: 'string', maxLength })

function operation(
  name: string,
  kind: 'read' | 'write',
  members: Record<string, InputType>,
  returns: Record<string, string>,
): Operation {
  const entries = Object.entries(members)
  return {
    name,
    description: name,
    kind,
    binding: {
      kind: 'http',
      method: kind === 'read' ? 'GET' : 'POST',
      path: `/${name}`,
      parameters: {},
    },
    input: {
      type: 'record',
      members: Object.fromEntries(
        entries.map(([k, schema]) => [k, { schema, required: k !== 'memo' }]),
      ),
    },
    returns,
  }
}

const field = (name: string, over: object = {}) => ({
  name,
  class: 'internal' as const,
  tags: [],
  mask: 'full' as const,
  ...over,
})

/** A small bank: one analyst, one flagger, one core system. */
export const network: Network = {
  name: 'test bank',
  trustDomain: 'bank.test',
  quorum: 1,
  settings: {
    svidTtlSeconds: 60,
    stalenessSeconds: 300,
    strictStalenessSeconds: 30,
    riskTtlSeconds: 60,
    staleRisk: 50,
    approvalTtlSeconds: 900,
  },
  segments: [{ name: 'aml', description: 'aml', owner: 'risk' }],
  agents: [
    {
      name: 'analyst',
      description: 'analyst',
      owner: 'risk',
      segment: 'aml',
      criticality: 'medium',
      roles: ['reader'],
    },
    {
      name: 'flagger',
      description: 'flagger',
      owner: 'risk',
      segment: 'aml',
      criticality: 'high',
      roles: [],
    },
  ],
  operators: [{ name: 'olga', displayName: 'Olga', roles: ['approver'] }],
  services: [{ name: 'core', description: 'core', owner: 'it', segment: 'aml' }],
  systems: [
    {
      name: 'core',
      description: 'core banking',
      owner: 'it',
      segment: 'aml',
      criticality: 'critical',
      protocol: 'http',
      upstream: { kind: 'service', service: 'core', port: 9000 },
      operations: [
        operation('list', 'read', { account: text() }, { 'items[]': 'account', total: 'public' }),
        operation(
          'hold',
          'write',
          {
            account: text(),
            amount: { type: 'long', minimum: 0, maximum: 9_000_000_000_000_000 },
            memo: text(),
          },
          { $: 'hold' },
        ),
      ],
    },
  ],
  datasets: [
    {
      name: 'account',
      description: 'accounts',
      system: 'core',
      owner: 'it',
      fields: [
        field('id', { class: 'confidential', tags: ['account'], tokenKind: 'account' }),
        field('name', { class: 'restricted', tags: ['pii'] }),
        field('pan', { class: 'restricted', tags: ['pan'], mask: 'last4' }),
        field('balance'),
        field('payments', { dataset: 'payment' }),
      ],
    },
    {
      name: 'payment',
      description: 'payments',
      system: 'core',
      owner: 'it',
      fields: [
        field('amount'),
        field('memo', { class: 'confidential', tags: ['untrusted'] }),
        field('to', { class: 'confidential', tags: ['account'], tokenKind: 'account' }),
      ],
    },
    {
      name: 'hold',
      description: 'holds',
      system: 'core',
      owner: 'it',
      fields: [field('id', { class: 'public' })],
    },
  ],
  flows: [
    { id: 'f1', from: 'analyst', to: 'core', operations: ['list'], purpose: 'aml' },
    { id: 'f2', from: 'flagger', to: 'core', operations: ['hold', 'list'], purpose: 'aml' },
  ],
  limits: [
    {
      id: 'l1',
      description: 'holds an hour',
      agents: ['flagger'],
      operations: ['core.hold'],
      windowSeconds: 3600,
      maxCalls: 10,
    },
  ],
}

/** The policies that most tests use; each source has its own `@id`. */
const policies: Readonly<Record<string, string>> = {
  'read-core': `@id("read-core")
permit(principal in Role::"reader", action == Action::"core.list", resource == System::"core")
when { context.purpose == "aml" };`,
  'small-holds': `@id("small-holds")
permit(principal in Agent::"flagger", action == Action::"core.hold", resource)
when { context.input.amount <= 100000 };`,
  'large-holds': `@id("large-holds")
permit(principal in Agent::"flagger", action == Action::"core.hold", resource)
when { context.input.amount <= 5000000 && context.evidence.approvals >= 2 };`,
  'no-risky': `@id("no-risky")
forbid(principal, action in Action::"call", resource) when { context.risk >= 70 };`,
  'no-tainted': `@id("no-tainted")
forbid(principal, action in Action::"write", resource)
when { context.session.labels.contains("untrusted") && context.evidence.approvals < 1 };`,
  'fields-plain': `@id("fields-plain")
permit(principal, action == Action::"field.read", resource) when { resource.class <= 1 };`,
  'fields-memo': `@id("fields-memo")
permit(principal, action == Action::"field.read", resource == Field::"payment.memo");`,
  'fields-account': `@id("fields-account")
permit(principal, action == Action::"field.tokenise", resource) when { resource.tags.contains("account") };`,
  'fields-pan': `@id("fields-pan")
permit(principal, action == Action::"field.mask", resource) when { resource.tags.contains("pan") };`,
}

export function sources(over: Readonly<Record<string, string | undefined>> = {}): PolicySource[] {
  return Object.entries({ ...policies, ...over }).flatMap(([id, source]) =>
    source === undefined ? [] : [{ id, source, file: 'test.cedar', line: 1 }],
  )
}

export function call(over: Partial<Call> = {}): Call {
  const agent = over.agent ?? 'analyst'
  return {
    instance: `spiffe://bank.test/agent/${agent}/i1`,
    agent,
    system: 'core',
    operation: 'list',
    input: { account: 'a1' },
    // A Monday, 14:05 UTC.
    time: Date.UTC(2026, 10, 23, 14, 5),
    evidence: { approvals: [] },
    ...over,
  }
}

export const hold = (amount: number, over: Partial<Call> = {}): Call =>
  call({ agent: 'flagger', operation: 'hold', input: { account: 'a1', amount }, ...over })

export const quiet: SessionState = { labels: [], risk: 0 }
