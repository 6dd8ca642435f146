/** What the operator API sends (ARCHITECTURE.md, "Operator API"), as far as the console reads it. */
import type { PublicKeyCredentialRequestOptionsJSON } from '@simplewebauthn/browser'
import type { Agent, Flow, Network, OperatorRole, PolicySource } from './network-types.ts'

interface Revision {
  readonly epoch: number
  readonly n: number
}

export interface SessionInfo {
  readonly operator: {
    readonly name: string
    readonly displayName: string
    readonly roles: readonly OperatorRole[]
  } | null
  readonly csrf: string
  /** No operator has a passkey yet. */
  readonly bootstrap: boolean
  /** How this session signed in; without a passkey it can only read and narrow. */
  readonly method?: SignInMethod
  /** This session has emergency roles. */
  readonly breakGlass?: { readonly id: string; readonly endsAt: number }
}

type SignInMethod = 'passkey' | 'totp' | 'oidc'

export interface SessionListing {
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
  readonly current: boolean
}

export interface Alarm {
  readonly id: string
  readonly at: number
  readonly kind: string
  readonly operator: string
  readonly text: string
}

export interface Recovery {
  readonly operator: string
  readonly confirmedBy: string
  readonly expiresAt: number
}

export interface BreakGlass {
  readonly id: string
  readonly operator: string
  readonly roles: readonly OperatorRole[]
  readonly reason: string
  readonly incidentId: string
  readonly openedAt: number
  readonly endsAt: number
  readonly open: boolean
  readonly review?: { readonly by: string; readonly at: number; readonly text: string }
  readonly overdue: boolean
  /** Of one that was asked for alone. */
  readonly acts?: readonly { readonly at: number; readonly method: string; readonly path: string }[]
}

export interface NetworkInfo {
  readonly network: Network
  readonly policies: readonly PolicySource[]
  readonly revision: Revision
  readonly digest: string
  readonly quorum: number
}

export interface Instance {
  readonly spiffeId: string
  readonly serial: string
  readonly notAfter: number
  readonly firstSeen: number
  readonly lastSeen: number
  readonly risk: number
  readonly riskReasons?: readonly RiskReason[]
  readonly quarantined: boolean
}

/** A signal that raised the risk: its sentence, and what it weighed where known. */
interface RiskReason {
  readonly signal?: string
  readonly text: string
  readonly points?: number
  readonly at?: number
}

interface Counts {
  readonly allow: number
  readonly deny: number
  readonly needs: number
}

export interface AgentInfo extends Agent {
  /** The agent as a whole, whether anything of it runs or not. */
  readonly quarantined: boolean
  readonly instances: readonly Instance[]
  readonly counts: Counts
  readonly flows: readonly Flow[]
}

export interface Edge extends Counts {
  readonly from: string
  readonly to: string
  readonly operation: string
  readonly lastAt: number
}

export type DecisionKind = 'allow' | 'deny' | 'needs'

interface PolicyError {
  readonly policyId: string
  readonly message: string
}

/** `@sallyport/wire`'s DecisionRecord. */
export interface DecisionRecord {
  readonly at: number
  readonly gateway: string
  readonly id: string
  readonly instance: string
  readonly agent: string
  readonly system: string
  readonly operation: string
  readonly decision: DecisionKind
  readonly code: string
  readonly reasons: readonly string[]
  readonly errors: readonly PolicyError[]
  readonly needs: readonly { readonly kind: 'approval'; readonly count: number }[]
  readonly approvalId?: string
  readonly revision: Revision
  readonly declarationDigest: string
  readonly stateDigest: string
  readonly labels: readonly string[]
  readonly risk: number
  readonly requestHash: string
  readonly peer: { readonly serial: string; readonly group?: string; readonly source?: string }
  readonly trace?: { readonly traceId: string; readonly parentId: string }
}

export interface OutcomeRecord {
  readonly at: number
  readonly status: number
  readonly result: 'completed' | 'upstream-error' | 'aborted' | 'cut'
  readonly durationMs: number
  readonly bytesOut: number
  readonly released: Readonly<
    Record<string, { readonly records: number; readonly maxWholeClass: string }>
  >
}

export interface ClauseTrace {
  readonly text: string
  readonly result: 'true' | 'false' | 'error'
  readonly values: Readonly<Record<string, string>>
  readonly error?: string
}

export interface PolicyTrace {
  readonly policyId: string
  readonly effect: 'permit' | 'forbid'
  readonly outcome: 'satisfied' | 'unsatisfied' | 'error'
  readonly scope: readonly ClauseTrace[]
  readonly conditions: readonly ClauseTrace[]
  readonly annotations: Readonly<Record<string, string>>
}

/** Why, as far as the gateway said: see `readExplanation`. */
export interface Explanation {
  /** Empty where nothing was said, as are the others. */
  readonly summary: string
  readonly detail: string
  readonly remedies: readonly string[]
  readonly policies: readonly PolicyTrace[]
}

/** Where in the log the record stands. */
interface AuditPosition {
  readonly shard: string
  readonly index: number
}

export interface DecisionDetail {
  readonly record: DecisionRecord
  readonly outcome: OutcomeRecord | null
  /** `@sallyport/decide`'s OutcomeExplanation, or less of it, or null: read it with `readExplanation`. */
  readonly explanation: unknown
  readonly approvals?: readonly Approval[]
  readonly labels?: readonly { readonly added: readonly string[] }[]
  readonly audit?: AuditPosition
}

export type ApprovalStatus = 'pending' | 'approved' | 'denied' | 'expired' | 'used'

export interface Approval {
  readonly id: string
  readonly status: ApprovalStatus
  readonly agent: string
  readonly instance: string
  readonly system: string
  readonly operation: string
  readonly input: unknown
  readonly count: number
  readonly requestedAt: number
  readonly expiresAt: number
  readonly decisionId: string
  readonly declarationDigest?: string
  /** Arguments that are declared as whole numbers. */
  readonly wholeNumbers: readonly string[]
  readonly statements: readonly { readonly statement: ApprovalStatement }[]
  readonly canDecide: boolean
  /** Why not, in the server's words. */
  readonly reason?: string
}

export interface ApprovalStatement {
  readonly kind: 'approval'
  readonly approvalId: string
  readonly decision: 'approve' | 'deny'
  readonly approver: string
  readonly instance: string
  readonly system: string
  readonly operation: string
  readonly input: unknown
  readonly declarationDigest: string
  readonly nonce: string
  readonly expiresAt: number
}

export interface ReleaseStatement {
  readonly kind: 'release'
  readonly quarantineId: string
  readonly subject: string
  readonly reason: string
  readonly nonce: string
}

export interface ReviewStatement {
  readonly kind: 'break-glass-review'
  readonly id: string
  readonly operator: string
  readonly reviewer: string
  readonly text: string
  readonly openedAt: number
  readonly endedAt: number
  /** SHA-256 hex over the canonical JSON of all acts, as `[at, method, path]`. */
  readonly acts: string
}

export interface StatementOptions<S> {
  readonly statement: S
  readonly options: PublicKeyCredentialRequestOptionsJSON
}

export interface Quarantine {
  readonly id: string
  readonly subject: string
  readonly reason: string
  readonly by: string
  readonly at: number
  /** A release that is being signed: its reason is fixed by whoever signed first. */
  readonly release?: {
    readonly statement: ReleaseStatement
    readonly signed: readonly string[]
    readonly quorum: number
  }
}

export interface ReleaseResult {
  readonly released: boolean
  readonly signed: readonly string[]
  readonly quorum: number
}

export interface QuarantineResult {
  readonly quarantine: Quarantine
  readonly revision: Revision
  readonly appliedMs?: number
}

export interface Incident {
  readonly id: string
  readonly status: 'open' | 'contained' | 'closed'
  readonly subject: string
  readonly openedAt: number
  readonly closedAt?: number
  readonly risk: number
  /** Oldest first; the list leaves it empty. */
  readonly timeline?: readonly {
    readonly at: number
    readonly kind: string
    readonly text: string
    readonly decisionId?: string
  }[]
}

export interface Health {
  readonly control: string
  readonly database: 'ok' | 'unreachable'
  readonly gateways: readonly {
    readonly id: string
    readonly revision: Revision | null
    readonly connected: boolean
    readonly lastSeen: number
    /** From the signing of that revision until the gateway said that it applies it. */
    readonly lagMs: number | null
  }[]
  readonly audit: readonly {
    readonly shard: string
    readonly size: number
    readonly checkpoint: string | null
  }[]
}

export interface DeclarationStatement {
  readonly kind: 'declaration'
  readonly digest: string
  readonly epoch: number
  readonly serial: number
}

export interface Proposal {
  readonly digest: string
  /** What it is signed with; absent where something later came into force: it gets another one when it is signed anew. */
  readonly serial?: number
  /** Operator name, or `file` for a `network.yaml` that differs from what is in force. */
  readonly proposedBy: string
  readonly proposedAt: number
  readonly signed: readonly string[]
  readonly quorum: number
  readonly diff: readonly {
    readonly path: string
    readonly change: 'added' | 'removed' | 'changed'
    readonly before?: string
    readonly after?: string
  }[]
  readonly shadow: ShadowStage
}

/** How far a proposal has come beside the declaration in force. */
interface ShadowStage {
  readonly stage: 'draft' | 'shadow'
  /** While it is in shadow. */
  readonly since?: number
  readonly by?: string
  readonly minutes: number
  /** Minutes of shadow before the last signature is taken. */
  readonly required: number
}

/** What a proposal would have decided otherwise while it was in shadow. */
export interface ShadowReport extends ShadowStage {
  readonly digest: string
  readonly against: string
  readonly counts: {
    readonly agreed: number
    readonly denyToAllow: number
    readonly allowToDeny: number
    readonly needsChanged: number
    readonly otherwise: number
    readonly notCompared: number
  }
  readonly changes: readonly {
    readonly from: DecisionKind
    readonly to: DecisionKind
    readonly calls: number
    readonly examples: readonly {
      readonly decisionId: string
      readonly at: number
      readonly agent: string
      readonly system: string
      readonly operation: string
      readonly live: { readonly decision: DecisionKind; readonly code: string }
      readonly shadow: {
        readonly decision: DecisionKind
        readonly code: string
        readonly changes?: readonly string[]
      }
    }[]
  }[]
}

export interface OperatorsStatement {
  readonly kind: 'operators'
  readonly set: {
    readonly version: number
    readonly quorum: number
    readonly keys: readonly {
      readonly operator: string
      readonly credentialId: string
      readonly roles: readonly string[]
    }[]
  }
}

export interface OperatorsInfo {
  readonly operators: readonly {
    readonly name: string
    readonly displayName: string
    readonly roles: readonly OperatorRole[]
    readonly credentialIds: readonly string[]
    readonly totp: boolean
  }[]
  readonly version: number
  readonly proposed: {
    readonly statement: OperatorsStatement
    readonly signed: readonly string[]
    readonly quorum: number
  } | null
}

/** A declared trust domain beside this one (`GET /api/federation`). */
export interface Partner {
  readonly trustDomain: string
  readonly url: string
  readonly profile: 'https_web' | 'https_spiffe'
  readonly sequence?: number
  readonly fetchedAt?: number
  /** Code of the last attempt to fetch its bundle, where it failed. */
  readonly failure?: string
  readonly state: 'fresh' | 'stale' | 'quarantined'
  readonly maxAgeSeconds: number
  readonly agents: readonly {
    readonly name: string
    readonly path: string
    readonly description: string
    readonly owner: string
    readonly purpose: string
    readonly until: string
    readonly state: 'active' | 'ended' | 'quarantined'
  }[]
}
