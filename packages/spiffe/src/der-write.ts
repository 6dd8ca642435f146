import { TAG } from './der-read.ts'

/** Encodes one DER element with a minimal definite length. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  let header: number[]
  if (length < 0x80) header = [tag, length]
  else if (length < 0x100) header = [tag, 0x81, length]
  else if (length < 0x10000) header = [tag, 0x82, length >> 8, length & 0xff]
  else throw new RangeError('a DER element over 64 KiB')
  return Buffer.concat([Buffer.from(header), content])
}

export const sequence = (...parts: readonly Uint8Array[]): Buffer => der(TAG.sequence, ...parts)

export const set = (...parts: readonly Uint8Array[]): Buffer => der(TAG.set, ...parts)

export const octets = (content: Uint8Array): Buffer => der(TAG.octetString, content)

export const boolean = (value: boolean): Buffer => der(TAG.boolean, Buffer.from([value ? 0xff : 0]))

export const bits = (content: Uint8Array): Buffer => der(TAG.bitString, Buffer.from([0]), content)

/** An unsigned big-endian number; a leading zero octet is added where the sign bit would be set. */
export function unsigned(bytes: Uint8Array): Buffer {
  let from = 0
  while (from < bytes.length - 1 && bytes[from] === 0) from++
  const minimal = bytes.subarray(from)
  return der(TAG.integer, ...((minimal[0] ?? 0) >= 0x80 ? [Buffer.from([0])] : []), minimal)
}

export function oid(dotted: string): Buffer {
  const [a = 0, b = 0, ...rest] = dotted.split('.').map(Number)
  const bytes: number[] = []
  for (const arc of [a * 40 + b, ...rest]) {
    const groups = [arc & 0x7f]
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      groups.unshift((left & 0x7f) | 0x80)
    }
    bytes.push(...groups)
  }
  return der(TAG.oid, Buffer.from(bytes))
}

/** A named-bit BIT STRING without trailing zero bits (X.690, 11.2.2); only bits 0 to 7. */
export function namedBits(...set: readonly number[]): Buffer {
  let byte = 0
  for (const bit of set) byte |= 0x80 >> bit
  return der(TAG.bitString, Buffer.from([7 - Math.max(...set), byte]))
}

/** UTCTime until 2049, GeneralizedTime from 2050 (RFC 5280, 4.1.2.5); whole seconds. */
export function time(at: number): Buffer {
  const digits = new Date(at)
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(/[-:T]/g, '')
  return digits < '2050'
    ? der(TAG.utcTime, Buffer.from(digits.slice(2), 'latin1'))
    : der(TAG.generalizedTime, Buffer.from(digits, 'latin1'))
}

export function pem(label: string, content: Uint8Array): string {
  const lines =
    Buffer.from(content)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
