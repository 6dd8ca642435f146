import type { TLSSocket } from 'node:tls'

import type { Clock } from '@sallyport/base'
import { kindOf } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { mtlsConnector } from '@sallyport/transport'
import type { IdentityHolder, Target, TrustAnchors } from '@sallyport/transport'
import { Pool } from 'undici'

/** What all generations of a client know of the gateways they met: how long each has proven to be itself. */
export class GatewayFreshness {
  readonly #until = new Map<string, number>()

  met(peer: VerifiedSvid): void {
    const known = this.#until.get(peer.id.uri) ?? 0
    this.#until.set(peer.id.uri, Math.max(known, peer.notAfter))
  }

  until(peer: VerifiedSvid): number {
    return this.#until.get(peer.id.uri) ?? 0
  }
}

const MAX_CONNECTIONS = 64
const HEADERS_TIMEOUT_MS = 60_000
const MIN_RETIRE_MS = 250

/**
 * Connections made with one SVID. New calls move on to the next generation; calls under way end here. A connection
 * outlives the gateway's SVID only while that gateway has proven a fresher one to this client.
 */
export class Generation {
  readonly pool: Pool
  readonly #timers = new Map<TLSSocket, Set<NodeJS.Timeout>>()

  constructor(options: {
    readonly identity: IdentityHolder
    readonly target: Target
    readonly peers?: TrustAnchors
    readonly clock: Clock
    readonly freshness: GatewayFreshness
    /** Called once it is time for new calls to move on. */
    readonly retire: () => void
  }) {
    const { clock, freshness } = options
    const hold = (socket: TLSSocket, peer: VerifiedSvid): void => {
      const left = freshness.until(peer) + 1 - clock.now()
      if (left <= 0) {
        socket.destroy()
        return
      }
      this.#after(left, socket, () => {
        hold(socket, peer)
      })
    }
    this.pool = new Pool('http://gateway', {
      connections: MAX_CONNECTIONS,
      pipelining: 1,
      headersTimeout: HEADERS_TIMEOUT_MS,
      bodyTimeout: 0,
      connect: mtlsConnector({
        identity: options.identity,
        target: options.target,
        ...(options.peers && { peers: options.peers }),
        clock,
        expect: (peer) => kindOf(peer.id)?.kind === 'gateway',
        onConnected: (socket, peer) => {
          freshness.met(peer)
          this.#timers.set(socket, new Set())
          socket.once('close', () => {
            for (const timer of this.#timers.get(socket) ?? []) clearTimeout(timer)
            this.#timers.delete(socket)
          })
          const half = (peer.notAfter - clock.now()) / 2
          this.#after(Math.max(MIN_RETIRE_MS, half), socket, options.retire)
        },
        onPeerExpired: hold,
      }),
    })
  }

  /** Lets calls under way end, and closes. */
  drain(): Promise<void> {
    return this.pool.close()
  }

  destroy(): Promise<void> {
    return this.pool.destroy()
  }

  /** Runs later, unless the socket closes first. */
  #after(delay: number, socket: TLSSocket, run: () => void): void {
    const timers = this.#timers.get(socket)
    if (!timers) return
    const timer = setTimeout(
      () => {
        timers.delete(timer)
        run()
      },
      Math.min(delay, 2_147_483_647),
    ).unref()
    timers.add(timer)
  }
}
