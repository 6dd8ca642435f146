import type { PasskeySignature, Quarantine, Revision, Statement } from '@sallyport/wire'

export type ReleaseStatement = Extract<Statement, { kind: 'release' }>

export interface QuarantineView extends Quarantine {
  /** Milliseconds since the epoch. */
  readonly releasedAt?: number
  /** A release that is being signed: who signed so far, and how many must. */
  readonly release?: {
    readonly statement: ReleaseStatement
    readonly signed: readonly string[]
    readonly quorum: number
  }
}

export interface Quarantines {
  /**
   * Cuts a subject off, in one action: database, next bundle, every connected gateway, its certificates. Asked again for a
   * subject that is already cut off, it returns the quarantine in force.
   *
   * @param input.subject SPIFFE id of an instance, or `spiffe://TD/agent/NAME` for all instances of an agent
   * @param input.by operator name, `local-admin`, `detector` or `control`
   * @returns `appliedMs` until every connected gateway said it applied it, absent where one did not within 250 ms
   * @throws SallyportError `SP_QUARANTINE_SUBJECT`, `SP_QUARANTINE_REASON`, `SP_STORE_UNAVAILABLE`
   */
  quarantine(input: {
    readonly subject: string
    readonly reason: string
    readonly by: string
    /** What the detector made of it, for the incident. */
    readonly risk?: number
  }): Promise<{ quarantine: Quarantine; revision: Revision; appliedMs?: number }>
  /** In force, newest first; with those released where asked for. */
  list(options?: { readonly released?: boolean }): Promise<readonly QuarantineView[]>
  /** Whether an instance is cut off, by itself or with all of its agent. */
  isQuarantined(spiffeId: string): boolean
  /**
   * The statement to sign. The first ask fixes reason and nonce, so that a quorum signs the same one.
   *
   * @throws SallyportError `SP_QUARANTINE_UNKNOWN`, `SP_QUARANTINE_REASON`
   */
  releaseStatement(id: string, reason: string): Promise<ReleaseStatement>
  /**
   * Adds one operator's signature; with the quorum's last one the quarantine ends and the bundle carries the release.
   *
   * @throws SallyportError `SP_QUARANTINE_UNKNOWN`, `SP_QUARANTINE_STATEMENT`, `SP_QUARANTINE_ROLE`, `SP_SIGNATURE_*`
   */
  release(input: {
    readonly id: string
    readonly operator: string
    readonly statement: ReleaseStatement
    readonly signature: PasskeySignature
  }): Promise<{ released: boolean; signed: readonly string[]; quorum: number; revision?: Revision }>
}
