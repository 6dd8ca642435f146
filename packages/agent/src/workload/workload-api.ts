import type {
  Metadata,
  sendUnaryData,
  ServerUnaryCall,
  ServerWritableStream,
  UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { SallyportError } from '@sallyport/base'

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
    (message: () => object) =>
    (call: Stream): void => {
      try {
        checkHeader(call.metadata)
      } catch (error) {
        call.emit('error', failure(error))
        return
      }
      feed(call, admission, message)
    }
  return {
    FetchX509SVID: stream(() => x509Response(source.x509())),
    FetchX509Bundles: stream(() => {
      const { trustDomain, roots } = source.x509()
      return { bundles: { [`spiffe://${trustDomain}`]: Buffer.concat(roots) } }
    }),
    FetchJWTBundles(call: Stream): void {
      const start = async (): Promise<void> => {
        checkHeader(call.metadata)
        admission.recheck()
        source.x509()
        await source.jwtBundles.document()
        if (call.cancelled) return
        const message = (): object => {
          const { trustDomain } = source.x509()
          const document = Buffer.from(source.jwtBundles.latest() ?? '{"keys":[]}')
          return { bundles: { [`spiffe://${trustDomain}`]: document } }
        }
        feed(call, admission, message, (listener) => source.jwtBundles.onChange(listener))
      }
      start().catch((error: unknown) => {
        call.emit('error', failure(error))
      })
    },
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
      const { id, claims } = await source.jwtBundles.verify(request.svid, audience)
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

const x509Response = ({ spiffeId, chain, key, roots }: X509State): object => ({
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
