import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import type { System } from '@sallyport/network'
import { kindOf } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { mtlsConnect } from '@sallyport/transport'
import type { IdentityHolder } from '@sallyport/transport'
import type { Address } from '../../edge/listener.ts'
import { int32 } from '../wire/frames.ts'
import { unreachable } from './link.ts'

export interface ConnectOptions {
  readonly holder: IdentityHolder
  readonly system: System
  /** Where it is, if not as declared. */
  readonly override: Address | undefined
  readonly timeoutMs: number
  readonly refuses: (service: VerifiedSvid) => boolean
}

const SSL_REQUEST: Buffer = Buffer.concat([int32(8), int32(80_877_103)])

/**
 * A connection to a database whose certificate is verified: a service of the network by its SVID, with the gateway's own;
 * anything else by its name and the declared CA.
 *
 * @throws SqlRefusal `SP_SQL_UPSTREAM`, SallyportError `SP_CONNECT_*`, `SP_SVID_*`, `SP_PEER_*`
 */
export async function connectDatabase(
  options: ConnectOptions,
): Promise<{ readonly socket: TLSSocket; readonly peer: VerifiedSvid | undefined }> {
  const { system, override, timeoutMs, holder } = options
  const { upstream } = system
  if (upstream.kind === 'service') {
    const { trustDomain } = holder.current()
    let verified: VerifiedSvid | undefined
    const socket = await mtlsConnect({
      identity: holder,
      target: override ?? { host: upstream.service, port: upstream.port },
      timeoutMs,
      alpn: ['postgresql'],
      expect: (peer) => {
        const kind = kindOf(peer.id)
        verified = peer
        return (
          peer.id.trustDomain === trustDomain &&
          kind?.kind === 'service' &&
          kind.name === upstream.service &&
          !options.refuses(peer)
        )
      },
    })
    return { socket, peer: verified }
  }
  // The declaration lets only MCP be spoken to programs, and plain TCP only what nobody reads.
  if (upstream.kind !== 'external') throw new Error('a database authenticates itself')
  const url = new URL(upstream.url)
  const at = override ?? {
    host: url.hostname.replaceAll(/^\[|\]$/g, ''),
    port: Number(url.port || 5432),
  }
  const socket = await external(at, upstream.serverName, upstream.caFile, timeoutMs)
  return { socket, peer: undefined }
}

function external(
  at: Address,
  servername: string,
  ca: string | undefined,
  timeoutMs: number,
): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>()
  const raw = connectTcp(at)
  const timer = setTimeout(() => fail('the connection took too long'), timeoutMs)
  const fail = (detail: string): void => {
    clearTimeout(timer)
    raw.destroy()
    reject(unreachable(detail))
  }
  raw.on('error', (error) => fail(error.message))
  raw.once('connect', () => raw.write(SSL_REQUEST))
  raw.once('data', (answer: Buffer) => {
    // One byte and no more: anything after it would have been sent by whoever stands in between (CVE-2021-23222).
    if (answer.length !== 1 || answer[0] !== 0x53) {
      fail('the database does not offer TLS')
      return
    }
    const socket = secured(raw, servername, ca)
    socket.once('secureConnect', () => {
      clearTimeout(timer)
      resolve(socket)
    })
    socket.on('error', (error) => fail(error.message))
  })
  return promise
}

const secured = (socket: Socket, servername: string, ca: string | undefined): TLSSocket =>
  connectTls({
    ...{ socket, servername, rejectUnauthorized: true, minVersion: 'TLSv1.2' },
    ...(ca === undefined ? {} : { ca }),
    ALPNProtocols: ['postgresql'],
  })
