import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import { checkMemberName, inputTypeFrom, isObject } from './input-type.ts'
import { bodyOf } from './openapi-bodies.ts'
import { bytesOf } from './openapi-bytes.ts'
import { labelledOf } from './openapi-labelled.ts'
import { linesOf } from './openapi-lines.ts'
import { asString, follow, refuse } from './openapi-parts.ts'
import { withDigest } from './openapi-raw.ts'
import { isSpecialOf, overlap } from './path-template.ts'
import type { HttpBinding, InputMember, InputSchema } from './types.ts'

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const
/** Whole segments only: a literal of unreserved characters, or one `{parameter}`. */
const PATH = /^(?:\/(?:[A-Za-z0-9._~-]+|\{[A-Za-z0-9_.-]+\}))+\/?$/

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
  const templates = templatesOf(paths)
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
      const imported = importOperation(place.path, place.method, item, operation, resolve)
      const shadowedBy = shadowsOf(place.path, templates.get(place.method) ?? [])
      if (shadowedBy.length === 0) return imported
      return { ...imported, binding: { ...imported.binding, shadowedBy } }
    },
  }
}

/** The path templates of each method, by their number of segments. */
function templatesOf(paths: Readonly<Record<string, unknown>>): Map<string, string[]> {
  const templates = new Map<string, string[]>()
  for (const [path, item] of Object.entries(paths)) {
    if (!isObject(item)) continue
    for (const method of METHODS) {
      if (!isObject(item[method])) continue
      const of = templates.get(method)
      if (of) of.push(path)
      else templates.set(method, [path])
    }
  }
  return templates
}

/** @throws Halt where another path is the same but for the names of its parameters */
function shadowsOf(path: string, templates: readonly string[]): string[] {
  const shadows = templates.filter(
    (other) =>
      other !== path &&
      overlap(path, other) &&
      !(isSpecialOf(path, other) && !isSpecialOf(other, path)),
  )
  const same = shadows.find((other) => isSpecialOf(path, other))
  if (same !== undefined) {
    throw refuse(
      `the paths \`${path.slice(0, 120)}\` and \`${same.slice(0, 120)}\` are the same`,
      'keep one of the two; names of parameters do not tell them apart',
    )
  }
  return shadows
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
      'use whole segments, each plain text or one `{parameter}`',
    )
  }
  const parameters: Record<string, HttpBinding['parameters'][string]> = {}
  const members: Record<string, InputMember> = {}
  const add = (
    name: string,
    where: HttpBinding['parameters'][string],
    member: InputMember,
  ): void => {
    if (Object.hasOwn(members, name)) {
      throw refuse(
        `two inputs are called \`${name}\``,
        'rename one: path, query and body members form one typed input',
      )
    }
    parameters[name] = where
    members[name] = member
  }
  let needsDigest = false
  for (const [name, parameter] of collectParameters(item, operation, resolve)) {
    const where = parameter['in']
    const required = parameter['required'] === true
    if (where === 'header' && name.toLowerCase() === CONTENT_DIGEST) {
      needsDigest ||= required
      continue
    }
    // OpenAPI has these described elsewhere; as parameters they are to be ignored (section 4.8.12.2).
    if (where === 'header' && IGNORED.has(name.toLowerCase())) continue
    if (where === 'cookie' || (where === 'header' && isReserved(name))) {
      // An optional one is simply never sent; a required one would make every call fail upstream.
      if (!required) continue
      throw refuse(
        `the required ${where} parameter \`${name}\` cannot be carried`,
        'such a header is not the caller’s to set; use a query or body member, or a credential of the system',
      )
    }
    if (where !== 'path' && where !== 'query' && where !== 'header') {
      throw refuse(
        `the parameter \`${name}\` has no place`,
        'set `in` to `path`, `query` or `header`',
      )
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
  const outside = { ...members }
  const imported = bodyOf(operation, method, resolve)
  const { variants, body } = imported
  const inBody = needsDigest ? withDigest(imported) : imported.members
  for (const [name, member] of Object.entries(inBody)) add(name, 'body', member)
  const labelled = labelledOf(operation)
  const lines = linesOf(operation, resolve)
  const bytes = bytesOf(operation, resolve)
  return {
    description: asString(operation['summary']) || asString(operation['description']),
    binding: {
      kind: 'http',
      // One of METHODS, upper-cased.
      method: method.toUpperCase() as HttpBinding['method'],
      path,
      parameters,
      ...(body !== undefined && { body }),
      ...(labelled !== undefined && { labelled }),
      ...(lines.length > 0 && { lines }),
      ...(bytes !== undefined && { bytes }),
    },
    input: {
      type: 'record',
      members,
      // What path, query and headers take is part of every shape of the body.
      ...(variants !== undefined && {
        variants: {
          fits: variants.fits,
          of: variants.of.map((shape) => ({
            ...shape,
            members: { ...outside, ...shape.members },
          })),
        },
      }),
    },
  }
}

/** RFC 9530: of a body of bytes it is part of the input. */
const CONTENT_DIGEST = 'content-digest'

const IGNORED: ReadonlySet<string> = new Set(['accept', 'content-type', 'authorization'])

/** Headers that frame or route a message, name who calls or the trace it is part of, or are the gateway's own; and names that have two spellings. */
function isReserved(name: string): boolean {
  return (
    !/^[A-Za-z][A-Za-z0-9-]{0,62}$/.test(name) ||
    /^(?:host|connection|keep-alive|te|trailer|upgrade|expect|cookie|forwarded|via|date|origin|referer|range|dpop|http2-settings|transfer-encoding|user-agent|traceparent|tracestate)$|^(?:content|accept|proxy|x-forwarded|x-http-method|x-original|x-rewrite|x-real|x-method|sallyport|mcp|sec)(?:-|$)/i.test(
      name,
    )
  )
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
