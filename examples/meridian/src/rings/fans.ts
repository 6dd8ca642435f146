import type { AmountModel } from './amounts.ts'
import { binomialSurprise, matchSurprise, poissonSurprise } from './chance.ts'
import { hopSurprise, passesOn } from './chains.ts'
import type { Candidate, FinderSettings } from './types.ts'
import type { Edge, WindowGraph } from './window.ts'

const BAND = 1.4
const MIN_FAN = 5
const MIN_SURPRISE = 9
const MIN_DEGREE_SURPRISE = 1.2

interface Fan {
  readonly edges: readonly Edge[]
  readonly total: number
  readonly degree: number
  readonly amount: number
}

/** The latest payments of like amount between `hub` and different new counterparties, tested against its past. */
function fanOf(
  hub: string,
  side: 'in' | 'out',
  like: Edge,
  graph: WindowGraph,
  amounts: AmountModel,
  settings: FinderSettings,
): Fan {
  const all = side === 'in' ? graph.into(hub) : graph.outOf(hub)
  const latest = new Map<string, Edge>()
  let recent = 0
  const others = new Set<string>()
  for (const edge of all) {
    if (!edge.novel || Math.abs(like.time - edge.time) > settings.groupSeconds) continue
    const other = side === 'in' ? edge.from : edge.to
    if (!others.has(other)) recent++
    others.add(other)
    const ratio = edge.amount / like.amount
    if (ratio <= BAND && ratio >= 1 / BAND) latest.set(other, edge)
  }
  const edges = [...latest.values()]
  const expected = graph.expectedNew(hub, side, recent, settings.groupSeconds)
  const chance = amounts.chance(like.amount / BAND, like.amount * BAND)
  return {
    edges,
    total: edges.reduce((sum, edge) => sum + edge.amount, 0),
    degree: poissonSurprise(recent, expected),
    amount: binomialSurprise(edges.length, recent, chance),
  }
}

/** Fan-in at the payee and fan-out at the payer of a new payment, and a fan-in that is paid out again. */
export function findFans(
  edge: Edge,
  graph: WindowGraph,
  amounts: AmountModel,
  settings: FinderSettings,
): Candidate[] {
  if (!edge.novel || !settings.fans) return []
  const candidates: Candidate[] = []
  const material = settings.material * amounts.median()
  const fanIn = fanOf(edge.to, 'in', edge, graph, amounts, settings)
  const fanOut = fanOf(edge.from, 'out', edge, graph, amounts, settings)
  const fans = [
    ['fan-in', fanIn, edge.to],
    ['fan-out', fanOut, edge.from],
  ] as const
  for (const [pattern, fan, hub] of fans) {
    const surprise = fan.degree + fan.amount
    const enough = fan.edges.length >= MIN_FAN && fan.total >= material
    if (enough && fan.degree >= MIN_DEGREE_SURPRISE && surprise >= MIN_SURPRISE) {
      candidates.push({ pattern, accounts: members(hub, fan.edges), surprise, time: edge.time })
    }
  }
  const gathered = gatherScatter(edge, fanOut, graph, amounts, settings)
  if (gathered && fanOut.total >= material) candidates.push(gathered)
  return candidates
}

/** What came in from several is paid out to several others: the sums agree. */
function gatherScatter(
  edge: Edge,
  out: Fan,
  graph: WindowGraph,
  amounts: AmountModel,
  settings: FinderSettings,
): Candidate | undefined {
  if (out.edges.length < 3) return undefined
  const began = Math.min(...out.edges.map((item) => item.time))
  let best: Candidate | undefined
  for (const like of graph.into(edge.from)) {
    const before = like.novel && (!settings.ordered || like.time <= edge.time)
    if (!before || Math.abs(began - like.time) > settings.groupSeconds) continue
    const gathered = fanOf(edge.from, 'in', like, graph, amounts, settings)
    const share = out.total / gathered.total
    if (gathered.edges.length < 3 || share < 0.75 || share > 1.1) continue
    const surprise = gathered.degree + gathered.amount + out.degree + out.amount
    if (surprise < MIN_SURPRISE || surprise <= (best?.surprise ?? 0)) continue
    best = {
      pattern: 'gather-scatter',
      accounts: members(edge.from, [...gathered.edges, ...out.edges]),
      surprise,
      time: edge.time,
    }
  }
  return best
}

/** Several couriers hand on to one payee what one payer gave them. */
export function findScatterGather(
  edge: Edge,
  graph: WindowGraph,
  amounts: AmountModel,
  settings: FinderSettings,
): Candidate[] {
  if (!edge.novel) return []
  const bySource = new Map<string, Map<string, number>>()
  for (const delivery of graph.into(edge.to)) {
    if (!delivery.novel || Math.abs(edge.time - delivery.time) > settings.groupSeconds) continue
    for (const given of graph.into(delivery.from)) {
      if (given.from === edge.to || !passesOn(given, delivery, settings)) continue
      const couriers = bySource.get(given.from) ?? new Map<string, number>()
      bySource.set(given.from, couriers)
      couriers.set(delivery.from, hopSurprise(given, delivery, graph, amounts, settings))
    }
  }
  const candidates: Candidate[] = []
  for (const [source, couriers] of bySource) {
    if (couriers.size < 3) continue
    const hops = couriers.values().reduce((sum, hop) => sum + hop, 0)
    // Beyond the first, each courier's meeting both the same payer and the same payee counts as well.
    const meeting = matchSurprise(graph.into(edge.to).length, 0.02) * (couriers.size - 1)
    const surprise = hops + Math.max(0, meeting)
    if (surprise < MIN_SURPRISE - 2) continue
    candidates.push({
      pattern: 'scatter-gather',
      accounts: [source, ...couriers.keys(), edge.to],
      surprise,
      time: edge.time,
    })
  }
  return candidates
}

const members = (hub: string, edges: readonly Edge[]): string[] => [
  ...new Set([hub, ...edges.flatMap((edge) => [edge.from, edge.to])]),
]
