import { fileURLToPath } from 'node:url'

import { loadPackageDefinition, status } from '@grpc/grpc-js'
import type { GrpcObject, Metadata, ServiceClientConstructor, StatusObject } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { errorCode, SallyportError } from '@sallyport/base'

import { RefusedError } from '../refused.ts'

const OPTIONS = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true }

const load = (file: string): GrpcObject =>
  loadPackageDefinition(
    loadSync(fileURLToPath(new URL(`../../proto/${file}`, import.meta.url)), OPTIONS),
  )

/** The service definition at a dotted name. */
function serviceAt(root: GrpcObject, name: string): ServiceClientConstructor['service'] {
  let found: unknown = root
  for (const part of name.split('.')) {
    found = typeof found === 'object' && found !== null ? Reflect.get(found, part) : undefined
  }
  // The files are ours and a test loads them: at these names they have services.
  return (found as ServiceClientConstructor).service
}

export const WORKLOAD_SERVICE: ServiceClientConstructor['service'] = serviceAt(
  load('workload.proto'),
  'SpiffeWorkloadAPI',
)
export const SDS_SERVICE: ServiceClientConstructor['service'] = serviceAt(
  load('sds.proto'),
  'envoy.service.secret.v3.SecretDiscoveryService',
)

/** What ends a call: the status that the SPIFFE Workload API names for it, and our code in the text. */
export interface CallFailure extends Partial<StatusObject> {
  readonly code: status
  readonly details: string
  readonly metadata?: Metadata
}

const INVALID: ReadonlySet<string> = new Set([
  'SP_WORKLOAD_METADATA',
  'SP_WORKLOAD_REQUEST',
  // Of a token that is to be validated.
  'SP_SVID_FOREIGN',
  'SP_SPIFFE_ID',
])

/** The status of a failure. Details stay here: whoever is refused learns no more than that. */
export function failure(error: unknown): CallFailure {
  const code = errorCode(error)
  const told = error instanceof SallyportError ? error.message : 'the workload API failed'
  return { code: statusOf(error, code), details: `${told} [${code}]` }
}

function statusOf(error: unknown, code: string): status {
  if (error instanceof RefusedError) {
    return error.status === 403 ? status.PERMISSION_DENIED : status.UNAVAILABLE
  }
  if (INVALID.has(code) || code.startsWith('SP_JWT_SVID_')) return status.INVALID_ARGUMENT
  if (code === 'SP_WORKLOAD_DENIED') return status.PERMISSION_DENIED
  // Everything else may be different in a moment; clients of the Workload API try again.
  return code === 'SP_INTERNAL' ? status.INTERNAL : status.UNAVAILABLE
}

/** The one refusal of whoever has no identity here, whatever the reason. */
export function denied(detail: string): SallyportError {
  return new SallyportError('SP_WORKLOAD_DENIED', 'no identity is issued to this caller', {
    detail,
    fix: 'see what the workload API says of it, and how the agent is declared in network.yaml',
  })
}
