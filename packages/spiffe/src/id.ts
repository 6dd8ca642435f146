import { SallyportError } from '@sallyport/base'

/** A SPIFFE ID (SPIFFE-ID standard, sections 2.1 to 2.4), already checked. */
export interface SpiffeId {
  /** The whole id as written; two ids are equal exactly when these strings are. */
  readonly uri: string
  readonly trustDomain: string
  /** Empty for the id of a trust domain itself, else it starts with `/`. */
  readonly path: string
  readonly segments: readonly string[]
}

/** What a SPIFFE id of this product names. */
export interface SpiffeKind {
  readonly kind: 'agent' | 'service' | 'gateway' | 'control'
  readonly name: string
  /** Of agents and services. */
  readonly instance?: string
}

const SCHEME = 'spiffe://'
const MAX_URI_BYTES = 2048
const MAX_TRUST_DOMAIN_BYTES = 255
const TRUST_DOMAIN = /^[a-z0-9._-]+$/
const SEGMENT = /^[A-Za-z0-9._-]+$/

function refuse(rule: string): SallyportError {
  return new SallyportError('SP_SPIFFE_ID', `the text is not a SPIFFE id: ${rule}`, {
    fix: 'write it as `spiffe://trust-domain/path` in lower-case trust domain and plain path segments',
  })
}

/**
 * Parses a SPIFFE id by every rule of the standard: scheme exactly `spiffe`, no user information, port,
 * query, fragment or percent-encoding, trust domain of `[a-z0-9._-]` up to 255 bytes, path segments of
 * `[A-Za-z0-9._-]`, none empty, `.` or `..`, no trailing slash, 2048 bytes in all.
 *
 * @throws SallyportError `SP_SPIFFE_ID`
 */
export function parseSpiffeId(text: string): SpiffeId {
  if (text.length > MAX_URI_BYTES) throw refuse(`it is longer than ${MAX_URI_BYTES} bytes`)
  if (!text.startsWith(SCHEME)) throw refuse('it does not start with `spiffe://`')
  const rest = text.slice(SCHEME.length)
  const slash = rest.indexOf('/')
  const trustDomain = slash < 0 ? rest : rest.slice(0, slash)
  const path = slash < 0 ? '' : rest.slice(slash)
  checkTrustDomain(trustDomain)
  const segments = path === '' ? [] : path.slice(1).split('/')
  for (const segment of segments) {
    if (segment === '') throw refuse('a path segment is empty, or the path ends with a slash')
    if (segment === '.' || segment === '..') throw refuse('a path segment is `.` or `..`')
    if (!SEGMENT.test(segment)) {
      throw refuse('a path segment has a character outside `[A-Za-z0-9._-]`')
    }
  }
  return { uri: text, trustDomain, path, segments }
}

/** @throws SallyportError `SP_SPIFFE_ID` where the text is not a trust domain name */
export function checkTrustDomain(text: string): void {
  if (text === '') throw refuse('the trust domain is empty')
  if (text.length > MAX_TRUST_DOMAIN_BYTES) {
    throw refuse(`the trust domain is longer than ${MAX_TRUST_DOMAIN_BYTES} bytes`)
  }
  if (!TRUST_DOMAIN.test(text)) {
    throw refuse('the trust domain has a character outside `[a-z0-9._-]`')
  }
}

/** `spiffe://TD/agent/NAME/INSTANCE`; without an instance, the prefix that names every instance of the agent. */
export function agentId(trustDomain: string, name: string, instance?: string): string {
  return build(trustDomain, ['agent', name, ...(instance === undefined ? [] : [instance])])
}

/** `spiffe://TD/service/NAME/INSTANCE`; without an instance, the audience of call tokens. */
export function serviceId(trustDomain: string, name: string, instance?: string): string {
  if (instance !== undefined) return build(trustDomain, ['service', name, instance])
  const known = audiences.get(trustDomain)?.get(name)
  if (known !== undefined) return known
  const id = build(trustDomain, ['service', name])
  if (audiences.size >= MAX_KNOWN) audiences.clear()
  let own = audiences.get(trustDomain)
  if (!own) audiences.set(trustDomain, (own = new Map()))
  if (own.size >= MAX_KNOWN) own.clear()
  own.set(name, id)
  return id
}

/** Trust domains, and services of each, whose ids are kept: every call token names one. */
const MAX_KNOWN = 1000
const audiences = new Map<string, Map<string, string>>()

/** `spiffe://TD/gateway/ID`. */
export function gatewayId(trustDomain: string, id: string): string {
  return build(trustDomain, ['gateway', id])
}

/** `spiffe://TD/control/ID`. */
export function controlId(trustDomain: string, id: string): string {
  return build(trustDomain, ['control', id])
}

function build(trustDomain: string, segments: readonly string[]): string {
  for (const segment of segments) {
    // A slash inside a name would shift the meaning of the segments after it.
    if (segment.includes('/')) throw refuse('a name has a slash in it')
  }
  return parseSpiffeId(`${SCHEME}${trustDomain}/${segments.join('/')}`).uri
}

/**
 * What an id names in this product; undefined for every other shape. Agents and services need an instance:
 * an id that would stand for all instances at once authenticates nobody.
 */
export function kindOf(id: SpiffeId): SpiffeKind | undefined {
  const [kind, name, instance] = id.segments
  if (name === undefined) return undefined
  if ((kind === 'agent' || kind === 'service') && instance !== undefined) {
    return id.segments.length === 3 ? { kind, name, instance } : undefined
  }
  if ((kind === 'gateway' || kind === 'control') && id.segments.length === 2) return { kind, name }
  return undefined
}
