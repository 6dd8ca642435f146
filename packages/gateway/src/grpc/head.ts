import type { CanonicalRequest } from '../edge/canonical.ts'
import type { EdgeRequest } from '../edge/message.ts'
import { Refusal } from '../refusal.ts'

const BEGINS = /^application\/grpc(?:$|[+;-])/i
const ACCEPTED = /^application\/grpc(?:\+proto)?$/
/** Milliseconds of one unit ("gRPC over HTTP2", TimeoutUnit). */
const UNITS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 0.001,
  n: 0.000001,
}

/** Whether what came in takes itself for gRPC: it is answered as such, whatever is wrong with it. */
export function speaksGrpc(req: EdgeRequest): boolean {
  let headers: readonly string[]
  try {
    headers = req.rawHeaders
  } catch {
    return false
  }
  const at = headers.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'content-type')
  return at >= 0 && BEGINS.test(headers[at + 1] ?? '')
}

export const isGrpc = ({ headers }: CanonicalRequest): boolean =>
  BEGINS.test(headers.contentType ?? '')

/**
 * Checks the head of a call ("gRPC over HTTP2", Requests).
 *
 * @returns milliseconds that its caller waits; undefined where it does not say
 * @throws Refusal `SP_GRPC_REQUEST`, `SP_GRPC_UNIMPLEMENTED`
 */
export function readHead({
  method,
  target,
  headers,
  hasBody,
}: CanonicalRequest): number | undefined {
  const { all, contentType = '' } = headers
  if (!ACCEPTED.test(contentType)) {
    throw unimplemented('messages are not of the encoding that is spoken here', 415)
  }
  if ((all.get('grpc-encoding') ?? 'identity') !== 'identity') throw compressed()
  if (method !== 'POST' || target.query.size > 0 || target.segments.length !== 2) {
    throw malformed('it is not a POST to `/package.Service/Method`')
  }
  // A proxy on the way that does not know trailers would lose how the call ended.
  if (all.get('te') !== 'trailers') throw malformed('`te` is not `trailers`')
  if (!hasBody) throw malformed('it has no message')
  const timeout = all.get('grpc-timeout')
  if (timeout === undefined) return undefined
  const [, digits = '', unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(timeout) ?? []
  const of = UNITS[unit]
  if (of === undefined) throw malformed('`grpc-timeout` is no time')
  return Number(digits) * of
}

export const malformed = (detail: string): Refusal =>
  new Refusal('SP_GRPC_REQUEST', 'the request is no call of gRPC', { status: 400, detail })

export const unreadable = (detail: string, status = 400): Refusal =>
  new Refusal('SP_GRPC_MESSAGE', `the message cannot be read: ${detail}`, { status })

const unimplemented = (message: string, status = 501): Refusal =>
  new Refusal('SP_GRPC_UNIMPLEMENTED', message, { status })

export const compressed = (): Refusal => unimplemented('compressed messages are not accepted')
