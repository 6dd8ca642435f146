import { PassThrough } from 'node:stream'
import type { Socket } from 'node:net'
import { readProxyFrame, takeProxyFrame } from '../../../src/edge/proxy-protocol.ts'
import type { Proxied } from '../../../src/edge/proxy-protocol.ts'
import type { Chance } from '../near-http.ts'
import { changedBytes, cut, demandSame, orRefused, pick } from './reading.ts'
import type { Kind } from './reading.ts'

const MAGIC = '0d0a0d0a000d0a515549540a'
const V4 = 'cb007109 0a000001 1f90 01bb'
const V6 = `20010db8${'0'.repeat(22)}09 fd00${'0'.repeat(27)}1 1f90 01bb`
const MAPPED = `${'0'.repeat(20)}ffffcb007109 ${'0'.repeat(31)}1 1f90 01bb`

/** Version and command, family, and all that follows the length. */
const FRAMES: readonly (readonly [string, string])[] = [
  ['2111', V4],
  ['2111', `${V4} 02 0004 68312e61 04 0003 000000`],
  ['2111', `${V4} 01 0002 6832 05 0001 41 e0 0000`],
  ['2111', `${V4} 20 0008 0100000000210000 30 0001 61`],
  ['2121', V6],
  ['2121', MAPPED],
  ['2121', `${V6} 04 0000 04 0001 00`],
  ['2000', ''],
  ['2011', V4],
]
/** What may stand behind it: the beginning of a handshake. */
const BEHIND = Buffer.from('160301000601000002', 'hex')

const bytesOf = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex')

function nearFrame(chance: Chance): Buffer {
  const [head, rest] = pick(chance, FRAMES)
  const body = bytesOf(rest)
  // Changed with the right length and with any.
  const changedBody = chance(3) === 0 ? changedBytes(body, chance) : body
  const length = changedBody.length.toString(16).padStart(4, '0')
  const frame = Buffer.concat([bytesOf(`${MAGIC}${head}${length}`), changedBody])
  const bytes = chance(3) === 0 ? changedBytes(frame, chance) : frame
  return Buffer.concat([bytes, BEHIND.subarray(0, chance(BEHIND.length + 1))])
}

type Read = 'none' | 'more' | { readonly length: number; readonly from: string | null }

/** By "The PROXY protocol", section 2.2, from the digits of the bytes: additions of kinds that it does not know are left alone. */
function specFrame(bytes: Buffer): Read {
  const digits = bytes.toString('hex')
  const magic = digits.slice(0, MAGIC.length)
  if (!MAGIC.startsWith(magic)) return 'none'
  const [, version, command, family, rest] = /^.{24}(.)(.)(..)(.{4})/.exec(digits) ?? []
  if (rest === undefined) return 'more'
  if (version !== '2' || (command !== '0' && command !== '1')) return 'none'
  const length = 16 + Number.parseInt(rest, 16)
  if (bytes.length < length) return 'more'
  if (command === '0') return { length, from: null }
  const body = digits.slice(32, length * 2)
  const four = family === '11' ? /^(.{8}).{8}(.{4}).{4}(.*)$/.exec(body) : null
  const six = family === '21' ? /^(.{32}).{32}(.{4}).{4}(.*)$/.exec(body) : null
  const [, address = '', port = '', more = ''] = four ?? six ?? []
  if (address === '') return 'none'
  for (let left = more; left !== '';) {
    const [, size] = /^..(.{4})/.exec(left) ?? []
    const end = size === undefined ? Number.NaN : 6 + Number.parseInt(size, 16) * 2
    if (!(end <= left.length)) return 'none'
    left = left.slice(end)
  }
  const spelled = six && !address.startsWith(`${'0'.repeat(20)}ffff`)
  const at = spelled
    ? `[${(address.match(/.{4}/g) ?? []).join(':')}]`
    : (address.slice(-8).match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16)).join('.')
  return { length, from: sameHost(at, Number.parseInt(port, 16)) }
}

/** In the one spelling that browsers have for it. */
const sameHost = (host: string, port: number): string =>
  `${new URL(`x://${host}`).hostname} ${port}`

function spelled(frame: Proxied | undefined): Read {
  if (!frame) return 'more'
  const { length, source } = frame
  if (!source) return { length, from: null }
  const { address, port } = source
  return { length, from: sameHost(address.includes(':') ? `[${address}]` : address, port) }
}

/** What a door makes of a connection whose bytes come in pieces, and what it leaves of them for whoever comes next. */
async function taken(
  pieces: readonly Buffer[],
): Promise<{ readonly read: Read; readonly left: string }> {
  // A stream is all that is used of it.
  const socket = new PassThrough() as unknown as Socket
  let read: Read | undefined
  takeProxyFrame(
    socket,
    600_000,
    (frame) => {
      read = spelled(frame)
    },
    () => {
      read = 'none'
    },
  )
  let left = ''
  for (const piece of pieces) {
    if (!socket.destroyed) socket.write(piece)
    await new Promise(setImmediate)
  }
  if (read !== undefined) {
    for (let more: unknown; (more = socket.read()) !== null;) {
      // Typed as anything by Node; in this mode it is a buffer.
      left += (more as Buffer).toString('hex')
    }
  }
  socket.destroy()
  // Its clock stops where it is closed.
  await new Promise(setImmediate)
  return { read: read ?? 'more', left }
}

export const proxy: readonly Kind[] = [
  {
    name: 'frames of the PROXY protocol, beside a reader by its text',
    share: 15,
    read: (chance) => {
      const bytes = nearFrame(chance)
      const hex = bytes.toString('hex')
      const theirs = specFrame(bytes)
      const ours = orRefused(() => spelled(readProxyFrame(bytes)))
      // What it refuses beyond the text, such as kinds of additions, it may refuse.
      if (ours === undefined) return 'refused'
      demandSame('frame', hex, ours, theirs)
      // However much of it has come, it is the same frame or none yet.
      for (let at = 0; at < bytes.length; at++) {
        const some = spelled(readProxyFrame(bytes.subarray(0, at)))
        const isWhole = ours !== 'more' && typeof ours === 'object' && at >= ours.length
        demandSame('a part of a frame', [hex, at], some, isWhole ? ours : 'more')
      }
      return ours === 'more' ? 'refused' : 'same'
    },
  },
  {
    name: 'connections that begin with such frames, in pieces',
    share: 3,
    read: async (chance) => {
      const bytes = nearFrame(chance)
      const { read, left } = await taken(cut(bytes, chance))
      if (read === 'none') return 'refused'
      const hex = bytes.toString('hex')
      const frame = specFrame(bytes)
      // One without a source may be a check of the balancer's: it is none until something follows it.
      const waits =
        typeof frame === 'object' && frame.from === null && frame.length === bytes.length
      demandSame('frame of a connection', hex, read, waits ? 'more' : frame)
      if (typeof read !== 'object') return 'refused'
      demandSame('what is behind a frame', hex, left, hex.slice(read.length * 2))
      return 'same'
    },
  },
]
