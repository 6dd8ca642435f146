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
  readonly kind: 'signal' | 'decision' | 'approval' | 'quarantine' | 'release' | 'risk' | 'closed'
  readonly text: string
  readonly decisionId?: string
}

export interface Incidents {
  /** Newest first. */
  list(): Promise<readonly IncidentView[]>
  get(id: string): Promise<IncidentView | undefined>
  /**
   * Closes an open one as a false alarm. It changes nothing else: risk and signals stay, and the next alarm opens another.
   * What is contained ends with its release, and what is about a person with the review by somebody else.
   *
   * @throws SallyportError `SP_INCIDENT_UNKNOWN`, `SP_INCIDENT_CLOSED`, `SP_INCIDENT_HELD`, `SP_INCIDENT_REASON`,
   *   `SP_AUDIT_UNAVAILABLE`
   */
  dismiss(input: {
    readonly id: string
    readonly reason: string
    readonly by: string
  }): Promise<IncidentView>
}
