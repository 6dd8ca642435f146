import type { Server } from 'node:net'
import { isIPv6 } from 'node:net'

/** One who holds this many is no browser; those of everybody else stay free. */
const MAX_PER_ADDRESS = 128

/** Whoever holds an IPv6 address holds its whole /64 (RFC 6177), so that is what counts. */
export function addressKey(address: string): string {
  if (!isIPv6(address)) return address
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped) return mapped[1] ?? address
  const [head = '', tail] = address.split('%')[0]?.split('::') ?? []
  const groups = head === '' ? [] : head.split(':')
  const rest = tail === undefined || tail === '' ? 0 : tail.split(':').length
  const zeros = tail === undefined ? 0 : 8 - groups.length - rest
  return [...groups, ...Array<string>(zeros).fill('0')].slice(0, 4).join(':')
}

/** Closes connections of one address beyond `MAX_PER_ADDRESS`, before the handshake. */
export function capPerAddress<S extends Server>(server: S): S {
  const open = new Map<string, number>()
  server.on('connection', (socket) => {
    const key = addressKey(socket.remoteAddress ?? '')
    const count = (open.get(key) ?? 0) + 1
    open.set(key, count)
    socket.once('close', () => {
      const left = (open.get(key) ?? 1) - 1
      if (left === 0) open.delete(key)
      else open.set(key, left)
    })
    if (count > MAX_PER_ADDRESS) socket.destroy()
  })
  return server
}
