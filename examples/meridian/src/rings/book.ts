import type { Candidate, FoundRing, Pattern } from './types.ts'

/** Which reading of overlapping suspicions tells most; a stack contains layers, a layer contains fans. */
const RANK: Readonly<Record<Pattern, number>> = {
  stack: 8,
  'scatter-gather': 7,
  'gather-scatter': 6,
  bipartite: 5,
  cycle: 4,
  random: 3,
  'fan-in': 2,
  'fan-out': 2,
  structuring: 1,
}

interface Open {
  pattern: Pattern
  accounts: Set<string>
  surprise: number
  firstTime: number
  lastTime: number
  reported: boolean
}

/**
 * Suspicions about overlapping accounts become one ring: the reading of highest rank wins, then the larger, then the
 * more surprising. A ring is reported once, when nothing was added to it for a while.
 */
export class RingBook {
  readonly #settleSeconds: number
  readonly #keepSeconds: number
  #open: Open[] = []

  constructor(settleSeconds: number, keepSeconds: number) {
    this.#settleSeconds = settleSeconds
    this.#keepSeconds = keepSeconds
  }

  add(candidate: Candidate): void {
    const accounts = new Set(candidate.accounts)
    const found = this.#open.find((ring) => {
      const common = ring.accounts.intersection(accounts).size
      return common >= 2 && common >= 0.5 * Math.min(ring.accounts.size, accounts.size)
    })
    if (!found) {
      this.#open.push({
        pattern: candidate.pattern,
        accounts,
        surprise: candidate.surprise,
        firstTime: candidate.time,
        lastTime: candidate.time,
        reported: false,
      })
      return
    }
    if (found.reported) return
    found.lastTime = candidate.time
    if (found.pattern === candidate.pattern && found.pattern !== 'cycle') {
      found.accounts = found.accounts.union(accounts)
      found.surprise = Math.max(found.surprise, candidate.surprise)
    } else if (wins(candidate, accounts, found)) {
      found.pattern = candidate.pattern
      found.accounts = accounts
      found.surprise = Math.max(found.surprise, candidate.surprise)
    }
  }

  /** The rings that have settled by `now`; everything that is open with `Infinity`. */
  settle(now: number): FoundRing[] {
    const settled: FoundRing[] = []
    for (const ring of this.#open) {
      if (ring.reported || now - ring.lastTime < this.#settleSeconds) continue
      ring.reported = true
      settled.push({
        pattern: ring.pattern,
        accounts: [...ring.accounts].sort(),
        score: Math.min(99, Math.round(100 * (1 - 10 ** (-ring.surprise / 12)))),
        firstTime: ring.firstTime,
        lastTime: ring.lastTime,
      })
    }
    this.#open = this.#open.filter((ring) => now - ring.lastTime < this.#keepSeconds)
    return settled
  }
}

function wins(candidate: Candidate, accounts: ReadonlySet<string>, ring: Open): boolean {
  // A walk that comes back on itself contains cycles: the much larger chain explains them, not they it.
  const chains = new Set<Pattern>(['cycle', 'random'])
  if (chains.has(candidate.pattern) && chains.has(ring.pattern)) {
    const ratio = accounts.size / ring.accounts.size
    if (ratio >= 1.3) return true
    if (ratio <= 1 / 1.3) return false
  }
  const rank = RANK[candidate.pattern] - RANK[ring.pattern]
  if (rank !== 0) return rank > 0
  return accounts.size > ring.accounts.size
}
