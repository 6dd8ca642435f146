import type { JsonValue } from '@sallyport/base'
import { GRPC_ANY, MalformedWire, WIRE, WireReader, wireText } from '@sallyport/network'
import type { GrpcEnum, GrpcField, GrpcMessage, GrpcSystem } from '@sallyport/network'

/**
 * How strictly a message is read. Of a `request` everything must be declared, and what is not sent has its default, for that is
 * what the system reads. Of an `answer` what nobody declared is left out.
 */
export type Reading = 'request' | 'answer'

type Members = Readonly<Record<string, JsonValue>>

/** How deep messages may nest, and how many values one may hold in all. */
const MAX_DEPTH = 32
const MAX_VALUES = 100_000
const NUMBERS_AS_TEXT: ReadonlySet<string> = new Set(['float', 'double'])

/**
 * Reads a message into members by the names of its fields: texts, numbers, bools; whole numbers beyond 2^53 as text, bytes as
 * base64, enums by name, and of a request numbers with a fraction as the shortest text that stands for them. A map is a list of
 * records of `key` and `value`.
 *
 * @throws MalformedWire for whatever two parsers could read differently
 */
export function readMessage(
  types: GrpcSystem,
  name: string,
  bytes: Uint8Array,
  reading: Reading,
): Members {
  return new Reader(types, reading).message(name, bytes, 0)
}

class Reader {
  readonly #types: GrpcSystem
  readonly #reading: Reading
  #values = 0
  /** Of maps that are being read. */
  readonly #keys = new Map<readonly JsonValue[], Set<string>>()

  constructor(types: GrpcSystem, reading: Reading) {
    this.#types = types
    this.#reading = reading
  }

  message(name: string, bytes: Uint8Array, depth: number): Members {
    if (depth > MAX_DEPTH) throw new MalformedWire('its messages nest too deep')
    const message = messageOf(this.#types, name)
    if (message.isAny === true) return this.#any(message, bytes, depth)
    const fields = byNumber(message)
    const found = new Map<string, JsonValue>()
    const lists = new Map<string, JsonValue[]>()
    const present = new Set<string>()
    const reader = new WireReader(bytes)
    while (!reader.isDone) {
      const { number, kind } = reader.tag()
      const field = fields.get(number)
      if (!field) {
        if (this.#reading === 'request') {
          throw new MalformedWire(`field ${number} of \`${name}\` is not declared`)
        }
        reader.skip(kind)
        continue
      }
      if (field.presence === 'repeated') {
        let list = lists.get(field.name)
        if (!list) lists.set(field.name, (list = []))
        this.#repeated(field, kind, reader, list, depth)
        continue
      }
      // Some parsers take the last, some merge messages, some take the first.
      const once = field.oneof ?? field.name
      if (present.has(once)) throw new MalformedWire(`\`${once}\` of \`${name}\` stands twice`)
      present.add(once)
      const value = this.#value(field, kind, reader, depth)
      if (value !== undefined) found.set(field.name, value)
    }
    for (const [list, items] of lists) found.set(list, items)
    if (this.#reading === 'request') this.#defaults(message, found)
    return Object.fromEntries(found)
  }

  /** The message in an `Any`, below the name of its type: of a type that is declared for it, or of none. */
  #any({ fields }: GrpcMessage, bytes: Uint8Array, depth: number): Members {
    let [url, value]: (Uint8Array | undefined)[] = []
    const reader = new WireReader(bytes)
    while (!reader.isDone) {
      const { number, kind } = reader.tag()
      const known = kind === WIRE.bytes && (number === 1 ? !url : number === 2 && !value)
      if (!known) throw new MalformedWire(`an \`${GRPC_ANY}\` is not one type and one value`)
      if (number === 1) url = reader.bytes()
      else value = reader.bytes()
    }
    const type = url && wireText(url)
    const field = fields.find(({ of }) => type === anyUrl(of))
    if (field) {
      return {
        [field.name]: this.message(field.of ?? '', value ?? new Uint8Array(), depth + 1),
      }
    }
    if (this.#reading === 'request') {
      throw new MalformedWire(`an \`${GRPC_ANY}\` is of a type that is not declared for it`)
    }
    return {}
  }

  #repeated(
    field: GrpcField,
    kind: number,
    reader: WireReader,
    list: JsonValue[],
    depth: number,
  ): void {
    const own = kindOf(field)
    if (kind === WIRE.bytes && own !== WIRE.bytes) {
      const packed = new WireReader(reader.bytes())
      while (!packed.isDone) this.#push(list, this.#value(field, own, packed, depth))
      return
    }
    this.#push(list, this.#value(field, kind, reader, depth))
    if (field.type === 'message') this.#demandNewKey(field, list)
  }

  /** The last entry of a map must be the only one of its key: parsers differ on which of two counts. */
  #demandNewKey({ name, of }: GrpcField, list: readonly JsonValue[]): void {
    const { isMapEntry, fields } = messageOf(this.#types, of)
    const [field] = fields
    if (isMapEntry !== true || !field) return
    let keys = this.#keys.get(list)
    if (!keys) this.#keys.set(list, (keys = new Set()))
    // Entries are messages, which are read as objects.
    const { key = absent(this.#types, field) } = list.at(-1) as { readonly key?: JsonValue }
    const text = JSON.stringify(key)
    if (keys.has(text)) throw new MalformedWire(`a key of \`${name}\` stands twice`)
    keys.add(text)
  }

  #push(list: JsonValue[], value: JsonValue | undefined): void {
    if (value !== undefined) list.push(value)
  }

  /** @returns undefined for what is read and passed on by nobody */
  #value(field: GrpcField, kind: number, reader: WireReader, depth: number): JsonValue | undefined {
    if (kind !== kindOf(field)) throw new MalformedWire(`\`${field.name}\` is of another kind`)
    if (++this.#values > MAX_VALUES) throw new MalformedWire('it holds too many values')
    const { type, of = '', name } = field
    switch (type) {
      case 'message': {
        const bytes = reader.bytes()
        if (of !== GRPC_ANY) return this.message(of, bytes, depth + 1)
        if (this.#reading === 'request') throw new MalformedWire(`\`${name}\` is a \`${of}\``)
        return undefined
      }
      case 'string':
        return wireText(reader.bytes())
      case 'bytes': {
        const bytes = reader.bytes()
        return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
      }
      case 'bool': {
        const value = Number(reader.varint())
        if (value > 1) throw new MalformedWire(`\`${name}\` is neither true nor false`)
        return value === 1
      }
      case 'enum':
        return this.#enum(name, of, signed32(name, reader.varint()))
      case 'double':
        return this.#fraction(name, reader.double())
      case 'float':
        return this.#fraction(name, reader.float())
      default:
        return whole(name, type, reader)
    }
  }

  #enum(name: string, of: string, number: number): string | undefined {
    const known = namesOf(enumOf(this.#types, of)).get(number)
    if (known === undefined && this.#reading === 'request') {
      throw new MalformedWire(`\`${name}\` has a value that is not declared`)
    }
    return known
  }

  #fraction(name: string, value: number): JsonValue {
    if (Number.isFinite(value)) {
      if (this.#reading === 'answer') return value
      return Object.is(value, -0) ? '-0' : String(value)
    }
    if (this.#reading === 'request') throw new MalformedWire(`\`${name}\` is no number`)
    return String(value)
  }

  #defaults({ fields }: GrpcMessage, found: Map<string, JsonValue>): void {
    for (const field of fields) {
      if (found.has(field.name)) continue
      const value = field.default ?? absent(this.#types, field)
      if (value !== undefined) found.set(field.name, value)
    }
  }
}

/** What a field reads as that nobody sent; undefined where it then is absent. */
function absent(types: GrpcSystem, field: GrpcField): JsonValue | undefined {
  if (field.presence === 'repeated') return []
  if (field.presence !== 'implicit') return undefined
  switch (field.type) {
    case 'message':
      return undefined
    case 'string':
    case 'bytes':
      return ''
    case 'bool':
      return false
    case 'enum':
      return namesOf(enumOf(types, field.of)).get(0)
    default:
      return NUMBERS_AS_TEXT.has(field.type) ? '0' : 0
  }
}

function whole(name: string, type: GrpcField['type'], reader: WireReader): JsonValue {
  switch (type) {
    case 'int32':
      return signed32(name, reader.varint())
    case 'uint32':
      return unsigned32(name, reader.varint())
    case 'sint32': {
      const value = unsigned32(name, reader.varint())
      return (value >>> 1) ^ -(value & 1)
    }
    case 'fixed32':
      return reader.i32()
    case 'sfixed32':
      return reader.i32() | 0
    case 'uint64':
      return shortest(reader.varint())
    case 'int64':
      return shortest(BigInt.asIntN(64, BigInt(reader.varint())))
    case 'sint64': {
      const value = BigInt(reader.varint())
      return shortest((value >> 1n) ^ -(value & 1n))
    }
    case 'fixed64':
      return shortest(reader.i64())
    default:
      return shortest(BigInt.asIntN(64, reader.i64()))
  }
}

/** Negative ones are written with 64 bits; parsers differ on what becomes of any other that does not fit. */
function signed32(name: string, value: number | bigint): number {
  if (typeof value === 'number') return value
  const signed = BigInt.asIntN(64, value)
  if (signed !== BigInt.asIntN(32, value)) throw new MalformedWire(`\`${name}\` has over 32 bits`)
  return Number(signed)
}

function unsigned32(name: string, value: number | bigint): number {
  if (value > 0xffff_ffff) throw new MalformedWire(`\`${name}\` has over 32 bits`)
  return Number(value)
}

/** A number where it has only one reading as such. */
function shortest(value: number | bigint): number | string {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : String(value)
}

/** How an `Any` names a type: others that mean it are not taken, for a system could resolve them otherwise. */
export const anyUrl = (of: string | undefined): string => `type.googleapis.com/${of ?? ''}`

/** How one value of a field is written. */
export function kindOf({ type }: GrpcField): 0 | 1 | 2 | 5 {
  switch (type) {
    case 'message':
    case 'string':
    case 'bytes':
      return WIRE.bytes
    case 'double':
    case 'fixed64':
    case 'sfixed64':
      return WIRE.i64
    case 'float':
    case 'fixed32':
    case 'sfixed32':
      return WIRE.i32
    default:
      return WIRE.varint
  }
}

export function messageOf({ messages }: GrpcSystem, name: string | undefined): GrpcMessage {
  const message = name !== undefined && Object.hasOwn(messages, name) ? messages[name] : undefined
  if (!message) throw new TypeError(`no message is called \`${name ?? ''}\``)
  return message
}

export function enumOf({ enums }: GrpcSystem, name: string | undefined): GrpcEnum {
  const found = name !== undefined && Object.hasOwn(enums, name) ? enums[name] : undefined
  if (!found) throw new TypeError(`no enum is called \`${name ?? ''}\``)
  return found
}

function byNumber(message: GrpcMessage): ReadonlyMap<number, GrpcField> {
  let fields = numbered.get(message)
  if (!fields) {
    fields = new Map(message.fields.map((field) => [field.number, field]))
    numbered.set(message, fields)
  }
  return fields
}

/** Of declarations, which nobody changes. */
const numbered = new WeakMap<GrpcMessage, ReadonlyMap<number, GrpcField>>()
const named = new WeakMap<GrpcEnum, ReadonlyMap<number, string>>()

function namesOf(values: GrpcEnum): ReadonlyMap<number, string> {
  let names = named.get(values)
  if (!names) {
    names = new Map(Object.entries(values).map(([name, number]) => [number, name]))
    named.set(values, names)
  }
  return names
}
