import type { IncomingMessage, ServerResponse } from 'node:http'
import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { isSecure } from '../site/origin.ts'

/** Sent with everything: nothing is framed, sniffed, referred, or loaded from elsewhere. */
const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; " +
    "frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy':
    'publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), microphone=(), geolocation=(), payment=(), usb=()',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'cache-control': 'no-store',
}

/** A year (RFC 6797). Without subdomains, which are not ours to speak for. */
const STRICT_TRANSPORT = 'max-age=31536000'

/** @param origin what browsers are at; absent on the admin socket */
export function setSecurityHeaders(response: ServerResponse, origin?: string): void {
  for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value)
  // On `localhost` it would lock people out of every other server of their machine.
  if (origin !== undefined && isSecure(origin) && new URL(origin).hostname !== 'localhost') {
    response.setHeader('strict-transport-security', STRICT_TRANSPORT)
  }
}

export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.statusCode = status
  response.setHeader('content-type', 'application/json; charset=utf-8')
  response.end(JSON.stringify(body ?? {}))
}

/** `application/problem+json` (RFC 9457). What only operators may read is added where one is asking. */
export function sendProblem(response: ServerResponse, error: unknown, operator: boolean): void {
  const known = error instanceof SallyportError ? error : undefined
  const code = known?.code ?? 'SP_INTERNAL'
  const message = known?.message ?? 'something went wrong inside the control plane'
  const status = statusOf(code)
  const why = operator && known?.detail !== undefined ? `${message}: ${known.detail}` : message
  response.statusCode = status
  response.setHeader('content-type', 'application/problem+json; charset=utf-8')
  // Whatever of the request was not read would be taken for the next one.
  if (!response.req.complete) response.setHeader('connection', 'close')
  response.end(
    JSON.stringify({
      type: `https://sallyport.dev/errors/${code}`,
      title: message,
      status,
      code,
      detail: why,
      ...(known?.fix === undefined ? {} : { fix: known.fix }),
    }),
  )
}

const STATUS: Readonly<Record<string, number>> = {
  SP_INTERNAL: 500,
  SP_API_SESSION: 401,
  SP_API_LOGIN: 401,
  SP_API_ORIGIN: 403,
  SP_API_CSRF: 403,
  SP_API_ROLE: 403,
  SP_API_PASSKEY: 403,
  SP_API_LOCAL: 403,
  SP_APPROVAL_SELF: 403,
  SP_LINK_INVALID: 403,
  SP_RECOVERY_SELF: 403,
  SP_BREAK_GLASS_SELF: 403,
  SP_BREAK_GLASS_UNDECLARED: 403,
  SP_BREAK_GLASS_OPEN: 409,
  SP_IDP_REFUSED: 401,
  SP_IDP_UNREACHABLE: 503,
  SP_IDP_SECRET: 503,
  SP_RECOVERY_CODES: 409,
  SP_INCIDENT_HELD: 409,
  SP_API_NOT_FOUND: 404,
  SP_API_METHOD: 405,
  SP_API_TOO_LARGE: 413,
  SP_API_MEDIA_TYPE: 415,
  SP_API_HOST: 421,
  SP_API_RATE: 429,
  SP_SECRET_REFUSED: 403,
  SP_SECRET_CONFLICT: 409,
  SP_CA_PREPARED: 409,
  SP_CA_NOT_PREPARED: 409,
  SP_CA_ROOT_SIGNS: 409,
  SP_DATABASE_UNREACHABLE: 503,
  SP_SEAL_SEALED: 503,
  SP_SEAL_SHARE: 403,
  SP_SEAL_UNSEALED: 409,
  SP_SEALED: 503,
  SP_AUDIT_UNAVAILABLE: 503,
  SP_STORE_UNAVAILABLE: 503,
}
const BY_ENDING: readonly (readonly [RegExp, number])[] = [
  [/_UNKNOWN$/, 404],
  [/_ROLE$/, 403],
  [/_(?:USED|CLOSED|STALE|STATEMENT)$/, 409],
  [/^SP_SIGNATURE_/, 403],
]

function statusOf(code: string): number {
  return STATUS[code] ?? BY_ENDING.find(([ending]) => ending.test(code))?.[1] ?? 400
}

/**
 * Reads a JSON object body.
 *
 * @throws SallyportError `SP_API_MEDIA_TYPE`, `SP_API_TOO_LARGE`, `SP_API_INPUT`, `SP_JSON_*`
 */
export async function readBody(
  request: IncomingMessage,
  maxBytes: number,
): Promise<Readonly<Record<string, JsonValue>>> {
  const type = request.headers['content-type'] ?? ''
  // Anything else could be sent by a plain form of another site.
  if (!/^application\/json(?:; ?charset=utf-8)?$/i.test(type)) {
    throw new SallyportError('SP_API_MEDIA_TYPE', 'the body must be `application/json`')
  }
  const tooLarge = new SallyportError(
    'SP_API_TOO_LARGE',
    `the body is larger than ${maxBytes} bytes`,
  )
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) throw tooLarge
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    // Node's http streams give Buffers where no encoding is set.
    const bytes = chunk as Buffer
    size += bytes.length
    if (size > maxBytes) throw tooLarge
    chunks.push(bytes)
  }
  const value = parseJson(Buffer.concat(chunks), { maxBytes, maxDepth: 64 })
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new SallyportError('SP_API_INPUT', 'the body must be a JSON object')
  }
  // Neither null nor an array: a JSON object.
  return value as Readonly<Record<string, JsonValue>>
}
