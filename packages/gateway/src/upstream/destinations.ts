import type { OnReadOpts } from 'node:net'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '@sallyport/base'
import type { System } from '@sallyport/network'
import { kindOf } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { IdentityHolder } from '@sallyport/transport'
import type { IdentityMaterial, MtlsClientOptions } from '@sallyport/transport'
import type { Address } from '../edge/listener.ts'
import type { GatewaySettings } from '../settings.ts'

/** What connections to systems are made with. */
export interface Towards {
  readonly holder: IdentityHolder
  /** System name → where it is, if not as declared. */
  readonly overrides: Readonly<Record<string, Address>>
  readonly settings: GatewaySettings
  readonly clock: Clock
  /** Whether a service is quarantined or its certificate revoked. */
  readonly refuses: (service: VerifiedSvid) => boolean
}

type External = Extract<System['upstream'], { kind: 'external' }>
type Service = Extract<System['upstream'], { kind: 'service' }>

/** For `Host` and `:authority`; where a connection goes is not for it to say. */
export function originOf({ upstream }: System): string {
  if (upstream.kind === 'external') return new URL(upstream.url).origin
  return `https://${upstream.kind === 'service' ? upstream.service : 'program'}.invalid`
}

/** Where a system is, if not as declared. */
export const overrideOf = ({ overrides }: Towards, { name }: System): Address | undefined =>
  Object.hasOwn(overrides, name) ? overrides[name] : undefined

/** To a service of the network, with one identity of the gateway: it is the very one, and not refused. */
export function toService(
  { settings, refuses }: Towards,
  upstream: Service,
  override: Address | undefined,
  material: IdentityMaterial,
): MtlsClientOptions {
  return {
    identity: new IdentityHolder(material),
    target: override ?? { host: upstream.service, port: upstream.port },
    timeoutMs: settings.upstreamConnectTimeoutMs,
    expect: (peer) => {
      const kind = kindOf(peer.id)
      return (
        peer.id.trustDomain === material.trustDomain &&
        kind?.kind === 'service' &&
        kind.name === upstream.service &&
        !refuses(peer)
      )
    },
    // No new request went onto it for a while already; what is still in flight may end.
    onPeerExpired: () => undefined,
  }
}

/**
 * Server-authenticated TLS to the outside: the name and, where declared, the only CA are pinned.
 *
 * @param onread takes what comes, in place of the socket's stream
 */
export function connectOutside(
  upstream: External,
  override: Address | undefined,
  { upstreamConnectTimeoutMs }: GatewaySettings,
  protocol: 'h2' | 'http/1.1',
  onread?: OnReadOpts,
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
    ALPNProtocols: [protocol],
    ...(onread ? { onread } : {}),
  })
  const timer = setTimeout(() => {
    socket.destroy(new Error('the connection took too long'))
  }, upstreamConnectTimeoutMs)
  const failed = (error: Error): void => {
    clearTimeout(timer)
    socket.destroy()
    reject(error)
  }
  // They stay: until whoever gets the socket listens, an error of it must not end the process.
  socket.on('error', failed)
  socket.once('close', () => {
    failed(new Error('the other side closed the connection'))
  })
  socket.once('secureConnect', () => {
    clearTimeout(timer)
    // Servers of HTTP/1.1 need not say what they speak.
    if (protocol === 'h2' && socket.alpnProtocol !== 'h2') {
      socket.destroy(new Error('the server does not speak HTTP/2'))
    } else resolve(socket)
  })
  return promise
}
