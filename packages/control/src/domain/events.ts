import type { JsonValue } from '@sallyport/base'

type EventType =
  | 'decision'
  | 'approval'
  | 'agent'
  | 'quarantine'
  | 'incident'
  | 'revision'
  | 'risk'
  | 'session'
  | 'alarm'

/** What the console is told live, and can catch up on. */
export interface ControlEvent {
  /** Grows; what `Last-Event-ID` names. Ids of an earlier process are smaller than all of this one's. */
  readonly id: number
  readonly type: EventType
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly data: JsonValue
}

/** Fan-out to live listeners with a bounded memory of the recent past. */
export interface Events {
  publish(type: EventType, data: unknown): void
  /** @returns the function that ends it. A listener that throws is dropped. */
  subscribe(listener: (event: ControlEvent) => void): () => void
  /**
   * What came after `id`, oldest first; undefined where that is no longer all remembered (or `id` is of an earlier
   * process), so that the listener has to load afresh.
   */
  since(id: number): readonly ControlEvent[] | undefined
}
