import type { MandateStatement } from './mandate/types.ts'

/** (epoch, n): compared epoch first. A restore from backup opens a new epoch. */
export interface Revision {
  readonly epoch: number
  readonly n: number
}

/** An operator's passkey, as gateways pin it. */
export interface OperatorKey {
  readonly operator: string
  /** WebAuthn credential id, base64url. */
  readonly credentialId: string
  /** COSE public key, base64url. */
  readonly publicKey: string
  /** May sign widening bundles, approvals and releases. */
  readonly roles: readonly string[]
}

/** The set of operator keys, versioned: version 1 is signed by the genesis key, version k+1 by a quorum of version k. */
export interface OperatorSet {
  readonly version: number
  readonly rpId: string
  readonly origin: string
  readonly quorum: number
  readonly keys: readonly OperatorKey[]
}

/** One version of the operator set with what makes it valid. */
export interface OperatorLink {
  readonly set: OperatorSet
  /** Version 1 only: Ed25519 by the genesis key over the canonical `operators` statement, base64url. */
  readonly genesisSignature?: string
  /** Later versions: a quorum of the version before. */
  readonly signatures: readonly PasskeySignature[]
}

/** A WebAuthn assertion over `statementChallenge(statement)`; all base64url. */
export interface PasskeySignature {
  readonly operator: string
  readonly credentialId: string
  readonly authenticatorData: string
  readonly clientDataJSON: string
  readonly signature: string
}

/** What an operator signs. The challenge is SHA-256 over its canonical JSON (RFC 8785). */
export type Statement =
  | { readonly kind: 'operators'; readonly set: OperatorSet }
  | DeclarationStatement
  | {
      readonly kind: 'release'
      readonly quarantineId: string
      readonly subject: string
      readonly reason: string
      readonly nonce: string
    }
  | ApprovalStatement
  | ConsentStatement
  | BackchannelStatement
  | MandateStatement
  | RootStatement
  | ReviewStatement

/** What somebody did by break-glass was looked at by somebody else, who found this. */
export interface ReviewStatement {
  readonly kind: 'break-glass-review'
  /** The break-glass: it is reviewed once. */
  readonly id: string
  /** Who broke the glass. */
  readonly operator: string
  readonly reviewer: string
  /** What the reviewer found. */
  readonly text: string
  /** Milliseconds since the epoch. */
  readonly openedAt: number
  readonly endedAt: number
  /** SHA-256 hex over the canonical JSON of everything that was done under it, as `[at, method, path]`, in order. */
  readonly acts: string
}

/** A declaration may come into force. */
export interface DeclarationStatement {
  readonly kind: 'declaration'
  readonly digest: string
  readonly epoch: number
  /**
   * 1 and up, another one for every draft: within an epoch declarations come into force in rising order, so that one that was
   * signed and held back does not undo a later one. Absent in what was signed before there were serials.
   */
  readonly serial?: number
}

/** One more root of the trust domain is trusted, beside those that are. */
export interface RootStatement {
  readonly kind: 'root'
  readonly trustDomain: string
  /** DER, base64url. */
  readonly certificate: string
  /** Version of the operator set whose quorum signs. */
  readonly operators: number
}

/** Roots of the trust domain beside those pinned at enrolment, and those that count no longer. */
export interface RootList {
  /** Each signed by a quorum of admins. */
  readonly added: readonly Signed<RootStatement>[]
  /** SHA-256 hex of the DER of roots, pinned ones too, that are trusted no longer; only grows. */
  readonly retired: readonly string[]
}

/** What is remembered of roots that were accepted. */
export interface RootsSeen {
  /** DER, base64url. */
  readonly added: readonly string[]
  readonly retired: readonly string[]
}

/** What a workload that is shown no bundles remembers beside its pins. */
export interface RootTrust {
  readonly operators?: OperatorSet
  readonly roots?: RootsSeen
}

/** A person lets a client act for them, for exactly this. */
export interface ConsentStatement {
  readonly kind: 'consent'
  /** `operator:NAME`. */
  readonly subject: string
  /** SPIFFE id of the client. */
  readonly client: string
  /** URI of the system. */
  readonly resource: string
  readonly scope: readonly string[]
  /** Authorisation details (RFC 9396): payments, whole. */
  readonly details: readonly unknown[]
  /** Seconds that the client may go on without asking again; 0 for one token. */
  readonly refreshSeconds: number
  /** Where the code goes. */
  readonly redirectUri: string
  readonly nonce: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** A person lets a client act for them that asked out of band (CIBA), for exactly this. */
export interface BackchannelStatement {
  readonly kind: 'backchannel'
  /** `operator:NAME`. */
  readonly subject: string
  /** SPIFFE id of the client. */
  readonly client: string
  /** URI of the system. */
  readonly resource: string
  readonly scope: readonly string[]
  /** Authorisation details (RFC 9396): payments, whole. */
  readonly details: readonly unknown[]
  /** What the client says to whom it asks, in its own words. */
  readonly message: string
  /** Seconds that the client may go on without asking again; 0 for one token. */
  readonly refreshSeconds: number
  /** The request: it is decided once. */
  readonly nonce: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** Covers the exact arguments: any change voids it. */
export interface ApprovalStatement {
  readonly kind: 'approval'
  readonly approvalId: string
  readonly decision: 'approve' | 'deny'
  readonly approver: string
  readonly instance: string
  readonly system: string
  readonly operation: string
  /** The canonical input, whole: what the person was shown. */
  readonly input: unknown
  /** SHA-256 hex of the declaration in force when it was asked for. */
  readonly declarationDigest: string
  readonly nonce: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface Signed<S extends Statement> {
  readonly statement: S
  readonly signatures: readonly PasskeySignature[]
}

export interface Quarantine {
  readonly id: string
  /** A SPIFFE id of an instance, or `spiffe://TD/agent/NAME` for every instance of an agent. */
  readonly subject: string
  readonly reason: string
  readonly by: string
  /** Milliseconds since the epoch. */
  readonly at: number
}

export interface RiskEntry {
  /** 0–100. */
  readonly score: number
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** The signed state that a gateway enforces. `D` is `@sallyport/network`'s Declaration; opaque on this floor. */
export interface Bundle<D = unknown> {
  readonly format: 'sallyport-bundle/1'
  readonly trustDomain: string
  readonly revision: Revision
  /** Milliseconds since the epoch. */
  readonly issuedAt: number
  readonly declaration: D
  /** SHA-256 hex of canonical `declaration`. */
  readonly declarationDigest: string
  /** Operators' signatures over the digest; empty only while the digest is the one pinned at genesis. */
  readonly declarationSignatures: readonly PasskeySignature[]
  /** As it was signed; absent for the declaration pinned at genesis, and for one signed before there were serials. */
  readonly declarationSerial?: number
  /** `genesisSignature` (Ed25519, base64url) on version 1, passkey signatures on later ones; absent until the first operator enrols. */
  readonly operators?: OperatorLink & {
    /** Versions 1 … k−1, oldest first, for gateways that have not seen them; absent while the set is version 1. */
    readonly history?: readonly OperatorLink[]
  }
  /** Only grows, except by `releases`. */
  readonly quarantined: readonly Quarantine[]
  /** Signed releases of quarantines that earlier bundles of this epoch carried. */
  readonly releases: readonly Signed<Extract<Statement, { kind: 'release' }>>[]
  /** Revoked certificate serial numbers, lower-case hex; only grows until they expire. */
  readonly revokedSerials: readonly { readonly serial: string; readonly notAfter: number }[]
  /** Revoked mandates, with everything below them; only grows until they expire. Absent means none. */
  readonly revokedMandates?: readonly RevokedMandate[]
  /** Instance → risk. */
  readonly risk: Readonly<Record<string, RiskEntry>>
  /**
   * A declaration that calls are decided by as well, only to be told apart: nothing that it says takes effect, so no operator
   * signs it.
   */
  readonly shadow?: ShadowDeclaration<D>
  /** What access tokens are verified by; absent until the first one is issued. */
  readonly tokens?: TokenTrust
  /** Absent while nobody needs more than the pinned roots. */
  readonly roots?: RootList
}

/** What makes other roots than the pinned ones believable to who is shown no bundles. */
export type RootProof = Pick<Bundle, 'operators' | 'roots'>

/** Who issues access tokens, with which keys, and which of them no longer count. */
export interface TokenTrust {
  /** Exactly as tokens have it in `iss`. */
  readonly issuer: string
  readonly keys: readonly TokenKey[]
  /** Until they expire. Whatever was made from one of them does not count either. */
  readonly revoked: readonly { readonly jti: string; readonly exp: number }[]
}

/** A key that signs access tokens (ES256). */
export interface TokenKey {
  readonly kid: string
  /** SPKI DER, base64url, P-256. */
  readonly key: string
  /** Milliseconds since the epoch: no token under it outlives this. */
  readonly notAfter: number
}

export interface ShadowDeclaration<D = unknown> {
  /** SHA-256 hex of canonical `declaration`. */
  readonly digest: string
  readonly declaration: D
}

export interface SignedBundle<D = unknown> {
  readonly bundle: Bundle<D>
  /** Ed25519 by the bundle key over the bundle's canonical JSON, base64url. */
  readonly signature: string
}

/** What a gateway remembers of every bundle it accepted, as plain JSON: the floor below which nothing may fall. */
export interface BundleState {
  readonly format: 'sallyport-seen/1'
  readonly revision: Revision
  /** SHA-256 hex of the canonical bundle at `revision`: one revision is one bundle. */
  readonly bundleDigest: string
  readonly declarationDigest: string
  /** Of the declaration accepted last, the highest of this epoch; absent as in the bundle. */
  readonly declarationSerial?: number
  /** Declarations of this epoch that were replaced: they never return in it. */
  readonly superseded: readonly string[]
  readonly operators?: OperatorSet
  readonly quarantined: readonly Quarantine[]
  /** Ids of quarantines whose signed release was accepted. */
  readonly released: readonly string[]
  readonly revokedSerials: readonly { readonly serial: string; readonly notAfter: number }[]
  readonly revokedMandates?: readonly RevokedMandate[]
  readonly roots?: RootsSeen
}

export interface RevokedMandate {
  readonly id: string
  /** When it would have ended by itself, or could at the latest; milliseconds since the epoch. */
  readonly notAfter: number
}

/** What a gateway pins when it enrols, and keeps. */
export interface TrustPins {
  readonly trustDomain: string
  /** SPKI DER, base64url, Ed25519: signs bundles. */
  readonly bundleKey: string
  /** SPKI DER, base64url, Ed25519: signs operator set version 1, once. */
  readonly genesisKey: string
  /** The declaration digest in force at `init`; accepted without operator signatures. */
  readonly genesisDigest: string
  /** PEM of the trust domain's root certificates. */
  readonly roots: string
}

/** For whom an agent acts, as it was proven. */
export interface OnBehalfOf {
  /** The person or agent at the beginning of the delegation. */
  readonly subject: string
  /** Everybody who acts for the subject, the caller first (RFC 8693 section 4.1); at most 8. */
  readonly actors: readonly string[]
}

/** The verified mandate that covers a call. */
export interface MandateFacts {
  readonly id: string
  /** Who gave the mandate at the root of the chain: `operator:NAME`, or an agent's SPIFFE id. */
  readonly delegator: string
  /** Hops from the root to the caller, 1 for a mandate that the root gave the caller itself. */
  readonly depth: number
  /** In the words of the mandate that the caller presents. */
  readonly task: string
}

/** The claims of the 30-second token from a gateway to a service. Signed with the gateway's SVID key. */
export interface CallToken {
  /** The gateway's SPIFFE id. */
  readonly iss: string
  /** The calling instance's SPIFFE id. */
  readonly sub: string
  /** The service's SPIFFE id without instance: `spiffe://TD/service/NAME`. */
  readonly aud: string
  readonly iat: number
  readonly exp: number
  readonly jti: string
  /** The decision id. */
  readonly decision: string
  readonly operation: string
  /** SHA-256 hex over `METHOD SP canonical-path SP sha256(body)`. */
  readonly request: string
  /** The delegation chain: for whom the instance acts. Absent means for nobody but itself. */
  readonly obo?: OnBehalfOf
  /** The id of the mandate that covers the call. */
  readonly mandate?: string
}

/** An audit record, as canonical JSON in the log. Ids and outcomes are plain; inputs are sealed. */
export type AuditRecord =
  DecisionRecord | OutcomeRecord | LabelRecord | ApprovalRecord | EventRecord

interface RecordBase {
  readonly v: 1
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly gateway: string
}

/** Appended and durable before anything is forwarded (and for every refusal). */
export interface DecisionRecord extends RecordBase {
  readonly kind: 'decision'
  readonly id: string
  readonly instance: string
  readonly agent: string
  readonly system: string
  readonly operation: string
  readonly decision: 'allow' | 'deny' | 'needs'
  readonly code: string
  readonly reasons: readonly string[]
  readonly errors: readonly { readonly policyId: string; readonly message: string }[]
  readonly needs: readonly { readonly kind: 'approval' | 'mandate'; readonly count: number }[]
  readonly approvalId?: string
  /** The time that policies read, milliseconds since the epoch; `at` is when it was recorded. Absent in older records. */
  readonly decidedAt?: number
  /** Operators whose verified approvals policies read, sorted; absent means none. */
  readonly approvers?: readonly string[]
  /** The delegation that policies read. */
  readonly onBehalfOf?: OnBehalfOf
  /** The payment that somebody agreed to, as policies read it, sealed like the input: it names who is paid. */
  readonly payment?: SealedValue
  /** The mandate that covered the call, as policies read it, and the ids of its chain, root first. */
  readonly mandate?: MandateFacts & { readonly chain: readonly string[] }
  readonly revision: Revision
  readonly declarationDigest: string
  /** SHA-256 hex of the entity state and session state that the decision read. */
  readonly stateDigest: string
  readonly labels: readonly string[]
  readonly risk: number
  readonly requestHash: string
  /** Input sealed under the subject's key; the log commits to the ciphertext. */
  readonly input?: SealedValue
  /** Session protocol facts: TLS group, certificate serial, source address where known. */
  readonly peer: { readonly serial: string; readonly group?: string; readonly source?: string }
  /** For operators, on denials: the explanation, sealed like the input. */
  readonly why?: SealedValue
  /** Where the declaration in shadow would have decided otherwise. */
  readonly shadow?: ShadowOutcome
  /** Of a decision that another enforcement point asked for: which one, and what it cannot do, so that nobody saw it. */
  readonly pep?: { readonly id: string; readonly unobserved: readonly string[] }
  /** The trace that the caller said its call is part of, and its own span there (W3C Trace Context): its word, and nobody else's. */
  readonly trace?: { readonly traceId: string; readonly parentId: string }
}

/** How a call would have come out under the declaration in shadow. It took no effect. */
export interface ShadowOutcome {
  readonly digest: string
  readonly decision: 'allow' | 'deny' | 'needs'
  readonly code: string
  readonly needs?: DecisionRecord['needs']
  /** Of two allows: fields treated otherwise and limits that differ, in words; at most 32. */
  readonly changes?: readonly string[]
}

/** Appended before the last byte leaves. */
export interface OutcomeRecord extends RecordBase {
  readonly kind: 'outcome'
  readonly decisionId: string
  readonly status: number
  readonly result: 'completed' | 'upstream-error' | 'aborted' | 'cut'
  readonly durationMs: number
  readonly bytesOut: number
  /** Of a connection, or of a request body, whose bytes are counted and not read: those from the caller that went on. */
  readonly bytesIn?: number
  /** Of such a body: SHA-256, hex, of those bytes. */
  readonly bodySha256?: string
  /** Of an answer that is handed on as it comes: SHA-256, hex, of the `bytesOut` that were. */
  readonly answerSha256?: string
  /** Records released, by data set, with the highest class that left whole. */
  readonly released: Readonly<
    Record<string, { readonly records: number; readonly maxWholeClass: string }>
  >
}

/** Labels committed to a session before the first byte left. */
export interface LabelRecord extends RecordBase {
  readonly kind: 'labels'
  readonly decisionId: string
  readonly instance: string
  readonly added: readonly string[]
}

export interface ApprovalRecord extends RecordBase {
  readonly kind: 'approval-used'
  readonly decisionId: string
  readonly approvalId: string
  readonly approvers: readonly string[]
  /** SHA-256 hex of each signed statement. */
  readonly statements: readonly string[]
}

/** Everything else that must be provable: refused handshakes, quarantine applied, bundle accepted or refused, start, recovery. */
export interface EventRecord extends RecordBase {
  readonly kind: 'event'
  readonly event: string
  readonly code?: string
  readonly subject?: string
  readonly facts: Readonly<Record<string, string | number | boolean>>
}

export interface SealedValue {
  /** Key id: HMAC of the subject under the keyring's naming key. */
  readonly k: string
  readonly iv: string
  readonly ct: string
}

/** What a gateway sends the control plane beside each log record: the plain facts an operator sees. At least once, by index. */
export interface FeedItem {
  readonly index: number
  readonly record: AuditRecord
  /** `decide`'s OutcomeExplanation of a refusal, in the clear, for operators. */
  readonly explanation?: unknown
}
