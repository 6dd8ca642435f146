import type { OperatorRole } from '@sallyport/network'

export type SignInMethod = 'passkey' | 'totp' | 'oidc'

/** What a request shows of the browser that sent it. */
export interface Seen {
  readonly userAgent: string
  /** As the socket has it. */
  readonly address: string
}

/** How somebody proved who they are. */
export type SignIn =
  | {
      readonly method: 'passkey'
      readonly operator: string
      readonly credentialId: string
    }
  | { readonly method: 'totp'; readonly operator: string }
  | {
      readonly method: 'oidc'
      readonly provider: string
      readonly subject: string
      readonly displayName: string
      readonly groups: readonly string[]
    }

export interface SessionView {
  readonly id: string
  /** The declared name, or `PROVIDER:SUBJECT` of somebody whom an identity provider vouches for and nobody declared. */
  readonly operator: string
  readonly displayName: string
  readonly roles: readonly OperatorRole[]
  readonly method: SignInMethod
  readonly csrf: string
  /** Milliseconds since the epoch; no session is valid later. */
  readonly expiresAt: number
  /** Milliseconds since the epoch; it ends then unless it is used before. */
  readonly idleAt: number
  /** The glass is broken in this session: its roles are among those above, until then. */
  readonly breakGlass?: { readonly id: string; readonly endsAt: number }
}

/** A session as others may see it: without what opens it. */
interface SessionListing {
  readonly id: string
  readonly operator: string
  readonly method: SignInMethod
  readonly roles: readonly OperatorRole[]
  readonly userAgent: string
  readonly address: string
  readonly startedAt: number
  readonly lastUsed: number
  readonly expiresAt: number
  readonly idleAt: number
}

/** Who is signed in. Roles come from the declaration in force, at every use. */
export interface Sessions {
  /**
   * @returns `session`: the secret for the cookie; only its hash is kept
   * @throws SallyportError `SP_OPERATOR_UNKNOWN`, `SP_API_LOGIN`
   */
  start(input: SignIn, seen: Seen): Promise<{ session: string; view: SessionView }>
  /**
   * The session of this secret where it is valid for this browser. Whatever opened it must still be in force: the passkey in the
   * operator set, the identity provider in the declaration. Shown by another browser it ends, with an alarm.
   */
  find(session: string, seen: Seen): Promise<SessionView | undefined>
  /** Counts a use. */
  touch(view: SessionView): Promise<void>
  /** Ends the session of this secret. */
  end(session: string): Promise<void>
  /** Newest first; of one operator, or all. */
  list(operator?: string): Promise<readonly SessionListing[]>
  /** @returns false where there is no such session, or it is not of `operator` */
  revoke(id: string, by: string, operator?: string): Promise<boolean>
  /** Which of these are still valid. */
  living(ids: readonly string[]): Promise<ReadonlySet<string>>
  /**
   * Told at once of sessions that ended.
   *
   * @param listener given the session; undefined where any may have ended at another control plane
   * @returns the function that ends it
   */
  onEnded(listener: (id: string | undefined) => void): () => void
}
