import { request } from 'node:https'
import type { IncomingMessage } from 'node:http'
import { request as plainRequest } from 'node:http'
import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { kindOf } from '@sallyport/spiffe'
import type { TrustBundle, VerifiedSvid } from '@sallyport/spiffe'
import { mtlsConnect } from '../client.ts'
import type { FederatedDomain } from './types.ts'

const TIMEOUT_MS = 10_000
const MAX_BYTES = 1_048_576

/**
 * Fetches the bundle document of another trust domain, in bounded size and time, following no redirect. By `https_web` the server
 * proves itself by the web's certificates, by `https_spiffe` by an SVID under the bundle that is held of the domain.
 *
 * @param held the bundle of the domain so far; needed for `https_spiffe`
 * @returns the body, not yet looked at
 * @throws SallyportError `SP_FEDERATION_FETCH`
 */
export async function fetchBundle(
  relationship: FederatedDomain,
  held: TrustBundle | undefined,
  clock: Clock,
): Promise<Buffer> {
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  try {
    const response = await (relationship.profile === 'https_web'
      ? byWeb(relationship, signal)
      : bySpiffe(relationship, held, clock, signal))
    return await bodyOf(response)
  } catch (cause) {
    throw new SallyportError('SP_FEDERATION_FETCH', 'the bundle could not be fetched', {
      detail: `${relationship.url}: ${cause instanceof Error ? cause.message : String(cause)}`,
      fix: 'check the address, and what the server proves itself by',
      cause,
    })
  }
}

function byWeb({ url, ca }: FederatedDomain, signal: AbortSignal): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  request(
    url,
    {
      signal,
      agent: false,
      minVersion: 'TLSv1.2',
      headers: { accept: 'application/json' },
      ...(ca === undefined ? {} : { ca }),
    },
    resolve,
  )
    .on('error', reject)
    .end()
  return promise
}

async function bySpiffe(
  { url, spiffeId = '', trustDomain }: FederatedDomain,
  held: TrustBundle | undefined,
  clock: Clock,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  if (!held || held.authorities.length === 0) throw new Error('no root of the domain is held')
  const { hostname, port, pathname, host } = new URL(url)
  const socket = await mtlsConnect({
    // No certificate of ours is shown: the endpoint asks for none.
    identity: { trustDomain, rootsPem: pemOf(held) },
    target: { host: hostname, port: Number(port || 443) },
    timeoutMs: TIMEOUT_MS,
    clock,
    expect: (peer) => isServer(peer, spiffeId),
  })
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const headers = { host, connection: 'close' }
  // Also where the time ran out while the connection was made: a listener would never hear of that.
  plainRequest({ signal, createConnection: () => socket, path: pathname, headers }, resolve)
    .on('error', reject)
    .end()
  return promise
}

/** The id as declared; `spiffe://TD/control` stands for any control plane, since each has an id of its own. */
function isServer({ id }: VerifiedSvid, declared: string): boolean {
  if (id.uri === declared) return true
  return declared === `spiffe://${id.trustDomain}/control` && kindOf(id)?.kind === 'control'
}

const pemOf = (bundle: TrustBundle): string =>
  bundle.authorities
    .map(({ raw }) => {
      const lines = raw.toString('base64').match(/.{1,64}/g) ?? []
      return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
    })
    .join('')

async function bodyOf(response: IncomingMessage): Promise<Buffer> {
  if (response.statusCode !== 200) {
    response.destroy()
    throw new Error(`it answered ${response.statusCode ?? 0}`)
  }
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response) {
    // Node's http streams give Buffers where no encoding is set.
    const bytes = chunk as Buffer
    size += bytes.length
    if (size > MAX_BYTES) {
      response.destroy()
      throw new Error(`the body is larger than ${MAX_BYTES} bytes`)
    }
    chunks.push(bytes)
  }
  return Buffer.concat(chunks)
}
