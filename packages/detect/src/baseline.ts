/**
 * A robust running level of a count per window: exponentially weighted mean and mean absolute deviation. Each new
 * value is winsorised, so that one flood neither becomes normal nor widens the band for the next.
 */
export interface Baseline {
  mean: number
  deviation: number
  /** Windows learned from. */
  windows: number
}

const ALPHA = 0.05
const DEVIATIONS = 8
const RATIO = 3

export function newBaseline(): Baseline {
  return { mean: 0, deviation: 0, windows: 0 }
}

/** Learns a finished window's count. */
export function learn(baseline: Baseline, count: number): void {
  // A plain average while young, so that the first windows do not dominate for minutes.
  const alpha = Math.max(ALPHA, 1 / (baseline.windows + 1))
  const ceiling = baseline.windows < 5 ? count : baseline.mean + 4 * baseline.deviation + 1
  const value = Math.min(count, ceiling)
  baseline.deviation += alpha * (Math.abs(value - baseline.mean) - baseline.deviation)
  baseline.mean += alpha * (value - baseline.mean)
  baseline.windows++
}

/** The count above which a window is out of the ordinary; never below `floor`. */
export function threshold(baseline: Baseline, floor: number): number {
  return Math.max(floor, baseline.mean + DEVIATIONS * baseline.deviation, baseline.mean * RATIO)
}
