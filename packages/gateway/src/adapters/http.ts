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
import { scalarText, textAs, unknownInput } from './texts.ts'

/** A path template split at its slashes; a parameter carries its name. */
export type Part = { readonly text: string } | { readonly parameter: string }

/** An operation with an HTTP binding, ready to be matched. */
export interface Route {
  readonly operation: Operation
  readonly binding: HttpBinding
  readonly parts: readonly Part[]
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
      return binding.kind === 'http' ? [{ operation, binding, parts: partsOf(binding.path) }] : []
    })
    .toSorted((a, b) => specificity(b).localeCompare(specificity(a)))
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

/** The route of a canonical request below its system; undefined where none is declared. */
export function matchRoute(
  routes: readonly Route[],
  method: string,
  segments: readonly string[],
): RouteMatch | undefined {
  for (const route of routes) {
    if (route.binding.method !== method || route.parts.length !== segments.length) continue
    const path = new Map<string, string>()
    const fits = route.parts.every((part, i) => {
      const segment = segments[i] ?? ''
      if ('text' in part) return part.text === segment
      path.set(part.parameter, segment)
      // Of a path that ends with a slash, nothing is the last value.
      return segment !== ''
    })
    // Another operation's path as well: which of them the upstream would take is not ours to guess.
    if (fits && !isShadowed(route.binding, segments)) return { route, path }
  }
  return undefined
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

const isShadowed = ({ shadowedBy = [] }: HttpBinding, segments: readonly string[]): boolean =>
  shadowedBy.some((template) => fitsTemplate(template, segments))

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
  match: RouteMatch,
  { query, headers }: Given,
  body: JsonValue | undefined,
): Record<string, JsonValue> {
  const { operation, binding } = match.route
  const members: [string, JsonValue][] = []
  for (const [name, text] of [...match.path, ...query]) {
    const place = match.path.has(name) ? 'path' : 'query'
    const declared = Object.hasOwn(binding.parameters, name) ? binding.parameters[name] : undefined
    // A name that is in the path is not looked for in the query, and the other way round.
    if (declared !== place || (place === 'path' && query.has(name))) throw unknownInput(name)
    const schema = operation.input.members[name]?.schema
    if (schema === undefined) throw unknownInput(name)
    members.push([name, textAs(name, text, schema)])
  }
  for (const [name, place] of Object.entries(binding.parameters)) {
    const text = place === 'header' ? headers.get(name.toLowerCase()) : undefined
    const schema = operation.input.members[name]?.schema
    if (text === undefined || schema === undefined) continue
    members.push([name, textAs(name, text, schema)])
  }
  members.push(...bodyMembers(binding, body))
  return Object.fromEntries(members)
}

function bodyMembers(binding: HttpBinding, body: JsonValue | undefined): [string, JsonValue][] {
  if (body === undefined) return []
  if (!takesBody(binding) || typeof body !== 'object' || body === null || Array.isArray(body)) {
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

const takesBody = (binding: HttpBinding): boolean =>
  Object.values(binding.parameters).includes('body')

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
  files: Files = new Map(),
): UpstreamRequest {
  const { binding } = route
  const segments = route.parts.map((part) =>
    'text' in part ? part.text : pathValue(part.parameter, input),
  )
  // A restored token may spell what no caller could.
  if (isShadowed(binding, segments)) {
    throw new Refusal('SP_INPUT_VALUE', 'a path input names another operation', { status: 400 })
  }
  let path = base
  for (const segment of segments) path += `/${encodeComponent(segment)}`
  const at = (place: string): string[] =>
    Object.keys(input).filter((name) => binding.parameters[name] === place)
  const query = at('query')
    .toSorted()
    .map((name) => `${encodeComponent(name)}=${encodeComponent(scalarText(input[name]))}`)
  if (query.length > 0) path += `?${query.join('&')}`
  const headers = at('header').map((name) => [name.toLowerCase(), headerValue(name, input)])
  const { body, type } = takesBody(binding)
    ? writeBody(binding, Object.fromEntries(at('body').map((name) => [name, input[name]])), files)
    : { body: undefined, type: undefined }
  if (type !== undefined) headers.push(['content-type', type])
  return {
    method: binding.method,
    path: path === '' ? '/' : path,
    ...(headers.length === 0 ? {} : { headers: Object.fromEntries(headers) }),
    body,
  }
}

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
