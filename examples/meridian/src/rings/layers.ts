import type { AmountModel } from './amounts.ts'
import type { Candidate, FinderSettings } from './types.ts'
import type { Edge, WindowGraph } from './window.ts'

const BAND = 1.5
const MIN_SURPRISE = 3.3
const MIN_STACKED_SURPRISE = 6
const MAX_SIDE = 12

/** A complete layer: each of `payers` paid each of `payees`. */
interface Layer {
  readonly payers: readonly string[]
  readonly payees: readonly string[]
  readonly surprise: number
}

/**
 * The densest complete bipartite layer around a new payment, or undefined. Each payment that the layer has beyond a
 * tree is weighed against the configuration model: what the two accounts' numbers of new payments would make likely.
 */
function layerOf(
  edge: Edge,
  graph: WindowGraph,
  amounts: AmountModel,
  settings: FinderSettings,
): Layer | undefined {
  const like = (other: Edge): boolean => {
    const ratio = other.amount / edge.amount
    return (
      other.novel &&
      Math.abs(edge.time - other.time) <= settings.groupSeconds &&
      ratio <= BAND &&
      ratio >= 1 / BAND
    )
  }
  const paid = (account: string): Set<string> =>
    new Set(
      graph
        .outOf(account)
        .filter(like)
        .map((other) => other.to),
    )
  const own = paid(edge.from)
  if (own.size < 2 || own.size > MAX_SIDE) return undefined
  const rivals = [
    ...new Set(
      graph
        .into(edge.to)
        .filter(like)
        .map((other) => other.from),
    ),
  ]
  if (rivals.length < 2 || rivals.length > MAX_SIDE) return undefined
  const chance = amounts.chance(edge.amount / BAND, edge.amount * BAND)
  // Greedy: rivals by how many payees they share, payees narrowed to those that all of them paid.
  const shared = rivals
    .filter((rival) => rival !== edge.from)
    .map((rival) => ({ rival, common: paid(rival).intersection(own) }))
    .filter(({ common }) => common.size >= 2)
    .sort((a, b) => b.common.size - a.common.size || (a.rival < b.rival ? -1 : 1))
  let payees = own
  const payers = [edge.from]
  let best: Layer | undefined
  for (const { rival, common } of shared) {
    const narrowed = payees.intersection(common)
    if (narrowed.size < 2) continue
    payees = narrowed
    payers.push(rival)
    const extra = (payers.length - 1) * (payees.size - 1)
    const usual = Math.max(
      1e-9,
      Math.min(
        1,
        ((degree(payers, graph, 'out') * degree(payees, graph, 'in')) / graph.novel) * chance,
      ),
    )
    const surprise = extra * -Math.log10(usual)
    if (surprise > (best?.surprise ?? 0))
      best = { payers: [...payers], payees: [...payees], surprise }
  }
  return best
}

/** Mean number of new payments of these accounts in the window. */
function degree(accounts: Iterable<string>, graph: WindowGraph, side: 'in' | 'out'): number {
  let sum = 0
  let count = 0
  for (const account of accounts) {
    const edges = side === 'in' ? graph.into(account) : graph.outOf(account)
    sum += edges.filter((edge) => edge.novel).length
    count++
  }
  return sum / Math.max(1, count)
}

/** Complete bipartite layers, and two of them stacked: the payees of one are the payers of the next. */
export function findLayers(
  edge: Edge,
  graph: WindowGraph,
  amounts: AmountModel,
  settings: FinderSettings,
): Candidate[] {
  if (!edge.novel || !settings.fans) return []
  const layer = layerOf(edge, graph, amounts, settings)
  if (!layer) return []
  const total = layer.payers.length * layer.payees.length * edge.amount
  if (layer.surprise < MIN_SURPRISE || total < settings.material * amounts.median()) return []
  const { time } = edge
  const found: Candidate[] = [
    {
      pattern: 'bipartite',
      accounts: [...layer.payers, ...layer.payees],
      surprise: layer.surprise,
      time,
    },
  ]
  // The layer before, if any: take a payment into one of this layer's payers and look for its layer.
  for (const payer of layer.payers) {
    for (const into of graph.into(payer)) {
      if (!into.novel || edge.time - into.time > settings.windowSeconds) continue
      const before = layerOf(into, graph, amounts, settings)
      if (!before || before.surprise + layer.surprise < MIN_STACKED_SURPRISE) continue
      const middle = before.payees.filter((payee) => layer.payers.includes(payee))
      if (middle.length < 2) continue
      const accounts = new Set([
        ...before.payers,
        ...before.payees,
        ...layer.payers,
        ...layer.payees,
      ])
      found.push({
        pattern: 'stack',
        accounts: [...accounts],
        surprise: layer.surprise + before.surprise,
        time,
      })
      return found
    }
  }
  return found
}
