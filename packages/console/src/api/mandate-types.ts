/** Task grants as the operator API sends them: `@sallyport/wire`'s MandateStatement and what the control plane knows beside. */

export type ArgumentConstraint =
  | { readonly equals: string | number | boolean }
  | { readonly oneOf: readonly (string | number)[] }
  | { readonly min?: number; readonly max?: number }
  | { readonly prefix: string }

export interface AmountCeiling {
  readonly input: string
  readonly currencyInput?: string
  readonly currency: string
  readonly perUse: number
  readonly total?: number
}

export interface MandateGrant {
  readonly system: string
  readonly operations: readonly string[]
  readonly arguments?: Readonly<Record<string, ArgumentConstraint>>
  readonly amount?: AmountCeiling
  readonly counterparties?: { readonly input: string; readonly values: readonly string[] }
}

/** What a person says before the control plane draws it up. */
export interface MandateDraft {
  /** `spiffe://TD/agent/NAME`, or the SPIFFE id of one instance. */
  readonly delegate: string
  readonly task: string
  readonly grants: readonly MandateGrant[]
  readonly uses: number
  readonly lifetimeSeconds: number
}

export interface MandateStatement {
  readonly kind: 'mandate'
  readonly nonce: string
  readonly parent?: string
  readonly delegator: string
  readonly delegate: string
  readonly task: string
  readonly grants: readonly MandateGrant[]
  readonly issuedAt: number
  readonly notBefore: number
  readonly expiresAt: number
  readonly uses: number
}

export interface MandateView {
  readonly id: string
  readonly status: 'active' | 'expired' | 'revoked'
  readonly statement: MandateStatement
  /** Ids, root first, its own last. */
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
