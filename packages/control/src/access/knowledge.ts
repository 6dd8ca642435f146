import { sql } from 'kysely'
import type { Clock } from '@sallyport/base'
import type { SessionState } from '@sallyport/decide'
import type { Network, Settings } from '@sallyport/network'
import type { Bundle, RiskEntry } from '@sallyport/wire'
import type { Store } from '../store/store.ts'

/** What the control plane knows of one instance, or of an agent without saying which instance. */
export interface Known {
  readonly session: SessionState
  /** Labels that are on it for sure. */
  readonly labels: ReadonlySet<string>
}

export interface Knowledge {
  /** Undefined for an instance that is not enrolled, or whose certificate has ended or is revoked. */
  instance(spiffeId: string): Known | undefined
  agent(name: string): Known
}

export interface KnowledgeDeps {
  readonly store: Store
  readonly clock: Clock
  /** Whether each of these gateways is connected and has told what it recorded up to about now. */
  readonly caughtUp: (gateways: readonly string[]) => boolean
}

const UNTRUSTED = 'untrusted'

/**
 * Reads what decisions about these instances need. Labels that a gateway may know and has not told count as every label
 * there is: that is always so for an agent as such, and for instances while a gateway is out of reach.
 *
 * @param instances SPIFFE ids
 */
export async function learn(
  deps: KnowledgeDeps,
  network: Network,
  bundle: Pick<Bundle, 'risk'>,
  instances: readonly string[],
): Promise<Knowledge> {
  const now = deps.clock.now()
  const ids = [...new Set(instances)]
  const { rows } = await deps.store.run((db) =>
    sql<{ gateways: string[]; live: string[]; labels: Record<string, string[]> }>`SELECT
      (SELECT coalesce(json_agg(spiffe_id), '[]') FROM instances
        WHERE kind = 'gateway' AND not_after > ${now}) AS gateways,
      (SELECT coalesce(json_agg(spiffe_id), '[]') FROM instances
        WHERE kind = 'agent' AND not_after > ${now} AND spiffe_id = ANY(${ids}::text[])
          AND NOT EXISTS (SELECT FROM revoked_serials r WHERE r.serial = instances.serial)) AS live,
      (SELECT coalesce(json_object_agg(instance, labels), '{}') FROM
        (SELECT instance, json_agg(label ORDER BY label) AS labels FROM session_labels
          WHERE instance = ANY(${ids}::text[]) GROUP BY instance) AS told) AS labels`.execute(db),
  )
  const [row] = rows
  const live = new Set(row?.live)
  const told = new Map(Object.entries(row?.labels ?? {}))
  const certain = row !== undefined && deps.caughtUp(row.gateways)
  const every = everyLabel(network)
  const { settings, trustDomain } = network
  return {
    instance(id) {
      if (!live.has(id)) return undefined
      const labels = new Set(told.get(id))
      const risk = riskOf(bundle.risk[id], settings, now)
      return { session: { labels: certain ? [...labels].toSorted() : every, risk }, labels }
    },
    agent(name) {
      const prefix = `spiffe://${trustDomain}/agent/${name}/`
      const risks = Object.entries(bundle.risk)
        .filter(([id]) => id.startsWith(prefix))
        .map(([, entry]) => riskOf(entry, settings, now))
      return {
        session: { labels: every, risk: Math.max(settings.staleRisk, ...risks) },
        labels: new Set(),
      }
    },
  }
}

/** As a gateway reads it: the stale value where the score is too old or not there, never below a score that was higher. */
function riskOf(entry: RiskEntry | undefined, settings: Settings, now: number): number {
  if (!entry) return settings.staleRisk
  return now - entry.at > settings.riskTtlSeconds * 1000
    ? Math.max(settings.staleRisk, entry.score)
    : entry.score
}

function everyLabel({ datasets }: Network): readonly string[] {
  const tags = datasets.flatMap(({ fields }) => fields.flatMap((field) => field.tags))
  return [...new Set([...tags, UNTRUSTED])].toSorted()
}
