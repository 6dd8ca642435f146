import { setTimeout as sleep } from 'node:timers/promises'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'

/** How often a caller that sends too fast is looked at again. */
const PACE_MS = 20

const tooMuch = (message: string): Refusal =>
  new Refusal('SP_GRPC_STREAM', message, { status: 413 })

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
