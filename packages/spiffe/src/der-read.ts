import { SallyportError } from '@sallyport/base'

/** One DER element (X.690): its tag byte, its content, and its whole encoding. */
export interface DerNode {
  readonly tag: number
  readonly content: Buffer
  readonly raw: Buffer
}

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

export function malformed(what: string): SallyportError {
  return new SallyportError('SP_SVID_MALFORMED', 'the certificate is malformed', { detail: what })
}

/**
 * Walks the elements of one DER constructed value, refusing everything that BER allows and DER does not:
 * indefinite or non-minimal lengths, multi-byte tags, content that runs past its parent.
 */
export class DerReader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get done(): boolean {
    return this.#at === this.#bytes.length
  }

  /** Tag of the next element, or undefined at the end. */
  peek(): number | undefined {
    return this.#bytes[this.#at]
  }

  /** The next element, whatever its tag; with `tag`, exactly that one. */
  next(tag?: number): DerNode {
    const start = this.#at
    const found = this.#byte()
    if ((found & 0x1f) === 0x1f) throw malformed('a multi-byte tag')
    if (tag !== undefined && found !== tag) {
      throw malformed(`tag 0x${found.toString(16)} where 0x${tag.toString(16)} must stand`)
    }
    const length = this.#length()
    const from = this.#at
    if (length > this.#bytes.length - from) throw malformed('an element runs past its parent')
    this.#at = from + length
    return {
      tag: found,
      content: this.#bytes.subarray(from, this.#at),
      raw: this.#bytes.subarray(start, this.#at),
    }
  }

  /** The next element if it has this tag. */
  optional(tag: number): DerNode | undefined {
    return this.peek() === tag ? this.next(tag) : undefined
  }

  /** @throws SallyportError `SP_SVID_MALFORMED` where bytes are left over */
  end(): void {
    if (!this.done) throw malformed('bytes after the last element')
  }

  #byte(): number {
    const byte = this.#bytes[this.#at]
    if (byte === undefined) throw malformed('the encoding ends early')
    this.#at++
    return byte
  }

  #length(): number {
    const first = this.#byte()
    if (first < 0x80) return first
    const count = first & 0x7f
    if (count === 0 || count > 3) throw malformed('an indefinite or oversized length')
    let length = 0
    for (let i = 0; i < count; i++) length = length * 256 + this.#byte()
    if (length < 0x80 || length < 2 ** (8 * (count - 1))) throw malformed('a length not minimal')
    return length
  }
}

/** Reads exactly one element that fills the buffer. */
export function readOne(bytes: Buffer, tag: number): DerNode {
  const reader = new DerReader(bytes)
  const node = reader.next(tag)
  reader.end()
  return node
}

export function readBoolean(node: DerNode): boolean {
  if (node.content.length !== 1) throw malformed('a BOOLEAN of the wrong length')
  if (node.content[0] === 0xff) return true
  if (node.content[0] === 0x00) return false
  throw malformed('a BOOLEAN that is neither 00 nor FF')
}

/** Content octets of a non-negative, minimal INTEGER. */
export function readUnsigned(node: DerNode): Buffer {
  const { content } = node
  const [first, second] = content
  if (first === undefined) throw malformed('an empty INTEGER')
  if (first >= 0x80) throw malformed('a negative INTEGER')
  if (first === 0 && content.length > 1) {
    if (second === undefined || second < 0x80) throw malformed('an INTEGER not minimal')
    return content.subarray(1)
  }
  return content
}

export function readSmallInteger(node: DerNode): number {
  const bytes = readUnsigned(node)
  if (bytes.length > 4) throw malformed('an INTEGER too large here')
  return bytes.readUIntBE(0, bytes.length)
}

/** Dotted form of an OBJECT IDENTIFIER. */
export function readOid(node: DerNode): string {
  const { content } = node
  if (content.length === 0 || content.length > 64) throw malformed('an OBJECT IDENTIFIER too long')
  const arcs: number[] = []
  let arc = 0
  let fresh = true
  for (const byte of content) {
    if (fresh && byte === 0x80) throw malformed('an OBJECT IDENTIFIER not minimal')
    arc = arc * 128 + (byte & 0x7f)
    if (!Number.isSafeInteger(arc)) throw malformed('an OBJECT IDENTIFIER arc too large')
    fresh = (byte & 0x80) === 0
    if (fresh) {
      arcs.push(arc)
      arc = 0
    }
  }
  if (!fresh) throw malformed('an OBJECT IDENTIFIER ends early')
  const [first = 0, ...others] = arcs
  const root = Math.min(2, Math.floor(first / 40))
  return [root, first - root * 40, ...others].join('.')
}

/** Octets of a BIT STRING that has no unused bits (signatures, keys). */
export function readBitOctets(node: DerNode): Buffer {
  if (node.content[0] !== 0) throw malformed('a BIT STRING with unused bits')
  return node.content.subarray(1)
}

/** Numbers of the bits set in a named-bit BIT STRING; DER forbids trailing zero bits (X.690, 11.2.2). */
export function readNamedBits(node: DerNode): Set<number> {
  const [unused, ...bytes] = node.content
  if (unused === undefined || unused > 7 || (bytes.length === 0 && unused !== 0)) {
    throw malformed('a BIT STRING with a wrong count of unused bits')
  }
  const bits = new Set<number>()
  bytes.forEach((byte, index) => {
    for (let bit = 0; bit < 8; bit++) if (byte & (0x80 >> bit)) bits.add(index * 8 + bit)
  })
  if (bytes.length > 0 && !bits.has(bytes.length * 8 - 1 - unused)) {
    throw malformed('a named-bit BIT STRING with trailing zero bits')
  }
  return bits
}

/** UTCTime until 2049, GeneralizedTime from 2050, in seconds and Zulu (RFC 5280, 4.1.2.5); milliseconds since the epoch. */
export function readTime(node: DerNode): number {
  const text = node.content.toString('latin1')
  let full: string
  if (node.tag === TAG.utcTime) {
    if (!/^\d{12}Z$/.test(text)) throw malformed('a UTCTime not in `YYMMDDHHMMSSZ`')
    full = `${Number(text.slice(0, 2)) >= 50 ? '19' : '20'}${text}`
  } else if (node.tag === TAG.generalizedTime) {
    if (!/^\d{14}Z$/.test(text)) throw malformed('a GeneralizedTime not in `YYYYMMDDHHMMSSZ`')
    if (Number(text.slice(0, 4)) < 2050) throw malformed('a GeneralizedTime before 2050')
    full = text
  } else throw malformed('a time of another type')
  const iso = full.replace(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6.000Z')
  const at = Date.parse(iso)
  // Date.parse rolls some impossible dates over; the round trip does not forgive them.
  if (Number.isNaN(at) || new Date(at).toISOString() !== iso) throw malformed('an impossible date')
  return at
}
