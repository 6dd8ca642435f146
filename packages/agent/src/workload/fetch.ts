import { createPrivateKey } from 'node:crypto'

import { credentials, makeClientConstructor, Metadata } from '@grpc/grpc-js'
import { SallyportError } from '@sallyport/base'

import { WORKLOAD_SERVICE } from './grpc.ts'

/** An X.509-SVID with its key and roots, PEM. */
export interface FetchedSvid {
  readonly spiffeId: string
  readonly chainPem: string
  readonly keyPem: string
  readonly rootsPem: string
}

const WAIT_MS = 30_000

/**
 * Asks the Workload API at a Unix socket who this process is: the socket attests it by user, group and executable.
 *
 * @throws SallyportError `SP_WORKLOAD_DENIED` where it is nobody, or nobody answers there
 */
export async function fetchSvid(path: string): Promise<FetchedSvid> {
  const Client = makeClientConstructor(WORKLOAD_SERVICE, 'SpiffeWorkloadAPI')
  const client = new Client(`unix:${path}`, credentials.createInsecure())
  const method = WORKLOAD_SERVICE['FetchX509SVID']
  if (!method) throw denied('it has no such call')
  const metadata = new Metadata()
  metadata.set('workload.spiffe.io', 'true')
  try {
    const answer = await new Promise<unknown>((resolve, reject) => {
      const stream = client.makeServerStreamRequest(
        method.path,
        (value: object) => method.requestSerialize(value),
        method.responseDeserialize,
        {},
        metadata,
        { deadline: Date.now() + WAIT_MS },
      )
      stream.once('data', (message) => {
        resolve(message)
        stream.on('error', () => undefined)
        stream.cancel()
      })
      stream.once('error', reject)
      stream.once('end', () => reject(denied('it answered nothing')))
    })
    return read(answer)
  } catch (error) {
    if (error instanceof SallyportError) throw error
    throw denied(error instanceof Error ? error.message : String(error), error)
  } finally {
    client.close()
  }
}

function read(answer: unknown): FetchedSvid {
  // What the loader makes of an X509SVIDResponse.
  const { svids } = answer as {
    readonly svids?: readonly {
      readonly spiffe_id: string
      readonly x509_svid: Buffer
      readonly x509_svid_key: Buffer
      readonly bundle: Buffer
    }[]
  }
  const [svid] = svids ?? []
  if (!svid) throw denied('it gave no identity')
  const key = createPrivateKey({ key: svid.x509_svid_key, format: 'der', type: 'pkcs8' })
  return {
    spiffeId: svid.spiffe_id,
    chainPem: pemOf(svid.x509_svid),
    keyPem: key.export({ format: 'pem', type: 'pkcs8' }).toString(),
    rootsPem: pemOf(svid.bundle),
  }
}

/** Certificates, one behind the other (DER), as PEM. */
function pemOf(all: Buffer): string {
  const parts: string[] = []
  for (let at = 0; at < all.length;) {
    // Certificates are longer than 255 bytes and shorter than 65,536: the length stands in two bytes.
    const end = at + 4 + (all.length - at > 4 ? all.readUInt16BE(at + 2) : 0)
    if (all[at] !== 0x30 || all[at + 1] !== 0x82 || end > all.length) {
      throw denied('it gave no certificates')
    }
    const body = all
      .subarray(at, end)
      .toString('base64')
      .replaceAll(/.{1,64}/g, '$&\n')
    parts.push(`-----BEGIN CERTIFICATE-----\n${body}-----END CERTIFICATE-----\n`)
    at = end
  }
  return parts.join('')
}

function denied(detail: string, cause?: unknown): SallyportError {
  return new SallyportError(
    'SP_WORKLOAD_DENIED',
    'the Workload API gives this process no identity',
    {
      detail,
      fix: 'see whether `sallyport workload-api` runs, and what it says of this process on its standard error',
      ...(cause === undefined ? {} : { cause }),
    },
  )
}
