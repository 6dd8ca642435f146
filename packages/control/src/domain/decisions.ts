import type { DecisionRecord, FeedItem, LabelRecord, OutcomeRecord } from '@sallyport/wire'
import type { Counts } from './agents.ts'

export interface DecisionFilter {
  readonly agent?: string
  readonly instance?: string
  readonly system?: string
  readonly decision?: 'allow' | 'deny' | 'needs'
  /** A decision id: only what is older. */
  readonly before?: string
  /** At most 500; default 100. */
  readonly limit?: number
}

export interface DecisionDetail {
  readonly record: DecisionRecord
  readonly outcome: OutcomeRecord | null
  readonly labels: readonly LabelRecord[]
  readonly explanation: unknown
  /** Where in the audit log the record stands. */
  readonly audit: { readonly shard: string; readonly index: number }
}

export interface EdgeView extends Counts {
  readonly from: string
  readonly to: string
  readonly operation: string
  /** Milliseconds since the epoch. */
  readonly lastAt: number
}

export interface Decisions {
  /** Newest first. */
  list(filter?: DecisionFilter): Promise<readonly DecisionRecord[]>
  get(id: string): Promise<DecisionDetail | undefined>
  /** Over the last 15 minutes. */
  edges(): Promise<readonly EdgeView[]>
  /**
   * Takes items of a gateway's log, idempotent by (shard, index).
   *
   * @param gateway SPIFFE id; every record must be its own
   * @returns the index expected next
   * @throws SallyportError `SP_FEED_INVALID`
   */
  ingest(gateway: string, shard: string, items: readonly FeedItem[]): Promise<{ next: number }>
  /** How far each shard's feed has come. */
  shards(): Promise<readonly { readonly shard: string; readonly size: number }[]>
}
