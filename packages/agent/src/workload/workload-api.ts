import type { Metadata, ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js'
import { SallyportError } from '@sallyport/base'

import { feed } from './feed.ts'
import { failure } from './grpc.ts'
import type { Admission } from './serve.ts'
import type { X509State } from './source.ts'

type Stream = ServerWritableStream<object, object>

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
  }
}

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
