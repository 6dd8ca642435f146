import type {
  MandateGrant,
  MandateStatement,
  PasskeySignature,
  Revision,
  SignedMandate,
} from '@sallyport/wire'

/** What an operator wants to delegate, before it is drawn up. */
export interface MandateDraft {
  /** `spiffe://TD/agent/NAME`, an instance's SPIFFE id, or an agent's name. */
  readonly delegate: string
  readonly task: string
  readonly grants: readonly MandateGrant[]
  readonly uses: number
  readonly lifetimeSeconds: number
}

export interface MandateView {
  readonly id: string
  readonly status: 'active' | 'expired' | 'revoked'
  readonly statement: MandateStatement
  /** Ids, root first. */
  readonly chain: readonly string[]
  /** Uses, calls in flight included. */
  readonly used: number
  /** Of it, or of the nearest above it. */
  readonly revoked?: {
    readonly id: string
    readonly reason: string
    readonly by: string
    readonly at: number
  }
}

/** One hop of a mandate that a call takes of. */
export interface MandateHop {
  readonly id: string
  readonly uses: number
  readonly issuedAt: number
  readonly expiresAt: number
  readonly grant: number
  readonly amount: number
  readonly total?: number
}

/** Task grants: drawn up and given by operators, passed on by agents, counted and revoked here. Gateways verify them. */
export interface Mandates {
  /**
   * The statement that `operator` is to sign.
   *
   * @throws SallyportError `SP_MANDATE_FORMAT`; `SP_MANDATE_REQUEST` where it names what is not declared
   */
  draw(operator: string, draft: MandateDraft): MandateStatement
  /**
   * Gives a mandate that an operator signed.
   *
   * @throws SallyportError `SP_MANDATE_*`, `SP_SIGNATURE_*`
   */
  give(input: {
    readonly operator: string
    readonly statement: MandateStatement
    readonly signature: PasskeySignature
  }): Promise<MandateView>
  /**
   * Keeps a chain whose last hop an instance signed.
   *
   * @throws SallyportError `SP_MANDATE_*`
   */
  register(instance: string, chain: unknown): Promise<{ readonly id: string }>
  list(): Promise<readonly MandateView[]>
  get(id: string): Promise<MandateView | undefined>
  /** @param concerning an instance: undefined then for what it neither gave nor holds */
  chain(id: string, concerning?: string): Promise<readonly SignedMandate[] | undefined>
  /**
   * Ends a mandate and everything below it, at every gateway. Narrowing. Asked again, it says so again.
   *
   * @param input.by operator name, `local-admin`, or the SPIFFE id of an instance, which may end what is below its own only
   * @throws SallyportError `SP_MANDATE_UNKNOWN`, `SP_MANDATE_REQUEST`
   */
  revoke(input: {
    readonly id: string
    readonly reason: string
    readonly by: string
  }): Promise<{ readonly id: string; readonly revision: Revision; readonly appliedMs?: number }>
  /** Reserves one use, and the amount, of every hop or of none. @throws SallyportError `SP_MANDATE_REQUEST` */
  reserve(
    decisionId: string,
    hops: readonly MandateHop[],
  ): Promise<{ readonly granted: boolean; readonly revoked?: true }>
  /** @throws SallyportError `SP_MANDATE_UNKNOWN` for no reservation, or one settled the other way */
  settle(decisionId: string, commit: boolean): Promise<void>
  /** Forgets what nobody can use any more. */
  sweep(): Promise<void>
}
