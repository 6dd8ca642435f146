import type { PolicyCover, PolicyPoints } from '@sallyport/cedar'
import type { PolicySource } from '@sallyport/network'

/** Something that a thorough test sees and these tests did not. */
export interface Unseen {
  /** `policy`, or the kind of the part. */
  readonly kind: 'policy' | 'when' | 'unless' | 'part'
  /** The part as Cedar text; empty for the policy as a whole. */
  readonly text: string
  readonly never: 'satisfied' | 'not satisfied' | 'true' | 'false'
}

export interface PolicyCoverage {
  readonly policyId: string
  readonly file: string
  readonly line: number
  readonly seen: number
  readonly total: number
  readonly unseen: readonly Unseen[]
}

export interface CoverageReport {
  readonly seen: number
  readonly total: number
  /** Of `seen` in `total`, cut to one decimal: 100 means all. */
  readonly percent: number
  readonly policies: readonly PolicyCoverage[]
}

interface Tally {
  readonly points: PolicyPoints
  readonly place: PolicySource | undefined
  satisfied: boolean
  unsatisfied: boolean
  readonly true: boolean[]
  readonly false: boolean[]
}

/**
 * What the rows of a test have seen of the policies. Of each policy: satisfied, and not; of each of its clauses, and
 * each operand of `&&` and `||` and part of an `if` inside: true, and false. A failing evaluation is neither.
 */
export class Coverage {
  readonly #tallies: ReadonlyMap<string, Tally>

  constructor(points: readonly PolicyPoints[], policies: readonly PolicySource[]) {
    const places = new Map(policies.map((policy) => [policy.id, policy]))
    this.#tallies = new Map(
      points.map((each) => [
        each.policyId,
        {
          points: each,
          place: places.get(each.policyId),
          satisfied: false,
          unsatisfied: false,
          true: [],
          false: [],
        },
      ]),
    )
  }

  /** What one request came to. A policy whose scope does not cover it is one that it does not satisfy. */
  add(covers: readonly PolicyCover[]): void {
    const inScope = new Set(covers.map(({ policyId }) => policyId))
    for (const [id, tally] of this.#tallies) if (!inScope.has(id)) tally.unsatisfied = true
    for (const { policyId, outcome, seen } of covers) {
      const tally = this.#tallies.get(policyId)
      if (tally === undefined) continue
      if (outcome === 'satisfied') tally.satisfied = true
      if (outcome === 'unsatisfied') tally.unsatisfied = true
      for (const [i, result] of seen.entries()) {
        if (result === 'true' || result === 'false') tally[result][i] = true
      }
    }
  }

  report(): CoverageReport {
    const policies = [...this.#tallies.values()].map(policyReport)
    const seen = policies.reduce((sum, each) => sum + each.seen, 0)
    const total = policies.reduce((sum, each) => sum + each.total, 0)
    return { seen, total, percent: percent(seen, total), policies }
  }
}

function policyReport(tally: Tally): PolicyCoverage {
  const { points, place } = tally
  const unseen: Unseen[] = []
  if (!tally.satisfied) unseen.push({ kind: 'policy', text: '', never: 'satisfied' })
  if (!tally.unsatisfied) unseen.push({ kind: 'policy', text: '', never: 'not satisfied' })
  for (const [i, { kind, text }] of points.points.entries()) {
    if (tally.true[i] !== true) unseen.push({ kind, text, never: 'true' })
    if (tally.false[i] !== true) unseen.push({ kind, text, never: 'false' })
  }
  const total = 2 + 2 * points.points.length
  return {
    policyId: points.policyId,
    file: place?.file ?? '',
    line: place?.line ?? 1,
    seen: total - unseen.length,
    total,
    unseen,
  }
}

/** Cut, never rounded up: 100 is only what is complete. */
const percent = (seen: number, total: number): number =>
  total === 0 ? 100 : Math.floor((1000 * seen) / total) / 10
