import { connect } from 'node:http2'
import type { ClientHttp2Session } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { System } from '@sallyport/network'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { mtlsConnect } from '@sallyport/transport'
import type { IdentityMaterial } from '@sallyport/transport'
import { connectOutside, originOf, overrideOf, toService } from '../upstream/destinations.ts'
import type { Towards } from '../upstream/destinations.ts'
import { retireAt } from '../upstream/rotating-pool.ts'

/** A connection to a system, and the identity it was made with. */
export interface Leased {
  readonly session: ClientHttp2Session
  readonly tag: IdentityMaterial
}

/** A connection of one caller to one destination. */
interface Held {
  readonly key: string
  readonly caller: string
  readonly leased: Promise<Leased>
  session: ClientHttp2Session | undefined
  socket: TLSSocket | undefined
  /** The service of the network that answered, where it is one. */
  peer: VerifiedSvid | undefined
  /** When it takes no new calls any more. */
  until: number
  /** Monotonic, milliseconds. */
  lastUsed: number
}

const SWEEP_MS = 5000
const MAX_HEADER_BYTES = 16_384

/** HTTP/2 to upstreams: one session for each caller and destination, so that none ever carries the calls of two callers. */
export class Sessions {
  readonly #options: Towards
  /** Those that take new calls. */
  readonly #held = new Map<string, Held>()
  /** All there are: what is in flight on those that take no new calls may end. */
  readonly #all = new Set<Held>()
  readonly #timer: NodeJS.Timeout
  readonly #unsubscribe: () => void

  constructor(options: Towards) {
    this.#options = options
    this.#timer = setInterval(() => {
      this.#sweep()
    }, SWEEP_MS).unref()
    this.#unsubscribe = options.holder.onChange(() => {
      for (const held of this.#held.values()) this.#retire(held)
    })
  }

  /** A session for a call that starts now. @throws whatever a connection fails with */
  async lease(caller: string, system: System): Promise<Leased> {
    const { clock } = this.#options
    // The whole upstream: a declaration that changes any of it must not find the session of the one before.
    const key = JSON.stringify([caller, system.name, system.upstream])
    const known = this.#held.get(key)
    const isGood = known && clock.now() < known.until && known.session?.closed !== true
    if (known && !isGood) this.#retire(known)
    const held = this.#held.get(key) ?? this.#open(key, caller, system)
    held.lastUsed = clock.monotonic()
    return held.leased
  }

  /** Breaks off whatever is in flight for an instance, or for every instance below a subject. */
  cut(subject: string): void {
    this.#breakOff(({ caller }) => caller === subject || caller.startsWith(`${subject}/`))
  }

  /** Breaks off the connections to services that a narrowing cuts off, whoever's calls are on them. */
  cutPeers(isCut: (service: VerifiedSvid) => boolean): void {
    this.#breakOff(({ peer }) => peer !== undefined && isCut(peer))
  }

  close(): void {
    clearInterval(this.#timer)
    this.#unsubscribe()
    this.#breakOff(() => true)
  }

  #breakOff(isCut: (held: Held) => boolean): void {
    for (const held of this.#all) {
      if (!isCut(held)) continue
      this.#forget(held)
      breakOff(held)
    }
  }

  #open(key: string, caller: string, system: System): Held {
    const { holder, clock } = this.#options
    // Call tokens are verified with the key of the connection they travel on: one identity a session.
    const tag = holder.current()
    const opened = Promise.withResolvers<Leased>()
    const held: Held = {
      ...{ key, caller, leased: opened.promise },
      ...{ session: undefined, socket: undefined, peer: undefined },
      until: Number.POSITIVE_INFINITY,
      lastUsed: clock.monotonic(),
    }
    this.#held.set(key, held)
    this.#all.add(held)
    this.#connect(system, tag, held).then(
      (socket) => {
        const session = begin(system, socket)
        session.once('close', () => {
          this.#all.delete(held)
          this.#forget(held)
        })
        // A farewell: calls that begin now go elsewhere.
        session.once('goaway', () => {
          if (this.#held.get(key) === held) this.#retire(held)
        })
        Object.assign(held, { session, socket })
        // It was given up while the connection was made: whoever waits for it asks again.
        if (this.#held.get(key) !== held) session.destroy()
        opened.resolve({ session, tag })
      },
      (error: unknown) => {
        this.#all.delete(held)
        this.#forget(held)
        opened.reject(error)
      },
    )
    return held
  }

  async #connect(system: System, material: IdentityMaterial, held: Held): Promise<TLSSocket> {
    const { upstream } = system
    const override = overrideOf(this.#options, system)
    if (upstream.kind === 'program' || upstream.kind === 'plain') {
      throw new TypeError('nothing that authenticates itself is there')
    }
    if (upstream.kind === 'external') {
      return connectOutside(upstream, override, this.#options.settings, 'h2')
    }
    return mtlsConnect({
      ...toService(this.#options, upstream, override, material),
      alpn: ['h2'],
      onConnected: (_socket, peer) => {
        held.peer = peer
        held.until = retireAt(peer)
      },
    })
  }

  /** Lets no new call onto it. */
  #forget(held: Held): void {
    if (this.#held.get(held.key) === held) this.#held.delete(held.key)
  }

  #retire(held: Held): void {
    this.#forget(held)
    if (held.session?.destroyed === false) held.session.close()
  }

  #sweep(): void {
    const { clock, settings } = this.#options
    const before = clock.monotonic() - settings.upstreamIdleMs
    for (const held of this.#held.values()) {
      if (held.session && held.lastUsed < before) this.#retire(held)
    }
  }
}

function begin(system: System, socket: TLSSocket): ClientHttp2Session {
  const session = connect(originOf(system), {
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

/** Without an error, servers on Node take the end of a connection for the end of what a caller says. */
function breakOff({ session, socket }: Held): void {
  session?.destroy(new Error('the connection was cut off'))
  // Which waits for the other side where the session was closing, and for one that reads nothing.
  setImmediate(() => socket?.destroy())
}
