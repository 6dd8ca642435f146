import type { Agent, Flow } from '@sallyport/network'

export interface RiskReason {
  readonly signal: string
  readonly points: number
  readonly text: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

export interface InstanceView {
  readonly spiffeId: string
  readonly kind: 'agent' | 'service' | 'gateway'
  readonly name: string
  readonly serial: string
  /** Milliseconds since the epoch, as are the times below. */
  readonly notAfter: number
  readonly firstSeen: number
  readonly lastSeen: number
  /** 0–100. */
  readonly risk: number
  readonly riskReasons: readonly RiskReason[]
  readonly quarantined: boolean
}

export interface Counts {
  readonly allow: number
  readonly deny: number
  readonly needs: number
}

/** A declared agent with what runs of it. */
export interface AgentView extends Agent {
  /** The agent as a whole: no instance of it comes in, whether any runs or not. */
  readonly quarantined: boolean
  /** Newest first; those whose certificate lapsed over an hour ago are left out. */
  readonly instances: readonly InstanceView[]
  readonly counts: Counts
  readonly flows: readonly Flow[]
}

export interface Agents {
  list(): Promise<readonly AgentView[]>
  get(name: string): Promise<AgentView | undefined>
  /** An instance of any kind. */
  instance(spiffeId: string): Promise<InstanceView | undefined>
}
