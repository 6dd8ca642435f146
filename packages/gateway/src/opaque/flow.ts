import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { OpaqueSystem } from '@sallyport/network'
import { cutSocket } from '@sallyport/transport'
import type { Grant } from '../calls/pipeline.ts'
import type { Finish } from '../calls/pipeline.ts'

/** One connection that is let through, its bytes counted and not read. */
export class Flow {
  readonly grant: Grant
  readonly caller: TLSSocket
  readonly upstream: Socket
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
   * @param ends both half-open: either may end what it sends and read on
   * @param onCut is told why, once
   */
  constructor(
    grant: Grant,
    ends: { readonly caller: TLSSocket; readonly upstream: Socket },
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

  /** Breaks both ends off: they are reset, so that neither takes what it has for all there was. */
  cut(code: string): void {
    if (this.#cutBy !== undefined || (this.caller.destroyed && this.upstream.destroyed)) return
    this.#cutBy = code
    cutSocket(this.caller)
    cutSocket(this.upstream)
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
    from: Socket,
    to: Socket,
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
    // It may have ended, and said so, while the decision or the other end was waited for.
    if (from.readableEnded) to.end()
    else from.once('end', () => to.end())
    from.on('error', () => {
      this.#failed ??= side
    })
    const gone = (): void => {
      if (to.destroyed) return
      // What was handed over before may still be on its way; nothing can come back any more.
      if (from.readableEnded) {
        to.destroySoon()
        return
      }
      // It stopped in the middle. A protocol may have no other end than the connection's: this must not look like one.
      this.#failed ??= side
      cutSocket(to)
    }
    // It may have closed while the other end was waited for.
    if (from.destroyed) gone()
    else from.once('close', gone)
  }
}

const closed = (socket: Socket): Promise<void> =>
  socket.destroyed
    ? Promise.resolve()
    : new Promise((resolve) => {
        socket.once('close', () => {
          resolve()
        })
      })
