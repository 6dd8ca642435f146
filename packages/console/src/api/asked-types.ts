/** What a person lets an agent do that asked out of band, as they sign it. */
export interface BackchannelStatement {
  readonly kind: 'backchannel'
  readonly subject: string
  readonly client: string
  readonly resource: string
  readonly scope: readonly string[]
  readonly details: readonly AskedPayment[]
  readonly message: string
  readonly refreshSeconds: number
  readonly nonce: string
  readonly expiresAt: number
}

interface AskedPayment {
  /** Minor units. */
  readonly amount: number
  readonly currency: string
  readonly creditor: string
  readonly operations: readonly string[]
}

/** A request of an agent to whoever is signed in. */
export interface Asked {
  readonly id: string
  readonly status: 'pending' | 'allowed' | 'refused' | 'expired' | 'ended'
  readonly statement: BackchannelStatement
  readonly agent: string
  readonly agentDescription: string
  readonly system: string
  readonly systemDescription: string
  readonly operations: readonly { readonly name: string; readonly description: string }[]
  readonly requestedAt: number
}
