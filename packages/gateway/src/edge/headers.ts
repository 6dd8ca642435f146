import { Refusal } from '../refusal.ts'
import { readTraceparent } from './trace.ts'
import type { Trace } from './trace.ts'

/** The few request headers that mean anything here, each once. Nothing else goes further. */
export interface RequestHeaders {
  /** Length in bytes where it was stated. */
  readonly contentLength: number | undefined
  readonly chunked: boolean
  /** `Expect: 100-continue`: the caller waits to be told that its body is wanted. */
  readonly expectsContinue: boolean
  readonly accept: string
  readonly contentType: string | undefined
  /** `Sallyport-Approval`. */
  readonly approval: string | undefined
  /** `Sallyport-Mandate`: an id, or a whole chain. */
  readonly mandate: string | undefined
  /** `Mcp-Session-Id`. */
  readonly mcpSession: string | undefined
  /** `MCP-Protocol-Version`. */
  readonly mcpVersion: string | undefined
  /** `Authorization`: for the gateway itself, never passed on. */
  readonly authorization: string | undefined
  /** `DPoP`. */
  readonly dpop: string | undefined
  /** `traceparent`, where there is one that is well formed. */
  readonly trace: Trace | undefined
  /** All of them, lower case: an operation may declare one as its input. */
  readonly all: ReadonlyMap<string, string>
}

/** RFC 9110 `token` without `_`, which CGI-like servers take for `-`. */
const NAME = /^[a-z0-9!#$%&'*+.^`|~-]+$/
const VALUE = /^[\t\x20-\x7e]*$/
const HOST = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?$/
const TRACEPARENT = 'traceparent'
const ID = /^[A-Za-z0-9_-]{1,128}$/

/** Headers that ask for another way of handling the request, or claim another target: nobody honest sends them. */
const FORBIDDEN: ReadonlySet<string> = new Set([
  'upgrade',
  'http2-settings',
  'trailer',
  'proxy-connection',
  'proxy-authorization',
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-original-url',
  'x-original-host',
  'x-rewrite-url',
])

const refuse = (what: string): Refusal =>
  new Refusal('SP_REQUEST_HEADER', 'a request header is missing, ambiguous or not accepted', {
    status: 400,
    detail: what,
    close: true,
  })

/**
 * Reads request headers as they were sent, before any parser merged or dropped one. Any header twice, any that has
 * two readings (RFC 9112 sections 6.1 and 6.3) and any that changes how a message is framed or routed is refused.
 *
 * @param rawHeaders names and values in turn, as Node's `rawHeaders`
 * @throws Refusal `SP_REQUEST_HEADER`, `SP_REQUEST_ENCODING`
 */
export function readHeaders(rawHeaders: readonly string[]): RequestHeaders {
  const headers = new Map<string, string>()
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] ?? '').toLowerCase()
    const value = withoutBlanks(rawHeaders[i + 1] ?? '')
    if (!NAME.test(name)) throw refuse('a header name is not plain')
    if (!VALUE.test(value)) throw refuse(`\`${name}\` is not plain ASCII`)
    if (headers.has(name)) {
      if (name !== TRACEPARENT) throw refuse(`\`${name}\` stands twice`)
      // Which one is meant nobody knows, and a trace that is broken must not break the call.
      headers.set(name, '')
      continue
    }
    if (FORBIDDEN.has(name)) throw refuse(`\`${name}\` is not accepted`)
    headers.set(name, value)
  }
  const host = headers.get('host')
  if (host === undefined || !HOST.test(host)) throw refuse('`host` is missing or malformed')
  if (headers.has('te') && !takesTrailers(headers)) throw refuse('`te` is not accepted')
  const connection = headers.get('connection')?.toLowerCase()
  if (connection !== undefined && connection !== 'keep-alive' && connection !== 'close') {
    throw refuse('`connection` names other headers')
  }
  const expects = headers.get('expect')?.toLowerCase()
  if (expects !== undefined && expects !== '100-continue') throw unexpected()
  if ((headers.get('content-encoding') ?? 'identity').toLowerCase() !== 'identity') {
    throw new Refusal('SP_REQUEST_ENCODING', 'the request body is encoded', {
      status: 415,
      close: true,
      // RFC 7694, section 3: what would have been taken.
      headers: { 'accept-encoding': 'identity' },
    })
  }
  const { contentLength, chunked } = framing(headers)
  const traceparent = headers.get(TRACEPARENT)
  return {
    contentLength,
    chunked,
    expectsContinue: expects !== undefined,
    accept: headers.get('accept')?.toLowerCase() ?? '*/*',
    contentType: headers.get('content-type')?.toLowerCase(),
    approval: idHeader(headers, 'sallyport-approval'),
    mandate: mandateHeader(headers),
    mcpSession: idHeader(headers, 'mcp-session-id'),
    mcpVersion: headers.get('mcp-protocol-version'),
    authorization: headers.get('authorization'),
    dpop: headers.get('dpop'),
    trace: traceparent === undefined ? undefined : readTraceparent(traceparent),
    all: headers,
  }
}

/**
 * Only a body that is handed on as it comes is asked for first; everywhere else `Expect` asks for another way of handling a request.
 *
 * @throws Refusal `SP_REQUEST_HEADER`
 */
export function demandNoExpectation({ expectsContinue }: RequestHeaders): void {
  if (expectsContinue) throw unexpected()
}

const unexpected = (): Refusal => refuse('`expect` is not accepted')

/** Without the blanks of HTTP around it (RFC 9110, section 5.6.3), and no others: what `trim` takes away is part of a value elsewhere. */
function withoutBlanks(value: string): string {
  let from = 0
  let to = value.length
  while (from < to && isBlank(value.charCodeAt(from))) from++
  while (from < to && isBlank(value.charCodeAt(to - 1))) to--
  return value.slice(from, to)
}

const isBlank = (character: number): boolean => character === 0x20 || character === 0x09

/** A call of gRPC says that it takes trailers, for that is how it ends. */
const takesTrailers = (headers: ReadonlyMap<string, string>): boolean =>
  headers.get('te') === 'trailers' &&
  /^application\/grpc(?:$|[+;-])/i.test(headers.get('content-type') ?? '')

function framing(
  headers: ReadonlyMap<string, string>,
): Pick<RequestHeaders, 'contentLength' | 'chunked'> {
  const length = headers.get('content-length')
  const coding = headers.get('transfer-encoding')
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    throw refuse('`transfer-encoding` is not `chunked`')
  }
  if (coding !== undefined && length !== undefined) throw refuse('two framings of one body')
  if (length !== undefined && !/^(?:0|[1-9]\d{0,14})$/.test(length)) {
    throw refuse('`content-length` is not a plain number')
  }
  return {
    contentLength: length === undefined ? undefined : Number(length),
    chunked: coding !== undefined,
  }
}

/** Characters of a chain that fits into a header; a longer one is registered, and presented by its id. */
const MAX_MANDATE = 8192

function mandateHeader(headers: ReadonlyMap<string, string>): string | undefined {
  const value = headers.get('sallyport-mandate')
  if (value !== undefined && (value.length > MAX_MANDATE || !/^[A-Za-z0-9._-]+$/.test(value))) {
    throw refuse('`sallyport-mandate` is no mandate')
  }
  return value
}

function idHeader(headers: ReadonlyMap<string, string>, name: string): string | undefined {
  const value = headers.get(name)
  if (value !== undefined && !ID.test(value)) throw refuse(`\`${name}\` is not an id`)
  return value
}
