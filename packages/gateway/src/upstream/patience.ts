import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'

/**
 * How long a call waits for a server: for so long after it last said something of the call, on while the server itself waits for the
 * client, and in all no longer than a stream may last, whatever is said meanwhile.
 */
export class Patience {
  readonly #stepMs: number
  readonly #until: number
  readonly #isWaiting: () => boolean
  #timer: NodeJS.Timeout | undefined
  #giveUp: () => void = () => undefined
  #isOver = false

  constructor(
    settings: Pick<GatewaySettings, 'upstreamTimeoutMs' | 'maxStreamMs'>,
    isWaiting: () => boolean,
  ) {
    this.#stepMs = settings.upstreamTimeoutMs
    this.#until = performance.now() + settings.maxStreamMs
    this.#isWaiting = isWaiting
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** Waits, or waits again. @param giveUp is called once, where it was too long */
  start(giveUp: () => void): void {
    this.stop()
    this.#giveUp = giveUp
    this.#timer = setInterval(() => {
      if (performance.now() >= this.#until || !this.#isWaiting()) this.#end()
    }, this.#stepMs)
  }

  /** The server said something of the call. */
  refresh(): void {
    if (performance.now() >= this.#until) this.#end()
    else this.#timer?.refresh()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #end(): void {
    if (!this.#timer) return
    this.stop()
    this.#isOver = true
    this.#giveUp()
  }
}

export const tooLate = (): Refusal =>
  new Refusal('SP_UPSTREAM_TIMEOUT', 'the system did not answer in time', { status: 504 })
