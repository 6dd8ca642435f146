import { connect as connectH2 } from 'node:http2'
import type { ClientHttp2Session } from 'node:http2'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '@sallyport/base'
import type { System } from '@sallyport/network'
import { kindOf } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { IdentityHolder, mtlsConnect } from '@sallyport/transport'
import type { IdentityMaterial } from '@sallyport/transport'
import type { Address } from '../edge/listener.ts'
import type { GatewaySettings } from '../settings.ts'
import { retireAt } from '../upstream/rotating-pool.ts'

export interface SessionOptions {
  readonly holder: IdentityHolder
  /** System name → where it is, if not as declared. */
  readonly overrides: Readonly<Record<string, Address>>
  readonly settings: GatewaySettings
  readonly clock: Clock
  /** Whether a service is quarantined or its certificate revoked. */
  refuses(service: VerifiedSvid): boolean
}

/** A connection to a system, and the identity it was made with. */
export interface Leased {
  readonly session: ClientHttp2Session
  readonly tag: IdentityMaterial
}

interface Held {
  readonly caller: string
  readonly leased: Promise<Leased>
  session: ClientHttp2Session | undefined
  /** When it takes no new calls any more. */
  until: number
  /** Monotonic, milliseconds. */
  lastUsed: number
}

const SWEEP_MS = 5000
const MAX_HEADER_BYTES = 16_384

/** HTTP/2 to upstreams: one session for each caller and destination, so that none ever carries the calls of two callers. */
export class Sessions {
  readonly #options: SessionOptions
  readonly #held = new Map<string, Held>()
  /** Sessions that take no new calls; those that are open on them may end. */
  readonly #retired = new Map<ClientHttp2Session, string>()
  /** Open connections to services of the network. */
  readonly #peers = new Map<TLSSocket, VerifiedSvid>()
  readonly #timer: NodeJS.Timeout
  readonly #unsubscribe: () => void

  constructor(options: SessionOptions) {
    this.#options = options
    this.#timer = setInterval(() => {
      this.#sweep()
    }, SWEEP_MS).unref()
    this.#unsubscribe = options.holder.onChange(() => {
      for (const key of this.#held.keys()) this.#retire(key)
    })
  }

  /** A session for a call that starts now. @throws whatever a connection fails with */
  async lease(caller: string, system: System): Promise<Leased> {
    const { clock } = this.#options
    // The whole upstream: a declaration that changes any of it must not find the session of the one before.
    const key = JSON.stringify([caller, system.name, system.upstream])
    const known = this.#held.get(key)
    const isGood = known && clock.now() < known.until && known.session?.closed !== true
    if (known && !isGood) this.#retire(key)
    const held = this.#held.get(key) ?? this.#open(key, caller, system)
    held.lastUsed = clock.monotonic()
    return held.leased
  }

  /** Breaks off whatever is in flight for an instance, or for every instance below a subject. */
  cut(subject: string): void {
    const isOf = (caller: string): boolean => caller === subject || caller.startsWith(`${subject}/`)
    for (const [key, { caller, session }] of this.#held) {
      if (!isOf(caller)) continue
      this.#held.delete(key)
      if (session) breakOff(session)
    }
    for (const [session, caller] of this.#retired) if (isOf(caller)) breakOff(session)
  }

  /** Breaks off the connections to services that a narrowing cuts off, whoever's calls are on them. */
  cutPeers(isCut: (service: VerifiedSvid) => boolean): void {
    for (const [socket, peer] of this.#peers) if (isCut(peer)) socket.destroy()
  }

  close(): void {
    clearInterval(this.#timer)
    this.#unsubscribe()
    for (const { session } of this.#held.values()) session?.destroy()
    for (const session of this.#retired.keys()) session.destroy()
    for (const socket of this.#peers.keys()) socket.destroy()
    this.#held.clear()
  }

  #open(key: string, caller: string, system: System): Held {
    const { holder, clock } = this.#options
    // Call tokens are verified with the key of the connection they travel on: one identity a session.
    const tag = holder.current()
    const opened = Promise.withResolvers<Leased>()
    const held: Held = {
      ...{ caller, leased: opened.promise, session: undefined },
      until: Number.POSITIVE_INFINITY,
      lastUsed: clock.monotonic(),
    }
    this.#held.set(key, held)
    this.#connect(system, tag, held).then(
      (socket) => {
        const session = this.#begin(system, socket)
        session.once('close', () => {
          this.#retired.delete(session)
          if (this.#held.get(key) === held) this.#held.delete(key)
        })
        // A farewell: calls that begin now go elsewhere.
        session.once('goaway', () => {
          if (this.#held.get(key) === held) this.#retire(key)
        })
        held.session = session
        // It was given up while the connection was made: whoever waits for it asks again.
        if (this.#held.get(key) !== held) session.destroy()
        opened.resolve({ session, tag })
      },
      (error: unknown) => {
        if (this.#held.get(key) === held) this.#held.delete(key)
        opened.reject(error)
      },
    )
    return held
  }

  #begin({ upstream }: System, socket: TLSSocket): ClientHttp2Session {
    const origin =
      upstream.kind === 'external'
        ? new URL(upstream.url).origin
        : `https://${upstream.kind === 'service' ? upstream.service : 'program'}.invalid`
    const session = connectH2(origin, {
      createConnection: () => socket,
      maxHeaderListPairs: 64,
      maxReservedRemoteStreams: 0,
      maxSessionMemory: 16,
      settings: { enablePush: false, maxHeaderListSize: MAX_HEADER_BYTES },
    })
    // Streams learn of it, each for itself.
    session.on('error', () => undefined)
    session.on('close', () => socket.destroy())
    return session
  }

  async #connect(system: System, material: IdentityMaterial, held: Held): Promise<TLSSocket> {
    const { overrides, settings } = this.#options
    const { name, upstream } = system
    const override = Object.hasOwn(overrides, name) ? overrides[name] : undefined
    if (upstream.kind === 'external') return external(upstream, override, settings)
    if (upstream.kind === 'program') throw new TypeError('no connection leads to a program')
    return mtlsConnect({
      identity: new IdentityHolder(material),
      target: override ?? { host: upstream.service, port: upstream.port },
      timeoutMs: settings.upstreamConnectTimeoutMs,
      alpn: ['h2'],
      expect: (peer) => {
        const kind = kindOf(peer.id)
        return (
          peer.id.trustDomain === material.trustDomain &&
          kind?.kind === 'service' &&
          kind.name === upstream.service &&
          !this.#options.refuses(peer)
        )
      },
      onConnected: (socket, peer) => {
        this.#peers.set(socket, peer)
        socket.once('close', () => this.#peers.delete(socket))
        held.until = retireAt(peer)
      },
      // No new call went onto it for a while already; what is still in flight may end.
      onPeerExpired: () => undefined,
    })
  }

  #retire(key: string): void {
    const held = this.#held.get(key)
    this.#held.delete(key)
    const session = held?.session
    if (!held || !session || session.destroyed) return
    this.#retired.set(session, held.caller)
    session.close()
  }

  #sweep(): void {
    const { clock, settings } = this.#options
    const before = clock.monotonic() - settings.upstreamIdleMs
    for (const [key, { lastUsed, session }] of this.#held) {
      if (session && lastUsed < before) this.#retire(key)
    }
  }
}

/** Without an error, servers on Node take the end of a connection for the end of what a caller says. */
function breakOff(session: ClientHttp2Session): void {
  session.destroy(new Error('the caller was cut off'))
}

/** Server-authenticated TLS to the outside: the name and, where declared, the only CA are pinned. */
function external(
  upstream: Extract<System['upstream'], { kind: 'external' }>,
  override: Address | undefined,
  settings: GatewaySettings,
): Promise<TLSSocket> {
  const url = new URL(upstream.url)
  const { host, port } = override ?? {
    host: url.hostname.replaceAll(/^\[|\]$/g, ''),
    port: Number(url.port || 443),
  }
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>()
  const socket = connect({
    ...{ host, port, servername: upstream.serverName, minVersion: 'TLSv1.2' },
    ...(upstream.caFile === undefined ? {} : { ca: upstream.caFile }),
    rejectUnauthorized: true,
    ALPNProtocols: ['h2'],
  })
  const timer = setTimeout(() => {
    socket.destroy(new Error('the connection took too long'))
  }, settings.upstreamConnectTimeoutMs)
  socket.on('error', (error) => {
    clearTimeout(timer)
    reject(error)
  })
  socket.once('secureConnect', () => {
    clearTimeout(timer)
    if (socket.alpnProtocol === 'h2') resolve(socket)
    else socket.destroy(new Error('the server does not speak HTTP/2'))
  })
  return promise
}
