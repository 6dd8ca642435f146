import type { Risk, RiskReason, SignalName } from './types.ts'

/** One slot of evidence: the strongest still standing of its key. */
export interface Evidence {
  signal: SignalName
  /** 0–100 at the time `at`. */
  points: number
  at: number
  text: string
}

/** Seconds after which evidence weighs half. */
export const HALF_LIFE_SECONDS: Readonly<Record<SignalName, number>> = {
  volume: 120,
  records: 180,
  'sensitive-reads': 300,
  novelty: 120,
  'outside-flow': 300,
  denials: 300,
  'over-limit': 120,
  'forbidden-burst': 1800,
}

/** What a piece of evidence still weighs at `now`, as a probability in [0, 1). */
export function weight(evidence: Evidence, now: number): number {
  const age = Math.max(0, now - evidence.at) / 1000
  const points = Math.min(99.9, Math.max(0, evidence.points))
  return (points / 100) * 2 ** (-age / HALF_LIFE_SECONDS[evidence.signal])
}

/**
 * Decaying noisy-or: the chance that at least one piece of evidence is right, each taken as independent. The score is
 * shared out among the evidence in proportion to −ln(1 − weight), which makes the shares sum to it.
 */
export function fuse(evidence: Iterable<Evidence>, now: number): Risk {
  let doubt = 0
  const standing: { readonly evidence: Evidence; readonly doubt: number }[] = []
  for (const item of evidence) {
    const share = -Math.log1p(-weight(item, now))
    if (share < 1e-4) continue
    doubt += share
    standing.push({ evidence: item, doubt: share })
  }
  const score = Math.round(100 * -Math.expm1(-doubt))
  standing.sort((a, b) => b.doubt - a.doubt)
  const reasons: RiskReason[] = standing.map((item) => ({
    signal: item.evidence.signal,
    points: Math.round(((score * item.doubt) / doubt) * 10) / 10,
    text: item.evidence.text,
    at: item.evidence.at,
  }))
  return { score, reasons: reasons.filter((reason) => reason.points > 0) }
}
