import { BlockList, isIP } from 'node:net'

/**
 * IPv4: this host and loopback, link-local (where clouds tell each machine of itself), multicast, reserved, broadcast (RFC 6890); and the
 * addresses outside of link-local at which Alibaba, Oracle and Azure do the same.
 */
const IPV4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['224.0.0.0', 3],
  ['100.100.100.200', 32],
  ['192.0.0.192', 32],
  ['168.63.129.16', 32],
]
/** The same of IPv6; the last two are AWS's and Google's. */
const IPV6: readonly (readonly [string, number])[] = [
  ['::', 128],
  ['::1', 128],
  ['fe80::', 10],
  ['ff00::', 8],
  ['fd00:ec2::254', 128],
  ['fd20:ce::254', 128],
]
/** What stands before an IPv4 address that is written, or translated, as IPv6 (RFC 4291, 2.5.5; RFC 6052, 2.1). */
const BEFORE_IPV4 = ['::', '::ffff:', '64:ff9b::']

const own = new BlockList()
for (const [net, bits] of IPV4) {
  own.addSubnet(net, bits, 'ipv4')
  for (const before of BEFORE_IPV4) own.addSubnet(`${before}${net}`, 96 + bits, 'ipv6')
}
for (const [net, bits] of IPV6) own.addSubnet(net, bits, 'ipv6')

/**
 * Whether an address is never that of another system: of the machine that opens it, of what its cloud tells it about itself, or of
 * nobody in particular. What is spoken to without TLS is known by its address alone, and these mean something else on each machine.
 *
 * @param address IPv4 or IPv6, without brackets; anything else is such an address
 */
export function isOwnAddress(address: string): boolean {
  // A zone says by which interface, and not where.
  const bare = address.replace(/%.*$/, '')
  const family = isIP(bare)
  return family === 0 || own.check(bare, family === 4 ? 'ipv4' : 'ipv6')
}

/** Where a connection to `tcp://host:port` or `tls://host:port` goes; undefined where it is no such address. */
export function hostAndPort(
  url: string,
): { readonly host: string; readonly port: number } | undefined {
  const [, host, port] =
    /^(?:tcp|tls):\/\/(\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})$/.exec(url) ?? []
  const number = Number(port)
  if (host === undefined || number < 1 || number > 65_535) return undefined
  return { host: host.replaceAll(/^\[|\]$/g, ''), port: number }
}

/**
 * Whether the host of a declared address is written so that it means the machine that opens it, whatever resolves names there: by name,
 * by address, or by a number that resolvers take for one (`127.1`, `0x7f000001`).
 */
export function isOwnHost(host: string): boolean {
  const bare = host.toLowerCase().replace(/\.$/, '')
  if (bare === 'localhost' || bare.endsWith('.localhost')) return true
  if (isIP(bare) !== 0) return isOwnAddress(bare)
  // A last label of digits makes it an IPv4 address (WHATWG URL, 3.5), and one that is not written in the usual way.
  return /(?:^|\.)(?:\d+|0x[0-9a-f]*)$/.test(bare)
}
