import type { DecisionRequest, EntityStore, PolicySet } from '@sallyport/cedar'
import { median, percentile } from '../row.ts'

const RUNS = 5
const PASSES = 40
/** About a millisecond's work: other processes on the machine interrupt fewer than half of such passes. */
const PASS_DECISIONS = 4000

/** A set, its entities, and requests whose answers are known to be right. */
export interface Workload {
  readonly set: PolicySet
  readonly store: EntityStore
  readonly requests: readonly DecisionRequest[]
}

export interface Timing {
  /** Microseconds a decision on the wall clock: the mean of the median pass, the median of five runs. */
  readonly us: number
  /** In processor time of this thread, garbage collection included: the mean of a run, the median of five. */
  readonly cpuUs: number
}

/** Times decisions, requests in turn. */
export function timeDecisions({ set, store, requests }: Workload): Timing {
  const rounds = Math.max(1, Math.round(PASS_DECISIONS / requests.length))
  const decisions = rounds * requests.length
  const wall: number[] = []
  const cpu: number[] = []
  // The first two warm the compiler up.
  for (let run = 0; run < RUNS + 2; run++) {
    const passes: number[] = []
    const before = process.threadCpuUsage()
    for (let pass = 0; pass < PASSES; pass++) {
      const start = performance.now()
      for (let round = 0; round < rounds; round++) {
        for (const request of requests) set.decide(request, store)
      }
      passes.push(((performance.now() - start) * 1000) / decisions)
    }
    const { user, system } = process.threadCpuUsage(before)
    wall.push(median(passes))
    cpu.push((user + system) / (PASSES * decisions))
  }
  return { us: median(wall.slice(2)), cpuUs: median(cpu.slice(2)) }
}

/** Microseconds that the share `p` of single decisions stays below, the clock's own cost included. */
export function percentileOf({ set, store, requests }: Workload, p: number): number {
  const times: number[] = []
  for (let round = 0; round < 20; round++) {
    for (const request of requests) {
      const start = process.hrtime.bigint()
      set.decide(request, store)
      times.push(Number(process.hrtime.bigint() - start) / 1000)
    }
  }
  return percentile(times, p)
}
