/** A PostgreSQL database in which each instance of an agent has an account of its own, for a short time. */
export interface Database {
  readonly name: string
  readonly description: string
  readonly owner: string
  /** A DNS name, an address, or the absolute path of the folder of a Unix socket. */
  readonly host: string
  readonly port: number
  readonly database: string
  /** Absent only on this machine. */
  readonly tls?: {
    /** PEM text of the only CA accepted. */
    readonly ca: string
    readonly serverName: string
  }
  readonly admin: { readonly user: string; readonly secret: string }
  readonly login: 'certificate' | 'password'
  readonly accounts: readonly DatabaseAccount[]
}

export interface DatabaseAccount {
  readonly agent: string
  readonly ttlSeconds: number
  readonly maxTtlSeconds: number
  readonly maxConnections: number
  readonly statementTimeoutMs: number
  readonly grants: readonly TableGrant[]
}

export interface TableGrant {
  readonly schema: string
  readonly table: string
  readonly columns: readonly string[]
  readonly actions: readonly TableAction[]
  /** Column → the value a row must have in it. Absent means all rows. */
  readonly rows?: Readonly<Record<string, string | number | boolean>>
}

export type TableAction = 'select' | 'insert' | 'update' | 'delete'

/** Who may read the secrets at a path, or at everything below one (`path/*`). */
export interface SecretRule {
  readonly path: string
  readonly owner: string
  readonly use: string
  readonly agents: readonly string[]
  readonly services: readonly string[]
  readonly operators: readonly string[]
  readonly local: boolean
  readonly maxVersions: number
  readonly rotation?: RotationRule
}

/** How an upstream’s key is replaced. `http` states each call; the others know their provider’s. */
export interface RotationRule {
  readonly kind: 'http' | 'openai' | 'anthropic' | 'airtable'
  readonly url: string
  /** PEM text of the only CA accepted; absent means the platform’s roots. */
  readonly ca?: string
  readonly everySeconds: number
  readonly graceSeconds: number
  readonly admin?: string
  readonly parameters: Readonly<Record<string, string>>
  readonly header?: string
  readonly create?: RotationCall
  readonly secretAt?: string
  readonly idAt?: string
  readonly verify?: RotationCall
  readonly revoke?: RotationCall
  readonly list?: RotationCall
  readonly itemsAt?: string
  readonly labelAt?: string
}

export interface RotationCall {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly body?: string
  readonly authorization?: 'admin' | 'new' | 'old'
}

export type TransitAct = 'encrypt' | 'decrypt' | 'rewrap' | 'sign' | 'verify'

/** A key that others use and never see. */
export interface TransitKey {
  readonly name: string
  readonly owner: string
  readonly use: string
  readonly type: 'aes256-gcm' | 'ed25519'
  /** Agent or service → what it may do. */
  readonly users: Readonly<Record<string, readonly TransitAct[]>>
}
