import type { A2aVersion } from '@sallyport/network'
import type { RequestContext } from '../serve/context.ts'

/** Below a system. */
export const PATH = 'a2a'
const CARD = '.well-known/agent-card.json'

/** Where below its system a request goes; undefined for nowhere. */
export function placeOf(
  segments: readonly string[],
): { readonly card: boolean; readonly skill: string | undefined } | undefined {
  const [, ...rest] = segments
  const card = rest.length >= 2 && rest.slice(-2).join('/') === CARD
  const [path, skill, ...more] = card ? rest.slice(0, -2) : rest
  if (path === undefined) return card ? { card, skill: undefined } : undefined
  if (path !== PATH || more.length > 0) return undefined
  return { card, skill }
}

/** `A2A-Version` (1.0, section 3.6.1): absent means 0.3. */
export function versionOf({ request }: RequestContext): A2aVersion | undefined {
  const given = request.headers.all.get('a2a-version')
  if (given === undefined || given === '' || given === '0.3') return '0.3'
  return given === '1.0' ? '1.0' : undefined
}
