/** What the operator API says of the inventory. Times are milliseconds since the epoch. */

export type DriftKind = 'caller' | 'operation' | 'field' | 'destination' | 'flow'

/** A line of `GET /api/inventory/drift`: what was asked for and is declared nowhere. */
export interface Drift {
  readonly kind: DriftKind
  /** The declared system that it was asked of; empty where there is none. */
  readonly system: string
  /** `{}` stands for what may be a value, `*` for more names than are kept. */
  readonly name: string
  /** An agent, or the address that it came from; `*` for more than are kept, empty where nobody is known. */
  readonly by: string
  readonly calls: number
  readonly first: number
  readonly last: number
  /** YAML for `network.yaml`; null where nothing could be declared. */
  readonly suggestion: string | null
}

export type UseKind = 'agent' | 'service' | 'system' | 'operation' | 'dataset'

/** A line of `GET /api/inventory`: what is declared, and when it was last used. */
export interface Use {
  readonly kind: UseKind
  readonly name: string
  readonly owner: string
  /** The highest class among the fields of a data set. */
  readonly class?: string
  readonly calls: number
  /** Null where it was never used. */
  readonly last: number | null
}
