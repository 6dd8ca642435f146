import type { DataClass } from '@sallyport/network'

/** What the control plane tells the detector about one call, once its outcome is known. */
export interface Observation {
  /** Milliseconds since the epoch. Later than the detector's clock counts as now. */
  readonly at: number
  /** SPIFFE id of the calling instance. */
  readonly instance: string
  readonly agent: string
  readonly system: string
  readonly operation: string
  readonly decision: 'allow' | 'deny' | 'needs'
  readonly code: string
  /** Records released to the caller. */
  readonly records: number
  readonly bytes: number
  /** Highest class that left whole; absent where nothing did. */
  readonly maxWholeClass?: DataClass
  readonly newLabels: readonly string[]
}

export type SignalName =
  | 'volume'
  | 'records'
  | 'sensitive-reads'
  | 'novelty'
  | 'outside-flow'
  | 'denials'
  | 'over-limit'
  | 'forbidden-burst'

/** One piece of evidence at the moment it was seen. */
export interface Signal {
  readonly signal: SignalName
  readonly instance: string
  readonly agent: string
  /** Milliseconds since the epoch. */
  readonly at: number
  /** Risk that this evidence carries by itself, 0–100. */
  readonly points: number
  /** One sentence for an operator. */
  readonly text: string
  /** Worth a quarantine by itself, whatever the score. */
  readonly hard: boolean
}

export interface RiskReason {
  readonly signal: SignalName
  /** Share of the score that this evidence accounts for; all shares sum to the score. */
  readonly points: number
  readonly text: string
  /** When it was last seen, milliseconds since the epoch. */
  readonly at: number
}

export interface Risk {
  /** 0–100, an integer. */
  readonly score: number
  readonly reasons: readonly RiskReason[]
}

/** Below these no baseline alarms, however young or quiet it is. */
export interface Floors {
  readonly callsPerSecond: number
  readonly recordsPerSecond: number
  /** Restricted values read whole, a minute. */
  readonly sensitiveReadsPerMinute: number
}

/** The detector's state as plain JSON: what `snapshot` returns and `restore` takes. */
export interface DetectorSnapshot {
  readonly format: 'sallyport-detect/1'
  readonly agents: readonly (readonly [string, unknown])[]
  readonly instances: readonly (readonly [string, unknown])[]
}

export interface Detector {
  /** Takes one observation into account; returns the evidence that it gave rise to. */
  observe(event: Observation): readonly Signal[]
  /** The risk of an instance at `now` (milliseconds since the epoch); 0 for one never seen. */
  risk(instance: string, now: number): Risk
  snapshot(): DetectorSnapshot
  /** @throws SallyportError `SP_DETECT_SNAPSHOT` for anything `snapshot` did not make */
  restore(snapshot: unknown): void
}
