import { EntityStore, loadPolicySet, prepareContext } from '@sallyport/cedar'
import type { EntityJson } from '@sallyport/cedar'
import { uid } from './sparse.ts'
import type { Workload } from './timing.ts'

const TEAMS = 71
const EACH = 14
const AGENTS = 1000

/** A third of the candidates hold; of the others, half fail in their first clause and half in their last. */
const CLAUSES = [
  (i: number) =>
    `context.input.amount <= ${100_000 + i} && context.risk < 70 && resource.level <= 3`,
  (i: number) =>
    `context.input.amount > ${100_000 + i} && context.risk < 70 && resource.level <= 3`,
  (i: number) =>
    `context.input.amount <= ${100_000 + i} && context.risk < 70 && resource.level > 3`,
]

/**
 * 994 policies: 14 for each of 71 teams, each with a threshold of its own. 1,000 agents, each in three teams and no two
 * in the same three: 1,000 different slices of 42 candidates, every one of which must be evaluated.
 */
export async function dense(): Promise<Workload> {
  const policies = Array.from({ length: TEAMS * EACH }, (_, i) => ({
    id: `p${i}`,
    source: `permit(principal in Team::"t${i % TEAMS}", action in Action::"call", resource)
when { ${(CLAUSES[Math.floor(i / TEAMS) % 3] ?? String)(i)} };`,
  }))
  const agents = Array.from({ length: AGENTS }, (_, i): EntityJson => {
    const [first, gap] = [i % TEAMS, 1 + Math.floor(i / TEAMS)]
    const teams = [first, first + gap, first + 2 * gap + 1].map((team) => `t${team % TEAMS}`)
    const parents = teams.map((team) => uid('Team', team))
    return { uid: uid('Agent', `a${i}`), attrs: {}, parents }
  })
  const store = EntityStore.from([
    ...agents,
    { uid: uid('Action', 'pay'), attrs: {}, parents: [uid('Action', 'call')] },
    { uid: uid('System', 'core'), attrs: { level: 2 }, parents: [] },
  ])
  const context = prepareContext({ input: { amount: 50_000 }, risk: 10 })
  const requests = agents.map((_, i) => ({
    // A text of its own, as a request has.
    principal: uid('Agent', `a${i}`),
    action: uid('Action', 'pay'),
    resource: uid('System', 'core'),
    context,
  }))
  const set = await loadPolicySet({ policies })
  for (const request of requests) {
    const candidates = store.get(request.principal)?.ancestors.length ?? 0
    const { decision, reasons } = set.decide(request, store)
    // 14 policies a team take the three kinds in turn: 5, 5 and 4.
    if (decision !== 'allow' || candidates !== 3 || reasons.length !== 15) {
      throw new Error(`the workload is wrong: ${reasons.length} of ${candidates} teams`)
    }
  }
  return { set, store, requests }
}
