import { lookup } from 'node:dns'
import { connect, isIP } from 'node:net'
import type { LookupFunction, Socket } from 'node:net'
import { hostAndPort, isOwnAddress } from '@sallyport/network'
import type { Address } from '../edge/listener.ts'
import { Refusal } from '../refusal.ts'
import { opened } from './opened.ts'

/**
 * A connection in plain TCP, whose peer nothing authenticates: it is whoever is at the address. A name is resolved once, by this, and
 * connected to only where none of its addresses is of this machine itself or of what its cloud tells it of itself: whoever answers for
 * the name could otherwise lead callers to what listens for nobody but the gateway.
 *
 * @param url as declared, `tcp://host:port`
 * @param override where the gateway's own operator says that it is, in place of the declared address; any address may be named
 * @param timeoutMs for resolving and connecting together
 * @throws Refusal `SP_UPSTREAM_ADDRESS`; whatever else connecting fails of
 */
export function connectPlain(
  url: string,
  override: Address | undefined,
  timeoutMs: number,
): Promise<Socket> {
  const at = override ?? hostAndPort(url)
  if (!at) throw new TypeError('the address has no host and port')
  if (!override && isIP(at.host) !== 0 && isOwnAddress(at.host)) throw own(at.host, at.host)
  const socket = connect({
    ...{ host: at.host, port: at.port, allowHalfOpen: true, noDelay: true },
    ...(override ? {} : { lookup: elsewhere }),
  })
  return opened(socket, 'connect', timeoutMs)
}

const elsewhere: LookupFunction = (host, options, done) => {
  lookup(host, { ...options, all: true }, (error, found) => {
    const [first] = found ?? []
    if (error || !first) {
      done(error ?? new Error(`\`${host}\` has no address`), '')
      return
    }
    const one = found.find(({ address }) => isOwnAddress(address))
    if (one) done(own(host, one.address), '')
    else if (options.all === true) done(null, found)
    else done(null, first.address, first.family)
  })
}

const own = (host: string, address: string): Refusal =>
  new Refusal('SP_UPSTREAM_ADDRESS', 'the system could not be reached', {
    status: 502,
    detail: `\`${host}\` is ${address}, which is no address of another system`,
    unsent: true,
  })
