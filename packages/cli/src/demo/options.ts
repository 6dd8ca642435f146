export interface DemoOptions {
  readonly data: string
  readonly headless: boolean
  /** Milliseconds that the headless run lasts. */
  readonly durationMs: number
  readonly attack: 'poisoned-memo' | 'none'
  readonly transactions?: string
  readonly seed?: number
  readonly consolePort: number
  readonly isolate: 'auto' | 'require' | 'off'
  readonly note: (text: string) => void
}

/** The one JSON object that a headless run prints. */
export interface DemoReport {
  readonly agents: number
  readonly calls: number
  readonly decisions: { readonly allow: number; readonly deny: number; readonly needs: number }
  readonly rings: { readonly present: number; readonly found: number }
  readonly holds: { readonly requested: number; readonly approved: number }
  readonly rotations: number
  /** Calls that failed for a reason other than a policy outcome. */
  readonly failedCalls: number
  readonly attack: {
    readonly name: string
    readonly attempts: number
    readonly refused: number
    /** Attempt → layer that stopped it → how often. */
    readonly byLayer: Readonly<Record<string, Readonly<Record<string, number>>>>
    /** Records with a restricted field that left whole for the attacker's instance. */
    readonly recordsExposed: number
    /** Records that it read within its projection (pseudonymous), the flood included. */
    readonly recordsReadWithinProjection: number
    readonly timeToFlagMs: number | null
    readonly timeToContainMs: number | null
    readonly callsAfterContainment: number
  } | null
  readonly audit: {
    readonly records: number
    readonly verified: boolean
    readonly statement: string
  }
  /** Whether every agent had no way but its two sockets: network, files and processes of its own. */
  readonly network: 'enforced' | 'not enforced'
  /** Whether a software authenticator played the operator. */
  readonly simulatedOperator: boolean
  readonly quorum: number
}
