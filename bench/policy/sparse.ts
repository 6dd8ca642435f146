import { EntityStore, loadPolicySet, prepareContext } from '@sallyport/cedar'
import type { EntityJson, PolicySet, Request } from '@sallyport/cedar'
import type { Workload } from './timing.ts'

const TRIPLES = 2000

export const uid = (type: string, id: string): { type: string; id: string } => ({ type, id })

export interface Sparse {
  readonly set: PolicySet
}

/** `count` policies; each is for one team, and reads two members of the context and an attribute. */
export async function sparseSet(count: number, sliceMemo?: number): Promise<Sparse> {
  const policies = Array.from({ length: count }, (_, i) => ({
    id: `p${i}`,
    source: `permit(principal in Team::"t${i}", action == Action::"op${i % 40}", resource in Zone::"z${i % 10}")
when { context.input.amount <= ${100_000 + i} && context.risk < 70 && resource.owner == "o${i % 7}" };`,
  }))
  const set = await loadPolicySet({ policies, ...(sliceMemo === undefined ? {} : { sliceMemo }) })
  return { set }
}

/** 2,000 requests, no two of the same agent, that the policies of `hot` teams decide, one policy each. */
export function hotRequests(
  { set }: Sparse,
  hot: number,
): {
  readonly typed: Workload
  /** The same requests, the context as JSON. */
  readonly plain: Omit<Workload, 'requests'> & { readonly requests: readonly Request[] }
} {
  const entities = makeEntities(hot)
  const store = EntityStore.from(entities)
  const context = {
    input: { amount: 50_000, account: 'a-1', memo: 'rent' },
    risk: 10,
    purpose: 'aml',
  }
  const prepared = prepareContext(context)
  // Actions and resources are known to who asks: only the principal's text is the request's own.
  const actions = Array.from({ length: 40 }, (_, i) => uid('Action', `op${i}`))
  const systems = Array.from({ length: 70 }, (_, i) => uid('System', `s${i}`))
  const triples = Array.from({ length: TRIPLES }, (_, i) => {
    const k = teamOf(i, hot)
    return {
      principal: uid('Agent', agentOf(i, hot)),
      action: actions[k % 40] ?? uid('', ''),
      resource: systems[k % 70] ?? uid('', ''),
    }
  })
  const typed = triples.map((triple) => ({ ...triple, context: prepared }))
  for (const request of typed) {
    const { decision, reasons } = set.decide(request, store)
    // A benchmark of the wrong answer is worth nothing.
    if (decision !== 'allow' || reasons.length !== 1) throw new Error('the workload is wrong')
  }
  const plain = triples.map((triple) => ({ ...triple, context }))
  return {
    typed: { set, store, requests: typed },
    plain: { set, store, requests: plain },
  }
}

/** As many whatever the number of policies: one agent a triple, in the teams that requests come from. */
function makeEntities(hot: number): EntityJson[] {
  const agents = Array.from({ length: TRIPLES }, (_, i): EntityJson => {
    const name = agentOf(i, hot)
    const teams = [uid('Team', `t${teamOf(i, hot)}`), uid('Team', 'everyone')]
    return { uid: uid('Agent', name), attrs: { name }, parents: teams }
  })
  const systems = Array.from({ length: 70 }, (_, i): EntityJson => ({
    uid: uid('System', `s${i}`),
    attrs: { owner: `o${i % 7}` },
    parents: [uid('Zone', `z${i % 10}`)],
  }))
  return [...agents, ...systems]
}

const teamOf = (i: number, hot: number): number => (i * 7919) % hot
const agentOf = (i: number, hot: number): string => `a${teamOf(i, hot)}.${i < TRIPLES / 2 ? 0 : 1}`
