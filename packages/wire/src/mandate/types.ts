import type { PasskeySignature } from '../types.ts'

/** What a mandate says of one member of a call's input. A member that is absent, or of another kind, never fits. */
export type ArgumentConstraint =
  | { readonly equals: string | number | boolean }
  | { readonly oneOf: readonly (string | number)[] }
  /** Of a number: one of the two bounds at least, both inclusive. */
  | { readonly min?: number; readonly max?: number }
  /** Of an identifier: letters, digits and `._:-`, no two dots in a row. Any other text never fits. */
  | { readonly prefix: string }

/** How much money, in minor units of one currency. */
export interface AmountCeiling {
  /** The input member that holds the amount: dotted names. */
  readonly input: string
  /** The input member that must hold `currency`; absent only where the system knows one currency. */
  readonly currencyInput?: string
  /** ISO 4217. */
  readonly currency: string
  readonly perUse: number
  /** Over all uses of the mandate, and of everything below it. */
  readonly total?: number
}

/** A set of calls. */
export interface MandateGrant {
  readonly system: string
  readonly operations: readonly string[]
  /** Input member, dotted names → what it must be. Members that are not named may be anything. */
  readonly arguments?: Readonly<Record<string, ArgumentConstraint>>
  readonly amount?: AmountCeiling
  /** Who may be on the other side: the input member that names them, and every name it may hold. */
  readonly counterparties?: { readonly input: string; readonly values: readonly string[] }
}

/**
 * A signed, narrow, expiring task grant. Its id is `mandateId`: the hash of all of it, so that two mandates never share one
 * and a parent is named by what it says.
 */
export interface MandateStatement {
  readonly kind: 'mandate'
  readonly nonce: string
  /** Id of the mandate that this one is a part of; absent at the root of a chain. */
  readonly parent?: string
  /** `operator:NAME`, only at the root, or the SPIFFE id of the instance that signs. */
  readonly delegator: string
  /** `spiffe://TD/agent/NAME` for any instance of an agent, or the SPIFFE id of one instance. */
  readonly delegate: string
  /** What is to be done, in words: shown to whoever signs, read by policies. */
  readonly task: string
  readonly grants: readonly MandateGrant[]
  /** Milliseconds since the epoch, as all times here. */
  readonly issuedAt: number
  readonly notBefore: number
  /** Exclusive. */
  readonly expiresAt: number
  /** Calls that go out under it, and under everything below it. */
  readonly uses: number
}

/** By an operator's passkey, or by the key of the delegating instance's SVID. */
export type SignedMandate = OperatorMandate | AgentMandate

export interface OperatorMandate {
  readonly statement: MandateStatement
  readonly passkey: PasskeySignature
}

export interface AgentMandate {
  readonly statement: MandateStatement
  /** ECDSA P-256 with SHA-256 over the domain-separated canonical statement, `r || s`, base64url. */
  readonly signature: string
  /** The SVID that signed, leaf first, each DER as base64url. */
  readonly svid: readonly string[]
}

/** A chain that verified, root first. Whether it covers a call, and is held by its caller, is asked of it. */
export interface VerifiedMandate {
  /** Of the last hop: what the caller presents. */
  readonly id: string
  /** Ids, root first. */
  readonly chain: readonly string[]
  readonly hops: readonly MandateStatement[]
  /** At the root. */
  readonly delegator: string
  readonly delegate: string
  readonly depth: number
  readonly task: string
  /** The first end of any hop. */
  readonly expiresAt: number
  /** Instances that signed a hop, root first. */
  readonly delegators: readonly string[]
}
