import type { Report } from './check.ts'
import { descriptorsFrom, refuse } from './grpc-descriptors.ts'
import type { Descriptors } from './grpc-descriptors.ts'
import { GRPC_ANY } from './grpc-types.ts'
import type { GrpcBinding, GrpcField, GrpcMessage, GrpcSystem } from './grpc-types.ts'
import { checkMemberName } from './input-type.ts'
import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import type { InputMember, InputSchema, InputType, Network, Operation, System } from './types.ts'

const MAX_DEPTH = 8
const MAX_MEMBERS = 400
const MAX_LENGTH = 65_536
const MAX_ITEMS = 1000

interface ImportedMethod {
  readonly description: string
  readonly binding: GrpcBinding
  readonly input: InputSchema
}

/** The methods that a descriptor set describes. */
export interface GrpcApi {
  /** `package.Service/Method`, and `Method` where there is one of that name only. */
  readonly names: readonly string[]
  /** @throws Halt when the method cannot be imported */
  method(name: string): ImportedMethod
  /** What these methods reach. */
  system(operations: readonly Operation[]): GrpcSystem
}

/** @throws Halt `SP_NETWORK_GRPC` when it is no usable descriptor set */
export function grpcFrom(bytes: Uint8Array): GrpcApi {
  const descriptors = descriptorsFrom(bytes)
  const methods = new Map(descriptors.methods)
  const short = new Map<string, string[]>()
  for (const full of descriptors.methods.keys()) {
    const name = full.slice(full.indexOf('/') + 1)
    short.set(name, [...(short.get(name) ?? []), full])
  }
  for (const [name, [full, ...others]] of short) {
    const method = full === undefined ? undefined : descriptors.methods.get(full)
    if (method && others.length === 0) methods.set(name, method)
  }
  return {
    names: [...methods.keys()],
    method(name) {
      const method = methods.get(name)
      if (!method) throw refuse(`there is no method \`${name}\``, 'correct the name')
      for (const message of [method.request, method.response]) {
        if (!descriptors.messages.has(message)) {
          throw refuse(
            `\`${message}\` of \`${name}\` is not described`,
            'write the set with `--include_imports`',
          )
        }
        if (message === GRPC_ANY) {
          throw refuse(`\`${name}\` takes or gives a \`${message}\``, 'use a message of its own')
        }
      }
      return {
        description: '',
        binding: { kind: 'grpc', ...method },
        input: new InputTypes(descriptors).record(method.request, []),
      }
    },
    system: (operations) => reachable(descriptors, operations),
  }
}

/**
 * What a message is as typed input. Fields that Cedar cannot hold are no input of the operation, and a call that has one is
 * refused: of an `Any` whose types nobody declared, of a group, and of a message within itself.
 */
class InputTypes {
  readonly #descriptors: Descriptors
  #members = 0

  constructor(descriptors: Descriptors) {
    this.#descriptors = descriptors
  }

  record(name: string, within: readonly string[]): InputSchema {
    const members: [string, InputMember][] = []
    const inside = [...within, name]
    for (const field of this.#descriptors.messages.get(name)?.fields ?? []) {
      const schema = this.#type(field, inside)
      if (!schema) continue
      checkMemberName(field.name, `\`${name}\``)
      if (++this.#members > MAX_MEMBERS) {
        throw refuse(`\`${inside[0] ?? name}\` has more than ${MAX_MEMBERS} fields`, 'narrow it')
      }
      members.push([
        field.name,
        // What is always there is so for policies too, with its default where nothing was sent.
        { schema, required: field.presence !== 'explicit' || field.default !== undefined },
      ])
    }
    return { type: 'record', members: Object.fromEntries(members) }
  }

  #type(field: GrpcField, within: readonly string[]): InputType | undefined {
    const one = this.#one(field, within)
    if (!one || field.presence !== 'repeated') return one
    return { type: 'set', items: one, maxItems: MAX_ITEMS }
  }

  #one({ type, of = '', tokenOf }: GrpcField, within: readonly string[]): InputType | undefined {
    switch (type) {
      case 'message':
        return of === GRPC_ANY || within.includes(of) || within.length >= MAX_DEPTH
          ? undefined
          : this.record(of, within)
      case 'enum':
        return {
          ...{ type: 'string', maxLength: 256 },
          enum: Object.keys(this.#descriptors.enums.get(of) ?? {}),
        }
      case 'bool':
        return { type: 'boolean' }
      case 'string':
        return { type: 'string', maxLength: MAX_LENGTH, ...(tokenOf !== undefined && { tokenOf }) }
      // Numbers with a fraction are texts, and bytes base64: Cedar has neither, and nothing of them may be lost.
      case 'bytes':
      case 'double':
      case 'float':
        return { type: 'string', maxLength: MAX_LENGTH }
      case 'int32':
      case 'sint32':
      case 'sfixed32':
        return { type: 'long', minimum: -(2 ** 31), maximum: 2 ** 31 - 1 }
      case 'uint32':
      case 'fixed32':
        return { type: 'long', minimum: 0, maximum: 2 ** 32 - 1 }
      case 'uint64':
      case 'fixed64':
        return { type: 'long', minimum: 0, maximum: Number.MAX_SAFE_INTEGER }
      default:
        return {
          ...{ type: 'long', minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER },
        }
    }
  }
}

function reachable({ messages, enums }: Descriptors, operations: readonly Operation[]): GrpcSystem {
  const found = new Map<string, GrpcMessage>()
  const values = new Set<string>()
  const waiting = operations.flatMap(({ binding }) =>
    binding.kind === 'grpc' ? [binding.request, binding.response] : [],
  )
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const message = messages.get(name)
    if (!message || found.has(name)) continue
    found.set(name, message)
    for (const { type, of } of message.fields) {
      if (type === 'message' && of !== undefined) waiting.push(of)
      if (type === 'enum' && of !== undefined) values.add(of)
    }
  }
  return {
    messages: Object.fromEntries([...found].toSorted(byName)),
    enums: Object.fromEntries([...values].toSorted().map((name) => [name, enums.get(name) ?? {}])),
  }
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number =>
  a < b ? -1 : 1

/** What a path of `returns` names must be there, as it is named: whatever it misses would silently be dropped. */
export function checkGrpc(network: Network, located: Located, report: Report): void {
  for (const system of network.systems) {
    const { grpc, operations, name, upstream } = system
    if (!grpc) continue
    const at = `/systems/${escapePointer(name)}`
    const refused =
      upstream.kind === 'program'
        ? 'is run by the gateway, which speaks no gRPC with programs'
        : upstream.kind === 'external' && !/^https:\/\/[^/]+$/.test(upstream.url)
          ? 'is not reached at `https://HOST[:PORT]`, without a path'
          : undefined
    if (refused !== undefined) {
      report(
        'SP_NETWORK_RULE',
        located.at(`${at}/upstream`),
        `\`${name}\` ${refused}`,
        'methods of gRPC have their path at the root of a server that listens',
        'name a service, or `https://HOST[:PORT]`',
      )
    }
    const taken = new Map<string, string>()
    for (const operation of operations) {
      checkOperation(system, grpc, operation, taken, (place, message, fix) => {
        const pointer = `${at}/operations/${escapePointer(operation.name)}${place}`
        const why = 'it would look declared, and never be so'
        report('SP_NETWORK_RETURNS', located.keyAt(pointer), message, why, fix)
      })
    }
  }
}

function checkOperation(
  { name: system }: System,
  grpc: GrpcSystem,
  { name, binding, returns }: Operation,
  taken: Map<string, string>,
  report: (place: string, message: string, fix: string) => void,
): void {
  if (binding.kind !== 'grpc') return
  const other = taken.get(binding.path)
  if (other !== undefined) {
    report('', `\`${system}.${other}\` is the same method as \`${name}\``, 'keep one of the two')
  }
  taken.set(binding.path, name)
  for (const [path, target] of Object.entries(returns)) {
    const wrong = wrongPath(grpc, binding.response, path, target)
    if (wrong === undefined) continue
    report(
      `/returns/${escapePointer(path)}`,
      `the path \`${path}\` fits no answer of \`${name}\`: ${wrong}`,
      'write names of fields as the descriptor set has them, `[]` after each repeated one',
    )
  }
}

function wrongPath(
  { messages }: GrpcSystem,
  response: string,
  path: string,
  target: string,
): string | undefined {
  let of: string | undefined = response
  for (const step of path === '$' ? [] : path.split('.')) {
    const name = step.replace(/\[\]$/, '')
    const field: GrpcField | undefined =
      of === undefined ? undefined : messages[of]?.fields.find((one) => one.name === name)
    if (!field) return `there is no field \`${name}\``
    if ((field.presence === 'repeated') !== step.endsWith('[]')) {
      return field.presence === 'repeated' ? `\`${name}\` is repeated` : `\`${name}\` is no list`
    }
    of = field.type === 'message' ? field.of : undefined
    if (of === GRPC_ANY) return `\`${name}\` is a \`${GRPC_ANY}\`, which is never passed on`
  }
  if (target !== 'public' && of === undefined) return 'what it names is no message'
  if (target === 'public' && of !== undefined) return 'only single values are `public`'
  return undefined
}
