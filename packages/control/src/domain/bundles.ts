import type { Declaration, NetworkIndex } from '@sallyport/network'
import type { PasskeySignature, Revision, SignedBundle, Statement } from '@sallyport/wire'
import type { ShadowReport, ShadowStage } from './shadow.ts'

export type DeclarationStatement = Extract<Statement, { kind: 'declaration' }>

export interface ProposalView {
  readonly digest: string
  /** Operator name, or `file` for a `network.yaml` that differs from what is in force. */
  readonly proposedBy: string
  /** Milliseconds since the epoch. */
  readonly proposedAt: number
  readonly signed: readonly string[]
  readonly quorum: number
  /** What changes against the declaration in force, as paths. */
  readonly diff: readonly DiffEntry[]
  readonly shadow: ShadowStage
}

export interface DiffEntry {
  /** e.g. `network.flows[monitor-to-core].operations` */
  readonly path: string
  readonly change: 'added' | 'removed' | 'changed'
  /** JSON text, shortened; absent on the side where it is not. */
  readonly before?: string
  readonly after?: string
}

/** The declaration in force, the signed bundle that carries it, and how either changes. */
export interface Bundles {
  /** The newest signed bundle; changes with every revision. */
  current(): SignedBundle<Declaration>
  declaration(): Declaration
  /** Lookups over the network in force. */
  index(): NetworkIndex
  digest(): string
  revision(): Revision
  /** Called at once after every new revision. @returns the function that ends it */
  onChange(listener: (signed: SignedBundle<Declaration>) => void): () => void
  /**
   * Checks a declaration (schema, policies) and keeps it for signing. Nothing changes in force.
   *
   * @throws SallyportError `SP_DECLARATION_INVALID` and what the checks say
   */
  propose(input: { readonly declaration: unknown; readonly by: string }): Promise<ProposalView>
  proposals(): Promise<readonly ProposalView[]>
  /** @throws SallyportError `SP_DECLARATION_UNKNOWN` */
  startShadow(input: { readonly digest: string; readonly by: string }): Promise<void>
  stopShadow(): Promise<void>
  /** @throws SallyportError `SP_DECLARATION_UNKNOWN` */
  shadowReport(digest: string): Promise<ShadowReport>
  /** @throws SallyportError `SP_DECLARATION_UNKNOWN` */
  statement(digest: string): Promise<DeclarationStatement>
  /**
   * Adds one operator's signature; with the quorum's last one the declaration comes into force.
   *
   * @throws SallyportError `SP_DECLARATION_UNKNOWN`, `SP_DECLARATION_STATEMENT`, `SP_DECLARATION_ROLE`, `SP_SIGNATURE_*`;
   *   `SP_DECLARATION_SHADOW` where the last signature comes before it has been in shadow for long enough
   */
  sign(input: {
    readonly digest: string
    readonly operator: string
    readonly statement: DeclarationStatement
    readonly signature: PasskeySignature
  }): Promise<{ live: boolean; signed: readonly string[]; quorum: number; revision?: Revision }>
}
