import type { Drift, Use } from '../../src/api/inventory-types.ts'

const now = Date.now()
const DAY = 86_400_000

/** What gateways saw of a network that is asked for more than it declares. */
export const DRIFT: readonly Drift[] = [
  {
    ...{ kind: 'operation', system: 'core-banking', by: 'account-flagger', calls: 41 },
    name: 'POST /v1/accounts/{}/close',
    ...{ first: now - 2 * DAY, last: now - 12_000 },
    suggestion: `# in the OpenAPI description of core-banking
paths:
  "/v1/accounts/{id}/close":
    post: { operationId: TODO, responses: {} }
---
# in network.yaml
systems:
  core-banking:
    operations:
      TODO: { kind: write, returns: {} }
flows:
  # in place of account-flagger>core-banking
  - { from: account-flagger, to: core-banking, operations: [placeHold, TODO], purpose: holds }
`,
  },
  {
    ...{ kind: 'flow', system: 'pii-vault', name: 'getPerson', by: 'pattern-analyst', calls: 3 },
    ...{ first: now - 95_000, last: now - 91_000 },
    suggestion:
      'flows:\n  - { from: pattern-analyst, to: pii-vault, operations: [getPerson], purpose: TODO }\n',
  },
  {
    ...{ kind: 'field', system: 'core-banking', name: 'account.riskScore', by: 'account-flagger' },
    ...{ calls: 1204, first: now - 9 * DAY, last: now - 3_600_000 },
    suggestion:
      'datasets:\n  account:\n    fields:\n      riskScore: { class: restricted, tags: [] } # TODO: its class and tags\n',
  },
  {
    ...{ kind: 'caller', system: '', by: '203.0.113.9', calls: 2 },
    name: 'spiffe://meridian.example/agent/night-batch/n1',
    ...{ first: now - 5 * DAY, last: now - 4 * DAY },
    suggestion:
      'agents:\n  night-batch:\n    description: TODO\n    owner: TODO\n    segment: TODO\n    criticality: critical\n    roles: []\n',
  },
  {
    ...{ kind: 'destination', system: '', name: 'api.openai.example', by: 'notifier', calls: 7 },
    ...{ first: now - 6 * DAY, last: now - 5 * DAY },
    suggestion:
      'systems:\n  TODO:\n    description: TODO\n    upstream:\n      url: "https://api.openai.example"\n',
  },
  {
    ...{ kind: 'caller', system: '', name: '*', by: '*', calls: 88_214 },
    ...{ first: now - 6 * DAY, last: now - 6 * DAY, suggestion: null },
  },
]

export const USES: readonly Use[] = [
  { kind: 'agent', name: 'account-flagger', owner: 'fraud-desk', calls: 18_204, last: now - 9000 },
  { kind: 'agent', name: 'notifier', owner: 'customer-care', calls: 0, last: null },
  { kind: 'service', name: 'core-banking', owner: 'core', calls: 20_118, last: now - 9000 },
  { kind: 'system', name: 'core-banking', owner: 'core', calls: 20_118, last: now - 9000 },
  { kind: 'operation', name: 'core-banking.placeHold', owner: 'core', calls: 12, last: now - DAY },
  { kind: 'operation', name: 'core-banking.getStatement', owner: 'core', calls: 0, last: null },
  {
    ...{ kind: 'dataset', name: 'account', owner: 'core', class: 'confidential' },
    ...{ calls: 20_000, last: now - 9000 },
  },
]
