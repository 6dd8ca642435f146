/** What the operator API says of keys and certificates. Times are milliseconds since the epoch. */

/** A line of `GET /api/register`. */
export interface RegisterEntry {
  readonly kind: 'certificate' | 'key' | 'secret'
  readonly name: string
  readonly owner: string
  readonly use: string
  readonly algorithm: string
  readonly createdAt: number | null
  readonly ageDays: number | null
  readonly expiresAt: number | null
  /** When it should be replaced by. */
  readonly rotateBy: number | null
  readonly state: 'good' | 'due' | 'expired'
  readonly heldBy: string
  readonly exportable: boolean | 'unknown'
}

/** `GET /api/ca`. */
export interface AuthorityView {
  readonly rootNotAfter: number
  /** Whether signing certificates stand between the root and what is issued. */
  readonly belowRoot: boolean
  readonly generations: readonly Generation[]
  readonly roots: readonly RootView[]
}

export interface RootView {
  /** SHA-256 of the certificate (DER), hex. */
  readonly fingerprint: string
  /** Absent where only its retirement is known. */
  readonly notAfter?: number
  readonly state: 'prepared' | 'trusted' | 'active' | 'outgoing' | 'retired'
  readonly preparedAt: number
  readonly preparedBy: string
  readonly trustedAt?: number
  readonly activatedAt?: number
  readonly retiredAt?: number
  /** Of a prepared one: who signed so far, and how many have to. */
  readonly signed?: readonly string[]
  readonly quorum?: number
  /** The next step is refused until then. */
  readonly waitsUntil?: number
}

export interface RootStatement {
  readonly kind: 'root'
  readonly trustDomain: string
  /** DER, base64url. */
  readonly certificate: string
  readonly operators: number
}

export interface Generation {
  readonly id: string
  readonly state: 'prepared' | 'active' | 'retired'
  readonly notBefore: number
  readonly notAfter: number
  readonly preparedAt: number
  readonly activatedAt?: number
  readonly retiredAt?: number
}

/** What an instance holds for a time (`GET /api/leases`). */
export interface Lease {
  readonly id: string
  readonly parent: string | null
  readonly kind: 'scope' | 'database'
  readonly holder: string
  readonly resource: string
  readonly account: string | null
  readonly state: 'creating' | 'active' | 'ending' | 'ended'
  readonly issuedAt: number
  readonly expiresAt: number
  readonly maxExpiresAt: number
}

/** A key of an upstream that is being replaced (`GET /api/secrets/rotations`). */
export interface Rotation {
  readonly id: string
  readonly path: string
  readonly step: 'create' | 'verify' | 'switch' | 'grace' | 'revoke' | 'done' | 'failed'
  readonly reason: string
  readonly by: string
  readonly startedAt: number
  readonly graceUntil: number | null
  readonly endedAt: number | null
  /** What stands in the way, or what a person has to do. */
  readonly error: string | null
}
