import type {
  Metadata,
  sendUnaryData,
  ServerUnaryCall,
  ServerWritableStream,
  UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { SallyportError } from '@sallyport/base'

import { JWT_REFRESH_MS, ROOTS_REFRESH_MS } from './bundles.ts'
import type { Bundles } from './bundles.ts'
import { feed } from './feed.ts'
import { failure } from './grpc.ts'
import type { Admission } from './serve.ts'
import type { X509State } from './source.ts'
import { structOf } from './struct.ts'

type Stream = ServerWritableStream<object, object>

const MAX_AUDIENCES = 8
const MAX_AUDIENCE = 512

/** The SPIFFE Workload API for one connection, whose caller is known. */
export function workloadApi(admission: Admission): UntypedServiceImplementation {
  const { source } = admission
  const stream =
    (message: () => object, everyMs: number, prepare: () => Promise<void>) =>
    (call: Stream): void => {
      const start = async (): Promise<void> => {
        checkHeader(call.metadata)
        admission.recheck()
        source.x509()
        await prepare()
        if (call.cancelled) return
        feed(call, admission, message, (listener) => source.bundles.onChange(listener, everyMs))
      }
      start().catch((error: unknown) => {
        call.emit('error', failure(error))
      })
    }
  // An identity is not held up where nobody says what else is trusted.
  const roots = (): Promise<void> => source.bundles.tryRefresh(ROOTS_REFRESH_MS)
  return {
    FetchX509SVID: stream(
      () => x509Response(source.x509(), federatedRoots(source.bundles)),
      ROOTS_REFRESH_MS,
      roots,
    ),
    FetchX509Bundles: stream(
      () => {
        const own = source.x509()
        return {
          bundles: {
            ...federatedRoots(source.bundles),
            [`spiffe://${own.trustDomain}`]: Buffer.concat(own.roots),
          },
        }
      },
      ROOTS_REFRESH_MS,
      roots,
    ),
    FetchJWTBundles: stream(
      () => {
        source.x509()
        const shown = [...source.bundles.shown()]
        return {
          bundles: Object.fromEntries(
            shown.map(([trustDomain, { jwks }]) => [`spiffe://${trustDomain}`, Buffer.from(jwks)]),
          ),
        }
      },
      JWT_REFRESH_MS,
      () => source.bundles.refresh(JWT_REFRESH_MS),
    ),
    FetchJWTSVID: unary(async (request: { audience: string[]; spiffe_id: string }) => {
      const { spiffeId } = source.x509()
      if (request.spiffe_id !== '' && request.spiffe_id !== spiffeId) {
        throw invalid('the SPIFFE id asked for is not the one of this caller')
      }
      const svid = await source.jwtSvid(audiencesIn(request.audience))
      return { svids: [{ spiffe_id: spiffeId, svid }] }
    }, admission),
    ValidateJWTSVID: unary(async (request: { audience: string; svid: string }) => {
      source.x509()
      const [audience = ''] = audiencesIn([request.audience])
      const { id, claims } = await source.bundles.verify(request.svid, audience)
      return { spiffe_id: id.uri, claims: structOf(claims) }
    }, admission),
  }
}

/** A unary method whose caller is looked at before and after. */
function unary<Request>(
  act: (request: Request) => Promise<object>,
  admission: Admission,
): (call: ServerUnaryCall<Request, object>, answer: sendUnaryData<object>) => void {
  return (call, answer) => {
    const run = async (): Promise<object> => {
      checkHeader(call.metadata)
      admission.recheck()
      const value = await act(call.request)
      admission.recheck()
      return value
    }
    run().then(
      (value) => {
        answer(null, value)
      },
      (error: unknown) => {
        answer(failure(error))
      },
    )
  }
}

/** @throws SallyportError `SP_WORKLOAD_REQUEST` */
function audiencesIn(audience: readonly string[]): readonly string[] {
  const fits =
    audience.length > 0 &&
    audience.length <= MAX_AUDIENCES &&
    new Set(audience).size === audience.length &&
    audience.every((text) => text.length <= MAX_AUDIENCE && /^[\x21-\x7e]+$/.test(text))
  if (fits) return audience
  throw invalid(
    `1 to ${MAX_AUDIENCES} different audiences of 1 to ${MAX_AUDIENCE} visible characters are needed`,
  )
}

const invalid = (message: string): SallyportError =>
  new SallyportError('SP_WORKLOAD_REQUEST', message)

/** By the SPIFFE id of each federated trust domain that has any. */
function federatedRoots(bundles: Bundles): Record<string, Buffer> {
  return Object.fromEntries(
    [...bundles.federated()]
      .filter(([, { authorities }]) => authorities.length > 0)
      .map(([trustDomain, { authorities }]) => [
        `spiffe://${trustDomain}`,
        Buffer.concat(authorities),
      ]),
  )
}

const x509Response = (
  { spiffeId, chain, key, roots }: X509State,
  federated: Record<string, Buffer>,
): object => ({
  federated_bundles: federated,
  svids: [
    {
      spiffe_id: spiffeId,
      x509_svid: Buffer.concat(chain),
      x509_svid_key: key,
      bundle: Buffer.concat(roots),
    },
  ],
})

/**
 * The header that a workload sends knowingly and a request that somebody else made it send has not (SPIFFE Workload
 * Endpoint, section 6).
 *
 * @throws SallyportError `SP_WORKLOAD_METADATA`
 */
function checkHeader(metadata: Metadata): void {
  const values = metadata.get('workload.spiffe.io')
  if (values.length === 1 && values[0] === 'true') return
  throw new SallyportError(
    'SP_WORKLOAD_METADATA',
    'the metadata `workload.spiffe.io: true` is missing',
    { fix: 'use a SPIFFE client, or send the metadata with every call' },
  )
}
