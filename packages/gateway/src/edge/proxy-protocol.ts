import { BlockList, isIP, SocketAddress } from 'node:net'
import type { Socket } from 'node:net'
import { SallyportError } from '@sallyport/base'

/** PROXY protocol, version 2 (HAProxy, "The PROXY protocol", section 2.2). */
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const HEAD = 16
/** Addresses of IPv6, and room for what balancers add. */
const MAX_REST = 536
const V2 = 2
const LOCAL = 0
const PROXY = 1
const TCP4 = 0x11
const TCP6 = 0x21
const OF: ReadonlyMap<number, 12 | 36> = new Map([
  [TCP4, 12],
  [TCP6, 36],
])
/** Kinds of additions (section 2.2.1 ff.) that are read over; `CRC32C` is checked by nobody here, so it is refused. */
const ALPN = 0x01
const AUTHORITY = 0x02
const NOOP = 0x04
const UNIQUE_ID = 0x05
const SSL = 0x20
const NETNS = 0x30
const KNOWN: ReadonlySet<number> = new Set([ALPN, AUTHORITY, NOOP, UNIQUE_ID, SSL, NETNS])
/** Kinds that anybody may use for their own (`PP2_TYPE_MIN_CUSTOM` to `PP2_TYPE_MAX_FUTURE`). */
const OWN_FROM = 0xe0

/** What a frame says: where a connection comes from, or, of a check of the balancer's own, nothing. */
export interface Proxied {
  /** Bytes of the frame. */
  readonly length: number
  readonly source: { readonly address: string; readonly port: number } | undefined
}

/**
 * Reads the frame that a connection through a balancer begins with.
 *
 * @returns undefined where more bytes are needed
 * @throws SallyportError `SP_PROXY_FRAME` for whatever is not exactly one
 * @internal
 */
export function readProxyFrame(bytes: Buffer): Proxied | undefined {
  const there = Math.min(bytes.length, SIGNATURE.length)
  if (!bytes.subarray(0, there).equals(SIGNATURE.subarray(0, there)))
    throw bad('it does not begin as one')
  if (bytes.length < HEAD) return undefined
  const version = bytes.readUInt8(12)
  const family = bytes.readUInt8(13)
  const rest = bytes.readUInt16BE(14)
  if (version >> 4 !== V2) throw bad('its version is not 2')
  const command = version & 0x0f
  if (command !== LOCAL && command !== PROXY) throw bad('its command is unknown')
  if (rest > MAX_REST) throw bad('it is too long')
  const length = HEAD + rest
  if (bytes.length < length) return undefined
  const body = bytes.subarray(HEAD, length)
  if (command === LOCAL) return { length, source: undefined }
  const size = OF.get(family)
  if (size === undefined) throw bad('it is not of a TCP connection')
  if (body.length < size) throw bad('its addresses are cut off')
  checkAdditions(body.subarray(size))
  const at = family === TCP4 ? ipv4(body.subarray(0, 4)) : ipv6(body.subarray(0, 16))
  return { length, source: { address: at, port: body.readUInt16BE(size - 4) } }
}

function checkAdditions(bytes: Buffer): void {
  const seen = new Set<number>()
  for (let at = 0; at < bytes.length;) {
    if (bytes.length - at < 3) throw bad('an addition is cut off')
    const kind = bytes.readUInt8(at)
    const size = bytes.readUInt16BE(at + 1)
    if (!KNOWN.has(kind) && kind < OWN_FROM) throw bad('an addition is of an unknown kind')
    if (kind !== NOOP && seen.has(kind)) throw bad('an addition stands twice')
    seen.add(kind)
    at += 3 + size
    if (at > bytes.length) throw bad('an addition is cut off')
  }
}

const ipv4 = (bytes: Buffer): string => bytes.join('.')

function ipv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16))
  // In the one form that Node writes sockets' addresses in.
  const { address } = new SocketAddress({ address: groups.join(':'), family: 'ipv6' })
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address)
  return mapped?.[1] ?? address
}

const bad = (detail: string): SallyportError =>
  new SallyportError(
    'SP_PROXY_FRAME',
    'the connection does not begin with a PROXY protocol frame',
    {
      detail,
    },
  )

/**
 * Balancers by their addresses.
 *
 * @param ranges addresses, or ranges in CIDR notation
 * @throws SallyportError `SP_PROXY_PEERS`
 */
export function balancers(ranges: readonly string[]): (address: string | undefined) => boolean {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', bits, ...more] = range.split('/')
    const family = isIP(address)
    const most = family === 4 ? 32 : 128
    const prefix = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : -1
    // A range of everybody declares nobody.
    if (family === 0 || more.length > 0 || prefix < 1 || prefix > most) {
      throw new SallyportError(
        'SP_PROXY_PEERS',
        `\`${range.slice(0, 100)}\` is no address and no range`,
        {
          fix: 'write an address (`10.0.0.7`) or a range (`10.0.0.0/29`, `fd00::/64`)',
        },
      )
    }
    list.addSubnet(address, prefix, family === 4 ? 'ipv4' : 'ipv6')
  }
  return (address) => {
    if (address === undefined) return false
    const plain = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address
    const family = isIP(plain)
    return family !== 0 && list.check(plain, family === 4 ? 'ipv4' : 'ipv6')
  }
}

/**
 * Takes the frame off a connection, and nothing behind it. Of a connection that ends with a frame without a source, a check, nobody is told.
 *
 * @param timeoutMs until the frame is whole; without a source, until something follows it
 * @param taken is called once, with the socket as it was before the first byte behind the frame was read
 */
export function takeProxyFrame(
  socket: Socket,
  timeoutMs: number,
  taken: (frame: Proxied) => void,
  refused: (error: SallyportError) => void,
): void {
  let held: Buffer = Buffer.alloc(0)
  const timer = setTimeout(() => {
    fail(bad('it did not come in time'))
  }, timeoutMs)
  const stop = (): void => {
    clearTimeout(timer)
    socket.removeListener('readable', onReadable)
    socket.removeListener('close', stop)
  }
  const fail = (error: SallyportError): void => {
    stop()
    socket.destroy()
    refused(error)
  }
  const onReadable = (): void => {
    try {
      for (;;) {
        // Typed as anything by Node; in this mode it is a buffer.
        const piece = socket.read() as Buffer | null
        if (piece === null) return
        held = Buffer.concat([held, piece])
        const frame = readProxyFrame(held)
        if (!frame) continue
        // A check of the balancer's own may end here, and is no handshake that failed.
        if (frame.source === undefined && held.length === frame.length) continue
        stop()
        if (held.length > frame.length) socket.unshift(held.subarray(frame.length))
        taken(frame)
        return
      }
    } catch (error) {
      fail(error instanceof SallyportError ? error : bad(String(error)))
    }
  }
  socket.on('readable', onReadable)
  socket.once('close', stop)
}
