import { SallyportError } from '@sallyport/base'
import type { Route } from './route.ts'

/** Finds the one route of a method and path. */
export class Router {
  readonly #routes: readonly { readonly route: Route; readonly segments: readonly string[] }[]

  constructor(routes: readonly Route[]) {
    this.#routes = routes.map((route) => ({ route, segments: route.path.split('/') }))
  }

  /** @throws SallyportError `SP_API_NOT_FOUND`, `SP_API_METHOD` */
  find(method: string, pathname: string): { route: Route; params: Record<string, string> } {
    const given = pathname.split('/')
    let otherMethod = false
    for (const { route, segments } of this.#routes) {
      const params = match(segments, given)
      if (params && route.method === method) return { route, params }
      otherMethod ||= params !== undefined
    }
    throw otherMethod
      ? new SallyportError('SP_API_METHOD', 'this address does not take that method')
      : new SallyportError('SP_API_NOT_FOUND', 'there is nothing at this address')
  }
}

function match(
  segments: readonly string[],
  given: readonly string[],
): Record<string, string> | undefined {
  if (segments.length !== given.length) return undefined
  const params: Record<string, string> = {}
  for (const [index, segment] of segments.entries()) {
    const actual = given[index] ?? ''
    if (!segment.startsWith('{')) {
      if (segment !== actual) return undefined
      continue
    }
    const value = decode(actual)
    if (value === undefined || value === '' || value.length > 256) return undefined
    params[segment.slice(1, -1)] = value
  }
  return params
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
