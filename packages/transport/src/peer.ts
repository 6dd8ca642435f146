import type { Socket } from 'node:net'
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'

import { SallyportError } from '@sallyport/base'
import { verifySvid } from '@sallyport/spiffe'
import type { TrustBundle, VerifiedSvid } from '@sallyport/spiffe'

import { bundlesOf } from './identity.ts'
import type { TrustAnchors } from './identity.ts'

const peers = new WeakMap<object, VerifiedSvid>()
const leaves = new WeakMap<object, Buffer>()
const groups = new WeakMap<object, string>()

/** How many certificates of a peer's chain are looked at; the verifier has its own, lower bound. */
const MAX_CHAIN = 8

/**
 * Verifies what the peer of a finished handshake presented with our own verifier and remembers it.
 *
 * @param foreign bundles of other trust domains that count beside that of the anchors, which stays the only one of its own
 * @returns undefined where the peer presented no certificate
 * @throws SallyportError `SP_SVID_*`, `SP_SPIFFE_ID`, `SP_TLS_RESUMED`
 */
export function identifyPeer(
  socket: TLSSocket,
  anchors: TrustAnchors,
  now: number,
  foreign?: ReadonlyMap<string, TrustBundle>,
): VerifiedSvid | undefined {
  if (socket.isSessionReused()) {
    throw new SallyportError('SP_TLS_RESUMED', 'a resumed TLS session is not accepted')
  }
  const chain = chainOf(socket)
  const [leaf] = chain
  if (leaf === undefined) return undefined
  const own = bundlesOf(anchors)
  const bundles = foreign && foreign.size > 0 ? new Map([...foreign, ...own]) : own
  const peer = verifySvid(chain, bundles, { now })
  peers.set(socket, peer)
  leaves.set(socket, leaf)
  return peer
}

/**
 * What the peer presented, leaf first, each DER; the root that Node found for it may stand at the end. `getPeerX509Certificate` reads nicer, but
 * each call takes the certificates above the leaf away from the session, and never frees them (nodejs/node#65579).
 */
function chainOf(socket: TLSSocket): Buffer[] {
  const chain: Buffer[] = []
  // Without a certificate: an empty object, or null where the connection is gone. Node's types know neither.
  let at = socket.getPeerCertificate(true) as Partial<DetailedPeerCertificate> | null | undefined
  while (at?.raw && chain.length < MAX_CHAIN) {
    chain.push(at.raw)
    // One that signed itself is its own issuer.
    at = at.issuerCertificate === at ? undefined : at.issuerCertificate
  }
  return chain
}

/** The certificate (DER) of the SVID that the other side of this socket proved at the handshake. */
export function certificateOf(socket: object): Buffer | undefined {
  return leaves.get(socket)
}

/** The SVID that the other side of this socket proved at the handshake; undefined for an anonymous one. */
export function peerOf(socket: object): VerifiedSvid | undefined {
  return peers.get(socket)
}

/**
 * Judges a peer's SVID again: to be called on every request, because sockets outlive certificates.
 *
 * @param now milliseconds since the epoch
 * @throws SallyportError `SP_SVID_EXPIRED`, `SP_SVID_NOT_YET_VALID`
 */
export function assertFresh(peer: VerifiedSvid, now: number): void {
  if (now < peer.notBefore) {
    throw new SallyportError('SP_SVID_NOT_YET_VALID', 'the certificate is not yet valid')
  }
  // Written so that a clock that reads NaN fails too.
  if (!(now <= peer.notAfter)) {
    throw new SallyportError('SP_SVID_EXPIRED', 'the certificate has expired', {
      fix: 'renew the certificate and connect again',
    })
  }
}

/** What the audit keeps of a TLS session. */
export interface TlsFacts {
  readonly protocol: string
  /** Key exchange group; Node tells it to clients only, so servers know it where they insist on one. */
  readonly group?: string
  /** Of the peer's certificate, lower-case hex. */
  readonly serial?: string
}

const sources = new WeakMap<Socket, string | null>()

/** @param source where a balancer says that the connection comes from; null where it does not say */
export function rememberSource(socket: Socket, source: string | null): void {
  sources.set(socket, source)
}

/** Where a connection comes from: as a declared balancer says, or, without one, as the socket does. */
export function sourceOf(socket: Socket): string | undefined {
  const told = sources.get(socket)
  return told === undefined ? socket.remoteAddress : (told ?? undefined)
}

export function rememberGroup(socket: TLSSocket, group: string): void {
  groups.set(socket, group)
}

/** Facts of a finished handshake. */
export function tlsFacts(socket: TLSSocket): TlsFacts {
  const exchange = socket.getEphemeralKeyInfo()
  const told = exchange && 'name' in exchange ? exchange.name : undefined
  const group = groups.get(socket) ?? (typeof told === 'string' ? told : undefined)
  const serial = peers.get(socket)?.serial
  return {
    protocol: socket.getProtocol() ?? 'unknown',
    ...(group === undefined ? {} : { group }),
    ...(serial === undefined ? {} : { serial }),
  }
}
