import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { hostAndPort } from '@sallyport/network'
import type { System } from '@sallyport/network'
import { kindOf } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { mtlsConnect } from '@sallyport/transport'
import type { IdentityHolder } from '@sallyport/transport'
import type { Address } from '../edge/listener.ts'
import { reasonOf, Refusal } from '../refusal.ts'
import { opened } from './opened.ts'
import { connectPlain } from './plain.ts'

/** What a service that takes such connections is asked for, and clients may name. */
export const ALPN = 'sallyport-opaque'

export interface OpaqueUpstreamOptions {
  readonly holder: IdentityHolder
  readonly system: System
  /** Where it is, if not as declared. */
  readonly override: Address | undefined
  readonly timeoutMs: number
  readonly refuses: (service: VerifiedSvid) => boolean
  /** Of a service of the network. */
  readonly onPeer: (socket: TLSSocket, peer: VerifiedSvid) => void
}

/**
 * A connection to an opaque system: to a service of the network with both SVIDs verified, to anything else by its pinned name; to what
 * is declared to speak plain TCP by its address alone. Either side may end what it sends and read on.
 *
 * @throws Refusal `SP_UPSTREAM_FAILED`, `SP_UPSTREAM_ADDRESS`
 */
export async function connectOpaque(options: OpaqueUpstreamOptions): Promise<Socket> {
  const { system, override, timeoutMs, holder, onPeer } = options
  const { upstream } = system
  try {
    if (upstream.kind === 'plain') return await connectPlain(upstream.url, override, timeoutMs)
    if (upstream.kind === 'external') return await external(upstream, override, timeoutMs)
    if (upstream.kind !== 'service') throw new TypeError('nothing can be connected to')
    const { trustDomain } = holder.current()
    return await mtlsConnect({
      identity: holder,
      target: override ?? { host: upstream.service, port: upstream.port },
      timeoutMs,
      alpn: [ALPN],
      halfOpen: true,
      expect: (peer) => {
        const kind = kindOf(peer.id)
        return (
          peer.id.trustDomain === trustDomain &&
          kind?.kind === 'service' &&
          kind.name === upstream.service &&
          !options.refuses(peer)
        )
      },
      onConnected: onPeer,
    })
  } catch (cause) {
    if (cause instanceof Refusal) throw cause
    throw new Refusal('SP_UPSTREAM_FAILED', 'the system could not be reached', {
      status: 502,
      detail: reasonOf(cause),
      cause,
    })
  }
}

function external(
  upstream: Extract<System['upstream'], { kind: 'external' }>,
  override: Address | undefined,
  timeoutMs: number,
): Promise<TLSSocket> {
  const at = override ?? hostAndPort(upstream.url)
  if (!at) throw new TypeError('the address has no host and port')
  // Over a TCP socket of ours: the one that TLS makes for itself cannot be reset.
  const socket = connect({
    ...{ socket: connectTcp({ ...at, allowHalfOpen: true }), allowHalfOpen: true },
    ...{ servername: upstream.serverName, minVersion: 'TLSv1.2' },
    ...(upstream.caFile === undefined ? {} : { ca: upstream.caFile }),
    rejectUnauthorized: true,
  })
  return opened(socket, 'secureConnect', timeoutMs)
}
