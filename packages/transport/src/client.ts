import { connect as connectTcp } from 'node:net'
import type { OnReadOpts, Socket } from 'node:net'
import { connect, createSecureContext } from 'node:tls'
import type { SecureContext, TLSSocket } from 'node:tls'

import { SallyportError, systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { VerifiedSvid } from '@sallyport/spiffe'

import { IdentityHolder } from './identity.ts'
import type { IdentityMaterial, TrustAnchors } from './identity.ts'
import { identifyPeer } from './peer.ts'
import { DEFAULT_ALPN, profile } from './profile.ts'
import type { Target } from './target.ts'

export interface MtlsClientOptions {
  /** A holder for mutual TLS; anchors alone to connect without a certificate (enrolment). */
  readonly identity: IdentityHolder | TrustAnchors
  /** Of the server, where it is of another trust domain than the identity; absent means the same. */
  readonly peers?: TrustAnchors
  /** TCP, with `port`. */
  readonly host?: string
  readonly port?: number
  /** A Unix socket, in place of `host` and `port`. */
  readonly path?: string
  /** Or all of it at once. */
  readonly target?: Target
  /** Whether the verified peer is the one that was meant. */
  expect(peer: VerifiedSvid): boolean
  /** Milliseconds for connecting and the handshake together (default 5000). */
  readonly timeoutMs?: number
  readonly alpn?: readonly string[]
  readonly requirePostQuantum?: boolean
  /** The server may end what it sends and read on; whoever takes the socket ends it, and `cutSocket` resets it. */
  readonly halfOpen?: boolean
  /** Takes what comes, in place of the socket's stream. */
  readonly onread?: OnReadOpts
  /** After the peer was accepted, before the socket is used. */
  onConnected?(socket: TLSSocket, peer: VerifiedSvid): void
  /** When the peer's SVID expires while the socket is open (default: the socket is destroyed). */
  onPeerExpired?(socket: TLSSocket, peer: VerifiedSvid): void
  readonly clock?: Clock
}

const DEFAULT_TIMEOUT_MS = 5000
/** Longest delay a Node timer takes. */
const MAX_DELAY_MS = 2_147_483_647

/**
 * Opens one connection of the TLS profile and verifies the server with our own verifier, beside Node's check against
 * the roots. The promise settles only once the peer is the expected one. The socket lives no longer than the
 * peer's SVID unless `onPeerExpired` decides otherwise.
 *
 * @throws SallyportError `SP_CONNECT_FAILED`, `SP_CONNECT_TIMEOUT`, `SP_SVID_*`, `SP_SPIFFE_ID`, `SP_PEER_REFUSED`,
 *   `SP_PEER_ANONYMOUS`, `SP_TLS_ALPN`, `SP_TLS_RESUMED`
 */
export function mtlsConnect(options: MtlsClientOptions): Promise<TLSSocket> {
  const clock = options.clock ?? systemClock
  const { identity } = options
  const own = identity instanceof IdentityHolder ? identity.current() : identity
  const anchors = options.peers ?? own
  return new Promise((resolve, reject) => {
    const under = options.halfOpen ? overOwnTcp(targetOf(options)) : targetOf(options)
    const socket = connect({
      secureContext: contextOf(own, anchors, options.requirePostQuantum ?? false),
      ...under,
      rejectUnauthorized: true,
      // Names are SPIFFE ids, judged by `expect`; a DNS name proves nothing here.
      checkServerIdentity: () => undefined,
      ALPNProtocols: [...(options.alpn ?? DEFAULT_ALPN)],
      ...(options.onread ? { onread: options.onread } : {}),
    })
    // As servers of the profile have it.
    socket.setNoDelay(true)
    const timer = setTimeout(() => {
      fail(new SallyportError('SP_CONNECT_TIMEOUT', 'the connection took too long'))
    }, options.timeoutMs ?? DEFAULT_TIMEOUT_MS)
    const fail = (error: unknown): void => {
      clearTimeout(timer)
      socket.destroy()
      reject(connectError(error))
    }
    socket.on('error', fail)
    socket.once('close', () => {
      // Why a socket of its own could not connect, that socket alone says.
      const why = 'socket' in under ? under.socket.errored : null
      fail(why ?? new SallyportError('SP_CONNECT_FAILED', 'the other side closed the connection'))
    })
    socket.once('secureConnect', () => {
      try {
        const peer = admit(socket, anchors, options, clock.now())
        clearTimeout(timer)
        boundByExpiry(socket, peer, options, clock)
        options.onConnected?.(socket, peer)
        resolve(socket)
      } catch (error) {
        fail(error)
      }
    })
  })
}

/** What undici's `connect` option takes; with `onread`, which undici does not give, that takes what comes in place of the socket's stream. */
export type Connector = (
  options: object,
  callback: (...result: [null, TLSSocket] | [Error, null]) => void,
  onread?: OnReadOpts,
) => void

/**
 * A connector for undici's `Pool` and `Client`. Whatever origin they name, it goes to the given target, with the
 * holder's identity of that moment.
 */
export function mtlsConnector(options: MtlsClientOptions): Connector {
  return (_options, callback, onread) => {
    const run = async (): Promise<void> => {
      let result: [null, TLSSocket] | [Error, null]
      try {
        result = [null, await mtlsConnect(onread ? { ...options, onread } : options)]
      } catch (error) {
        result = [connectError(error), null]
      }
      callback(...result)
    }
    void run()
  }
}

/** The socket under a TLS socket that makes its own cannot be had, nor reset. */
const overOwnTcp = (target: Target): { socket: Socket; allowHalfOpen: true } => ({
  socket: connectTcp({ ...target, allowHalfOpen: true }),
  allowHalfOpen: true,
})

function targetOf(options: MtlsClientOptions): Target {
  if (options.target) return options.target
  if (options.path !== undefined) return { path: options.path }
  if (options.port !== undefined) return { host: options.host ?? '127.0.0.1', port: options.port }
  throw new SallyportError('SP_CONNECT_FAILED', 'no address to connect to was given')
}

/** Per identity, anchors and group: reading keys and certificates anew for each connection takes longer than what else a client does of its own. */
const contexts = new WeakMap<TrustAnchors, WeakMap<TrustAnchors, Map<boolean, SecureContext>>>()

function contextOf(
  own: IdentityMaterial | TrustAnchors,
  anchors: TrustAnchors,
  requirePostQuantum: boolean,
): SecureContext {
  const byAnchors = contexts.get(own) ?? new WeakMap<TrustAnchors, Map<boolean, SecureContext>>()
  const byGroup = byAnchors.get(anchors) ?? new Map<boolean, SecureContext>()
  let context = byGroup.get(requirePostQuantum)
  if (!context) {
    context = createSecureContext(profile({ ...own, ...anchorsOnly(anchors) }, requirePostQuantum))
    byGroup.set(requirePostQuantum, context)
    byAnchors.set(anchors, byGroup)
    contexts.set(own, byAnchors)
  }
  return context
}

const anchorsOnly = ({ rootsPem, trustDomain }: TrustAnchors): TrustAnchors => ({
  rootsPem,
  trustDomain,
})

function admit(
  socket: TLSSocket,
  anchors: TrustAnchors,
  options: MtlsClientOptions,
  now: number,
): VerifiedSvid {
  if (!socket.alpnProtocol) {
    throw new SallyportError('SP_TLS_ALPN', 'the server agreed to no application protocol')
  }
  const peer = identifyPeer(socket, anchors, now)
  if (!peer) throw new SallyportError('SP_PEER_ANONYMOUS', 'the server presented no certificate')
  if (!options.expect(peer)) {
    throw new SallyportError('SP_PEER_REFUSED', 'the server is not the expected one', {
      detail: `it is ${peer.id.uri}`,
    })
  }
  return peer
}

function boundByExpiry(
  socket: TLSSocket,
  peer: VerifiedSvid,
  options: MtlsClientOptions,
  clock: Clock,
): void {
  let timer: NodeJS.Timeout
  const arm = (): void => {
    // The last valid millisecond still counts.
    const left = peer.notAfter + 1 - clock.now()
    if (left <= 0) {
      if (options.onPeerExpired) options.onPeerExpired(socket, peer)
      else socket.destroy()
      return
    }
    timer = setTimeout(arm, Math.min(left, MAX_DELAY_MS)).unref()
  }
  arm()
  socket.once('close', () => {
    clearTimeout(timer)
  })
}

/** Node's and OpenSSL's reasons, under our codes. */
function connectError(error: unknown): SallyportError {
  if (error instanceof SallyportError) return error
  const reason = error instanceof Error && 'code' in error ? String(error.code) : ''
  const detail = error instanceof Error ? `${reason} ${error.message}`.trim() : String(error)
  if (reason === 'CERT_HAS_EXPIRED') {
    return new SallyportError('SP_SVID_EXPIRED', 'the certificate has expired', { detail })
  }
  if (reason === 'CERT_NOT_YET_VALID') {
    return new SallyportError('SP_SVID_NOT_YET_VALID', 'the certificate is not yet valid', {
      detail,
    })
  }
  if (VERIFY_FAILURES.has(reason)) {
    return new SallyportError('SP_SVID_UNTRUSTED', 'the certificate is not trusted', { detail })
  }
  return new SallyportError('SP_CONNECT_FAILED', 'the connection failed', { detail, cause: error })
}

/** OpenSSL's names for a chain that does not verify, as Node reports them. */
const VERIFY_FAILURES: ReadonlySet<string> = new Set([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'CERT_CHAIN_TOO_LONG',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'PATH_LENGTH_EXCEEDED',
  'UNSPECIFIED',
])
