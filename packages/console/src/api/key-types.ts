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
