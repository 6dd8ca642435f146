import type { AmountModel } from './amounts.ts'
import { matchSurprise } from './chance.ts'
import type { Candidate, FinderSettings } from './types.ts'
import type { Edge, WindowGraph } from './window.ts'

/** Payments looked at for one new payment, so that a hostile stream cannot make the search explode. */
const MAX_STEPS = 3000
const MIN_SURPRISE = 6
const MIN_HOPS = 3

interface Path {
  readonly edges: readonly Edge[]
  readonly surprise: number
}

const EMPTY: Path = { edges: [], surprise: 0 }

/** How unlikely it is that `after` passes `before` on by chance. */
export function hopSurprise(
  before: Edge,
  after: Edge,
  graph: WindowGraph,
  amounts: AmountModel,
  settings: FinderSettings,
): number {
  const { least, most } = settings.hopShare
  let candidates = 0
  for (const edge of graph.into(before.to)) {
    if (edge.novel && Math.abs(after.time - edge.time) <= settings.hopSeconds) candidates++
  }
  return matchSurprise(candidates, amounts.chance(after.amount / most, after.amount / least))
}

/** Whether `after` can be `before` passed on. */
export function passesOn(before: Edge, after: Edge, settings: FinderSettings): boolean {
  if (before.index === after.index || !before.novel) return false
  const wait = after.time - before.time
  const inTime = settings.ordered
    ? wait >= 0 && wait <= settings.hopSeconds
    : Math.abs(wait) <= settings.hopSeconds
  const share = after.amount / before.amount
  return inTime && share >= settings.hopShare.least && share <= settings.hopShare.most
}

/**
 * Money passed on: searches back from a new payment (and ahead, where times say nothing about order) for payments
 * that hand nearly the same amount from account to account. A closed path is a cycle, an open one a layering chain.
 */
export function findChains(
  edge: Edge,
  graph: WindowGraph,
  amounts: AmountModel,
  settings: FinderSettings,
): Candidate[] {
  if (!edge.novel) return []
  let steps = 0
  let cycle: Path = EMPTY

  const walk = (from: Path, direction: 'back' | 'ahead'): Path => {
    let best = from
    const extend = (path: Path): void => {
      if (path.surprise > best.surprise) best = path
      const at = path.edges.at(-1)
      if (!at || path.edges.length > settings.maxHops) return
      const next = direction === 'back' ? graph.into(at.from) : graph.outOf(at.to)
      for (let i = next.length - 1; i >= 0; i--) {
        const other = next[i]
        if (!other || ++steps > MAX_STEPS) return
        const [before, after] = direction === 'back' ? [other, at] : [at, other]
        if (!passesOn(before, after, settings)) continue
        if (path.edges.some((used) => used.from === other.from && used.to === other.to)) continue
        const longer: Path = {
          edges: [...path.edges, other],
          surprise: path.surprise + hopSurprise(before, after, graph, amounts, settings),
        }
        const closes = direction === 'back' ? other.from === edge.to : other.to === edge.from
        if (closes && longer.edges.length >= 3 && longer.surprise > cycle.surprise) cycle = longer
        extend(longer)
      }
    }
    extend(from)
    return best
  }

  const start: Path = { edges: [edge], surprise: 0 }
  const back = walk(start, 'back')
  const ahead = settings.ordered ? start : walk(start, 'ahead')
  const candidates: Candidate[] = []
  // Coming back to where it started is itself unlikely: one account among those the chain could have reached.
  if (cycle.surprise + 1.5 >= MIN_SURPRISE - 1) {
    candidates.push(candidate('cycle', cycle.edges, cycle.surprise + 1.5, edge.time))
  }
  const edges = [...ahead.edges.slice(1), ...back.edges]
  const surprise = back.surprise + ahead.surprise
  if (edges.length > MIN_HOPS && surprise >= MIN_SURPRISE) {
    candidates.push(candidate('random', edges, surprise, edge.time))
  }
  return candidates
}

function candidate(
  pattern: 'cycle' | 'random',
  edges: readonly Edge[],
  surprise: number,
  time: number,
): Candidate {
  const accounts = new Set(edges.flatMap((edge) => [edge.from, edge.to]))
  return { pattern, accounts: [...accounts], surprise, time }
}
