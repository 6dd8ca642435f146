import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { sumReleased } from '../calls/released.ts'
import type { Ending } from '../edge/ending.ts'
import { toRefusal } from '../refusal.ts'
import type { Refusal } from '../refusal.ts'
import type { ContentRelease } from './content.ts'
import { again } from './kept.ts'
import type { Again } from './kept.ts'
import type { ClientStream } from './session-stream.ts'

/** A granted call, from when its server is spoken to until its client is answered. */
export class Underway {
  readonly grant: Grant
  readonly stream: ClientStream
  /** Whether its server may have it. */
  isSent = false
  /** What its client was shown so far. */
  released: ContentRelease['released'] = {}
  readonly #pipeline: Pick<Pipeline, 'still'>
  readonly #stop = new AbortController()
  readonly #gone: Ending | undefined
  readonly #onGone = (): void => {
    this.#stop.abort()
  }
  #stoppedBy: Refusal | undefined

  /** @param gone aborts when nobody waits for it any more; listened to until `close` */
  constructor(
    pipeline: Pick<Pipeline, 'still'>,
    grant: Grant,
    stream: ClientStream,
    gone?: Ending,
  ) {
    this.#pipeline = pipeline
    this.grant = grant
    this.stream = stream
    this.#gone = gone
    gone?.addEventListener('abort', this.#onGone)
    if (gone?.aborted === true) this.#onGone()
  }

  close(): void {
    this.#gone?.removeEventListener('abort', this.#onGone)
  }

  /** Aborts when the call may not go on, or is waited for by nobody. */
  get stopped(): AbortSignal {
    return this.#stop.signal
  }

  /** Why it may not go on. */
  get stoppedBy(): Refusal | undefined {
    return this.#stoppedBy
  }

  /**
   * The call as it is decided now.
   *
   * @throws Refusal where it may not go on; it is stopped then, for good
   */
  demand(): Again {
    if (this.#stoppedBy) throw this.#stoppedBy
    try {
      return again(this.#pipeline, this.grant)
    } catch (error) {
      this.#stoppedBy = toRefusal(error)
      this.#stop.abort()
      throw this.#stoppedBy
    }
  }

  /** The same for whom it is enough that the call is stopped; undefined then. */
  check(): Again | undefined {
    try {
      return this.demand()
    } catch {
      return undefined
    }
  }

  showed(more: ContentRelease['released']): void {
    this.released = sumReleased(this.released, more)
  }
}
