import { matchParts } from '../adapters/http.ts'
import type { Route } from '../adapters/http.ts'
import { GAP, isWord } from './plain.ts'

const MAX_SEGMENTS = 12
/** A version or a prefix: what follows it is a collection still. */
const PREFIX = /^(?:api|v\d{1,3})$/

/**
 * A path that no operation has, without what may be a value in it: segments that the declaration has are shown, where it has a
 * parameter a gap is, and of what it does not know a word that stands where a collection would.
 *
 * @param segments decoded, below the system
 */
export function routeName(
  routes: readonly Route[],
  method: string,
  segments: readonly string[],
): string {
  let open = routes.map(({ parts }) => parts)
  let collection = true
  const shown: string[] = []
  for (const [i, segment] of segments.slice(0, MAX_SEGMENTS).entries()) {
    const { literal, parameter } = matchParts(open, i, segment)
    if (literal.length > 0) {
      open = literal
      shown.push(segment)
      collection = PREFIX.test(segment) || open.some((parts) => 'text' in (parts[i + 1] ?? {}))
    } else if (parameter.length > 0) {
      open = parameter
      shown.push(GAP)
      collection = true
    } else {
      open = []
      const prefix = PREFIX.test(segment)
      const named: boolean = prefix || (collection && isWord(segment))
      shown.push(named ? segment : GAP)
      collection = prefix || !named
    }
  }
  const more = segments.length > MAX_SEGMENTS ? '/…' : ''
  return `${method} /${shown.join('/')}${more}`
}
