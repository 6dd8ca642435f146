import { parseJson } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Store, Tx } from '../store/store.ts'
import type { Agents, AgentView, Counts, InstanceView, RiskReason } from './agents.ts'
import { agentIsCut } from './cutting.ts'
import type { Publisher } from './publisher.ts'
import type { Quarantines } from './quarantine.ts'

/** How long a lapsed instance is still shown. */
const SHOWN_MS = 3_600_000

/** @see Agents */
export function createAgents(deps: {
  readonly store: Store
  readonly clock: Clock
  readonly publisher: Publisher
  readonly quarantine: Quarantines
}): Agents {
  const { store, publisher } = deps
  const load = (name?: string): Promise<readonly AgentView[]> =>
    store.run(async (db) => {
      const { network } = publisher.index()
      const instances = await instancesOf(db as Tx, deps, { kind: 'agent', name })
      const counts = await db.selectFrom('call_counts').selectAll().execute()
      return network.agents
        .filter((agent) => name === undefined || agent.name === name)
        .map((agent) => ({
          ...agent,
          quarantined: agentIsCut(deps.quarantine, network.trustDomain, agent.name),
          instances: instances.filter((instance) => instance.name === agent.name),
          counts: countsOf(counts.filter((row) => row.agent === agent.name)),
          flows: network.flows.filter((flow) => flow.from === agent.name),
        }))
    })
  return {
    list: () => load(),
    get: async (name) => (await load(name))[0],
    instance: (spiffeId) =>
      store.run(async (db) => (await instancesOf(db as Tx, deps, { spiffeId }))[0]),
  }
}

function countsOf(rows: readonly { decision: string; calls: number }[]): Counts {
  const of = (decision: string): number => rows.find((row) => row.decision === decision)?.calls ?? 0
  return { allow: of('allow'), deny: of('deny'), needs: of('needs') }
}

async function instancesOf(
  tx: Tx,
  { clock, quarantine }: { readonly clock: Clock; readonly quarantine: Quarantines },
  filter: { kind?: 'agent'; name?: string | undefined; spiffeId?: string },
): Promise<InstanceView[]> {
  let query = tx.selectFrom('instances').selectAll().orderBy('first_seen', 'desc').limit(2000)
  const { kind, name, spiffeId } = filter
  if (spiffeId !== undefined) query = query.where('spiffe_id', '=', spiffeId)
  else query = query.where('not_after', '>', clock.now() - SHOWN_MS)
  if (kind !== undefined) query = query.where('kind', '=', kind)
  if (name !== undefined) query = query.where('name', '=', name)
  const rows = await query.execute()
  return rows.map((row) => ({
    spiffeId: row.spiffe_id,
    kind: row.kind,
    name: row.name,
    serial: row.serial,
    notAfter: row.not_after,
    firstSeen: row.first_seen,
    lastSeen: row.last_seen,
    risk: row.risk,
    // Written by the detection loop as such a list.
    riskReasons: parseJson(row.risk_reasons) as unknown as readonly RiskReason[],
    quarantined: quarantine.isQuarantined(row.spiffe_id),
  }))
}
