import { Pool } from 'undici'
import type { Clock } from '@sallyport/base'
import type { Connector } from '@sallyport/transport'

/** How long before the end of a certificate connections made with it take no new requests. */
const MAX_MARGIN_MS = 10_000
const MARGIN_PART = 0.2

/** When a connection that rests on this certificate should stop taking requests. */
export function retireAt(svid: { readonly notBefore: number; readonly notAfter: number }): number {
  const margin = Math.min(MAX_MARGIN_MS, (svid.notAfter - svid.notBefore) * MARGIN_PART)
  return svid.notAfter - margin
}

export interface RotatingPoolOptions<T> {
  /** Names the pool; the connector decides where it goes. */
  readonly origin: string
  /** Begins a generation: its connector, which reports until when connections are good, and what belongs to it. */
  generation(goodUntil: (at: number) => void): { readonly connector: Connector; readonly tag: T }
  readonly connections: number
  readonly maxHeaderSize?: number
  readonly connectTimeoutMs: number
  readonly clock: Clock
}

interface Generation<T> {
  readonly pool: Pool
  readonly tag: T
  readonly until: { at: number }
}

/**
 * Keep-alive connections to one destination that are given up, in peace, before a certificate under them ends: new
 * requests go to a new generation, those in flight finish on the old one.
 */
export class RotatingPool<T> {
  readonly #options: RotatingPoolOptions<T>
  readonly #retired = new Set<Pool>()
  #current: Generation<T> | undefined
  #closed = false
  lastUsed: number

  constructor(options: RotatingPoolOptions<T>) {
    this.#options = options
    this.lastUsed = options.clock.monotonic()
  }

  /** The connections for a request that starts now. */
  lease(): { readonly pool: Pool; readonly tag: T } {
    const { clock } = this.#options
    this.lastUsed = clock.monotonic()
    if (this.#current && clock.now() >= this.#current.until.at) this.retire()
    this.#current ??= this.#open()
    return this.#current
  }

  /** Lets no new request onto the present connections. */
  retire(): void {
    const old = this.#current?.pool
    this.#current = undefined
    if (!old) return
    this.#retired.add(old)
    old
      .close()
      .catch(() => undefined)
      .finally(() => {
        this.#retired.delete(old)
      })
  }

  /** Breaks every connection off, in flight or not. */
  async destroy(): Promise<void> {
    this.#closed = true
    const pools = [...this.#retired, ...(this.#current ? [this.#current.pool] : [])]
    this.#current = undefined
    await Promise.all(pools.map((pool) => pool.destroy().catch(() => undefined)))
  }

  #open(): Generation<T> {
    if (this.#closed) throw new Error('the pool is closed')
    const { origin, connections, maxHeaderSize, connectTimeoutMs } = this.#options
    const until = { at: Number.POSITIVE_INFINITY }
    const { connector, tag } = this.#options.generation((at) => {
      until.at = Math.min(until.at, at)
    })
    const pool = new Pool(origin, {
      connect: connector,
      connections,
      // One request at a time on a connection: an answer can be nobody else's.
      pipelining: 1,
      keepAliveTimeout: 4000,
      keepAliveMaxTimeout: 30_000,
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: maxHeaderSize ?? 16_384,
      connectTimeout: connectTimeoutMs,
    })
    return { pool, tag, until }
  }
}
