import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

/** A service of the bank: a request that the gateway has authorised, answered. */
export type Handler = (request: Request) => Promise<Response>

type JsonObject = { readonly [key: string]: JsonValue }

/** What a service refuses with: an HTTP status and a sentence. */
export class Refusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

interface Route {
  readonly method: string
  /** `{name}` matches one segment. */
  readonly path: string
  /** Of a success (default 200). */
  readonly status?: number
  readonly answer: (call: RouteCall) => JsonValue
}

export interface RouteCall {
  /** A path parameter, decoded. */
  readonly param: (name: string) => string
  readonly query: URLSearchParams
  /** The members of the JSON body; empty without one. */
  readonly body: JsonObject
}

/** Answers JSON over a table of routes; everything that is not listed is 404, everything malformed 400. */
export function router(routes: readonly Route[]): Handler {
  return async (request) => {
    const url = new URL(request.url)
    const segments = url.pathname.split('/')
    try {
      for (const route of routes) {
        const pattern = route.path.split('/')
        if (route.method !== request.method || pattern.length !== segments.length) continue
        const params = match(pattern, segments)
        if (!params) continue
        const body = await readBody(request)
        const answer = route.answer({
          param: (name) => params.get(name) ?? '',
          query: url.searchParams,
          body,
        })
        return Response.json(answer, { status: route.status ?? 200 })
      }
      throw new Refusal(404, 'no such resource')
    } catch (error) {
      return problem(error)
    }
  }
}

function match(
  pattern: readonly string[],
  segments: readonly string[],
): Map<string, string> | undefined {
  const params = new Map<string, string>()
  for (const [index, part] of pattern.entries()) {
    const segment = segments[index] ?? ''
    if (part.startsWith('{')) params.set(part.slice(1, -1), decodeURIComponent(segment))
    else if (part !== segment) return undefined
  }
  return params
}

async function readBody(request: Request): Promise<JsonObject> {
  const bytes = new Uint8Array(await request.arrayBuffer())
  if (bytes.length === 0) return {}
  const value = parseJson(bytes, { maxBytes: 65_536, maxDepth: 8 })
  if (!isObject(value)) throw new Refusal(400, 'the body is not a JSON object')
  return value
}

/** Whether a JSON value is an object. */
export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function problem(error: unknown): Response {
  const known =
    error instanceof Refusal || error instanceof SallyportError || error instanceof URIError
  const status = error instanceof Refusal ? error.status : known ? 400 : 500
  const title = known ? error.message : 'the service failed'
  return Response.json(
    { title, status },
    { status, headers: { 'content-type': 'application/problem+json' } },
  )
}

/** A string member of at most `max` characters, or a 400. */
export function text(from: JsonObject, name: string, max = 200): string {
  const value = from[name]
  if (typeof value !== 'string' || value === '' || value.length > max) {
    throw new Refusal(400, `\`${name}\` must be a string of 1 to ${max} characters`)
  }
  return value
}

/** An integer member within [low, high], or a 400. */
export function integer(from: JsonObject, name: string, low: number, high: number): number {
  const value = from[name]
  if (typeof value !== 'number' || !Number.isInteger(value) || value < low || value > high) {
    throw new Refusal(400, `\`${name}\` must be an integer from ${low} to ${high}`)
  }
  return value
}

/** A member that is a list of at most `max` strings, or a 400. */
export function texts(from: JsonObject, name: string, max: number): string[] {
  const value = from[name]
  if (!Array.isArray(value) || value.length === 0 || value.length > max) {
    throw new Refusal(400, `\`${name}\` must be a list of 1 to ${max} strings`)
  }
  return value.map((item: JsonValue) => {
    if (typeof item !== 'string' || item === '' || item.length > 80) {
      throw new Refusal(400, `\`${name}\` must hold strings of 1 to 80 characters`)
    }
    return item
  })
}
