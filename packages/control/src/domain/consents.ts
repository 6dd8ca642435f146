import type { ConsentStatement, PasskeySignature } from '@sallyport/wire'

/** What a person is asked to allow, as they see it and as they sign it. */
interface ConsentView {
  readonly statement: ConsentStatement
  readonly agent: string
  readonly agentDescription: string
  readonly system: string
  readonly systemDescription: string
  readonly operations: readonly {
    readonly name: string
    readonly description: string
    readonly kind: 'read' | 'write'
  }[]
}

/** Requests of agents to act for a person. */
export interface Consents {
  /**
   * @param ticket what the page was given that the browser with the request alone could open
   * @throws SallyportError `SP_CONSENT_UNKNOWN`
   */
  view(input: ConsentKey): Promise<ConsentView>
  /**
   * Decides once: the passkey signs what is allowed.
   *
   * @returns where the browser goes on
   * @throws SallyportError `SP_CONSENT_UNKNOWN`, `SP_CONSENT_STATEMENT`, `SP_CONSENT_ROLE`, or wire's `SP_SIGNATURE_*`
   */
  allow(
    input: ConsentKey & {
      /** In which it is signed: what is given ends with it. */
      readonly session: string
      readonly statement: ConsentStatement
      readonly signature: PasskeySignature
    },
  ): Promise<{ readonly redirect: string }>
  /** @throws SallyportError `SP_CONSENT_UNKNOWN` */
  refuse(input: ConsentKey): Promise<{ readonly redirect: string }>
}

export interface ConsentKey {
  readonly id: string
  readonly ticket: string
  readonly operator: string
}
