import type { Declaration, Network } from '@sallyport/network'

export const TRUST_DOMAIN = 'bank.test'

const agent = (name: string, owner: string) => ({
  name,
  description: name,
  owner,
  segment: 'aml',
  criticality: 'high' as const,
  roles: [],
})

/** A small bank: two agents, one core system, holds that need approvals, two limits. */
export function declarationWith(over: Partial<Network> = {}): Declaration {
  const network: Network = {
    name: 'test bank',
    trustDomain: TRUST_DOMAIN,
    quorum: 1,
    settings: {
      svidTtlSeconds: 60,
      stalenessSeconds: 300,
      strictStalenessSeconds: 30,
      riskTtlSeconds: 60,
      staleRisk: 50,
      quarantineAtRisk: 80,
      approvalTtlSeconds: 900,
    },
    segments: [{ name: 'aml', description: 'aml', owner: 'risk' }],
    agents: [agent('flagger', 'risk'), agent('analyst', 'olga')],
    operators: ['alice', 'bob', 'olga'].map((name) => ({
      name,
      displayName: name,
      roles: name === 'bob' ? ['approver'] : ['approver', 'admin'],
    })),
    services: [{ name: 'ledger', description: 'ledger', owner: 'core', segment: 'aml' }],
    systems: [
      {
        name: 'core',
        description: 'core',
        owner: 'core',
        segment: 'aml',
        criticality: 'critical',
        protocol: 'http',
        upstream: { kind: 'service', service: 'ledger', port: 7000 },
        operations: [
          {
            name: 'hold',
            description: 'hold',
            kind: 'write',
            binding: {
              kind: 'http',
              method: 'POST',
              path: '/v1/holds',
              parameters: { account: 'body', amount: 'body' },
            },
            input: {
              type: 'record',
              members: {
                account: { schema: { type: 'string', maxLength: 64 }, required: true },
                amount: { schema: { type: 'long', minimum: 0, maximum: 1e9 }, required: true },
              },
            },
            returns: {},
          },
        ],
      },
    ],
    datasets: [],
    flows: [
      { id: 'flagger-core', from: 'flagger', to: 'core', operations: ['hold'], purpose: 'aml' },
    ],
    limits: [
      {
        id: 'holds',
        description: 'holds',
        agents: ['flagger'],
        operations: ['core.hold'],
        windowSeconds: 600,
        maxCalls: 20,
        maxSum: { input: 'amount', max: 1000 },
      },
    ],
    ...over,
  }
  return {
    network,
    policies: [
      {
        id: 'holds',
        file: 'holds.cedar',
        line: 1,
        source: 'permit (principal in Agent::"flagger", action == Action::"core.hold", resource);',
      },
    ],
  }
}
