/** The CBOR values that COSE keys and authenticator extensions hold. */
export type CborValue =
  | number
  | string
  | boolean
  | null
  | Buffer
  | readonly CborValue[]
  | ReadonlyMap<number | string, CborValue>

const MAX_DEPTH = 8

/**
 * Reads one data item of the deterministic CBOR subset that CTAP2 allows (RFC 8949 section 4.2, CTAP 2.1
 * section 8): definite lengths, shortest integers, no tags, no floats, no duplicate keys, keys that are integers or texts.
 *
 * @returns the value and the offset behind it
 * @throws RangeError where the bytes are anything else
 */
export function readCbor(bytes: Buffer, offset: number = 0): { value: CborValue; end: number } {
  const reader = new Reader(bytes, offset)
  const value = reader.item(0)
  return { value, end: reader.at }
}

class Reader {
  readonly #bytes: Buffer
  at: number

  constructor(bytes: Buffer, offset: number) {
    this.#bytes = bytes
    this.at = offset
  }

  item(depth: number): CborValue {
    if (depth > MAX_DEPTH) throw new RangeError('cbor: nested too deep')
    const first = this.#take(1)[0] ?? 0
    const major = first >> 5
    const info = first & 31
    if (major === 7) return simple(info)
    const argument = this.#argument(info)
    switch (major) {
      case 0:
        return argument
      case 1:
        return -1 - argument
      case 2:
        return Buffer.from(this.#take(argument))
      case 3:
        return utf8(this.#take(argument))
      case 4:
        return this.#array(argument, depth)
      case 5:
        return this.#map(argument, depth)
      default:
        throw new RangeError('cbor: tags are not accepted')
    }
  }

  #take(count: number): Buffer {
    if (count > this.#bytes.length - this.at) throw new RangeError('cbor: truncated')
    const part = this.#bytes.subarray(this.at, this.at + count)
    this.at += count
    return part
  }

  #argument(info: number): number {
    if (info < 24) return info
    const width = info === 24 ? 1 : info === 25 ? 2 : info === 26 ? 4 : 0
    if (width === 0) throw new RangeError('cbor: 64-bit and indefinite lengths are not accepted')
    const value = this.#take(width).readUIntBE(0, width)
    const smallest = width === 1 ? 24 : width === 2 ? 0x100 : 0x1_0000
    if (value < smallest) throw new RangeError('cbor: not in the shortest form')
    return value
  }

  #array(count: number, depth: number): CborValue[] {
    const items: CborValue[] = []
    for (let i = 0; i < count; i++) items.push(this.item(depth + 1))
    return items
  }

  #map(count: number, depth: number): Map<number | string, CborValue> {
    const entries = new Map<number | string, CborValue>()
    for (let i = 0; i < count; i++) {
      const key = this.item(depth + 1)
      if (typeof key !== 'number' && typeof key !== 'string') {
        throw new RangeError('cbor: keys are integers or texts')
      }
      if (entries.has(key)) throw new RangeError('cbor: the same key twice')
      entries.set(key, this.item(depth + 1))
    }
    return entries
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function utf8(bytes: Buffer): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new RangeError('cbor: a text that is not UTF-8')
  }
}

function simple(info: number): CborValue {
  if (info === 20) return false
  if (info === 21) return true
  if (info === 22) return null
  throw new RangeError('cbor: floats and other simple values are not accepted')
}
