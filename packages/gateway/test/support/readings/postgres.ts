import { isUtf8 } from 'node:buffer'
import { FrameReader } from '../../../src/sql/wire/frames.ts'
import * as wire from '../../../src/sql/wire/messages.ts'
import { changedBytes, cut, demandSame, orRefused, pick } from './reading.ts'
import type { Kind } from './reading.ts'

/** Reads the content of one message from its first byte on (PostgreSQL, section 54.7); what is not there is a RangeError. */
interface Next {
  readonly u8: () => number
  readonly u16: () => number
  readonly u32: () => number
  readonly hex: (length: number) => string
  /** Undefined for a value that is null. */
  readonly value: () => string | null
  readonly text: () => string
  /** As many as 16 bits say. */
  readonly many: <T>(read: () => T) => T[]
}

/** What a plain reader makes of the whole of a message; undefined where it is none, or where anything is left over. */
function plainly<T>(body: Buffer, read: (next: Next) => T): T | undefined {
  const view = new DataView(body.buffer, body.byteOffset, body.length)
  const bytes = [...body]
  let at = 0
  const hex = (length: number): string => {
    if (length < 0 || at + length > bytes.length) throw new RangeError('too short')
    at += length
    return bytes
      .slice(at - length, at)
      .map((byte) => byte.toString(16).padStart(2, '0'))
      .join('')
  }
  const next: Next = {
    hex,
    u8: () => view.getUint8(at++),
    u16: () => view.getUint16((at += 2) - 2),
    u32: () => view.getUint32((at += 4) - 4),
    value: () => {
      const length = view.getInt32((at += 4) - 4)
      return length === -1 ? null : hex(length)
    },
    text: () => {
      const from = at
      while (view.getUint8(at++) !== 0);
      const part = Uint8Array.from(bytes.slice(from, at - 1))
      if (!isUtf8(part)) throw new RangeError('no text')
      return Buffer.from(part).toString()
    },
    many: (one) => {
      const all = []
      for (let left = next.u16(); left > 0; left--) all.push(one())
      return all
    },
  }
  try {
    const value = read(next)
    return at === bytes.length ? value : undefined
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** Text or binary; another is none that PostgreSQL has. */
const format = ({ u16 }: Next): number => {
  const code = u16()
  if (code > 1) throw new RangeError('no format')
  return code
}

/** What clients say, as a plain reader reads it. */
const SAID: Readonly<Record<string, (next: Next) => unknown>> = {
  Q: ({ text }) => [text()],
  P: ({ text, many, u32 }) => [text(), text(), many(u32)],
  B: (next) => [
    ...[next.text(), next.text(), next.many(() => format(next))],
    ...[next.many(next.value), next.many(() => format(next))],
  ],
  D: named,
  C: named,
  E: ({ text, u32 }) => {
    const portal = text()
    const most = u32()
    // Without a bound where it is none, or below it.
    return [portal, most > 0x7f_ff_ff_ff ? 0 : most]
  },
}

function named({ u8, text }: Next): unknown {
  const of = u8()
  if (of !== 0x53 && of !== 0x50) throw new RangeError('neither of the two')
  return [of === 0x53 ? 'statement' : 'portal', text()]
}

/** The same as the gateway reads it, and the message that it makes of what it read. */
const OURS: Readonly<Record<string, (body: Buffer) => readonly [unknown, Buffer]>> = {
  Q: (body) => {
    const sql = wire.readText(body)
    return [[sql], wire.query(sql)]
  },
  P: (body) => {
    const read = wire.readParse(body)
    return [[read.name, read.sql, read.oids], wire.parse(read)]
  },
  B: (body) => {
    const read = wire.readBind(body)
    const values = read.values.map((value) => value?.toString('hex') ?? null)
    const { portal, statement, formats, resultFormats } = read
    return [[portal, statement, formats, values, resultFormats], wire.bind(read)]
  },
  D: (body) => {
    const read = wire.readNamed(body)
    return [[read.kind === 'S' ? 'statement' : 'portal', read.name], wire.describe(read)]
  },
  C: (body) => {
    const read = wire.readNamed(body)
    return [[read.kind === 'S' ? 'statement' : 'portal', read.name], wire.close(read)]
  },
  E: (body) => {
    const { portal, most } = wire.readExecute(body)
    return [[portal, most], wire.execute(portal, most)]
  },
}

const column = (name: string, type: string): string =>
  `${Buffer.from(name).toString('hex')}00 00004002 0003 ${type} ffff ffffffff 0000`

/** Contents by their letters, by hand. */
const CLIENT: readonly (readonly [string, string])[] = [
  ['Q', '53454c454354203100'],
  ['P', '00 53454c454354202431 00 0000'],
  ['P', '7331 00 53454c45435420c3a9 00 0002 00000017 ffffffff'],
  ['B', '00 00 0000 0000 0000'],
  ['B', '70 00 7331 00 0001 0001 0002 00000002 4142 ffffffff 0002 0000 0001'],
  ['B', '00 7300 0002 0000 0001 0002 00000000 00000004 00000007 0000'],
  ['D', '53 7331 00'],
  ['C', '50 00'],
  ['E', '00 00000000'],
  ['E', '7000 00000064'],
]
const SERVER: readonly (readonly [string, string])[] = [
  ['D', '0003 00000001 31 ffffffff 00000002 c3a9'],
  ['D', '0001 00000000'],
  ['D', '0000'],
  ['T', `0002 ${column('id', '00000017')} ${column('é', '00000019')}`],
  ['T', '0000'],
  ['E', '53 4552524f5200 43 323230303100 4d c3a9 00 00'],
  ['E', '00'],
]

const bytesOf = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex')

function whole(letter: string, body: Buffer): Buffer {
  const head = Buffer.from(`${letter}\0\0\0\0`, 'latin1')
  new DataView(head.buffer, head.byteOffset).setUint32(1, body.length + 4)
  return Buffer.concat([head, body])
}

const MAX_MESSAGE = 80

/** All messages of a stream that are whole; undefined where one of them is too long, or none. */
function messagesOf(bytes: Buffer): string[] | undefined {
  const messages: string[] = []
  let rest = bytes.toString('hex')
  while (rest.length >= 10) {
    const length = Number.parseInt(rest.slice(2, 10), 16)
    if (length < 4 || length > MAX_MESSAGE) return undefined
    const end = 2 + length * 2
    if (rest.length < end) break
    messages.push(`${rest.slice(0, 2)} ${rest.slice(10, end)}`)
    rest = rest.slice(end)
  }
  return messages
}

const plainRow = ({ many, value }: Next): unknown => many(value)
const plainColumns =
  (isShown: boolean) =>
  (next: Next): unknown =>
    next.many(() => {
      const name = next.text()
      const [from, type, rest] = [next.hex(6), next.u32(), next.hex(8)]
      return [name, isShown ? from : '0'.repeat(12), type, rest]
    })
const plainFields = ({ u8, text }: Next): unknown => {
  const fields = new Map<string, string>()
  for (let letter = u8(); letter !== 0; letter = u8()) {
    fields.set(String.fromCharCode(letter), text())
  }
  return [...fields].toSorted(([a], [b]) => (a < b ? -1 : 1))
}

export const postgres: readonly Kind[] = [
  {
    name: 'messages of PostgreSQL in pieces, beside the whole',
    share: 15,
    read: (chance) => {
      const given = Array.from({ length: 1 + chance(3) }, () => {
        const [letter, hex] = pick(chance, CLIENT)
        return whole(letter, bytesOf(hex))
      })
      const bytes = changedBytes(Buffer.concat(given), chance)
      const reader = new FrameReader(MAX_MESSAGE)
      let ours: string[] | undefined = []
      for (const piece of cut(bytes, chance)) {
        const frames = reader.push(piece)
        if (!frames) ours = undefined
        for (const { type, body, raw } of frames ?? []) {
          const letter = Buffer.from(type, 'latin1').toString('hex')
          demandSame('message', raw.toString('hex'), raw.subarray(5).equals(body), true)
          ours?.push(`${letter} ${body.toString('hex')}`)
        }
        // The connection is given up.
        if (!ours) break
      }
      demandSame('messages', bytes.toString('hex'), ours ?? null, messagesOf(bytes) ?? null)
      return ours !== undefined && ours.length > 0 ? 'same' : 'refused'
    },
  },
  {
    name: 'what clients of PostgreSQL say, beside a plain reader',
    share: 20,
    read: (chance) => {
      const [letter, hex] = pick(chance, CLIENT)
      const body = changedBytes(bytesOf(hex), chance)
      const ours = orRefused(() => OURS[letter]?.(body), RangeError)
      const plain = SAID[letter]
      if (!plain) throw new TypeError('nobody reads it')
      const message = `${letter} ${body.toString('hex')}`
      const theirs = plainly(body, plain)
      demandSame('message of PostgreSQL', message, ours?.[0] ?? null, theirs ?? null)
      if (!ours) return 'refused'
      const [one, ...more] = messagesOf(ours[1]) ?? []
      const [type = '', content = ''] = one?.split(' ') ?? []
      demandSame('forwarded message', message, [bytesOf(type).toString(), more], [letter, []])
      demandSame('forwarded message', message, plainly(bytesOf(content), plain), theirs)
      return 'same'
    },
  },
  {
    name: 'what PostgreSQL answers, beside a plain reader',
    share: 15,
    read: (chance) => {
      const [letter, hex] = pick(chance, SERVER)
      const body = changedBytes(bytesOf(hex), chance)
      const message = `${letter} ${body.toString('hex')}`
      const of = (written: Buffer, read: (next: Next) => unknown): unknown =>
        plainly(written.subarray(5), read)
      if (letter === 'E') {
        const ours = orRefused(() => wire.errorFields(body), RangeError)
        if (!ours) return 'refused'
        const read = Object.entries(ours).toSorted(([a], [b]) => (a < b ? -1 : 1))
        demandSame('error of PostgreSQL', message, read, plainly(body, plainFields) ?? null)
        return 'same'
      }
      if (letter === 'T') {
        const types = orRefused(() => wire.columnTypes(body), RangeError)
        const shown = orRefused(() => wire.strippedDescription(body), RangeError)
        const theirs = plainly(body, plainColumns(false))
        const theirTypes = plainly(body, (next) =>
          next.many(() => [next.text(), next.hex(6), next.u32(), next.hex(8)][2]),
        )
        demandSame('types of columns', message, types ?? null, theirTypes ?? null)
        const ours = shown && of(shown, plainColumns(true))
        demandSame('description of columns', message, ours ?? null, theirs ?? null)
        return shown ? 'same' : 'refused'
      }
      const theirs = plainly(body, ({ many, value }) => many(value))
      const seen: (string | null)[] = Array.from({ length: theirs?.length ?? 0 }, () => null)
      const told = orRefused(() => {
        wire.eachValue(body, (value, at) => {
          seen[at] = value.toString('hex')
        })
        return seen
      }, RangeError)
      demandSame('row', message, told ?? null, theirs ?? null)
      const masked = orRefused(
        () => wire.changedRow(body, new Map([[0, () => Buffer.from('mask')]])),
        RangeError,
      )
      const ours = masked && of(masked, plainRow)
      const hidden = theirs?.map((value, i) => (i > 0 || value === null ? value : '6d61736b'))
      demandSame('row with a mask', message, ours ?? null, hidden ?? null)
      return masked ? 'same' : 'refused'
    },
  },
]
