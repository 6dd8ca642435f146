import type { TLSSocket } from 'node:tls'
import type { OpaqueSystem } from '@sallyport/network'
import type { Grant } from '../calls/pipeline.ts'
import type { Finish } from '../calls/pipeline.ts'

/** One connection that is let through, its bytes counted and not read. */
export class Flow {
  readonly grant: Grant
  readonly caller: TLSSocket
  readonly upstream: TLSSocket
  /** Settles when both ends are closed. */
  readonly ended: Promise<void>
  readonly #bounds: OpaqueSystem
  readonly #timer: NodeJS.Timeout
  #idle: NodeJS.Timeout
  #up = 0
  #down = 0
  #cutBy: string | undefined
  #failed: 'caller' | 'upstream' | undefined

  /**
   * @param onCut is told why, once
   */
  constructor(
    grant: Grant,
    ends: { readonly caller: TLSSocket; readonly upstream: TLSSocket },
    bounds: OpaqueSystem,
    onCut: (code: string) => void,
  ) {
    this.grant = grant
    this.caller = ends.caller
    this.upstream = ends.upstream
    this.#bounds = bounds
    this.#onCut = onCut
    this.#timer = setTimeout(() => {
      this.cut('SP_OPAQUE_TIME')
    }, bounds.maxSeconds * 1000).unref()
    this.#idle = this.#watch()
    this.ended = Promise.all([closed(ends.caller), closed(ends.upstream)]).then(() => {
      clearTimeout(this.#timer)
      clearTimeout(this.#idle)
    })
    this.#relay(ends.caller, ends.upstream, 'caller', (bytes) => {
      this.#up += bytes
      return this.#up <= bounds.maxBytesUp
    })
    this.#relay(ends.upstream, ends.caller, 'upstream', (bytes) => {
      this.#down += bytes
      return this.#down <= bounds.maxBytesDown
    })
  }

  readonly #onCut: (code: string) => void

  /** Breaks both ends off. */
  cut(code: string): void {
    if (this.#cutBy !== undefined || (this.caller.destroyed && this.upstream.destroyed)) return
    this.#cutBy = code
    this.caller.destroy()
    this.upstream.destroy()
    this.#onCut(code)
  }

  /** How it ended. What went over a bound was counted, and not passed on. */
  get finish(): Finish {
    const { maxBytesUp, maxBytesDown } = this.#bounds
    return {
      status: 200,
      result:
        this.#cutBy !== undefined
          ? 'cut'
          : this.#failed === 'upstream'
            ? 'upstream-error'
            : this.#failed === 'caller'
              ? 'aborted'
              : 'completed',
      bytesIn: Math.min(this.#up, maxBytesUp),
      bytesOut: Math.min(this.#down, maxBytesDown),
      released: {},
      forwarded: true,
    }
  }

  #watch(): NodeJS.Timeout {
    return setTimeout(() => {
      this.cut('SP_OPAQUE_TIME')
    }, this.#bounds.idleSeconds * 1000).unref()
  }

  /** @param fits counts bytes, and says whether they may still pass */
  #relay(
    from: TLSSocket,
    to: TLSSocket,
    side: 'caller' | 'upstream',
    fits: (bytes: number) => boolean,
  ): void {
    from.on('data', (bytes: Buffer) => {
      if (this.#cutBy !== undefined) return
      this.#idle.refresh()
      if (!fits(bytes.length)) {
        this.cut('SP_OPAQUE_VOLUME')
        return
      }
      if (to.write(bytes)) return
      from.pause()
      to.once('drain', () => from.resume())
    })
    // Whoever waited for the decision was held until now.
    from.resume()
    from.once('end', () => to.end())
    from.on('error', () => {
      this.#failed ??= side
    })
    from.once('close', () => {
      // What was handed over before may still be on its way.
      if (!to.destroyed) to.end()
    })
  }
}

const closed = (socket: TLSSocket): Promise<void> =>
  socket.destroyed
    ? Promise.resolve()
    : new Promise((resolve) => {
        socket.once('close', () => {
          resolve()
        })
      })
