/** The part of CBOR (RFC 8949) that WebAuthn needs: integers, byte and text strings, maps. Definite lengths only. */
export type Cbor = number | string | Uint8Array | ReadonlyMap<number | string, Cbor>

function head(major: number, value: number): Buffer {
  const lead = major << 5
  if (value < 24) return Buffer.from([lead | value])
  if (value < 256) return Buffer.from([lead | 24, value])
  if (value < 65_536) return Buffer.from([lead | 25, value >> 8, value & 255])
  throw new RangeError('the value is too long')
}

/** Encodes a value; integers from −65,536 to 65,535. */
export function encodeCbor(value: Cbor): Buffer {
  if (typeof value === 'number') return value >= 0 ? head(0, value) : head(1, -1 - value)
  if (typeof value === 'string') {
    const bytes = Buffer.from(value)
    return Buffer.concat([head(3, bytes.length), bytes])
  }
  if (value instanceof Uint8Array) return Buffer.concat([head(2, value.length), value])
  const parts = [head(5, value.size)]
  for (const [key, item] of value) parts.push(encodeCbor(key), encodeCbor(item))
  return Buffer.concat(parts)
}
