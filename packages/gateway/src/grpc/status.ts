import { problemOf } from '../edge/answer.ts'
import type { H2Response } from '../edge/h2-message.ts'
import { field } from '../points/protobuf.ts'
import { Refusal } from '../refusal.ts'
import type { RefusalFacts } from '../refusal.ts'

/** Status codes of gRPC ("gRPC core: Status codes and their use"). */
export const GRPC = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const

type GrpcCode = (typeof GRPC)[keyof typeof GRPC]

/** By our own code, where the HTTP status would say something else to a client of gRPC, which retries by it. */
const BY_CODE: Readonly<Record<string, GrpcCode>> = {
  SP_OVERLOADED: GRPC.RESOURCE_EXHAUSTED,
  SP_INTERNAL: GRPC.INTERNAL,
  SP_UPSTREAM_RESPONSE: GRPC.INTERNAL,
  // It may have been done: `UNAVAILABLE` would have it sent once more.
  SP_UPSTREAM_FAILED: GRPC.UNKNOWN,
}

const BY_STATUS: Readonly<Record<number, GrpcCode>> = {
  400: GRPC.INVALID_ARGUMENT,
  401: GRPC.UNAUTHENTICATED,
  403: GRPC.PERMISSION_DENIED,
  404: GRPC.NOT_FOUND,
  405: GRPC.UNIMPLEMENTED,
  409: GRPC.ABORTED,
  412: GRPC.FAILED_PRECONDITION,
  413: GRPC.RESOURCE_EXHAUSTED,
  414: GRPC.INVALID_ARGUMENT,
  415: GRPC.UNIMPLEMENTED,
  421: GRPC.INVALID_ARGUMENT,
  429: GRPC.RESOURCE_EXHAUSTED,
  431: GRPC.RESOURCE_EXHAUSTED,
  499: GRPC.CANCELLED,
  501: GRPC.UNIMPLEMENTED,
  502: GRPC.UNKNOWN,
  503: GRPC.UNAVAILABLE,
  504: GRPC.DEADLINE_EXCEEDED,
}

/** A refusal that has a status of gRPC of its own: that of a system, passed on. */
class GrpcRefusal extends Refusal {
  readonly grpc: GrpcCode

  constructor(grpc: GrpcCode, code: string, message: string, facts: RefusalFacts) {
    super(code, message, facts)
    this.grpc = grpc
  }
}

function codeFor(refusal: Refusal): GrpcCode {
  if (refusal instanceof GrpcRefusal) return refusal.grpc
  return BY_CODE[refusal.code] ?? BY_STATUS[refusal.status] ?? GRPC.UNKNOWN
}

/** Statuses of a system that its caller may learn; of any other, that it failed. With them, what they are over HTTP. */
const TOLD: ReadonlyMap<number, readonly [code: GrpcCode, status: number]> = new Map([
  [GRPC.INVALID_ARGUMENT, [GRPC.INVALID_ARGUMENT, 400]],
  [GRPC.NOT_FOUND, [GRPC.NOT_FOUND, 404]],
  [GRPC.ALREADY_EXISTS, [GRPC.ALREADY_EXISTS, 409]],
  [GRPC.RESOURCE_EXHAUSTED, [GRPC.RESOURCE_EXHAUSTED, 429]],
  [GRPC.FAILED_PRECONDITION, [GRPC.FAILED_PRECONDITION, 412]],
  [GRPC.ABORTED, [GRPC.ABORTED, 409]],
  [GRPC.OUT_OF_RANGE, [GRPC.OUT_OF_RANGE, 400]],
  [GRPC.UNIMPLEMENTED, [GRPC.UNIMPLEMENTED, 501]],
])

/** What a system ended a call with, as its caller is told; none of the system's words. */
export function refusedBy(status: number): Refusal {
  const told = TOLD.get(status)
  if (told) {
    const [grpc, http] = told
    return new GrpcRefusal(grpc, 'SP_UPSTREAM_REFUSED', 'the system refused the request', {
      status: http,
    })
  }
  return status === GRPC.DEADLINE_EXCEEDED
    ? new Refusal('SP_UPSTREAM_TIMEOUT', 'the system did not answer in time', { status: 504 })
    : new Refusal('SP_UPSTREAM_FAILED', 'the system could not handle the request', {
        status: 502,
        detail: `grpc-status ${status}`,
      })
}

/** The trailers that end a refused call. */
export function trailersFor(refusal: Refusal, decision: string): Record<string, string> {
  const code = codeFor(refusal)
  const { code: own, message } = refusal
  return {
    'grpc-status': String(code),
    'grpc-message': percentEncoded(`${own}: ${message}`),
    'grpc-status-details-bin': details(code, refusal, decision),
    ...(decision === '' ? {} : { 'sallyport-decision': decision }),
  }
}

export const CONTENT_TYPE = 'application/grpc+proto'

/** Ends a call that has no answer yet. */
export function sendGrpcRefusal(res: H2Response, refusal: Refusal, decision: string): void {
  if (res.headersSent || res.destroyed) {
    res.destroy()
    return
  }
  if (refusal.status === 401) res.shouldKeepAlive = false
  res.writeOnlyTrailers({ 'content-type': CONTENT_TYPE, ...trailersFor(refusal, decision) })
}

/** Visible ASCII but `%` as it is ("gRPC over HTTP2", Status-Message). */
const percentEncoded = (text: string): string =>
  [...Buffer.from(text)]
    .map((byte) =>
      byte < 0x20 || byte > 0x7e || byte === 0x25
        ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
        : String.fromCharCode(byte),
    )
    .join('')

/** `google.rpc.Status` with one `google.rpc.ErrorInfo`, whose metadata are the members of the problem document. */
function details(code: GrpcCode, refusal: Refusal, decision: string): string {
  const { outcome, needs, retryAfterSeconds } = problemOf(refusal, decision)
  const metadata: Record<string, string> = {
    outcome,
    decision,
    ...(needs === undefined ? {} : { needs: JSON.stringify(needs) }),
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds: String(retryAfterSeconds) }),
  }
  const info = Buffer.concat([
    field(1, refusal.code),
    field(2, 'sallyport.dev'),
    ...Object.entries(metadata).map(([name, value]) =>
      field(3, Buffer.concat([field(1, name), field(2, value)])),
    ),
  ])
  const any = Buffer.concat([field(1, 'type.googleapis.com/google.rpc.ErrorInfo'), field(2, info)])
  const status = Buffer.concat([field(1, code), field(2, refusal.message), field(3, any)])
  // Without padding, as "gRPC over HTTP2" recommends.
  return status.toString('base64').replace(/=+$/, '')
}
