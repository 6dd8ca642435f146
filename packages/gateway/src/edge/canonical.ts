import { Refusal } from '../refusal.ts'
import { demandNoExpectation, readHeaders } from './headers.ts'
import type { RequestHeaders } from './headers.ts'
import { readTarget } from './target.ts'
import type { RequestTarget } from './target.ts'

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** A request as received, before anything was concluded from it. */
export interface RawRequest {
  // Of a request that was received, these are there.
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly httpVersion: string
  readonly rawHeaders: readonly string[]
  /** Of HTTP/2, where a body needs no header that announces it: whether more than the head is to come. */
  readonly hasMore?: boolean | undefined
}

/** A request that has exactly one reading. */
export interface CanonicalRequest {
  readonly method: Method
  readonly target: RequestTarget
  readonly headers: RequestHeaders
  readonly hasBody: boolean
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])
const BODILESS: ReadonlySet<string> = new Set(['GET', 'DELETE'])

/**
 * Turns a request into its one canonical form, or refuses it: the same form is then authorised, logged, hashed and
 * forwarded.
 *
 * @throws Refusal `SP_REQUEST_METHOD`, `SP_REQUEST_TARGET`, `SP_REQUEST_HEADER`, `SP_REQUEST_BODY`
 */
export function canonicalise(raw: RawRequest): CanonicalRequest {
  const { method = '', url = '', httpVersion } = raw
  const isH2 = httpVersion === '2.0'
  if (httpVersion !== '1.1' && !isH2) {
    throw new Refusal('SP_REQUEST_METHOD', 'the request is not HTTP/1.1 or HTTP/2', {
      status: 400,
      close: true,
    })
  }
  if (!isMethod(method)) {
    throw new Refusal('SP_REQUEST_METHOD', 'the request method is not accepted', {
      status: 405,
      close: true,
    })
  }
  const headers = readHeaders(raw.rawHeaders)
  const announced = (headers.contentLength ?? 0) > 0
  if (isH2 && announced && !raw.hasMore) {
    throw new Refusal('SP_REQUEST_BODY', 'the request body is not as long as announced', {
      status: 400,
    })
  }
  const hasBody = isH2
    ? raw.hasMore === true && headers.contentLength !== 0
    : headers.chunked || announced
  if (hasBody && BODILESS.has(method)) {
    throw new Refusal('SP_REQUEST_BODY', 'this request method takes no body', {
      status: 400,
      close: true,
    })
  }
  // RFC 9110, section 10.1.1: of a request without content it is never generated.
  if (!hasBody) demandNoExpectation(headers)
  return { method, target: readTarget(url), headers, hasBody }
}

function isMethod(text: string): text is Method {
  return METHODS.has(text)
}
