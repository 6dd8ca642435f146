import { createHash } from 'node:crypto'
import type { Network } from '../../src/api/network-types.ts'
import type {
  DecisionDetail,
  DecisionKind,
  DecisionRecord,
  Edge,
  Proposal,
  ShadowReport,
} from '../../src/api/types.ts'

const hex = (text: string): string => createHash('sha256').update(text).digest('hex')

/** A change of the declaration on disk that waits for a signature. */
export const PROPOSAL: Proposal = {
  digest: hex('a proposed declaration'),
  serial: 7,
  proposedBy: 'file',
  proposedAt: Date.now() - 200_000,
  signed: [],
  quorum: 1,
  diff: [
    {
      path: 'network.flows[notifier-to-message-gateway].operations',
      change: 'changed',
      before: '["send"]',
      after: '["send","sendBulk"]',
    },
    { path: 'policies[notifier-bulk]', change: 'added', after: 'permit (principal in …' },
  ],
  shadow: { stage: 'draft', minutes: 0, required: 0 },
}

/** What the shadow of `PROPOSAL` would have decided otherwise. */
export function shadowReport(
  shadow: Proposal['shadow'],
  records: readonly DecisionRecord[],
): ShadowReport {
  const examplesOf = (kind: DecisionKind, to: DecisionKind, code: string, changes?: string[]) =>
    records
      .filter(({ decision }) => decision === kind)
      .slice(-2)
      .map(({ id, at, agent, system, operation, code: live }) => ({
        ...{ decisionId: id, at, agent, system, operation },
        live: { decision: kind, code: live },
        shadow: { decision: to, code, ...(changes && { changes }) },
      }))
  return {
    ...shadow,
    digest: PROPOSAL.digest,
    against: hex('in force'),
    counts: {
      ...{ agreed: 4210, denyToAllow: 12, allowToDeny: 1 },
      ...{ needsChanged: 3, otherwise: 2, notCompared: 0 },
    },
    changes: [
      { from: 'deny', to: 'allow', calls: 12, examples: examplesOf('deny', 'allow', 'SP_ALLOWED') },
      {
        ...{ from: 'needs', to: 'allow', calls: 3 },
        examples: examplesOf('needs', 'allow', 'SP_ALLOWED'),
      },
      {
        ...{ from: 'allow', to: 'allow', calls: 2 },
        examples: examplesOf('allow', 'allow', 'SP_ALLOWED', [
          'field customers.iban: mask to whole',
        ]),
      },
      {
        ...{ from: 'allow', to: 'deny', calls: 1 },
        examples: examplesOf('allow', 'deny', 'SP_DENIED_NOT_PERMITTED').slice(1),
      },
    ],
  }
}

/** A small seeded generator: the same data in every run. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

export function instanceOf(network: Network, agent: string, n: number = 1): string {
  return `spiffe://${network.trustDomain}/agent/${agent}/${agent.slice(0, 3)}-${n}`
}

let sequence = 0

/** One decision record, allowed along its flow unless `change` says otherwise. */
export function record(
  network: Network,
  at: number,
  change: Partial<DecisionRecord> & Pick<DecisionRecord, 'agent' | 'system' | 'operation'>,
): DecisionRecord {
  const id = `dec_${String(++sequence).padStart(8, '0')}`
  return {
    at,
    gateway: 'gw1',
    id,
    instance: instanceOf(network, change.agent),
    decision: 'allow',
    code: 'SP_ALLOWED',
    reasons: ['reads-on-flows'],
    errors: [],
    needs: [],
    revision: { epoch: 1, n: 42 },
    declarationDigest: hex('declaration'),
    stateDigest: hex(`state ${id}`),
    labels: ['pii'],
    risk: 8,
    requestHash: hex(`request ${id}`),
    peer: { serial: hex(change.agent).slice(0, 32), group: 'X25519MLKEM768', source: '10.2.0.7' },
    ...change,
  }
}

/** A quarter of an hour of the bank's day: mostly allowed, then the analyst goes astray. */
export function history(network: Network, now: number, count: number): DecisionRecord[] {
  const random = seeded(7)
  const records: DecisionRecord[] = []
  let strayed = 0
  for (let i = 0; i < count; i++) {
    const at = now - Math.round(((count - i) / count) * 14 * 60_000)
    const flow = network.flows[Math.floor(random() * network.flows.length)]
    if (!flow) throw new Error('the network has no flow')
    const operation = flow.operations[Math.floor(random() * flow.operations.length)] ?? ''
    const call = { agent: flow.from, system: flow.to, operation }
    const dice = random()
    if (network.name === 'Meridian Bank' && i > count * 0.75 && dice < 0.3) {
      records.push(record(network, at, astray(strayed++)))
    } else if (operation === 'placeHold') {
      records.push(
        record(network, at, {
          ...call,
          ...(dice < 0.4
            ? {
                decision: 'needs',
                code: 'SP_NEEDS_APPROVAL',
                needs: [{ kind: 'approval', count: 1 }],
              }
            : {}),
          reasons: ['flagger-may-hold'],
        }),
      )
    } else records.push(record(network, at, call))
  }
  return records
}

function astray(
  i: number,
): Partial<DecisionRecord> & Pick<DecisionRecord, 'agent' | 'system' | 'operation'> {
  const base = {
    agent: 'pattern-analyst',
    decision: 'deny',
    labels: ['untrusted'],
    risk: 74,
  } as const
  switch (i % 5) {
    case 0:
      return {
        ...base,
        system: 'pii-vault',
        operation: 'getPerson',
        code: 'SP_NO_FLOW',
        reasons: [],
      }
    case 1:
      return {
        ...base,
        system: 'feature-store',
        operation: 'putScore',
        code: 'SP_DENIED_FORBIDDEN',
        reasons: ['no-writes-at-risk'],
      }
    case 2:
      return {
        ...base,
        system: 'case-store',
        operation: 'openCase',
        code: 'SP_DENIED_NOT_PERMITTED',
        reasons: [],
      }
    case 3:
      return {
        ...base,
        system: 'feature-store',
        operation: 'getFeatures',
        code: 'SP_LIMIT_REACHED',
        reasons: ['reads-on-flows'],
      }
    default:
      return {
        ...base,
        system: 'case-store',
        operation: 'openCase',
        code: 'SP_DENIED_POLICY_ERROR',
        reasons: [],
        errors: [{ policyId: 'no-writes-at-risk', message: 'attribute `risk` was missing' }],
      }
  }
}

export function edgesOf(records: readonly DecisionRecord[]): Edge[] {
  const edges = new Map<string, { -readonly [K in keyof Edge]: Edge[K] }>()
  for (const { agent, system, operation, decision, at } of records) {
    const key = `${agent} ${system} ${operation}`
    const edge = edges.get(key) ?? {
      from: agent,
      to: system,
      operation,
      allow: 0,
      deny: 0,
      needs: 0,
      lastAt: 0,
    }
    edge[decision]++
    edge.lastAt = Math.max(edge.lastAt, at)
    edges.set(key, edge)
  }
  return [...edges.values()]
}

/** The full why of a record, as `decide` would explain it. */
export function detailOf(item: DecisionRecord, index: number): DecisionDetail {
  return {
    record: item,
    outcome:
      item.decision === 'allow'
        ? {
            at: item.at + 14,
            status: 200,
            result: 'completed',
            durationMs: 13.7,
            bytesOut: 4812,
            released: { transactions: { records: 40, maxWholeClass: 'internal' } },
          }
        : null,
    explanation: explain(item),
    approvals: [],
    audit: { shard: item.gateway, index },
  }
}

function explain(item: DecisionRecord): DecisionDetail['explanation'] {
  if (item.decision === 'allow') return null
  const scope = {
    text: 'principal in Agent::"account-flagger"',
    result: 'true',
    values: {},
  } as const
  const hold = {
    policyId: 'flagger-may-hold',
    effect: 'permit',
    outcome: 'unsatisfied',
    scope: [
      scope,
      { text: 'action == Action::"core-banking.placeHold"', result: 'true', values: {} },
    ],
    conditions: [
      {
        text: 'context.input.amount <= 1000000 || context.evidence.approvals >= 1',
        result: 'false',
        values: { 'context.input.amount': '1500000', 'context.evidence.approvals': '0' },
      },
    ],
    annotations: { description: 'Small holds freely, large ones with a person.' },
  } as const
  const risky = {
    policyId: 'no-writes-at-risk',
    effect: 'forbid',
    outcome: 'satisfied',
    scope: [{ text: 'action in Action::"write"', result: 'true', values: {} }],
    conditions: [{ text: 'context.risk >= 70', result: 'true', values: { 'context.risk': '74' } }],
    annotations: {},
  } as const
  switch (item.code) {
    case 'SP_NEEDS_APPROVAL':
      return {
        summary: 'the amount is above what `flagger-may-hold` permits without an approval',
        remedies: ['obtain 1 approval of this call', 'lower `amount` to 1000000 or less'],
        cedar: { policies: [hold] },
      }
    case 'SP_DENIED_FORBIDDEN':
      return {
        summary: '`no-writes-at-risk` forbids writes while the risk is 70 or more; it was 74',
        remedies: ['bring the risk of the instance below 70: see its reasons'],
        cedar: { policies: [risky, hold] },
      }
    case 'SP_DENIED_POLICY_ERROR':
      return {
        summary: '`no-writes-at-risk` could not be evaluated',
        remedies: ['mend the policy, or give the attribute it reads'],
        cedar: {
          policies: [
            {
              ...risky,
              outcome: 'error',
              conditions: [
                {
                  text: 'context.risk >= 70',
                  result: 'error',
                  values: {},
                  error: 'attribute `risk` was missing',
                },
              ],
            },
          ],
        },
      }
    case 'SP_LIMIT_REACHED':
      // What a gateway says of a call that policy allowed and something else stopped: no remedies, no trace.
      return {
        summary: 'a limit is reached',
        detail: 'limit analyst-reads',
        code: 'SP_LIMIT_REACHED',
      }
    case 'SP_NO_FLOW':
      return {
        summary: `no flow leads from \`${item.agent}\` to \`${item.system}\``,
        remedies: ['declare a flow in network.yaml, if this path is meant to be'],
        cedar: { policies: [] },
      }
    default:
      return {
        summary: 'no policy permits this call',
        remedies: ['write a permit for it, or widen `flagger-may-hold`'],
        cedar: { policies: [hold] },
      }
  }
}
