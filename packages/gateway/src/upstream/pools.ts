import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '@sallyport/base'
import type { System } from '@sallyport/network'
import { kindOf } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { IdentityHolder, mtlsConnector } from '@sallyport/transport'
import type { Connector, IdentityMaterial } from '@sallyport/transport'
import { LeanPool } from '../h1/pool.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Connections } from './connections.ts'
import {
  MAX_ANSWER_HEAD,
  MAX_ANSWER_HEADERS,
  RotatingPool,
  retireAt,
  undiciPool,
} from './rotating-pool.ts'

interface Address {
  readonly host: string
  readonly port: number
}

export interface UpstreamPoolsOptions {
  readonly holder: IdentityHolder
  /** System name → where it is, if not as declared. */
  readonly overrides: Readonly<Record<string, Address>>
  readonly settings: GatewaySettings
  readonly clock: Clock
  /** Whether a service is quarantined or its certificate revoked. */
  refuses(service: VerifiedSvid): boolean
}

type UpstreamPool = RotatingPool<IdentityMaterial, Connections>

/**
 * Connections to upstreams, one pool for each caller and destination: no connection ever carries the calls of two
 * callers, so that no answer and no state of a connection can reach another.
 */
export class UpstreamPools {
  readonly #options: UpstreamPoolsOptions
  /** Caller → system and destination → pool. */
  readonly #pools = new Map<string, Map<string, UpstreamPool>>()
  /** Open connections to services of the network. */
  readonly #peers = new Map<TLSSocket, VerifiedSvid>()
  readonly #timer: NodeJS.Timeout
  readonly #unsubscribe: () => void

  constructor(options: UpstreamPoolsOptions) {
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
          : undiciPool(origin, connections, upstreamConnectTimeoutMs),
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
    const { overrides, settings } = this.#options
    const override = Object.hasOwn(overrides, system.name) ? overrides[system.name] : undefined
    const { upstream } = system
    if (upstream.kind === 'external') return externalConnector(upstream, override, settings)
    if (upstream.kind === 'program') throw new Error('no connection leads to a program')
    const { trustDomain } = material
    return mtlsConnector({
      identity: new IdentityHolder(material),
      target: override ?? { host: upstream.service, port: upstream.port },
      timeoutMs: settings.upstreamConnectTimeoutMs,
      expect: (peer) => {
        const kind = kindOf(peer.id)
        return (
          peer.id.trustDomain === trustDomain &&
          kind?.kind === 'service' &&
          kind.name === upstream.service &&
          !this.#options.refuses(peer)
        )
      },
      onConnected: (socket, peer) => {
        this.#peers.set(socket, peer)
        socket.once('close', () => this.#peers.delete(socket))
        goodUntil(retireAt(peer))
      },
      // No new request went onto it for a while already; what is still in flight may end.
      onPeerExpired: () => undefined,
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

/** For `Host`; where a connection goes is the connector's to say. */
function originOf({ upstream }: System): string {
  if (upstream.kind === 'external') return new URL(upstream.url).origin
  return `https://${upstream.kind === 'service' ? upstream.service : 'program'}.invalid`
}

/** Server-authenticated TLS to the outside: the name and, where declared, the only CA are pinned. */
function externalConnector(
  upstream: Extract<System['upstream'], { kind: 'external' }>,
  override: Address | undefined,
  settings: GatewaySettings,
): Connector {
  const url = new URL(upstream.url)
  const { host, port } = override ?? {
    host: url.hostname.replaceAll(/^\[|\]$/g, ''),
    port: Number(url.port || 443),
  }
  return (_options, callback) => {
    const socket = connect({
      host,
      port,
      servername: upstream.serverName,
      ...(upstream.caFile === undefined ? {} : { ca: upstream.caFile }),
      minVersion: 'TLSv1.2',
      rejectUnauthorized: true,
      ALPNProtocols: ['http/1.1'],
    })
    const timer = setTimeout(() => {
      socket.destroy(new Error('the connection took too long'))
    }, settings.upstreamConnectTimeoutMs)
    const failed = (error: Error): void => {
      clearTimeout(timer)
      socket.destroy()
      callback(error, null)
    }
    socket.once('error', failed)
    socket.once('secureConnect', () => {
      clearTimeout(timer)
      socket.removeListener('error', failed)
      // Until whoever uses it listens, in this turn.
      socket.on('error', () => undefined)
      callback(null, socket)
    })
  }
}
