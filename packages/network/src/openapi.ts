import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import { checkMemberName, inputRecordFrom, inputTypeFrom, isObject } from './input-type.ts'
import { Halt } from './problem.ts'
import type { HttpBinding, InputMember, InputSchema } from './types.ts'

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const
const MAX_REF_HOPS = 8
/** Whole segments only: a literal of unreserved characters, or one `{parameter}`. */
const PATH = /^(?:\/(?:[A-Za-z0-9._~-]+|\{[A-Za-z0-9_.-]+\}))+$/

/** What an API description says of one operation. */
interface ImportedOperation {
  readonly description: string
  readonly binding: HttpBinding
  readonly input: InputSchema
}

/** An OpenAPI 3.0 or 3.1 document whose operations are picked by `operationId`. References stay inside the document. */
export interface OpenApi {
  readonly operationIds: readonly string[]
  /** JSON pointer of an operation, for spans. */
  pointer(operationId: string): string | undefined
  /** @throws Halt when the operation cannot be imported */
  operation(operationId: string): ImportedOperation
}

/** @throws Halt `SP_NETWORK_OPENAPI` when the document is no usable OpenAPI */
export function openApiFrom(located: Located): OpenApi {
  const root = located.value
  if (!isObject(root) || !/^3\.[01]\.\d+$/.test(asString(root['openapi']))) {
    throw refuse('the document is not OpenAPI 3.0 or 3.1', 'state `openapi: 3.1.0` and follow it')
  }
  const paths = root['paths']
  if (!isObject(paths)) throw refuse('the document has no `paths`', 'describe the operations')
  const found = new Map<string, { path: string; method: (typeof METHODS)[number] }>()
  for (const [path, item] of Object.entries(paths)) {
    if (!isObject(item)) continue
    for (const method of METHODS) {
      const operation = item[method]
      if (!isObject(operation)) continue
      const id = operation['operationId']
      if (typeof id !== 'string') continue
      if (found.has(id)) {
        throw refuse(`the operationId \`${id}\` stands twice`, 'make every operationId unique')
      }
      found.set(id, { path, method })
    }
  }
  const resolve = (ref: string): unknown => lookUp(root, ref)
  const pointer = (id: string): string | undefined => {
    const place = found.get(id)
    return place && `/paths/${escapePointer(place.path)}/${place.method}`
  }
  return {
    operationIds: [...found.keys()],
    pointer,
    operation(id) {
      const place = found.get(id)
      if (!place) throw refuse(`no operation has the operationId \`${id}\``, 'correct the name')
      // `found` was filled from exactly these objects above.
      const item = paths[place.path] as Readonly<Record<string, unknown>>
      const operation = item[place.method] as Readonly<Record<string, unknown>>
      return importOperation(place.path, place.method, item, operation, resolve)
    },
  }
}

function importOperation(
  path: string,
  method: (typeof METHODS)[number],
  item: Readonly<Record<string, unknown>>,
  operation: Readonly<Record<string, unknown>>,
  resolve: (ref: string) => unknown,
): ImportedOperation {
  if (!PATH.test(path) || path.split('/').some((s) => s === '.' || s === '..')) {
    throw refuse(
      `the path \`${path.slice(0, 120)}\` is not accepted`,
      'use whole segments, each plain text or one `{parameter}`, without a trailing slash',
    )
  }
  const parameters: Record<string, 'path' | 'query' | 'body'> = {}
  const members: Record<string, InputMember> = {}
  const add = (name: string, where: 'path' | 'query' | 'body', member: InputMember): void => {
    if (Object.hasOwn(members, name)) {
      throw refuse(
        `two inputs are called \`${name}\``,
        'rename one: path, query and body members form one typed input',
      )
    }
    parameters[name] = where
    members[name] = member
  }
  for (const [name, parameter] of collectParameters(item, operation, resolve)) {
    const where = parameter['in']
    const required = parameter['required'] === true
    if (where === 'header' || where === 'cookie') {
      // An optional one is simply never sent; a required one would make every call fail upstream.
      if (!required) continue
      throw refuse(
        `the required ${where} parameter \`${name}\` cannot be carried`,
        'callers send no headers of their own; use a query or body member, or a credential of the system',
      )
    }
    if (where !== 'path' && where !== 'query') {
      throw refuse(`the parameter \`${name}\` has no place`, 'set `in` to `path` or `query`')
    }
    checkMemberName(name, 'the operation')
    const schema = inputTypeFrom(parameter['schema'], `the parameter \`${name}\``, resolve)
    if (schema.type === 'record' || schema.type === 'set') {
      throw refuse(
        `the ${where} parameter \`${name}\` is not a single value`,
        'lists and objects in URLs have several readings; send them in a JSON body',
      )
    }
    if (where === 'path' && !required) {
      throw refuse(`the path parameter \`${name}\` is not required`, 'set `required: true`')
    }
    add(name, where, { schema, required })
  }
  for (const [, name = ''] of path.matchAll(/\{([^}]*)\}/g)) {
    if (parameters[name] !== 'path') {
      throw refuse(`the path names \`{${name}}\`, which no parameter describes`, 'describe it')
    }
  }
  for (const [name, where] of Object.entries(parameters)) {
    if (where === 'path' && path.split(`{${name}}`).length !== 2) {
      throw refuse(`the path parameter \`${name}\` stands not exactly once in the path`, 'add it')
    }
  }
  for (const [name, member] of Object.entries(bodyMembers(operation, method, resolve))) {
    add(name, 'body', member)
  }
  return {
    description: asString(operation['summary']) || asString(operation['description']),
    binding: {
      kind: 'http',
      // One of METHODS, upper-cased.
      method: method.toUpperCase() as HttpBinding['method'],
      path,
      parameters,
    },
    input: { type: 'record', members },
  }
}

/** Parameters of the path item, overridden by those of the operation (OpenAPI 3.1, section 4.8.10). */
function collectParameters(
  item: Readonly<Record<string, unknown>>,
  operation: Readonly<Record<string, unknown>>,
  resolve: (ref: string) => unknown,
): Iterable<readonly [string, Readonly<Record<string, unknown>>]> {
  const byKey = new Map<string, readonly [string, Readonly<Record<string, unknown>>]>()
  for (const list of [item['parameters'] ?? [], operation['parameters'] ?? []]) {
    if (!Array.isArray(list)) throw refuse('`parameters` is not a list', 'write a list')
    for (const given of list) {
      const parameter = follow(given, resolve)
      const name = asString(parameter['name'])
      byKey.set(`${asString(parameter['in'])} ${name}`, [name, parameter])
    }
  }
  return byKey.values()
}

function bodyMembers(
  operation: Readonly<Record<string, unknown>>,
  method: string,
  resolve: (ref: string) => unknown,
): Readonly<Record<string, InputMember>> {
  if (operation['requestBody'] === undefined) return {}
  if (method === 'get' || method === 'delete') {
    throw refuse(`a ${method.toUpperCase()} request has no body`, 'use query parameters')
  }
  const body = follow(operation['requestBody'], resolve)
  const content = body['content']
  const media = isObject(content) ? content['application/json'] : undefined
  if (!isObject(media) || !isObject(content) || Object.keys(content).length !== 1) {
    throw refuse('the request body is not `application/json` alone', 'describe only that type')
  }
  const record = inputRecordFrom(media['schema'], 'the request body', resolve)
  const required = Object.values(record.members).some((member) => member.required)
  if (required && body['required'] !== true) {
    throw refuse(
      'the request body is optional but has required members',
      'set `required: true` on the request body',
    )
  }
  return record.members
}

function follow(
  given: unknown,
  resolve: (ref: string) => unknown,
): Readonly<Record<string, unknown>> {
  let value = given
  for (let hops = 0; hops < MAX_REF_HOPS; hops++) {
    if (!isObject(value)) throw refuse('a part of the operation is not an object', 'correct it')
    const ref = value['$ref']
    if (ref === undefined) return value
    value = resolve(asString(ref))
  }
  throw refuse('a `$ref` goes in circles', 'point it at a definition')
}

/** A local reference, `#/a/b` (RFC 6901 section 6). Anything else would read outside the document. */
function lookUp(root: unknown, ref: string): unknown {
  if (!ref.startsWith('#/') || ref.length > 512) {
    throw refuse(
      `the reference \`${ref.slice(0, 120)}\` leaves the document`,
      'copy the definition into the document and refer to it as `#/…`',
    )
  }
  let value = root
  for (const part of ref.slice(2).split('/')) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    if (!isObject(value) || !Object.hasOwn(value, key)) {
      throw refuse(`the reference \`${ref}\` points at nothing`, 'correct the reference')
    }
    value = value[key]
  }
  return value
}

function asString(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function refuse(message: string, fix: string): Halt {
  return new Halt(
    'SP_NETWORK_OPENAPI',
    message,
    'the gateway forwards only requests that the description determines completely',
    fix,
  )
}
