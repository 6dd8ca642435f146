import type { IncomingMessage, ServerResponse } from 'node:http'
import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonLimits, JsonValue } from '@sallyport/base'

/** A JSON object of exactly the members that a call takes. */
export type Body = Readonly<Record<string, JsonValue>>

/**
 * Reads a request's JSON object, strictly.
 *
 * @param members the names that may and must be there
 * @throws SallyportError `SP_JSON_*`, `SP_PLANE_BODY`
 */
export async function readBody(
  request: IncomingMessage,
  maxBytes: number,
  members: readonly string[],
): Promise<Body> {
  const body = await readObject(request, { maxBytes })
  const extra = Object.keys(body).find((name) => !members.includes(name))
  const missing = members.find((name) => !Object.hasOwn(body, name))
  if (extra !== undefined) throw malformed(`it has a member that this call does not take`)
  if (missing !== undefined) throw malformed(`\`${missing}\` is missing`)
  return body
}

/**
 * Reads a request's JSON object of any members.
 *
 * @throws SallyportError `SP_JSON_*`, `SP_PLANE_BODY`
 */
export async function readObject(
  request: IncomingMessage,
  limits: JsonLimits & { readonly maxBytes: number },
): Promise<Body> {
  const { maxBytes } = limits
  if (!/^application\/json\s*(;|$)/i.test(request.headers['content-type'] ?? '')) {
    throw malformed('the content type is not application/json')
  }
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    // No encoding is set, so chunks are buffers.
    const bytes = chunk as Buffer
    size += bytes.length
    if (size > maxBytes) {
      throw new SallyportError('SP_JSON_TOO_LARGE', `the body is larger than ${maxBytes} bytes`)
    }
    chunks.push(bytes)
  }
  const value = parseJson(Buffer.concat(chunks), limits)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw malformed('the body is not an object')
  }
  // Narrowed to a JSON object above.
  return value as Body
}

/** @throws SallyportError `SP_PLANE_BODY` where the member is no string of 1 to `max` characters without NUL */
export function textIn(body: Body, name: string, max = 512): string {
  const value = body[name]
  if (typeof value === 'string' && value !== '' && value.length <= max && !value.includes('\0')) {
    return value
  }
  throw malformed(`\`${name}\` is not a text of at most ${max} characters`)
}

/** @throws SallyportError `SP_PLANE_BODY` */
export function integerIn(body: Body, name: string): number {
  const value = body[name]
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value
  throw malformed(`\`${name}\` is not an integer`)
}

/** @throws SallyportError `SP_PLANE_BODY` */
export function booleanIn(body: Body, name: string): boolean {
  const value = body[name]
  if (typeof value === 'boolean') return value
  throw malformed(`\`${name}\` is not true or false`)
}

export function malformed(detail: string): SallyportError {
  return new SallyportError('SP_PLANE_BODY', `the request is malformed: ${detail}`)
}

export function sendJson(response: ServerResponse, body: unknown): void {
  const text = Buffer.from(JSON.stringify(body))
  response.writeHead(200, {
    'content-type': 'application/json',
    'content-length': text.length,
    'cache-control': 'no-store',
  })
  response.end(text)
}

const STATUS: Readonly<Record<string, number>> = {
  SP_STORE_UNAVAILABLE: 503,
  SP_AUDIT_UNAVAILABLE: 503,
  SP_DECLARATION_CHANGED: 503,
  SP_OVERLOADED: 503,
  SP_SEAL_SEALED: 503,
  SP_SEAL_STORAGE: 503,
  SP_DATABASE_UNREACHABLE: 503,
  SP_DATABASE_SESSIONS: 503,
  SP_DATABASE_REFUSED: 502,
  SP_DATABASE_OVERREACH: 502,
  SP_DATABASE_ROW_SECURITY: 502,
  SP_DATABASE_TABLE: 502,
  SP_DATABASE_UNDECLARED: 403,
  SP_DATABASE_CSR: 400,
  SP_LEASE_UNKNOWN: 404,
  SP_LEASE_FLOOD: 429,
  SP_TRANSIT_REFUSED: 403,
  SP_TRANSIT_INVALID: 400,
  SP_TRANSIT_VERSION: 400,
  SP_TRANSIT_INPUT: 413,
  SP_SECRET_REFUSED: 403,
  SP_SECRET_UNKNOWN: 404,
  SP_SECRET_PATH: 400,
  SP_AUTHZEN_REQUEST: 400,
  SP_PAGE_TOKEN: 400,
  SP_PEP_UNDECLARED: 403,
  SP_RESPONDER_UNDECLARED: 403,
  SP_RESPONDER_FLOOD: 429,
  SP_QUARANTINE_SUBJECT: 400,
  SP_QUARANTINE_REASON: 400,
  SP_PLANE_ROUTE: 404,
  SP_PLANE_METHOD: 405,
  SP_PLANE_BODY: 400,
  SP_FEED_INVALID: 400,
  SP_FEED_FORKED: 409,
  SP_CSR_INVALID: 400,
  SP_RECORD_INVALID: 400,
  SP_RECORD_TOO_LARGE: 400,
  SP_LIMIT_REQUEST: 400,
  SP_LIMIT_UNKNOWN: 400,
  SP_LIMIT_RESERVATION: 409,
  SP_APPROVAL_REQUEST: 400,
  SP_APPROVAL_FLOOD: 429,
  SP_APPROVAL_UNKNOWN: 404,
  SP_APPROVAL_USED: 409,
  SP_APPROVAL_CLOSED: 409,
  SP_APPROVAL_STALE: 409,
  SP_MANDATE_UNKNOWN: 404,
  SP_MANDATE_REQUEST: 400,
  SP_MANDATE_FORMAT: 400,
  SP_MANDATE_DEPTH: 400,
  SP_PLANE_IDENTITY: 401,
  SP_SVID_EXPIRED: 401,
  SP_SVID_NOT_YET_VALID: 401,
  SP_JSON_TOO_LARGE: 413,
  SP_ATTESTATION_REFUSED: 403,
  SP_ATTESTATION_UNAVAILABLE: 503,
  SP_JWT_SVID_FLOOD: 429,
  SP_PLANE_KIND: 403,
  SP_SVID_REVOKED: 403,
  SP_QUARANTINED: 403,
  SP_JOIN_TOKEN: 403,
  SP_JOIN_NAME: 403,
  SP_RENEW_SUPERSEDED: 403,
  SP_RENEW_UNKNOWN: 403,
  SP_RENEW_FLOOD: 429,
}

/** RFC 9457. Details stay here: gateways act on the code, everybody else learns no more than that. */
export function sendProblem(response: ServerResponse, error: unknown): void {
  const known = error instanceof SallyportError ? error : undefined
  const code = known?.code ?? 'SP_INTERNAL'
  const status =
    STATUS[code] ??
    (/^SP_(JSON|CSR)_/.test(code) ? 400 : code.startsWith('SP_MANDATE_') ? 403 : 500)
  if (response.headersSent) {
    response.destroy()
    return
  }
  const text = Buffer.from(
    JSON.stringify({
      type: `https://sallyport.dev/errors/${code}`,
      title: status === 500 ? 'the control plane failed' : (known?.message ?? ''),
      status,
      code,
    }),
  )
  response.writeHead(status, {
    'content-type': 'application/problem+json',
    'content-length': text.length,
    'cache-control': 'no-store',
    // What was not read of a refused body must not be taken for the next request.
    ...(status === 413 || status === 400 ? { connection: 'close' } : {}),
  })
  response.end(text)
}
