/** Bytes that are no message of Protocol Buffers. Always caught, and told in the words of whoever sent them. */
export class MalformedWire extends Error {}

/** Kinds of values on the wire (Protocol Buffers encoding, "Message Structure"); 3 and 4, of groups, are read nowhere. */
export const WIRE: { readonly varint: 0; readonly i64: 1; readonly bytes: 2; readonly i32: 5 } = {
  varint: 0,
  i64: 1,
  bytes: 2,
  i32: 5,
}

const MAX_FIELD_NUMBER = 0x1fff_ffff
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Reads what messages are made of, with one reading only: whatever parsers differ on is refused. */
export class WireReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get isDone(): boolean {
    return this.#at >= this.#bytes.length
  }

  /** @throws MalformedWire for a number that no field can have, and for groups */
  tag(): { readonly number: number; readonly kind: number } {
    const key = this.varint()
    // A tag has 32 bits; parsers differ on what becomes of more.
    if (typeof key === 'bigint' && key > 0xffff_ffffn) throw new MalformedWire('a tag is too long')
    const value = Number(key)
    const [number, kind] = [Math.floor(value / 8), value % 8]
    if (number < 1 || number > MAX_FIELD_NUMBER) throw new MalformedWire('a field has no number')
    if (kind !== 0 && kind !== 1 && kind !== 2 && kind !== 5) {
      throw new MalformedWire('a field is a group, or of no known kind')
    }
    return { number, kind }
  }

  /** 64 bits, as they stand; a number where it is small. */
  varint(): number | bigint {
    let small = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.#byte()
      small |= (byte & 0x7f) << shift
      if (byte < 0x80) return small
    }
    let value = BigInt(small)
    for (let shift = 28n; shift < 63n; shift += 7n) {
      const byte = this.#byte()
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    const last = this.#byte()
    // Its tenth byte has room for one bit.
    if (last > 1) throw new MalformedWire('a number has more than 64 bits')
    return value | (BigInt(last) << 63n)
  }

  i32(): number {
    return this.#view.getUint32(this.#step(4), true)
  }

  i64(): bigint {
    return this.#view.getBigUint64(this.#step(8), true)
  }

  float(): number {
    return this.#view.getFloat32(this.#step(4), true)
  }

  double(): number {
    return this.#view.getFloat64(this.#step(8), true)
  }

  /** Of a text, bytes, a message, or numbers packed together. */
  bytes(): Uint8Array {
    const length = this.varint()
    if (length > this.#bytes.length - this.#at) throw new MalformedWire('it ends within a field')
    const at = this.#step(Number(length))
    return this.#bytes.subarray(at, this.#at)
  }

  skip(kind: number): void {
    if (kind === WIRE.varint) this.varint()
    else if (kind === WIRE.bytes) this.bytes()
    else this.#step(kind === WIRE.i64 ? 8 : 4)
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++]
    if (byte === undefined) throw new MalformedWire('it ends within a number')
    return byte
  }

  /** @returns where it stood before */
  #step(length: number): number {
    if (length > this.#bytes.length - this.#at) throw new MalformedWire('it ends within a field')
    this.#at += length
    return this.#at - length
  }
}

/** @throws MalformedWire */
export function wireText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw new MalformedWire('a text is not UTF-8')
  }
}
