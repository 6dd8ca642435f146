import { Halt } from './problem.ts'
import { MalformedWire, WIRE, WireReader, wireText } from './protobuf-wire.ts'
import { featuresOf, NO_FEATURES } from './grpc-features.ts'
import type { Features } from './grpc-features.ts'
import { GRPC_ANY } from './grpc-types.ts'
import type { GrpcBinding, GrpcEnum, GrpcField, GrpcMessage, GrpcScalar } from './grpc-types.ts'

/** A `FileDescriptorSet`, as far as calls are governed by it. Names are full, without a leading dot. */
export interface Descriptors {
  readonly messages: ReadonlyMap<string, GrpcMessage>
  readonly enums: ReadonlyMap<string, GrpcEnum>
  /** `package.Service/Method` → method. */
  readonly methods: ReadonlyMap<string, Omit<GrpcBinding, 'kind'>>
  /** Fields that nobody reads, e.g. groups, by the message that has them. */
  readonly unread: ReadonlyMap<string, ReadonlySet<string>>
}

/** Values of one message, in the order sent, by field number. */
class Raw {
  readonly #fields = new Map<number, (Uint8Array | number | bigint)[]>()

  constructor(bytes: Uint8Array) {
    const reader = new WireReader(bytes)
    while (!reader.isDone) {
      const { number, kind } = reader.tag()
      if (kind === WIRE.bytes) this.#add(number, reader.bytes())
      else if (kind === WIRE.varint) this.#add(number, reader.varint())
      else reader.skip(kind)
    }
  }

  #add(number: number, value: Uint8Array | number | bigint): void {
    const values = this.#fields.get(number)
    if (values) values.push(value)
    else this.#fields.set(number, [value])
  }

  text(number: number): string | undefined {
    const bytes = this.#bytes(number).at(-1)
    return bytes && wireText(bytes)
  }

  texts(number: number): string[] {
    return this.#bytes(number).map(wireText)
  }

  /** Signed, of 32 bits. */
  int(number: number): number | undefined {
    const value = this.#fields.get(number)?.findLast((one) => !(one instanceof Uint8Array))
    // What is no list of bytes is a number.
    return value === undefined ? undefined : Number(BigInt.asIntN(32, BigInt(value as number)))
  }

  flag(number: number): boolean | undefined {
    const value = this.int(number)
    return value === undefined ? undefined : value !== 0
  }

  all(number: number): Raw[] {
    return this.#bytes(number).map((bytes) => new Raw(bytes))
  }

  one(number: number): Raw | undefined {
    return this.all(number).at(-1)
  }

  #bytes(number: number): Uint8Array[] {
    return (this.#fields.get(number) ?? []).filter((one) => one instanceof Uint8Array)
  }
}

/** `FieldDescriptorProto.Type`. */
const TYPES: Readonly<Record<number, GrpcScalar | 'enum' | 'message'>> = {
  1: 'double',
  2: 'float',
  3: 'int64',
  4: 'uint64',
  5: 'int32',
  6: 'fixed64',
  7: 'fixed32',
  8: 'bool',
  9: 'string',
  11: 'message',
  12: 'bytes',
  13: 'uint32',
  14: 'enum',
  15: 'sfixed32',
  16: 'sfixed64',
  17: 'sint32',
  18: 'sint64',
}

/** Options of fields that say something here (`package sallyport`), whatever their numbers. */
const OPTIONS: ReadonlySet<string> = new Set(['sallyport.token_of', 'sallyport.any_of'])
const FIELD_OPTIONS = '.google.protobuf.FieldOptions'
const STRING = 9

const MAX_NESTING = 32
const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*$/

/**
 * Reads what `protoc --include_imports --descriptor_set_out` or `buf build` wrote (descriptor.proto).
 *
 * @throws Halt `SP_NETWORK_GRPC`
 */
export function descriptorsFrom(bytes: Uint8Array): Descriptors {
  try {
    const files = new Raw(bytes).all(1)
    if (files.length === 0) throw new MalformedWire('it describes no file')
    return new Collector().collect(files)
  } catch (error) {
    if (!(error instanceof MalformedWire)) throw error
    throw refuse(
      `the file is no descriptor set: ${error.message}`,
      'write it with `protoc --include_imports --descriptor_set_out` or `buf build`',
    )
  }
}

class Collector {
  readonly #messages = new Map<string, GrpcMessage>()
  readonly #enums = new Map<string, GrpcEnum>()
  readonly #methods = new Map<string, Omit<GrpcBinding, 'kind'>>()
  readonly #unread = new Map<string, Set<string>>()

  /** Of `OPTIONS`, the numbers that the set gives them. */
  readonly #options = new Map<string, number>()

  collect(files: readonly Raw[]): Descriptors {
    for (const file of files) this.#extensions(file)
    for (const file of files) this.#file(file)
    for (const [name, { fields }] of this.#messages) {
      for (const { name: field, type, of } of fields) {
        const known =
          type === 'message' ? this.#messages : type === 'enum' ? this.#enums : undefined
        if (known && (of === undefined || !known.has(of))) {
          throw refuse(
            `\`${name}.${field}\` is a \`${of ?? ''}\`, which is not described`,
            'write the set with `--include_imports`',
          )
        }
      }
    }
    return {
      messages: this.#messages,
      enums: this.#enums,
      methods: this.#methods,
      unread: this.#unread,
    }
  }

  #extensions(file: Raw): void {
    for (const extension of file.all(7)) {
      const name = fullName(file.text(2) ?? '', extension)
      if (!OPTIONS.has(name)) continue
      const number = extension.int(3)
      const fits = extension.text(2) === FIELD_OPTIONS && extension.int(5) === STRING
      if (!fits || number === undefined || this.#options.has(name)) {
        throw refuse(`\`${name}\` is no text option of fields`, 'declare it as documented')
      }
      this.#options.set(name, number)
    }
  }

  /** What a field says by one of `OPTIONS`. */
  #said(options: Raw | undefined, name: string): string[] {
    const number = this.#options.get(name)
    return number === undefined ? [] : (options?.texts(number) ?? [])
  }

  /** The message that an `Any` of these types is read as. */
  #any(field: string, types: readonly string[]): string {
    const fields = types.map((of, i): GrpcField => ({
      ...{ number: i + 1, name: of.replaceAll('.', '_'), type: 'message', of },
      ...{ presence: 'explicit', oneof: 'type' },
    }))
    if (new Set(fields.map(({ name }) => name)).size < fields.length || types.includes(GRPC_ANY)) {
      throw refuse(`\`${field}\` names a type twice, or no type`, 'correct its `any_of`')
    }
    // No declared message has such a name.
    const name = `${field}:any`
    this.#messages.set(name, { fields, isAny: true })
    return name
  }

  #file(file: Raw): void {
    const scope = file.text(2) ?? ''
    const syntax = file.text(12) ?? 'proto2'
    const features = featuresOf(file.one(8)?.one(50), NO_FEATURES[syntax])
    if (!features) throw refuse(`the syntax \`${syntax}\` is not known`, 'use proto3')
    for (const message of file.all(4)) this.#message(message, scope, features, 0)
    for (const of of file.all(5)) this.#enum(of, scope)
    for (const service of file.all(6)) this.#service(service, scope)
  }

  #message(raw: Raw, scope: string, outer: Features, depth: number): void {
    if (depth > MAX_NESTING) throw new MalformedWire('messages are declared too deep')
    const name = fullName(scope, raw)
    const options = raw.one(7)
    if (options?.flag(1)) throw refuse(`\`${name}\` is a message set`, 'use a message')
    const features = featuresOf(options?.one(12), outer) ?? outer
    const oneofs = raw.all(8).map((oneof) => oneof.text(1) ?? '')
    const isMapEntry = options?.flag(7) ?? false
    // Whatever its file says, an entry without a key or a value has the default.
    const own: Features = isMapEntry ? { ...features, presence: 'implicit' } : features
    const fields = new Map<number, GrpcField>()
    const names = new Set<string>()
    for (const one of raw.all(2)) {
      const field = this.#field(name, one, oneofs, own)
      if (!field) continue
      if (fields.has(field.number) || names.has(field.name)) {
        throw refuse(`\`${name}.${field.name}\` stands twice`, 'write the set again')
      }
      fields.set(field.number, field)
      names.add(field.name)
    }
    demandNew(this.#messages, name)
    this.#messages.set(name, {
      fields: [...fields.values()].toSorted((a, b) => a.number - b.number),
      ...(isMapEntry && { isMapEntry }),
    })
    for (const nested of raw.all(3)) this.#message(nested, name, features, depth + 1)
    for (const of of raw.all(4)) this.#enum(of, name)
  }

  /** @returns undefined for a field that is read nowhere: what a caller sends in it is refused, what a system does is dropped */
  #field(
    message: string,
    raw: Raw,
    oneofs: readonly string[],
    outer: Features,
  ): GrpcField | undefined {
    const name = raw.text(1) ?? ''
    const number = raw.int(3) ?? 0
    if (!IDENTIFIER.test(name) || number < 1 || number > 0x1fff_ffff) {
      throw new MalformedWire(`a field of \`${message}\` has no name or number`)
    }
    const options = raw.one(8)
    const features = featuresOf(options?.one(21), outer) ?? outer
    const type = TYPES[raw.int(5) ?? 0]
    if (type === undefined || (type === 'message' && features.delimited)) {
      const unread = this.#unread.get(message) ?? new Set()
      this.#unread.set(message, unread.add(name))
      return undefined
    }
    const label = raw.int(4) ?? 1
    const isOptional = raw.flag(17) ?? false
    const index = raw.int(9)
    const oneof = index === undefined || isOptional ? undefined : oneofs[index]
    const presence =
      label === 3
        ? 'repeated'
        : label === 2 || features.presence === 'required'
          ? 'required'
          : type !== 'message' && index === undefined && features.presence === 'implicit'
            ? 'implicit'
            : 'explicit'
    const packs = options?.flag(2) ?? features.packed
    const packed = presence === 'repeated' && packs && !LENGTH_PREFIXED.has(type)
    const named = raw.text(6)?.replace(/^\./, '')
    const [tokenOf] = this.#said(options, 'sallyport.token_of')
    if (tokenOf !== undefined && type !== 'string') {
      throw refuse(`\`${message}.${name}\` takes tokens and is no text`, 'leave out its `token_of`')
    }
    const types = this.#said(options, 'sallyport.any_of')
    if (types.length > 0 && named !== GRPC_ANY) {
      throw refuse(`\`${message}.${name}\` is no \`${GRPC_ANY}\``, 'leave out its `any_of`')
    }
    const of = types.length > 0 ? this.#any(`${message}.${name}`, types) : named
    const given = raw.text(7)
    const fallback = given === undefined ? undefined : defaultOf(type, given)
    return {
      ...{ number, name, type, presence },
      ...((type === 'message' || type === 'enum') && of !== undefined && { of }),
      ...(packed && { packed }),
      ...(oneof !== undefined && { oneof }),
      ...(fallback !== undefined && presence === 'explicit' && { default: fallback }),
      ...(tokenOf !== undefined && { tokenOf }),
    }
  }

  #enum(raw: Raw, scope: string): void {
    const name = fullName(scope, raw)
    const values = new Map<number, string>()
    for (const value of raw.all(2)) {
      const number = value.int(2) ?? 0
      // Of several names of one number (`allow_alias`) the first stands for it.
      if (!values.has(number)) values.set(number, value.text(1) ?? '')
    }
    demandNew(this.#enums, name)
    this.#enums.set(name, Object.fromEntries([...values].map(([number, text]) => [text, number])))
  }

  #service(raw: Raw, scope: string): void {
    const service = fullName(scope, raw)
    for (const method of raw.all(2)) {
      const name = `${service}/${method.text(1) ?? ''}`
      const [request, response] = [2, 3].map((at) => (method.text(at) ?? '').replace(/^\./, ''))
      demandNew(this.#methods, name)
      this.#methods.set(name, {
        path: `/${name}`,
        request: request ?? '',
        response: response ?? '',
        clientStreams: method.flag(5) ?? false,
        serverStreams: method.flag(6) ?? false,
      })
    }
  }
}

const LENGTH_PREFIXED: ReadonlySet<string> = new Set(['string', 'bytes', 'message'])

function fullName(scope: string, raw: Raw): string {
  const own = raw.text(1) ?? ''
  const name = scope === '' ? own : `${scope}.${own}`
  if (!IDENTIFIER.test(name)) throw new MalformedWire('something has no name')
  return name
}

function demandNew(known: ReadonlyMap<string, unknown>, name: string): void {
  if (known.has(name)) throw refuse(`\`${name}\` is described twice`, 'write the set again')
}

/** As values are read: what parsers could differ on is left out, and such a field is absent where nobody sends it. */
function defaultOf(type: GrpcField['type'], text: string): string | number | boolean | undefined {
  switch (type) {
    case 'string':
    case 'enum':
      return text
    case 'bool':
      return text === 'true'
    case 'bytes':
    case 'message':
      return undefined
    case 'double':
    case 'float':
      return Number.isFinite(Number(text)) ? String(Number(text)) : undefined
    default:
      return Number.isSafeInteger(Number(text)) ? Number(text) : text
  }
}

export function refuse(message: string, fix: string): Halt {
  return new Halt(
    'SP_NETWORK_GRPC',
    message,
    'calls are governed by what the descriptor set says of them, and by nothing else',
    fix,
  )
}
