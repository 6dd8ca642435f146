import { Refusal } from '../refusal.ts'

/** RFC 9113 section 8.3.1: each once, and no other. */
const PSEUDO: ReadonlySet<string> = new Set([':method', ':scheme', ':authority', ':path'])
/** RFC 9113 section 8.2.2. `te` and `upgrade` are refused on every version. */
const CONNECTION_SPECIFIC: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
])

const refuse = (detail: string): Refusal =>
  new Refusal('SP_REQUEST_HEADER', 'a request header is missing, ambiguous or not accepted', {
    status: 400,
    detail,
  })

/** The head of an HTTP/2 request in the words of HTTP/1.1. */
export interface H2Head {
  readonly method: string
  readonly url: string
  /** `host` first, made of `:authority`. */
  readonly rawHeaders: readonly string[]
}

/**
 * Reads the header list of a request (RFC 9113 section 8.3), as strictly as HTTP/1.1 is read: whatever could mean something
 * else, or something at all, once it were written in HTTP/1.1 is refused.
 *
 * @param list names and values in turn, in the order sent
 * @param serverName what the TLS handshake asked for, where it did
 * @param maxBytes that the whole list may have
 * @throws Refusal `SP_REQUEST_HEADER`
 */
export function readH2Head(
  list: readonly string[],
  serverName: string | undefined,
  maxBytes: number,
): H2Head {
  // As RFC 7541 section 4.1 counts. A peer that never confirms our settings is not held to them by nghttp2.
  if (list.reduce((sum, text) => sum + text.length + 16, 0) > maxBytes) {
    throw new Refusal('SP_REQUEST_HEADER', 'the request headers are too large', { status: 431 })
  }
  const pseudo = new Map<string, string>()
  const rawHeaders: string[] = []
  for (let i = 0; i + 1 < list.length; i += 2) {
    const name = list[i] ?? ''
    const value = list[i + 1] ?? ''
    // HTTP/1.1 cannot carry these at the ends of a value; RFC 9113 section 8.2.1.
    if (/^[\t ]|[\t ]$/.test(value)) throw refuse(`\`${name}\` begins or ends with a blank`)
    if (name.startsWith(':')) {
      if (rawHeaders.length > 0) throw refuse('a pseudo-header stands behind a header')
      if (!PSEUDO.has(name) || pseudo.has(name)) throw refuse('a pseudo-header is not accepted')
      pseudo.set(name, value)
      continue
    }
    if (name !== name.toLowerCase()) throw refuse('a header name is not in lower case')
    if (CONNECTION_SPECIFIC.has(name)) throw refuse(`\`${name}\` has no meaning in HTTP/2`)
    rawHeaders.push(name, value)
  }
  const [method, scheme, authority, url] = [':method', ':scheme', ':authority', ':path'].map(
    (name) => pseudo.get(name),
  )
  if (method === undefined || url === undefined) throw refuse('a pseudo-header is missing')
  if (scheme !== 'https') throw refuse('`:scheme` is not `https`')
  if (authority === undefined) throw refuse('`:authority` is missing')
  const host = rawHeaders.findIndex((name, i) => i % 2 === 0 && name === 'host')
  if (host >= 0) {
    if (rawHeaders[host + 1] !== authority) throw refuse('`host` is not `:authority`')
    rawHeaders.splice(host, 2)
  }
  if (serverName !== undefined && hostOf(authority) !== serverName.toLowerCase()) {
    throw new Refusal('SP_REQUEST_HEADER', 'the connection was made for another name', {
      status: 421,
      detail: '`:authority` is not the name of the handshake',
    })
  }
  return { method, url, rawHeaders: ['host', authority, ...rawHeaders] }
}

const hostOf = (authority: string): string => authority.replace(/:\d*$/, '').toLowerCase()
