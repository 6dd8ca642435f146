/** Value of an attribute: a CK_BBOOL, a CK_ULONG, or bytes. */
type AttributeValue = boolean | number | Uint8Array
export type Template = readonly (readonly [type: number, value: AttributeValue])[]

const ULONG = 8
/** CK_ATTRIBUTE: type, pointer, length. */
const ATTRIBUTE = 3 * ULONG

/**
 * C structures in memory that JavaScript owns, so that it can be wiped. Pointers in it point into itself: it does not move while it is
 * referenced.
 */
export interface Structure {
  readonly buffer: Buffer
  readonly count: number
}

/** Says at which address a buffer lies. */
export type AddressOf = (buffer: Buffer) => bigint

/** CK_ATTRIBUTE[] with its values behind it. */
export function template(attributes: Template, addressOf: AddressOf): Structure {
  const values = attributes.map(([, value]) => octets(value))
  const buffer = Buffer.alloc(
    values.reduce((sum, value) => sum + aligned(value.byteLength), attributes.length * ATTRIBUTE),
  )
  const base = addressOf(buffer)
  let at = attributes.length * ATTRIBUTE
  for (const [i, [type]] of attributes.entries()) {
    const value = values[i] ?? Buffer.alloc(0)
    buffer.set(value, at)
    words(buffer, i * ATTRIBUTE, [BigInt(type), base + BigInt(at), BigInt(value.byteLength)])
    at += aligned(value.byteLength)
  }
  return { buffer, count: attributes.length }
}

/** CK_ATTRIBUTE[] with room for what C_GetAttributeValue writes. */
export function query(
  types: readonly { readonly type: number; readonly room: number }[],
  addressOf: AddressOf,
): Structure {
  return template(
    types.map(({ type, room }) => [type, Buffer.alloc(room)]),
    addressOf,
  )
}

/** What was written for the i-th attribute of a query; undefined where there is none. */
export function answer({ buffer }: Structure, i: number, addressOf: AddressOf): Buffer | undefined {
  const length = buffer.readBigUInt64LE(i * ATTRIBUTE + 2 * ULONG)
  const start = Number(buffer.readBigUInt64LE(i * ATTRIBUTE + ULONG) - addressOf(buffer))
  // CK_UNAVAILABLE_INFORMATION, or more than there was room for.
  if (length > BigInt(buffer.byteLength - start)) return undefined
  return Buffer.from(buffer.subarray(start, start + Number(length)))
}

/** CK_MECHANISM without a parameter. */
export function mechanism(type: number): Buffer {
  return words(Buffer.alloc(3 * ULONG), 0, [BigInt(type), 0n, 0n])
}

/** CK_MECHANISM with CK_GCM_PARAMS (v2.40: IV, its length in bytes and bits, AAD, its length, bits of the tag). */
export function gcmMechanism(
  type: number,
  iv: Uint8Array,
  aad: Uint8Array,
  addressOf: AddressOf,
): Buffer {
  const parameters = 3 * ULONG
  const ivAt = parameters + 6 * ULONG
  const aadAt = ivAt + aligned(iv.byteLength)
  const buffer = Buffer.alloc(aadAt + aligned(aad.byteLength))
  const base = addressOf(buffer)
  buffer.set(iv, ivAt)
  buffer.set(aad, aadAt)
  words(buffer, 0, [BigInt(type), base + BigInt(parameters), BigInt(6 * ULONG)])
  const ivBytes = BigInt(iv.byteLength)
  words(buffer, parameters, [base + BigInt(ivAt), ivBytes, ivBytes * 8n])
  words(buffer, parameters + 3 * ULONG, [base + BigInt(aadAt), BigInt(aad.byteLength), 128n])
  return buffer
}

function octets(value: AttributeValue): Uint8Array {
  if (typeof value === 'boolean') return Buffer.from([value ? 1 : 0])
  if (typeof value === 'number') return words(Buffer.alloc(ULONG), 0, [BigInt(value)])
  return value
}

function words(buffer: Buffer, at: number, values: readonly bigint[]): Buffer {
  for (const [i, value] of values.entries()) buffer.writeBigUInt64LE(value, at + i * ULONG)
  return buffer
}

const aligned = (bytes: number): number => Math.ceil(bytes / ULONG) * ULONG
