import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '@sallyport/base'

/** What was last seen of a connection. */
export interface Quiet {
  /** Bytes that had come. */
  heard: number
  /** Whether it waited for us. */
  wasBusy: boolean
  /** Since when nothing has happened on it, monotonic, milliseconds. */
  quietSince: number
}

/**
 * Ends connections on which nobody asks anything any more. Node sets a timer with every answer and clears it with the next
 * request; one look at all connections now and then costs calls nothing.
 */
export class IdleSweep {
  readonly #timeoutMs: number
  readonly #periodMs: number
  readonly #clock: Clock
  readonly #timer: NodeJS.Timeout

  /**
   * @param timeoutMs how long a connection may wait for its next request, milliseconds; it ends within that and a little more
   * @param sweep looks at each connection, with `look`
   */
  constructor(timeoutMs: number, clock: Clock, sweep: () => void) {
    this.#timeoutMs = timeoutMs
    this.#clock = clock
    this.#periodMs = Math.max(50, Math.min(1000, timeoutMs / 8))
    this.#timer = setInterval(sweep, this.#periodMs).unref()
  }

  /** Says in an answer's head how long its connection will wait, as Node does where it has the timer itself. */
  announce(res: ServerResponse): void {
    // No other way leads there but a header of every answer, which another protocol must not have.
    ;(res as { _keepAliveTimeout?: number })._keepAliveTimeout = this.#timeoutMs
  }

  /** Ends a connection that has waited too long. @param busy whether it waits for us */
  look(socket: Socket, quiet: Quiet, busy: boolean): void {
    const now = this.#clock.monotonic()
    // What was busy at the last look may have been so until just now.
    if (busy || quiet.wasBusy || socket.bytesRead !== quiet.heard) {
      quiet.wasBusy = busy
      quiet.heard = socket.bytesRead
      quiet.quietSince = now
      return
    }
    // Who asks at the last moment that they were told is still heard.
    if (now - quiet.quietSince >= this.#timeoutMs + this.#periodMs) socket.destroy()
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}
