import { setTimeout as sleep } from 'node:timers/promises'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'

/** How often a caller that sends too fast is looked at again. */
const PACE_MS = 20

const tooMuch = (message: string): Refusal =>
  new Refusal('SP_GRPC_STREAM', message, { status: 413 })

type Places = Pick<GatewaySettings, 'maxSending' | 'maxSendingPerInstance'>

/** The places of callers that may go on sending: each holds what it began, for as long as it likes. */
export class Senders {
  readonly #settings: Places
  readonly #held = new Map<string, number>()
  #total = 0

  constructor(settings: Places) {
    this.#settings = settings
  }

  /**
   * Takes a place.
   *
   * @returns gives it back
   * @throws Refusal `SP_OVERLOADED`
   */
  enter(session: string): () => void {
    const { maxSending, maxSendingPerInstance } = this.#settings
    const held = this.#held.get(session) ?? 0
    if (this.#total >= maxSending || held >= maxSendingPerInstance) {
      throw new Refusal('SP_OVERLOADED', 'too many calls go on sending', {
        status: 503,
        retryAfterSeconds: 1,
      })
    }
    this.#total++
    this.#held.set(session, held + 1)
    let isIn = true
    return () => {
      if (!isIn) return
      isIn = false
      this.#total--
      const left = (this.#held.get(session) ?? 1) - 1
      if (left > 0) this.#held.set(session, left)
      else this.#held.delete(session)
    }
  }
}

/** How much one call's caller has sent. */
export class Sent {
  readonly #settings: GatewaySettings
  readonly #admits: () => boolean
  #messages = 0
  #bytes = 0

  /** @param admits whether the caller may make another call now: each message behind the first is one */
  constructor(settings: GatewaySettings, admits: () => boolean) {
    this.#settings = settings
    this.#admits = admits
  }

  /** @throws Refusal `SP_GRPC_STREAM` */
  count({ length }: Buffer): void {
    this.#messages++
    this.#bytes += length
    const { maxSentMessages, maxSentBytes } = this.#settings
    if (this.#messages > maxSentMessages) throw tooMuch('the call has too many messages')
    if (this.#bytes > maxSentBytes) throw tooMuch('the messages of the call are too large together')
  }

  /** Waits until another message may be decided: whoever sends faster is not read meanwhile. */
  async turn(signal: AbortSignal): Promise<void> {
    while (!this.#admits()) await sleep(PACE_MS, undefined, { signal })
  }
}
