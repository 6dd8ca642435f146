import type { Declaration, NetworkIndex } from '@sallyport/network'
import type {
  DeclarationStatement,
  PasskeySignature,
  Revision,
  SignedBundle,
} from '@sallyport/wire'
import type { ShadowReport, ShadowStage } from './shadow.ts'

export interface ProposalView {
  readonly digest: string
  /** What it is signed with; absent where something later came into force, and it has to be signed anew. */
  readonly serial?: number
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
  /**
   * What is to be signed. It keeps its serial until a later draft comes into force; it gets another one then.
   *
   * @throws SallyportError `SP_DECLARATION_UNKNOWN`
   */
  statement(digest: string): Promise<DeclarationStatement>
  /**
   * Adds one operator's signature; with the quorum's last one the declaration comes into force.
   *
   * @throws SallyportError `SP_DECLARATION_UNKNOWN`, `SP_DECLARATION_STATEMENT`, `SP_DECLARATION_ROLE`, `SP_SIGNATURE_*`;
   *   `SP_DECLARATION_SERIAL` where something that was drawn up later came into force;
   *   `SP_DECLARATION_SHADOW` where the last signature comes before it has been in shadow for long enough
   */
  sign(input: {
    readonly digest: string
    readonly operator: string
    readonly statement: DeclarationStatement
    readonly signature: PasskeySignature
  }): Promise<{ live: boolean; signed: readonly string[]; quorum: number; revision?: Revision }>
}
