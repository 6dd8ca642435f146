import { plain } from '../inventory/plain.ts'
import { Refusal } from '../refusal.ts'
import type { RefusalFacts } from '../refusal.ts'

/** A request target read once: what is authorised, logged and forwarded is rebuilt from this, never from the text. */
export interface RequestTarget {
  /** Decoded path segments, at least one, none empty but for the last: that is how a path ends with a slash. */
  readonly segments: readonly string[]
  /** Decoded, each key once, in the order sent. */
  readonly query: ReadonlyMap<string, string>
}

const MAX_TARGET = 8192
const MAX_SEGMENTS = 64
const MAX_PARAMETERS = 64
/** RFC 3986 `pchar` and `/`, without `;`: path parameters have several readings. */
const PATH = /^(?:\/(?:[A-Za-z0-9\-._~!$&'()*+,=:@]|%[0-9A-Fa-f]{2})+)+\/?$/
/** RFC 3986 `query`. */
const QUERY = /^(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})+$/
/** What no decoded segment holds: separators of any server, a second layer of encoding, control characters. */
// eslint-disable-next-line no-control-regex -- control characters are what is being excluded
const FORBIDDEN_IN_SEGMENT = /[/\\;%?#\u0000-\u001f\u007f-\u009f]/
// eslint-disable-next-line no-control-regex -- control characters are what is being excluded
const FORBIDDEN_IN_QUERY = /[\u0000-\u001f\u007f-\u009f]/

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const refuse = (what: string, facts: Pick<RefusalFacts, 'strange'> = {}): Refusal =>
  new Refusal('SP_REQUEST_TARGET', 'the request target is not in canonical form', {
    status: 400,
    detail: what,
    close: true,
    ...facts,
  })

/**
 * Reads a request target in origin form (RFC 9112 section 3.2.1) so strictly that no two servers could read it
 * differently: no absolute form, fragment, backslash, empty or dot segment, path parameter, encoded separator, second layer
 * of encoding, invalid or overlong UTF-8, and no query key twice.
 *
 * @throws Refusal `SP_REQUEST_TARGET`
 */
export function readTarget(url: string): RequestTarget {
  if (url.length > MAX_TARGET) {
    throw new Refusal('SP_REQUEST_TARGET', 'the request target is too long', {
      status: 414,
      close: true,
    })
  }
  const mark = url.indexOf('?')
  const path = mark < 0 ? url : url.slice(0, mark)
  if (!PATH.test(path)) {
    const elsewhere = /^https?:\/\/([^/?#@]{1,300})/i.exec(path)?.[1]
    // Whoever takes this for a proxy says where it wants to go.
    throw refuse(
      'the path is not in plain origin form',
      elsewhere === undefined
        ? {}
        : { strange: { kind: 'destination', name: plain.host(elsewhere) } },
    )
  }
  const segments = path.slice(1).split('/')
  const last = segments.length - 1
  for (let i = 0; i <= last; i++) {
    const text = segments[i] ?? ''
    if (text !== '' || i === 0 || i < last) segments[i] = readSegment(text)
  }
  if (segments.length > MAX_SEGMENTS) throw refuse('the path has too many segments')
  // An empty query, as some clients send it, is forwarded as none: that has one reading.
  const empty = mark < 0 || mark === url.length - 1
  return { segments, query: empty ? NO_QUERY : readQuery(url.slice(mark + 1)) }
}

const NO_QUERY: ReadonlyMap<string, string> = new Map()

function readSegment(text: string): string {
  const segment = decode(text)
  // `%2e` alone spells a dot that another server may take for part of a dot segment.
  if (segment !== text && /%2e/i.test(text)) throw refuse('an encoded dot')
  if (!isPlainSegment(segment)) throw refuse('a dot segment, or a separator in a segment')
  return segment
}

/** Whether a text may stand as one decoded path segment: every server reads it as just that. */
export function isPlainSegment(text: string): boolean {
  return text !== '' && text !== '.' && text !== '..' && !FORBIDDEN_IN_SEGMENT.test(text)
}

function readQuery(text: string): Map<string, string> {
  if (!QUERY.test(text)) throw refuse('the query is not in plain form')
  const query = new Map<string, string>()
  for (const parameter of text.split('&')) {
    const equals = parameter.indexOf('=')
    if (equals < 1) throw refuse('a query parameter is not `name=value`')
    // `+` is a blank, as in forms (WHATWG URL, section 5.1); it is forwarded as %20, which has one reading.
    const key = decode(parameter.slice(0, equals).replaceAll('+', ' '))
    const value = decode(parameter.slice(equals + 1).replaceAll('+', ' '))
    if (FORBIDDEN_IN_QUERY.test(key) || FORBIDDEN_IN_QUERY.test(value)) {
      throw refuse('a query parameter holds a control character')
    }
    if (query.has(key)) throw refuse('a query parameter stands twice')
    query.set(key, value)
  }
  if (query.size > MAX_PARAMETERS) throw refuse('the query has too many parameters')
  return query
}

function decode(text: string): string {
  if (!text.includes('%')) return text
  const bytes = Buffer.from(
    text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_all, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    ),
    // The text was ASCII, so every character is now one byte.
    'latin1',
  )
  try {
    return utf8.decode(bytes)
  } catch {
    throw refuse('percent-encoding that is not UTF-8')
  }
}

const UNRESERVED = /^[A-Za-z0-9\-._~]*$/

/** Percent-encodes everything but RFC 3986 unreserved characters: the one spelling that is forwarded. */
export function encodeComponent(text: string): string {
  if (UNRESERVED.test(text)) return text
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}
