import { reachability } from '@sallyport/network'
import type { ApprovalView } from '../../domain/approvals.ts'
import type { ControlContext } from '../../domain/context.ts'
import type { DecisionFilter } from '../../domain/decisions.ts'
import { found } from '../route.ts'
import type { Principal, Route } from '../route.ts'
import { any, choice, listOf, object, openObject, text, time } from '../schema.ts'

const viewer = { role: 'viewer', act: 'read', local: true } as const
const counts = { allow: time, deny: time, needs: time }
const agentView = openObject({
  name: text(256),
  quarantined: { type: 'boolean' },
  counts: object(counts),
})

/** What can be seen, without the approvals and quarantines that have routes of their own. */
export function readRoutes(context: ControlContext): Route[] {
  const { agents, bundles, decisions, health } = context
  return [
    {
      method: 'GET',
      path: '/api/network',
      summary: 'The declaration in force and the reachability derived from it',
      access: viewer,
      answer: openObject({
        network: any('the declared network'),
        policies: listOf(any('one Cedar policy')),
        matrix: openObject({ nodes: listOf(text(512)), allowed: listOf(text(1024)) }),
        revision: openObject({ epoch: time, n: time }),
        digest: text(64),
        quorum: time,
      }),
      handle: async () => {
        const { network, policies } = bundles.declaration()
        const { nodes, allowed } = reachability(network)
        return {
          network,
          policies,
          matrix: { nodes, allowed: [...allowed].toSorted() },
          revision: bundles.revision(),
          digest: bundles.digest(),
          quorum: network.quorum,
        }
      },
    },
    {
      method: 'GET',
      path: '/api/agents',
      summary: 'Declared agents with their live instances',
      access: viewer,
      answer: listOf(agentView),
      handle: () => agents.list(),
    },
    {
      method: 'GET',
      path: '/api/agents/{name}',
      summary: 'One agent',
      access: viewer,
      answer: agentView,
      handle: async ({ params }) => found(await agents.get(params['name'] ?? ''), 'agent'),
    },
    {
      method: 'GET',
      path: '/api/edges',
      summary: 'The live map: calls of the last 15 minutes by path',
      access: viewer,
      answer: listOf(
        openObject({
          from: text(256),
          to: text(256),
          operation: text(256),
          ...counts,
          lastAt: time,
        }),
      ),
      handle: () => decisions.edges(),
    },
    {
      method: 'GET',
      path: '/api/decisions',
      summary: 'Decisions, newest first',
      access: viewer,
      query: object({
        'agent?': text(256),
        'instance?': text(2048),
        'system?': text(256),
        'decision?': choice('allow', 'deny', 'needs'),
        'before?': text(64, '^[a-z0-9_]+$'),
        'limit?': text(3, '^(?:[1-9][0-9]?|[1-4][0-9]{2}|500)$'),
      }),
      answer: listOf(any('a DecisionRecord of the audit log')),
      handle: async ({ query }) => {
        const { limit, ...filter } = query
        // The query schema admits exactly the members of a DecisionFilter.
        const wanted = filter as Omit<DecisionFilter, 'limit'>
        return decisions.list(limit === undefined ? wanted : { ...wanted, limit: Number(limit) })
      },
    },
    {
      method: 'GET',
      path: '/api/decisions/{id}',
      summary: 'One decision with its full why',
      access: viewer,
      answer: openObject({
        record: any('the DecisionRecord'),
        outcome: any('the OutcomeRecord, or null'),
        explanation: any('why, clause by clause, or null'),
        approvals: listOf(any('an approval')),
      }),
      handle: async ({ params, principal }) => {
        const id = params['id'] ?? ''
        const detail = found(await decisions.get(id), 'decision')
        const approvals = await context.approvals.ofDecision(id)
        return {
          ...detail,
          approvals: await Promise.all(approvals.map((one) => asSeenBy(context, one, principal))),
        }
      },
    },
    {
      method: 'GET',
      path: '/api/health',
      summary: 'How the planes are',
      access: viewer,
      answer: openObject({ control: text(16), database: text(16), gateways: listOf(any('one')) }),
      handle: () => health.read(),
    },
  ]
}

/** An approval as somebody sees it. */
interface SeenApproval extends ApprovalView {
  readonly canDecide: boolean
  /** Why not. */
  readonly reason?: string
  /** Arguments that are declared as whole numbers: those alone can be minor units of a currency. */
  readonly wholeNumbers: readonly string[]
}

/** An approval with whether whoever asks may decide it, and if not, why. */
export async function asSeenBy(
  { approvals, bundles }: ControlContext,
  approval: ApprovalView,
  principal: Principal,
): Promise<SeenApproval> {
  const seen = { ...approval, wholeNumbers: wholeNumbersOf(bundles, approval) }
  if (principal.kind !== 'operator') {
    return { ...seen, canDecide: false, reason: 'decided with a passkey, in the console' }
  }
  if (principal.view.method !== 'passkey') {
    return { ...seen, canDecide: false, reason: 'this session was opened without a passkey' }
  }
  return { ...seen, ...(await approvals.canDecide(approval, principal.view.operator)) }
}

/** Of what is no longer declared nobody knows: 5 may be five, or five hundredths. */
function wholeNumbersOf(
  bundles: ControlContext['bundles'],
  { system, operation, declarationDigest }: ApprovalView,
): readonly string[] {
  if (declarationDigest !== bundles.digest()) return []
  const input = bundles.index().findOperation(system, operation)?.input
  return Object.entries(input?.members ?? {}).flatMap(([name, { schema }]) =>
    schema.type === 'long' ? [name] : [],
  )
}
