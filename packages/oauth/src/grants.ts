/** Seconds that a person's consent lasts at most, from when it was given: nothing that is refreshed outlives it. */
export const MAX_REFRESH = 28_800

/** What a person gave, and what it hangs on. */
interface GivenGrant {
  /** Names it, and its tokens as made from it; presents nothing. */
  readonly hash: string
  /** `operator:NAME`. */
  readonly subject: string
  /** SPIFFE id. */
  readonly client: string
  readonly evidence: Evidence
  /** Seconds from now. */
  readonly lifetime: number
}

/** How a person consented. */
export interface Evidence {
  /** The passkey that signed. */
  readonly credential: string
  /** The session that it was signed in. */
  readonly session: string
  /** Statement and signature, as they were verified. */
  readonly signed: string
}

/** Grants of people, for as long as they hold. */
export interface Grants {
  open(grant: GivenGrant): Promise<void>
  /** Whether all that it hangs on holds still, without a break since it was given. */
  holds(hash: string): Promise<boolean>
  /**
   * Ends it, with every token made from it, wherever it is presented; resolves when that is published.
   *
   * @param why `reused`: something of it was presented twice, so that somebody has a copy
   */
  end(hash: string, why: 'reused' | 'revoked'): Promise<void>
}
