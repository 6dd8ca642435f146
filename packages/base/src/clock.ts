import { performance } from 'node:perf_hooks'

/** Time as the product reads it; tests pass their own. */
export interface Clock {
  /** Wall-clock milliseconds since the Unix epoch. */
  now(): number
  /** Milliseconds that never go back, from an arbitrary start: what leases are judged by. */
  monotonic(): number
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
}
