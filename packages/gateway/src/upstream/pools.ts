import type { TLSSocket } from 'node:tls'
import type { System } from '@sallyport/network'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { mtlsConnector } from '@sallyport/transport'
import type { Connector, IdentityMaterial } from '@sallyport/transport'
import { LeanPool } from '../h1/pool.ts'
import type { Connections } from './connections.ts'
import { connectOutside, originOf, overrideOf, toService } from './destinations.ts'
import type { Towards } from './destinations.ts'
import {
  MAX_ANSWER_HEAD,
  MAX_ANSWER_HEADERS,
  RotatingPool,
  clientPool,
  retireAt,
} from './rotating-pool.ts'

type UpstreamPool = RotatingPool<IdentityMaterial, Connections>

/**
 * Connections to upstreams, one pool for each caller and destination: no connection ever carries the calls of two
 * callers, so that no answer and no state of a connection can reach another.
 */
export class UpstreamPools {
  readonly #options: Towards
  /** Caller → system and destination → pool. */
  readonly #pools = new Map<string, Map<string, UpstreamPool>>()
  /** Open connections to services of the network. */
  readonly #peers = new Map<TLSSocket, VerifiedSvid>()
  readonly #timer: NodeJS.Timeout
  readonly #unsubscribe: () => void

  constructor(options: Towards) {
    this.#options = options
    this.#timer = setInterval(() => {
      this.#dropIdle()
    }, 5000).unref()
    this.#unsubscribe = options.holder.onChange(() => {
      for (const pools of this.#pools.values()) for (const pool of pools.values()) pool.retire()
    })
  }

  get size(): number {
    let size = 0
    for (const pools of this.#pools.values()) size += pools.size
    return size
  }

  for(caller: string, system: System): UpstreamPool {
    let own = this.#pools.get(caller)
    if (!own) this.#pools.set(caller, (own = new Map()))
    let key = keys.get(system)
    // The whole upstream: a declaration that changes any of it must not find the connections of the one before.
    if (key === undefined) keys.set(system, (key = JSON.stringify([system.name, system.upstream])))
    let pool = own.get(key)
    if (!pool) own.set(key, (pool = this.#open(system)))
    return pool
  }

  /** Breaks off whatever is in flight for an instance, or for every instance below a subject. */
  cut(subject: string): void {
    for (const [caller, pools] of this.#pools) {
      if (caller !== subject && !caller.startsWith(`${subject}/`)) continue
      this.#pools.delete(caller)
      for (const pool of pools.values()) void pool.destroy()
    }
  }

  /** Breaks off the connections to services that a narrowing cuts off, whoever's calls are on them. */
  cutPeers(isCut: (service: VerifiedSvid) => boolean): void {
    for (const [socket, peer] of this.#peers) if (isCut(peer)) socket.destroy()
  }

  async close(): Promise<void> {
    clearInterval(this.#timer)
    this.#unsubscribe()
    const all = [...this.#pools.values()].flatMap((pools) => [...pools.values()])
    this.#pools.clear()
    await Promise.all(all.map((pool) => pool.destroy()))
  }

  #open(system: System): UpstreamPool {
    const { settings, clock } = this.#options
    const origin = originOf(system)
    const { upstreamConnections: connections, upstreamConnectTimeoutMs } = settings
    const bounds = { maxBytes: MAX_ANSWER_HEAD, maxHeaders: MAX_ANSWER_HEADERS }
    return new RotatingPool<IdentityMaterial, Connections>({
      open:
        settings.codec === 'lean'
          ? (connector) =>
              new LeanPool({ host: new URL(origin).host, connector, connections, bounds })
          : clientPool(origin, connections, upstreamConnectTimeoutMs),
      clock,
      generation: (goodUntil) => {
        // Call tokens are verified with the key of the connection they travel on: one identity a generation.
        const tag = this.#options.holder.current()
        return { tag, connector: this.#connector(system, tag, goodUntil) }
      },
    })
  }

  #connector(
    system: System,
    material: IdentityMaterial,
    goodUntil: (at: number) => void,
  ): Connector {
    const { upstream } = system
    const override = overrideOf(this.#options, system)
    if (upstream.kind === 'program' || upstream.kind === 'plain') {
      throw new Error('nothing that authenticates itself is there')
    }
    if (upstream.kind === 'external') {
      const { settings } = this.#options
      return (_options, callback, onread) => {
        void hand(connectOutside(upstream, override, settings, 'http/1.1', onread), callback)
      }
    }
    return mtlsConnector({
      ...toService(this.#options, upstream, override, material),
      onConnected: (socket, peer) => {
        this.#peers.set(socket, peer)
        socket.once('close', () => this.#peers.delete(socket))
        goodUntil(retireAt(peer))
      },
    })
  }

  #dropIdle(): void {
    const { clock, settings } = this.#options
    const before = clock.monotonic() - settings.upstreamIdleMs
    for (const [caller, pools] of this.#pools) {
      for (const [key, pool] of pools) {
        if (pool.lastUsed >= before) continue
        pools.delete(key)
        pool.retire()
      }
      if (pools.size === 0) this.#pools.delete(caller)
    }
  }
}

/** Of systems as declarations have them, which nobody changes. */
const keys = new WeakMap<System, string>()

async function hand(
  opening: Promise<TLSSocket>,
  callback: Parameters<Connector>[1],
): Promise<void> {
  let socket: TLSSocket
  try {
    socket = await opening
  } catch (error) {
    callback(error instanceof Error ? error : new Error(String(error)), null)
    return
  }
  callback(null, socket)
}
