import type { AmountModel } from './amounts.ts'
import type { Candidate, FinderSettings } from './types.ts'
import type { Edge, WindowGraph } from './window.ts'

const BAND = 1.4
const MIN_SURPRISE = 3

/**
 * One sum split into several payments of like amount between the same two strangers within a day: weighed against
 * how often any pair does so, and against how usual the amount is. Payments to the same payee by others who split
 * theirs in the same way join in.
 */
export function findStructuring(
  edge: Edge,
  graph: WindowGraph,
  amounts: AmountModel,
  settings: FinderSettings,
): Candidate[] {
  if (edge.repeat < settings.minRepeat || !edge.novel) return []
  if (edge.repeat * edge.amount < settings.material * amounts.median()) return []
  const rarity = -Math.log10(amounts.chance(edge.amount / BAND, edge.amount * BAND))
  const surprise = (edge.repeat - 1) * -Math.log10(graph.repeatShare) + rarity
  if (surprise < MIN_SURPRISE) return []
  const partners = new Set<string>()
  for (const other of graph.into(edge.to)) {
    const ratio = other.amount / edge.amount
    const near = Math.abs(edge.time - other.time) <= settings.groupSeconds
    if (near && ratio <= BAND && ratio >= 1 / BAND) partners.add(other.from)
  }
  // A payee that many pay such amounts is simply a shop with that price.
  const accounts = partners.size <= 12 ? [edge.to, ...partners] : [edge.from, edge.to]
  const pattern = accounts.length >= 4 ? 'fan-in' : 'structuring'
  return [{ pattern, accounts, surprise, time: edge.time }]
}
