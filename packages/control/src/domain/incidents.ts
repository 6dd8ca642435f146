export interface IncidentView {
  readonly id: string
  /** `contained`: its subject is quarantined. */
  readonly status: 'open' | 'contained' | 'closed'
  readonly subject: string
  /** Milliseconds since the epoch. */
  readonly openedAt: number
  readonly closedAt?: number
  /** The highest that was seen, 0–100. */
  readonly risk: number
  /** Oldest first; the list view leaves it empty. */
  readonly timeline: readonly TimelineEntry[]
}

export interface TimelineEntry {
  readonly at: number
  readonly kind: 'signal' | 'decision' | 'approval' | 'quarantine' | 'release' | 'risk'
  readonly text: string
  readonly decisionId?: string
}

export interface Incidents {
  /** Newest first. */
  list(): Promise<readonly IncidentView[]>
  get(id: string): Promise<IncidentView | undefined>
}
