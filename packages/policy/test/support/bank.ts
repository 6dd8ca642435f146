import type { Declaration, Field, InputSchema, Network, PolicySource } from '@sallyport/network'

/** Every kind of input that a policy can read. */
export const INPUT: InputSchema = {
  type: 'record',
  members: {
    amount: {
      schema: { type: 'long', minimum: -1000, maximum: 9_000_000_000_000_000 },
      required: true,
    },
    ref: { schema: { type: 'string', maxLength: 8, pattern: '^[A-Za-z0-9-]+$' }, required: true },
    memo: { schema: { type: 'string', maxLength: 20 }, required: false },
    currency: { schema: { type: 'string', maxLength: 3, enum: ['EUR', 'CHF'] }, required: true },
    urgent: { schema: { type: 'boolean' }, required: true },
    tags: {
      schema: { type: 'set', items: { type: 'string', maxLength: 8 }, maxItems: 3 },
      required: true,
    },
    parts: {
      schema: { type: 'set', items: { type: 'long', minimum: 0, maximum: 100 }, maxItems: 3 },
      required: false,
    },
  },
}

const field = (name: string, over: Partial<Field> = {}): Field => ({
  ...{ name, class: 'internal', tags: [], mask: 'full' },
  ...over,
})

/** One agent that may call `core.op0` … as far as policies let it. */
export function network(operations: number, over: Partial<Network> = {}): Network {
  const names = Array.from({ length: operations }, (_, i) => `op${i}`)
  const owned = { owner: 'it', description: '-' }
  return {
    name: 'bank',
    trustDomain: 'bank.test',
    quorum: 1,
    settings: {
      ...{ svidTtlSeconds: 60, stalenessSeconds: 300, strictStalenessSeconds: 30 },
      ...{ riskTtlSeconds: 60, staleRisk: 50, approvalTtlSeconds: 900 },
    },
    segments: [{ name: 'aml', ...owned }],
    agents: [
      { name: 'clerk', ...owned, segment: 'aml', criticality: 'medium', roles: ['writer'] },
      { name: 'other', ...owned, segment: 'aml', criticality: 'low', roles: [] },
    ],
    operators: [{ name: 'olga', displayName: 'Olga', roles: ['approver'] }],
    services: [{ name: 'core', ...owned, segment: 'aml' }],
    systems: [
      {
        ...{ name: 'core', ...owned, segment: 'aml', criticality: 'critical', protocol: 'http' },
        upstream: { kind: 'service', service: 'core', port: 9000 },
        operations: names.map((name) => ({
          ...{ name, description: '-', kind: 'write', input: INPUT, returns: { $: 'account' } },
          binding: { kind: 'http', method: 'POST', path: `/${name}`, parameters: {} },
        })),
      },
    ],
    datasets: [
      {
        ...{ name: 'account', ...owned, system: 'core' },
        fields: [
          field('id', { class: 'confidential', tags: ['account'] }),
          field('name', { class: 'restricted', tags: ['pii'] }),
          field('payments', { dataset: 'payment' }),
        ],
      },
      {
        ...{ name: 'payment', ...owned, system: 'core' },
        fields: [field('amount'), field('memo', { tags: ['untrusted'] })],
      },
    ],
    flows: [{ id: 'f1', from: 'clerk', to: 'core', operations: names, purpose: 'aml' }],
    limits: [],
    ...over,
  }
}

/** Policies by their texts, without ids: `p0`, `p1`, … */
export function declaration(
  texts: readonly string[],
  over: Partial<Network> = {},
  operations = 1,
): Declaration {
  const policies = texts.map((source, i): PolicySource => {
    const id = /@id\("([^"]+)"\)/.exec(source)?.[1] ?? `p${i}`
    return { id, source, file: 'test.cedar', line: i + 1 }
  })
  return { network: network(operations, over), policies }
}

export const permit = (condition: string, operation = 'op0'): string =>
  `permit (principal, action == Action::"core.${operation}", resource) when { ${condition} };`

export const forbid = (condition: string, operation = 'op0'): string =>
  permit(condition, operation).replace('permit', 'forbid')
