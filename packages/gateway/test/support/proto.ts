import protobuf from 'protobufjs'
import descriptor from 'protobufjs/ext/descriptor/index.js'

/** `FieldDescriptorProto.Type`. */
const TYPES: Readonly<Record<string, number>> = {
  double: 1,
  float: 2,
  int64: 3,
  uint64: 4,
  int32: 5,
  fixed64: 6,
  fixed32: 7,
  bool: 8,
  string: 9,
  bytes: 12,
  uint32: 13,
  sfixed32: 15,
  sfixed64: 16,
  sint32: 17,
  sint64: 18,
}

type Json = Record<string, unknown>

export interface Compiled {
  /** As `protoc --include_imports --descriptor_set_out` writes it, but for the order of files. */
  readonly set: Buffer
  readonly root: protobuf.Root
}

/** The file that declares the options of fields that Sallyport reads. */
const OPTIONS = 'sallyport/options.proto'
const TOKEN_OF = 50_901
const ANY_OF = 50_902
descriptor.FieldOptions.add(new protobuf.Field('token_of', TOKEN_OF, 'string'))
descriptor.FieldOptions.add(new protobuf.Field('any_of', ANY_OF, 'string', 'repeated'))

const optionsFile = (): Json => {
  const text = { type: TYPES['string'], extendee: '.google.protobuf.FieldOptions' }
  return {
    ...{ name: OPTIONS, package: 'sallyport', syntax: 'proto3' },
    extension: [
      { ...text, name: 'token_of', number: TOKEN_OF, label: 1 },
      { ...text, name: 'any_of', number: ANY_OF, label: 3 },
    ],
  }
}

/** Compiles one file; it may import what comes with protobufjs, and `sallyport/options.proto`. */
export function compile(text: string): Compiled {
  const root = new protobuf.Root()
  const { package: scope = '', imports = [] } = protobuf.parse(text, root, { keepCase: true })
  for (const file of imports) {
    if (file === OPTIONS) continue
    const common = protobuf.common.get(file)
    if (!common?.nested) throw new Error(`no file ${file}`)
    root.addJSON(common.nested)
  }
  root.resolveAll()
  const own = root.lookup(scope)
  const google = root.lookup('google.protobuf')
  const syntax = /syntax = "(\w+)"/.exec(text)?.[1] ?? 'proto2'
  const files = [
    ...(imports.includes(OPTIONS) ? [optionsFile()] : []),
    ...(google instanceof protobuf.Namespace ? [fileOf(google, 'google.protobuf', 'proto3')] : []),
    ...(own instanceof protobuf.Namespace ? [fileOf(own, scope, syntax)] : []),
  ]
  const message = descriptor.FileDescriptorSet.fromObject({ file: files })
  return { set: Buffer.from(descriptor.FileDescriptorSet.encode(message).finish()), root }
}

function fileOf(scope: protobuf.Namespace, name: string, syntax: string): Json {
  const nested = scope.nestedArray
  return {
    name: `${name.replaceAll('.', '/')}.proto`,
    package: name,
    // protoc leaves it out for proto2.
    ...(syntax === 'proto2' ? {} : { syntax }),
    messageType: nested.filter((one) => one instanceof protobuf.Type).map(messageOf),
    enumType: nested.filter((one) => one instanceof protobuf.Enum).map(enumOf),
    service: nested.filter((one) => one instanceof protobuf.Service).map(serviceOf),
  }
}

function messageOf(type: protobuf.Type): Json {
  const entries: Json[] = []
  const oneofs = type.oneofsArray
  return {
    name: type.name,
    field: type.fieldsArray.map((field) => {
      const of = field.resolvedType
      const isMap = field instanceof protobuf.MapField
      const entry = `${field.name.replace(/(?:^|_)(\w)/g, (_all, c: string) => c.toUpperCase())}Entry`
      if (isMap) {
        entries.push({
          name: entry,
          field: [
            { name: 'key', number: 1, label: 1, type: TYPES[field.keyType] },
            { name: 'value', number: 2, label: 1, ...typed(field.type, of) },
          ],
          options: { mapEntry: true },
        })
      }
      const fallback: unknown = field.options?.['default']
      return {
        name: field.name,
        number: field.id,
        label: field.required ? 2 : field.repeated || isMap ? 3 : 1,
        ...(isMap ? { type: 11, typeName: `${type.fullName}.${entry}` } : typed(field.type, of)),
        ...(field.partOf && { oneofIndex: oneofs.indexOf(field.partOf) }),
        ...(field.options?.['proto3_optional'] === true && { proto3Optional: true }),
        ...(fallback !== undefined && { defaultValue: fallback }),
        ...optionsOf(field),
      }
    }),
    oneofDecl: oneofs.map(({ name }) => ({ name })),
    nestedType: [
      ...type.nestedArray.filter((one) => one instanceof protobuf.Type).map(messageOf),
      ...entries,
    ],
    enumType: type.nestedArray.filter((one) => one instanceof protobuf.Enum).map(enumOf),
  }
}

function optionsOf(field: protobuf.Field): Json {
  // As they were written, each by itself.
  const parsed = (field.parsedOptions ?? []) as readonly Json[]
  const said = (name: string): unknown[] =>
    parsed.flatMap((one) => (one[name] === undefined ? [] : [one[name]]))
  const [tokenOf] = said('(sallyport.token_of)')
  const anyOf = said('(sallyport.any_of)')
  const packed = field.options?.['packed']
  const options = {
    ...(typeof packed === 'boolean' && { packed }),
    ...(tokenOf !== undefined && { token_of: tokenOf }),
    ...(anyOf.length > 0 && { any_of: anyOf }),
  }
  return Object.keys(options).length > 0 ? { options } : {}
}

function typed(type: string, of: protobuf.Type | protobuf.Enum | null): Json {
  if (!of) return { type: TYPES[type] }
  return { type: of instanceof protobuf.Enum ? 14 : 11, typeName: of.fullName }
}

const enumOf = (of: protobuf.Enum): Json => ({
  name: of.name,
  value: Object.entries(of.values).map(([name, number]) => ({ name, number })),
})

const serviceOf = (service: protobuf.Service): Json => ({
  name: service.name,
  method: service.methodsArray.map((method) => ({
    name: method.name,
    inputType: method.resolvedRequestType?.fullName,
    outputType: method.resolvedResponseType?.fullName,
    ...(method.requestStream === true && { clientStreaming: true }),
    ...(method.responseStream === true && { serverStreaming: true }),
  })),
})
