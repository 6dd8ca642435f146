import { Duplex } from 'node:stream'
import type { Chance } from '../near-http.ts'
import { END_HEADERS, END_STREAM, frame, FRAME } from '../h2.ts'
import type { Field } from './strict-h2.ts'

/** Of RFC 7541, appendix A: what is written by a number. */
const STATIC: readonly (readonly [number, string, string | undefined])[] = [
  [1, ':authority', undefined],
  [2, ':method', 'GET'],
  [3, ':method', 'POST'],
  [4, ':path', '/'],
  [7, ':scheme', 'https'],
  [19, 'accept', undefined],
  [28, 'content-length', undefined],
  [31, 'content-type', undefined],
  [38, 'host', undefined],
]
const FIRST_OWN = 62
const PADDED = 8
const PRIORITY = 32

/** Writes heads as HPACK has them (RFC 7541), in any of its ways but Huffman's. */
export class HeadWriter {
  /** The newest first. */
  #own: Field[] = []

  /** @param latin each character of a field is one byte */
  block(list: readonly Field[], chance: Chance): Buffer {
    const parts: Buffer[] = []
    if (chance(8) === 0) {
      // Section 6.3: all is forgotten, and there is room again.
      parts.push(number(0x20, 5, 0), number(0x20, 5, 4096))
      this.#own = []
    }
    return Buffer.concat([...parts, ...list.map((field) => this.#field(field, chance))])
  }

  #field([name, value]: Field, chance: Chance): Buffer {
    const own = this.#own.findIndex(([of, is]) => of === name && is === value)
    if (own >= 0 && chance(2) === 0) return number(0x80, 7, FIRST_OWN + own)
    const known = STATIC.find(([, of, is]) => of === name && is === value)
    if (known && chance(2) === 0) return number(0x80, 7, known[0])
    const named = chance(2) === 0 ? STATIC.find(([, of]) => of === name)?.[0] : undefined
    const ofName = (first: number, bits: number): Buffer[] => [
      number(first, bits, named ?? 0),
      ...(named === undefined ? [text(name)] : []),
      text(value),
    ]
    switch (chance(3)) {
      case 0:
        this.#own.unshift([name, value])
        return Buffer.concat(ofName(0x40, 6))
      case 1:
        return Buffer.concat(ofName(0x10, 4))
      default:
        return Buffer.concat(ofName(0x00, 4))
    }
  }
}

const text = (value: string): Buffer => {
  const bytes = Buffer.from(value, 'latin1')
  return Buffer.concat([number(0, 7, bytes.length), bytes])
}

/** RFC 7541, section 5.1. */
function number(first: number, bits: number, value: number): Buffer {
  const most = 2 ** bits - 1
  if (value < most) return Buffer.of(first | value)
  const bytes = [first | most]
  let left = value - most
  while (left > 127) {
    bytes.push((left & 127) | 128)
    left >>= 7
  }
  return Buffer.of(...bytes, left)
}

/** The frames of a head, cut anywhere, padded or not (RFC 9113, section 6.2). */
export function headFrames(block: Buffer, id: number, isAll: boolean, chance: Chance): Buffer {
  const at = chance(3) === 0 ? chance(block.length + 1) : block.length
  const [one, rest] = [block.subarray(0, at), block.subarray(at)]
  const pad = chance(4) === 0 ? chance(9) : undefined
  const hasPriority = chance(6) === 0
  const flags =
    (isAll ? END_STREAM : 0) |
    (rest.length === 0 ? END_HEADERS : 0) |
    (pad === undefined ? 0 : PADDED) |
    (hasPriority ? PRIORITY : 0)
  const payload = Buffer.concat([
    Buffer.from(pad === undefined ? [] : [pad]),
    Buffer.alloc(hasPriority ? 5 : 0),
    one,
    Buffer.alloc(pad ?? 0),
  ])
  const frames = [frame(FRAME.headers, flags, id, payload)]
  if (rest.length > 0) {
    const cut = chance(rest.length + 1)
    frames.push(frame(FRAME.continuation, 0, id, rest.subarray(0, cut)))
    frames.push(frame(FRAME.continuation, END_HEADERS, id, rest.subarray(cut)))
  }
  return Buffer.concat(frames)
}

/** Two ends of one connection that is in memory alone. */
export function ends(): readonly [Duplex, Duplex] {
  const make = (other: () => Duplex): Duplex =>
    new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        other().push(chunk)
        done()
      },
      final: (done) => {
        other().push(null)
        done()
      },
      destroy: (error, done) => {
        other().push(null)
        done(error)
      },
    })
  const one: Duplex = make(() => two)
  const two: Duplex = make(() => one)
  return [one, two]
}
