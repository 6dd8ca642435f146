import type { BackchannelStatement, PasskeySignature } from '@sallyport/wire'

/** What an agent asks a person out of band, as they see it and as they sign it. */
export interface BackchannelView {
  readonly id: string
  readonly status: 'pending' | 'allowed' | 'refused' | 'expired' | 'ended'
  readonly statement: BackchannelStatement
  readonly agent: string
  readonly agentDescription: string
  readonly system: string
  readonly systemDescription: string
  readonly operations: readonly { readonly name: string; readonly description: string }[]
  /** Milliseconds since the epoch. */
  readonly requestedAt: number
}

/** Agents that ask a person, who is elsewhere, to act for them (OpenID Connect CIBA Core 1.0). */
export interface Backchannel {
  /** What one person was asked, newest first. */
  list(operator: string): Promise<readonly BackchannelView[]>
  /** @throws SallyportError `SP_BACKCHANNEL_UNKNOWN`, also for whoever was not asked */
  get(id: string, operator: string): Promise<BackchannelView>
  /**
   * Decides once: the passkey signs what is allowed.
   *
   * @param input.session in which it is signed: what is given ends with it
   * @throws SallyportError `SP_BACKCHANNEL_UNKNOWN`, `SP_BACKCHANNEL_CLOSED`, `SP_BACKCHANNEL_STATEMENT`,
   *   `SP_CONSENT_ROLE`, or wire's `SP_SIGNATURE_*`
   */
  allow(input: {
    readonly id: string
    readonly operator: string
    readonly session: string
    readonly statement: BackchannelStatement
    readonly signature: PasskeySignature
  }): Promise<void>
  /** @throws SallyportError `SP_BACKCHANNEL_UNKNOWN`, `SP_BACKCHANNEL_CLOSED` */
  refuse(id: string, operator: string): Promise<void>
}
