import type { Network, Operation, System } from '@sallyport/network'

const operation = (name: string, kind: 'read' | 'write', returns = 'plain'): Operation => ({
  name,
  description: name,
  kind,
  binding: {
    kind: 'http',
    method: kind === 'read' ? 'GET' : 'POST',
    path: `/${name}`,
    parameters: {},
  },
  input: { type: 'record', members: {} },
  returns: { $: returns },
})

const system = (
  name: string,
  criticality: System['criticality'],
  operations: readonly Operation[],
): System => ({
  name,
  description: name,
  owner: 'ops',
  segment: 'core',
  criticality,
  protocol: 'http',
  upstream: { kind: 'service', service: name, port: 1 },
  operations,
})

/** A small bank: an analyst with one flow, a flagger, a vault of personal data. */
export const network: Network = {
  name: 'test',
  trustDomain: 'bank.example',
  quorum: 1,
  settings: {
    svidTtlSeconds: 60,
    stalenessSeconds: 300,
    strictStalenessSeconds: 30,
    riskTtlSeconds: 60,
    staleRisk: 50,
    approvalTtlSeconds: 600,
  },
  segments: [],
  agents: ['analyst', 'flagger'].map((name) => ({
    name,
    description: name,
    owner: 'ops',
    segment: 'core',
    criticality: 'medium',
    roles: [],
  })),
  operators: [],
  services: [],
  systems: [
    system('core', 'critical', [
      operation('list', 'read'),
      operation('account', 'read'),
      operation('hold', 'write'),
    ]),
    system('vault', 'critical', [operation('customer', 'read', 'people')]),
    system('messages', 'low', [operation('send', 'write')]),
  ],
  datasets: [
    {
      name: 'people',
      description: 'people',
      system: 'vault',
      owner: 'ops',
      fields: [{ name: 'name', class: 'restricted', tags: ['pii'], mask: 'full' }],
    },
    { name: 'plain', description: 'plain', system: 'core', owner: 'ops', fields: [] },
  ],
  flows: [
    { id: 'f1', from: 'analyst', to: 'core', operations: ['list', 'account'], purpose: 'x' },
    { id: 'f2', from: 'flagger', to: 'core', operations: ['hold'], purpose: 'x' },
  ],
  limits: [],
}
