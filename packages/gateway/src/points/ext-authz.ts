import type { PointAnswer, PointQuestion } from './checks.ts'
import { field, Message, textOf } from './protobuf.ts'

/** The method of `envoy.service.auth.v3.Authorization` that Envoy and Istio call. */
export const CHECK_PATH = '/envoy.service.auth.v3.Authorization/Check'

/** Fields of `AttributeContext` and what it holds, by the numbers of Envoy's API. */
const REQUEST = { attributes: 1 } as const
const ATTRIBUTES = { source: 1, request: 4, contextExtensions: 10 } as const
const PEER = { certificate: 5 } as const
const HTTP = {
  method: 2,
  headers: 3,
  path: 4,
  host: 5,
  protocol: 10,
  body: 11,
  rawBody: 12,
  headerMap: 13,
} as const
const ENTRY = { key: 1, value: 2, rawValue: 3 } as const

/** Which of a route's `context_extensions` names the system behind it. */
const SYSTEM = 'sallyport-system'
/** What Envoy adds for itself, and what says whether it left some of a body out. */
const PARTIAL_BODY = 'x-envoy-auth-partial-body'

/**
 * Reads a `CheckRequest`.
 *
 * @throws Refusal `SP_POINT_REQUEST`
 */
export function readCheckRequest(bytes: Buffer): PointQuestion {
  const attributes = new Message(bytes).message(REQUEST.attributes)
  const http = attributes?.message(ATTRIBUTES.request)?.message(2)
  const extensions = new Map(
    (attributes?.all(ATTRIBUTES.contextExtensions) ?? []).map((entry) => pairOf(entry)),
  )
  const headers = http === undefined ? [] : headersOf(http)
  const rawHeaders = headers.filter(([name]) => !name.startsWith(':'))
  if (!rawHeaders.some(([name]) => name === 'host')) {
    rawHeaders.unshift(['host', http?.text(HTTP.host) ?? ''])
  }
  return {
    system: extensions.get(SYSTEM),
    certificate: attributes?.message(ATTRIBUTES.source)?.text(PEER.certificate) ?? '',
    method: http?.text(HTTP.method) ?? '',
    target: http?.text(HTTP.path) ?? '',
    isHttp1: http?.text(HTTP.protocol) === 'HTTP/1.1',
    rawHeaders: rawHeaders.filter(([name]) => name !== PARTIAL_BODY).flat(),
    // Unless they stand as they were sent (`encode_raw_headers`).
    areHeadersMerged: http?.bytes(HTTP.headerMap) === undefined,
    body: http?.bytes(HTTP.rawBody) ?? http?.bytes(HTTP.body) ?? Buffer.alloc(0),
    isBodyWhole: rawHeaders.every(([name, value]) => name !== PARTIAL_BODY || value === 'false'),
  }
}

function headersOf(http: Message): [name: string, value: string][] {
  const map = http.message(HTTP.headerMap)
  // As they were sent (`encode_raw_headers`), else one of each name.
  const entries = map === undefined ? http.all(HTTP.headers) : map.all(1)
  return entries.map((entry) => pairOf(entry))
}

/** An entry of a map, or a `HeaderValue`. */
function pairOf(bytes: Buffer): [name: string, value: string] {
  const entry = new Message(bytes)
  const raw = entry.bytes(ENTRY.rawValue)
  return [entry.text(ENTRY.key), raw === undefined ? entry.text(ENTRY.value) : textOf(raw)]
}

/** `google.rpc.Code`. */
const OK = 0
const PERMISSION_DENIED = 7
/** Headers for this gateway alone: they go no further. */
const OWN = ['sallyport-approval', 'sallyport-mandate', 'authorization', 'dpop']

/** Writes a `CheckResponse`. */
export function writeCheckResponse(answer: PointAnswer): Buffer {
  const status = field(1, field(1, answer.allowed ? OK : PERMISSION_DENIED))
  if (answer.allowed) {
    const headers = [header('sallyport-decision', answer.decision)]
    const remove = OWN.filter((name) => name !== 'authorization' || answer.tokenTaken).map((name) =>
      field(5, name),
    )
    return Buffer.concat([
      status,
      field(3, Buffer.concat([...headers.map((each) => field(2, each)), ...remove])),
    ])
  }
  const headers = [
    header('content-type', 'application/problem+json'),
    header('cache-control', 'no-store'),
  ]
  return Buffer.concat([
    status,
    field(
      2,
      Buffer.concat([
        field(1, field(1, answer.status)),
        ...headers.map((each) => field(2, each)),
        field(3, answer.body),
      ]),
    ),
  ])
}

/** A `HeaderValueOption` that takes the place of one of the same name (`OVERWRITE_IF_EXISTS_OR_ADD`). */
const header = (name: string, value: string): Buffer =>
  Buffer.concat([
    field(1, Buffer.concat([field(ENTRY.key, name), field(ENTRY.value, value)])),
    field(3, 2),
  ])
