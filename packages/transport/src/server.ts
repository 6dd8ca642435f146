import { chmodSync, existsSync } from 'node:fs'
import type { AddressInfo, Socket } from 'node:net'
import { dirname } from 'node:path'
import { createServer } from 'node:tls'
import type { TLSSocket } from 'node:tls'

import { SallyportError, systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { TrustBundle, VerifiedSvid } from '@sallyport/spiffe'

import type { IdentityHolder } from './identity.ts'
import { keepPeerChains } from './peer-chains.ts'
import { identifyPeer, rememberGroup, rememberSource } from './peer.ts'
import { DEFAULT_ALPN, POST_QUANTUM_GROUP, profile } from './profile.ts'
import { SocketIndex } from './sockets.ts'
import type { Target } from './target.ts'

/** Why a connection was turned away; for the audit, never for the peer. */
export interface RefusedFacts {
  readonly code: string
  readonly reason: string
  readonly remoteAddress?: string
  /** Only where the SVID was verified and refused for another reason. */
  readonly spiffeId?: string
  readonly serial?: string
}

export interface MtlsServerOptions {
  readonly identity: IdentityHolder
  /**
   * Bundles of other trust domains, of this moment, under which peers of exactly these are verified; none where left out. One
   * under our own name counts for nothing.
   */
  foreign?(): ReadonlyMap<string, TrustBundle>
  /** Whether a verified peer may connect; a string is a refusal with its reason. */
  accept(peer: VerifiedSvid): boolean | string
  /** Lets clients without a certificate in, with no peer. One that presents a certificate must still present a good one. */
  readonly allowAnonymous?: boolean
  onRefused?(facts: RefusedFacts): void
  /** Receives each verified socket, e.g. for `httpServer.emit('connection', socket)`. */
  onConnection(socket: TLSSocket, peer: VerifiedSvid | undefined): void
  /** Protocols offered; a client that names none of them is refused (default `http/1.1`). */
  readonly alpn?: readonly string[]
  /** A client need not name a protocol: what led to the handshake already said which one it is. */
  readonly alpnImplied?: boolean
  /** Milliseconds from the first byte of a connection to a finished handshake. */
  readonly handshakeTimeoutMs: number
  /** Open connections, handshakes included (default 4096); more are dropped. */
  readonly maxConnections?: number
  /** Accept the hybrid post-quantum group only. */
  readonly requirePostQuantum?: boolean
  /** Peers may end what they send and read on; whoever takes the sockets ends them. */
  readonly halfOpen?: boolean
  readonly clock?: Clock
}

export interface MtlsServer {
  /** Sockets of identified peers. */
  readonly sockets: SocketIndex
  /**
   * Starts to listen; a Unix socket is made accessible to its owner only.
   *
   * @param shared lets other processes of this user listen on the same port (Linux: `SO_REUSEPORT`)
   */
  listen(target: Target, shared?: boolean): Promise<AddressInfo | string>
  /** Accepts no more connections; those that are open stay. */
  stopListening(): void
  /**
   * Takes a connection that somebody else accepted, and whose next byte is the first of a handshake.
   *
   * @param source where a balancer says that it comes from; null where it does not say; absent where there is none
   */
  take(socket: Socket, source?: string | null): void
  address(): AddressInfo | string
  /** Stops listening and destroys every connection. */
  close(): Promise<void>
}

const DEFAULT_MAX_CONNECTIONS = 4096

/**
 * A server of the TLS profile: TLS 1.3, no resumption, the peer's certificate checked by Node against the roots and by
 * our own verifier, ALPN agreed. New handshakes use the holder's current identity.
 */
export function createMtlsServer(options: MtlsServerOptions): MtlsServer {
  keepPeerChains()
  const clock = options.clock ?? systemClock
  const pq = options.requirePostQuantum ?? false
  const sockets = new SocketIndex()
  const open = new Set<Socket>()
  /** What balancers said of connections, by their ends: a socket of TLS does not tell what it is made of. */
  const told = new Map<string, { readonly source: string | null }>()
  const secure = () => profile(options.identity.current(), pq)

  const server = createServer({
    ...secure(),
    requestCert: true,
    // Not Node's to reject: it would do so without a word. `admit` demands `authorized` and reports why not.
    rejectUnauthorized: false,
    ALPNProtocols: [...(options.alpn ?? DEFAULT_ALPN)],
    handshakeTimeout: options.handshakeTimeoutMs,
    allowHalfOpen: options.halfOpen ?? false,
  })
  server.maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS
  const unsubscribe = options.identity.onChange(() => {
    server.setSecureContext(secure())
  })

  const refuse = (socket: Socket, facts: RefusedFacts): void => {
    const source = told.get(endsOf(socket))?.source
    const remoteAddress = source === undefined ? socket.remoteAddress : (source ?? undefined)
    socket.destroy()
    options.onRefused?.({ ...facts, ...(remoteAddress === undefined ? {} : { remoteAddress }) })
  }

  server.on('connection', (socket) => {
    // Nagle's algorithm holds a short piece back until the one before it is acknowledged, which peers put off by tens of milliseconds.
    socket.setNoDelay(true)
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  server.on('drop', (data) => {
    options.onRefused?.({
      code: 'SP_TLS_TOO_MANY',
      reason: 'too many connections are open',
      ...(data?.remoteAddress === undefined ? {} : { remoteAddress: data.remoteAddress }),
    })
  })
  server.on('tlsClientError', (error, socket) => {
    refuse(socket, { code: 'SP_TLS_HANDSHAKE', reason: error.message })
  })
  server.on('secureConnection', (socket) => {
    const source = told.get(endsOf(socket))?.source
    if (source !== undefined) rememberSource(socket, source)
    // Whoever takes the socket over has its own handlers; until then an error must not end the process.
    socket.on('error', () => undefined)
    let peer: VerifiedSvid | undefined
    let verdict: boolean | string = true
    try {
      peer = admit(socket, options, clock.now())
      if (peer) verdict = options.accept(peer)
    } catch (error) {
      refuse(socket, factsOf(error))
      return
    }
    if (peer) {
      if (verdict !== true) {
        refuse(socket, {
          code: 'SP_PEER_REFUSED',
          reason: verdict === false ? 'the peer is not expected here' : verdict,
          spiffeId: peer.id.uri,
          serial: peer.serial,
        })
        return
      }
      sockets.add(peer.id.uri, socket)
    }
    if (pq) rememberGroup(socket, POST_QUANTUM_GROUP)
    options.onConnection(socket, peer)
  })

  const address = (): AddressInfo | string => {
    const at = server.address()
    if (at === null) throw new SallyportError('SP_LISTEN_FAILED', 'the server is not listening')
    return at
  }

  return {
    sockets,
    address,
    take: (socket, source) => {
      if (source !== undefined) {
        const key = endsOf(socket)
        const entry = { source }
        told.set(key, entry)
        // The ends may be another connection's by then.
        socket.once('close', () => {
          if (told.get(key) === entry) told.delete(key)
        })
      }
      server.emit('connection', socket)
    },
    stopListening: () => {
      if (server.listening) server.close()
    },
    listen: (target, shared = false) =>
      new Promise((resolve, reject) => {
        const failed = (cause: Error): void => {
          reject(
            new SallyportError('SP_LISTEN_FAILED', 'the server cannot listen', {
              // Node says of it that permission is denied.
              detail:
                'path' in target && !existsSync(dirname(target.path))
                  ? `the folder of \`${target.path}\` is not there`
                  : cause.message,
              cause,
            }),
          )
        }
        server.once('error', failed)
        const at = 'path' in target ? { path: target.path } : { ...target, reusePort: shared }
        server.listen(at, () => {
          server.removeListener('error', failed)
          if ('path' in target) chmodSync(target.path, 0o600)
          resolve(address())
        })
      }),
    close: () =>
      new Promise((resolve) => {
        unsubscribe()
        // One that only takes connections has nothing to close but those.
        if (server.listening) server.close(() => resolve())
        else resolve()
        for (const socket of open) socket.destroy()
      }),
  }
}

const endsOf = ({ remoteAddress, remotePort, localAddress, localPort }: Socket): string =>
  `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`

/** @throws SallyportError for every connection that must not be handed on */
function admit(
  socket: TLSSocket,
  options: MtlsServerOptions,
  now: number,
): VerifiedSvid | undefined {
  if (!socket.alpnProtocol && !options.alpnImplied) {
    throw new SallyportError('SP_TLS_ALPN', 'the client offered no application protocol')
  }
  const own = options.identity.current()
  const peer = identifyPeer(socket, own, now, options.foreign?.())
  if (!peer) {
    if (options.allowAnonymous) return undefined
    throw new SallyportError('SP_PEER_ANONYMOUS', 'the client presented no certificate')
  }
  // Foreign roots are never pooled with ours in OpenSSL's store, where each would vouch for all: our verifier alone judges those.
  if (peer.id.trustDomain === own.trustDomain && !socket.authorized) {
    throw new SallyportError('SP_SVID_UNTRUSTED', 'the certificate is not trusted', {
      detail: String(socket.authorizationError),
    })
  }
  return peer
}

function factsOf(error: unknown): RefusedFacts {
  if (error instanceof SallyportError) {
    return { code: error.code, reason: error.detail ?? error.message }
  }
  return { code: 'SP_INTERNAL', reason: String(error) }
}
