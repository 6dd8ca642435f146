import { GRPC_ANY, WIRE } from '@sallyport/network'
import type { GrpcField, GrpcSystem } from '@sallyport/network'
import { anyUrl, enumOf, kindOf, messageOf } from './read.ts'

const MAX_I64 = 2n ** 63n
const MAX_U64 = 2n ** 64n

/**
 * Writes members by the names of fields as a message, in the order of their numbers. A value that is none of its field's type is
 * left out: one that was masked, say, where a number was.
 */
export function writeMessage(types: GrpcSystem, name: string, value: unknown): Buffer {
  return new Writer(types).message(name, value)
}

class Writer {
  readonly #types: GrpcSystem

  constructor(types: GrpcSystem) {
    this.#types = types
  }

  message(name: string, value: unknown): Buffer {
    const { fields, isMapEntry } = messageOf(this.#types, name)
    if (typeof value !== 'object' || value === null) return Buffer.alloc(0)
    const parts: Buffer[] = []
    for (const field of fields) {
      if (!Object.hasOwn(value, field.name)) continue
      // Asked for by an own name of an object.
      const given = (value as Readonly<Record<string, unknown>>)[field.name]
      if (field.presence === 'repeated') this.#list(field, given, parts)
      else {
        const bytes = this.#value(field, given)
        const isDefault = field.presence === 'implicit' && isMapEntry !== true && isZero(bytes)
        if (bytes && !isDefault) parts.push(tag(field.number, kindOf(field)), bytes)
      }
    }
    return Buffer.concat(parts)
  }

  /** @returns undefined where nothing of it is left */
  #any(name: string, value: object): Buffer | undefined {
    const field = messageOf(this.#types, name).fields.find((one) => Object.hasOwn(value, one.name))
    if (!field) return undefined
    // Asked for by an own name of an object.
    const given = (value as Readonly<Record<string, unknown>>)[field.name]
    if (typeof given !== 'object' || given === null) return undefined
    const message = this.message(field.of ?? '', given)
    return sized(
      Buffer.concat([
        ...[tag(1, WIRE.bytes), sized(Buffer.from(anyUrl(field.of)))],
        ...(message.length > 0 ? [tag(2, WIRE.bytes), sized(message)] : []),
      ]),
    )
  }

  #list(field: GrpcField, given: unknown, parts: Buffer[]): void {
    if (!Array.isArray(given)) return
    const values = given.flatMap((one: unknown) => this.#value(field, one) ?? [])
    if (values.length === 0) return
    if (field.packed) {
      parts.push(tag(field.number, WIRE.bytes), sized(Buffer.concat(values)))
      return
    }
    for (const value of values) parts.push(tag(field.number, kindOf(field)), value)
  }

  /** @returns undefined for a value that is none of the type */
  #value({ type, of }: GrpcField, value: unknown): Buffer | undefined {
    switch (type) {
      case 'message':
        if (typeof value !== 'object' || value === null || of === undefined) return undefined
        if (of === GRPC_ANY) return undefined
        return messageOf(this.#types, of).isAny === true
          ? this.#any(of, value)
          : sized(this.message(of, value))
      case 'string':
        return typeof value === 'string' && value.isWellFormed()
          ? sized(Buffer.from(value))
          : undefined
      case 'bytes':
        return base64(value)
      case 'bool':
        return typeof value === 'boolean' ? Buffer.from([value ? 1 : 0]) : undefined
      case 'enum': {
        const values = enumOf(this.#types, of)
        const known = typeof value === 'string' && Object.hasOwn(values, value)
        return known ? varint(BigInt(values[value] ?? 0)) : undefined
      }
      case 'double':
      case 'float':
        return fraction(type, value)
      default:
        return whole(type, value)
    }
  }
}

/** Zero, of any type, and what has no length. */
function isZero(bytes: Buffer | undefined): boolean {
  return bytes?.every((byte) => byte === 0) ?? true
}

function fraction(type: 'double' | 'float', value: unknown): Buffer | undefined {
  const isText = typeof value === 'string' && FRACTION.test(value)
  if (typeof value !== 'number' && !isText) return undefined
  const bytes = Buffer.alloc(type === 'double' ? 8 : 4)
  if (type === 'double') bytes.writeDoubleLE(Number(value))
  else bytes.writeFloatLE(Number(value))
  return bytes
}

/** As JavaScript spells a number. */
const FRACTION = /^-?(?:\d+(?:\.\d+)?(?:e[+-]\d+)?|Infinity)$|^NaN$/

function whole(type: GrpcField['type'], value: unknown): Buffer | undefined {
  const isNumber = typeof value === 'number' && Number.isSafeInteger(value)
  const isText = typeof value === 'string' && /^-?\d{1,20}$/.test(value)
  if (!isNumber && !isText) return undefined
  const number = BigInt(value)
  const isLong = type.endsWith('64')
  const isUnsigned = type.startsWith('u') || type.startsWith('f')
  const limit = isUnsigned ? (isLong ? MAX_U64 : 2n ** 32n) : isLong ? MAX_I64 : 2n ** 31n
  if (number >= limit || number < (isUnsigned ? 0n : -limit)) return undefined
  if (type.includes('fixed')) {
    const bytes = Buffer.alloc(isLong ? 8 : 4)
    if (isLong) bytes.writeBigUInt64LE(BigInt.asUintN(64, number))
    else bytes.writeUInt32LE(Number(BigInt.asUintN(32, number)))
    return bytes
  }
  return varint(type.startsWith('s') ? (number << 1n) ^ (number < 0n ? -1n : 0n) : number)
}

/** Only as it was read: another spelling of bytes is none. */
function base64(value: unknown): Buffer | undefined {
  if (typeof value !== 'string') return undefined
  const bytes = Buffer.from(value, 'base64')
  return bytes.toString('base64') === value ? sized(bytes) : undefined
}

const tag = (number: number, kind: number): Buffer => varint(BigInt(number * 8 + kind))

const sized = (bytes: Buffer): Buffer => Buffer.concat([varint(BigInt(bytes.length)), bytes])

function varint(value: bigint): Buffer {
  const bytes: number[] = []
  let left = BigInt.asUintN(64, value)
  while (left >= 0x80n) {
    bytes.push(Number(left & 0x7fn) | 0x80)
    left >>= 7n
  }
  bytes.push(Number(left))
  return Buffer.from(bytes)
}
