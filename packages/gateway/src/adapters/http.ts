import { canonicalJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import { fitsTemplate } from '@sallyport/network'
import type { HttpBinding, Operation, System } from '@sallyport/network'
import type { UpstreamRequest } from '../calls/types.ts'
import { encodeComponent, isPlainSegment } from '../edge/target.ts'
import { Refusal } from '../refusal.ts'
import { writeForm } from './forms.ts'
import { writeParts } from './parts.ts'
import type { Files } from './parts.ts'
import { forwardRaw } from './raw.ts'
import { scalarText, textAs, unknownInput } from './texts.ts'

/** A path template split at its slashes; a parameter carries its name. */
export type Part = { readonly text: string } | { readonly parameter: string }

/** An operation with an HTTP binding, ready to be matched. */
export interface Route {
  readonly operation: Operation
  readonly binding: HttpBinding
  readonly parts: readonly Part[]
  /** Inputs that are declared as headers. */
  readonly headers: readonly string[]
  readonly takesBody: boolean
}

export interface RouteMatch {
  readonly route: Route
  /** Decoded path parameters. */
  readonly path: ReadonlyMap<string, string>
}

/** The routes of one HTTP system, literal segments before parameters. */
export function routesOf(system: System): readonly Route[] {
  return system.operations
    .flatMap((operation) => {
      const { binding } = operation
      return binding.kind === 'http' ? [routeOf(operation, binding)] : []
    })
    .toSorted((a, b) => specificity(b).localeCompare(specificity(a)))
}

function routeOf(operation: Operation, binding: HttpBinding): Route {
  const parameters = Object.entries(binding.parameters)
  return {
    operation,
    binding,
    parts: partsOf(binding.path),
    headers: parameters.flatMap(([name, place]) => (place === 'header' ? [name] : [])),
    takesBody: parameters.some(([, place]) => place === 'body'),
  }
}

function partsOf(template: string): Part[] {
  if (template === '/') return []
  return template
    .slice(1)
    .split('/')
    .map((text) =>
      text.startsWith('{') && text.endsWith('}') ? { parameter: text.slice(1, -1) } : { text },
    )
}

const specificity = (route: Route): string =>
  route.parts.map((part) => ('text' in part ? '1' : '0')).join('')

/**
 * The route of a canonical request below its system; undefined where none is declared.
 *
 * @param from which segment the system's own path begins at
 */
export function matchRoute(
  routes: readonly Route[],
  method: string,
  segments: readonly string[],
  from = 0,
): RouteMatch | undefined {
  for (const route of routes) {
    const { binding, parts } = route
    if (binding.method !== method || parts.length !== segments.length - from) continue
    if (!fits(parts, segments, from)) continue
    // Another operation's path as well: which of them the upstream would take is not ours to guess.
    if (binding.shadowedBy && isShadowed(binding, segments.slice(from))) continue
    const path = new Map<string, string>()
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i]
      if (part && 'parameter' in part) path.set(part.parameter, segments[from + i] ?? '')
    }
    return { route, path }
  }
  return undefined
}

function fits(parts: readonly Part[], segments: readonly string[], from: number): boolean {
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]
    const segment = segments[from + i] ?? ''
    // Of a path that ends with a slash, nothing is the last value.
    if (!part || ('text' in part ? part.text !== segment : segment === '')) return false
  }
  return true
}

/** Of templates that fit a path so far: those with this very segment next, and those with a parameter there. */
export function matchParts(
  open: readonly (readonly Part[])[],
  i: number,
  segment: string,
): { readonly literal: (readonly Part[])[]; readonly parameter: (readonly Part[])[] } {
  const literal: (readonly Part[])[] = []
  const parameter: (readonly Part[])[] = []
  for (const parts of open) {
    const part = parts[i]
    if (part === undefined) continue
    if (!('text' in part)) parameter.push(parts)
    else if (part.text === segment) literal.push(parts)
  }
  return { literal, parameter }
}

const isShadowed = ({ shadowedBy }: HttpBinding, segments: readonly string[]): boolean =>
  shadowedBy?.some((template) => fitsTemplate(template, segments)) ?? false

/** What of a request beside its path and its body an operation may take as input. */
export interface Given {
  readonly query: ReadonlyMap<string, string>
  /** Lower case. */
  readonly headers: ReadonlyMap<string, string>
}

/**
 * The untyped input of a request: path, query, header and body members, each from the one place declared for it.
 *
 * @throws Refusal `SP_INPUT_UNKNOWN`, `SP_INPUT_TYPE`, `SP_REQUEST_BODY`
 */
export function rawInput(
  { route, path }: RouteMatch,
  { query, headers }: Given,
  body: JsonValue | undefined,
): Record<string, JsonValue> {
  // Every name that gets here is a declared one, and none of those begins with two underscores.
  const members: Record<string, JsonValue> = {}
  for (const [name, text] of path) {
    // A name that is in the path is not looked for in the query, and the other way round.
    if (query.has(name)) throw unknownInput(name)
    members[name] = textOf(route, 'path', name, text)
  }
  for (const [name, text] of query) members[name] = textOf(route, 'query', name, text)
  for (const name of route.headers) {
    const text = headers.get(name.toLowerCase())
    const schema = route.operation.input.members[name]?.schema
    if (text === undefined || schema === undefined) continue
    members[name] = textAs(name, text, schema)
  }
  if (body !== undefined) {
    for (const [name, value] of bodyMembers(route, body)) members[name] = value
  }
  return members
}

function textOf(
  { operation, binding }: Route,
  place: 'path' | 'query',
  name: string,
  text: string,
): JsonValue {
  const declared = Object.hasOwn(binding.parameters, name) ? binding.parameters[name] : undefined
  const schema = operation.input.members[name]?.schema
  if (declared !== place || schema === undefined) throw unknownInput(name)
  return textAs(name, text, schema)
}

function bodyMembers({ binding, takesBody }: Route, body: JsonValue): [string, JsonValue][] {
  if (!takesBody || typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new Refusal('SP_REQUEST_BODY', 'the request body is not the object declared', {
      status: 400,
    })
  }
  const given = Object.entries(body)
  for (const [name] of given) {
    if (!Object.hasOwn(binding.parameters, name) || binding.parameters[name] !== 'body') {
      throw unknownInput(name)
    }
  }
  return given
}

/**
 * The request to forward, built from the typed input alone, so that the upstream reads just what was authorised.
 *
 * @param base path of the upstream's URL, without a trailing slash
 * @param files what was sent of files
 * @throws Refusal `SP_INPUT_VALUE` for a value that cannot stand in a path
 */
export function forwardHttp(
  route: Route,
  input: Readonly<Record<string, CedarJson>>,
  base: string,
  files: Files = NO_FILES,
): UpstreamRequest {
  const { binding, takesBody } = route
  const { method } = binding
  let path = base
  for (const part of route.parts) {
    path += '/'
    path += encodeComponent('text' in part ? part.text : pathValue(part.parameter, input))
  }
  // A restored token may spell what no caller could.
  if (binding.shadowedBy && isShadowed(binding, segmentsOf(route, input))) {
    throw new Refusal('SP_INPUT_VALUE', 'a path input names another operation', { status: 400 })
  }
  let query: string[] | undefined
  let headers: Record<string, string> | undefined
  const members: Record<string, CedarJson | undefined> = {}
  for (const name of Object.keys(input)) {
    const place = binding.parameters[name]
    if (place === 'query') (query ??= []).push(name)
    else if (place === 'header') (headers ??= {})[name.toLowerCase()] = headerValue(name, input)
    else if (place === 'body') members[name] = input[name]
  }
  if (query !== undefined) path += `?${queryOf(query, input)}`
  else if (path === '') path = '/'
  if (!takesBody) return requestOf(method, path, headers, undefined)
  if (binding.body?.kind === 'raw') return forwardRaw({ method, path }, input, headers)
  const { body, type } = writeBody(binding, members, files)
  if (type !== undefined) (headers ??= {})['content-type'] = type
  return requestOf(method, path, headers, body)
}

const segmentsOf = ({ parts }: Route, input: Readonly<Record<string, CedarJson>>): string[] =>
  parts.map((part) => ('text' in part ? part.text : pathValue(part.parameter, input)))

const requestOf = (
  method: string,
  path: string,
  headers: Record<string, string> | undefined,
  body: Buffer | undefined,
): UpstreamRequest =>
  headers === undefined ? { method, path, body } : { method, path, headers, body }

const NO_FILES: Files = new Map()

const queryOf = (names: string[], input: Readonly<Record<string, CedarJson>>): string =>
  names
    .toSorted()
    .map((name) => `${encodeComponent(name)}=${encodeComponent(scalarText(input[name]))}`)
    .join('&')

/** @returns without a type where it is JSON */
function writeBody(
  { body }: HttpBinding,
  input: Readonly<Record<string, CedarJson | undefined>>,
  files: Files,
): { readonly body: Buffer; readonly type?: string } {
  switch (body?.kind) {
    case 'form':
      return { body: writeForm(input, body.deep), type: 'application/x-www-form-urlencoded' }
    case 'parts':
      return writeParts(input, (name) => body.files.includes(name), files)
    default:
      return { body: Buffer.from(canonicalJson(input)) }
  }
}

function headerValue(name: string, input: Readonly<Record<string, CedarJson>>): string {
  const text = scalarText(input[name])
  if (!/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(text)) {
    throw new Refusal('SP_INPUT_VALUE', `the input \`${name}\` cannot stand in a header`, {
      status: 400,
    })
  }
  return text
}

function pathValue(name: string, input: Readonly<Record<string, CedarJson>>): string {
  const text = scalarText(input[name])
  // A restored token was never checked as a path segment.
  if (!isPlainSegment(text)) {
    throw new Refusal('SP_INPUT_VALUE', `the input \`${name}\` cannot stand in a path`, {
      status: 400,
    })
  }
  return text
}
