import type { OperatorRole } from '@sallyport/network'
import type { OperatorSet, PasskeySignature, Statement } from '@sallyport/wire'

export type OperatorsStatement = Extract<Statement, { kind: 'operators' }>

export interface RegistrationView {
  readonly operator: string
  readonly displayName: string
  readonly roles: readonly OperatorRole[]
  /** The very first operator: its key set is signed by the genesis key. */
  readonly first: boolean
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  /** Credential ids that the operator already has, to exclude. */
  readonly credentialIds: readonly string[]
}

/** People: their keys, one-time links and sign-in codes. Roles come from the declaration in force. */
export interface Operators {
  /** The set in force, as gateways pin it; undefined before the first operator enrols. */
  set(): OperatorSet | undefined
  rpId(): string
  origin(): string
  /** Declared operators, with the keys in force. */
  list(): readonly {
    readonly name: string
    readonly displayName: string
    readonly roles: readonly OperatorRole[]
    readonly credentialIds: readonly string[]
  }[]

  /**
   * A one-use link (24 hours) that lets its bearer enrol a passkey for a declared operator. An older unused link of the
   * same operator stops working.
   *
   * @returns `link`: the secret itself, which the console takes at `/enrol#LINK`
   * @throws SallyportError `SP_OPERATOR_UNKNOWN`
   */
  createLink(input: {
    readonly operator: string
    readonly by: string
  }): Promise<{ link: string; url: string; expiresAt: number }>
  /** Looks at a link without using it. @throws SallyportError `SP_LINK_INVALID` */
  openLink(link: string): Promise<RegistrationView>
  /**
   * Uses the link and takes the passkey. The first one takes effect at once, signed by the genesis key, which is then
   * deleted; a later one is a proposed operator set that a quorum of the present one must sign.
   *
   * @param input.credentialId base64url
   * @param input.publicKey COSE key, base64url
   * @throws SallyportError `SP_LINK_INVALID`, `SP_OPERATOR_KEY`
   */
  register(input: {
    readonly link: string
    readonly credentialId: string
    readonly publicKey: string
  }): Promise<{ active: boolean; version: number }>

  /** The operator set that waits for signatures, if one does. */
  proposed(): Promise<
    | {
        readonly statement: OperatorsStatement
        readonly signed: readonly string[]
        readonly quorum: number
      }
    | undefined
  >
  /** Proposes to take an operator's keys away. @throws SallyportError `SP_OPERATOR_UNKNOWN` */
  proposeRemoval(input: { readonly operator: string; readonly by: string }): Promise<void>
  /**
   * Adds one operator's signature to the proposed set.
   *
   * @throws SallyportError `SP_OPERATOR_STATEMENT`, `SP_OPERATOR_ROLE`, `SP_SIGNATURE_*`
   */
  signProposed(input: {
    readonly operator: string
    readonly statement: OperatorsStatement
    readonly signature: PasskeySignature
  }): Promise<{ active: boolean; signed: readonly string[]; quorum: number }>

  /**
   * Keeps a secret for one-time codes (base32), sealed, replacing an older one.
   *
   * @param step of the code that showed it: spent
   * @throws SallyportError `SP_SEAL_*`
   */
  setTotpSecret(operator: string, secret: string, step: number): Promise<void>
  /** @throws SallyportError `SP_SEAL_*` */
  totpSecret(operator: string): Promise<string | undefined>

  /**
   * Keeps a random WebAuthn challenge of a ceremony for 5 minutes.
   *
   * @param purpose separates ceremonies, e.g. `login` or `register:LINKHASH`
   */
  keepChallenge(challenge: string, purpose: string): Promise<void>
  /** Takes it out, once. @returns false where it is unknown, spent, expired or was for another purpose */
  takeChallenge(challenge: string, purpose: string): Promise<boolean>
}
