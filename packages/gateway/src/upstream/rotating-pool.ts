import { Client, Pool } from 'undici'
import type { Clock } from '@sallyport/base'
import type { Connector } from '@sallyport/transport'
import { ClientPool } from './client-pool.ts'
import type { Connections } from './connections.ts'

/** How long before the end of a certificate connections made with it take no new requests. */
const MAX_MARGIN_MS = 10_000
const MARGIN_PART = 0.2
/** Of the head of an answer. */
export const MAX_ANSWER_HEAD = 16_384
export const MAX_ANSWER_HEADERS = 256

/** When a connection that rests on this certificate should stop taking requests. */
export function retireAt(svid: { readonly notBefore: number; readonly notAfter: number }): number {
  const margin = Math.min(MAX_MARGIN_MS, (svid.notAfter - svid.notBefore) * MARGIN_PART)
  return svid.notAfter - margin
}

/** What is asked of connections here, whoever sends on them. */
type Lifetime = Pick<Connections, 'closed' | 'destroyed' | 'close' | 'destroy'>

export interface RotatingPoolOptions<T, P extends Lifetime> {
  /** Makes the connections of one generation. */
  readonly open: (connector: Connector) => P
  /** Begins a generation: its connector, which reports until when connections are good, and what belongs to it. */
  generation(goodUntil: (at: number) => void): { readonly connector: Connector; readonly tag: T }
  readonly clock: Clock
}

interface Generation<T, P> {
  readonly pool: P
  readonly tag: T
  readonly until: { at: number }
}

/**
 * Keep-alive connections to one destination that are given up, in peace, before a certificate under them ends: new
 * requests go to a new generation, those in flight finish on the old one.
 */
export class RotatingPool<T, P extends Lifetime> {
  readonly #options: RotatingPoolOptions<T, P>
  readonly #retired = new Set<P>()
  #current: Generation<T, P> | undefined
  #closed = false
  lastUsed: number

  constructor(options: RotatingPoolOptions<T, P>) {
    this.#options = options
    this.lastUsed = options.clock.monotonic()
  }

  /** The connections for a request that starts now. */
  lease(): { readonly pool: P; readonly tag: T } {
    const { clock } = this.#options
    this.lastUsed = clock.monotonic()
    if (this.#current && clock.now() >= this.#current.until.at) this.retire()
    this.#current ??= this.#open()
    return this.#current
  }

  /** What belongs to the connections that a request would get, unless they are given up before it starts. */
  get tag(): T {
    return (this.#current ?? this.lease()).tag
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

  #open(): Generation<T, P> {
    if (this.#closed) throw new Error('the pool is closed')
    const until = { at: Number.POSITIVE_INFINITY }
    const { connector, tag } = this.#options.generation((at) => {
      until.at = Math.min(until.at, at)
    })
    return { pool: this.#options.open(connector), tag, until }
  }
}

/**
 * Connections of undici's, whose parser is llhttp.
 *
 * @param origin names the pool; the connector decides where it goes
 */
export const undiciPool =
  (origin: string, connections: number, connectTimeoutMs: number) =>
  (connector: Connector): Pool =>
    new Pool(origin, { ...clientOptions(connector, connectTimeoutMs), connections })

/** The same for those that only hand requests over, at less cost for each. */
export const clientPool =
  (origin: string, connections: number, connectTimeoutMs: number) =>
  (connector: Connector): ClientPool => {
    const options = clientOptions(connector, connectTimeoutMs)
    return new ClientPool(() => new Client(origin, options), connections)
  }

const clientOptions = (connect: Connector, connectTimeout: number): Client.Options => ({
  connect,
  // One request at a time on a connection: an answer can be nobody else's.
  pipelining: 1,
  keepAliveTimeout: 4000,
  keepAliveMaxTimeout: 30_000,
  headersTimeout: 0,
  bodyTimeout: 0,
  maxHeaderSize: MAX_ANSWER_HEAD,
  connectTimeout,
})
