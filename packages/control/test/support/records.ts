import type { DecisionRecord, FeedItem, OutcomeRecord } from '@sallyport/wire'

const HEX = 'a'.repeat(64)

/** Feed items of one gateway's log, numbered as they are made. */
export class Log {
  readonly gateway: string
  #next = 0
  #decisions = 0

  constructor(gateway: string) {
    this.gateway = gateway
  }

  get size(): number {
    return this.#next
  }

  decision(instance: string, over: Partial<DecisionRecord> = {}): FeedItem {
    const record: DecisionRecord = {
      v: 1,
      kind: 'decision',
      at: Date.now(),
      gateway: this.gateway,
      id: `dec_${this.gateway}_${++this.#decisions}`,
      instance,
      agent: 'flagger',
      system: 'core',
      operation: 'hold',
      decision: 'allow',
      code: 'SP_ALLOWED',
      reasons: ['holds'],
      errors: [],
      needs: [],
      revision: { epoch: 1, n: 1 },
      declarationDigest: HEX,
      stateDigest: HEX,
      labels: [],
      risk: 0,
      requestHash: HEX,
      peer: { serial: 'ab' },
      ...over,
    }
    return { index: this.#next++, record }
  }

  outcome(decisionId: string, over: Partial<OutcomeRecord> = {}): FeedItem {
    const record: OutcomeRecord = {
      v: 1,
      kind: 'outcome',
      at: Date.now(),
      gateway: this.gateway,
      decisionId,
      status: 200,
      result: 'completed',
      durationMs: 3,
      bytesOut: 120,
      released: {},
      ...over,
    }
    return { index: this.#next++, record }
  }
}
