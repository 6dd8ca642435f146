import { createServer, IncomingMessage } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

import { canonicalJson, SallyportError, systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { kindOf, serviceId } from '@sallyport/spiffe'
import { assertFresh, createMtlsServer, peerOf } from '@sallyport/transport'
import type { RefusedFacts, Target } from '@sallyport/transport'
import { requestHash, verifyCallToken } from '@sallyport/wire'
import type { CallToken } from '@sallyport/wire'

import type { Identity } from './identity.ts'

/**
 * Answers a call that a gateway vouched for. The request's body is whole and can be read as usual.
 *
 * @param call who calls, for what: already verified
 */
export type ServiceHandler = (
  request: IncomingMessage,
  response: ServerResponse,
  call: CallToken,
) => void | Promise<void>

export interface ServiceOptions {
  readonly identity: Pick<Identity, 'holder'>
  /** The service's NAME: tokens are for `spiffe://TD/service/NAME`. */
  readonly name: string
  readonly handler: ServiceHandler
  readonly listen: Target
  /** Bytes of a request's body (default 1 MiB). */
  readonly maxBodyBytes?: number
  readonly onRefused?: (facts: RefusedFacts) => void
  readonly clock?: Clock
}

export interface Service {
  readonly address: { readonly host: string; readonly port: number } | { readonly path: string }
  close(): Promise<void>
}

const TOKEN_HEADER = 'sallyport-call-token'
const HANDSHAKE_TIMEOUT_MS = 5000
const REQUEST_TIMEOUT_MS = 30_000
const MAX_TOKENS_REMEMBERED = 200_000

/**
 * A service of the network: HTTP over mutual TLS, for gateways only, and each request with a call token made for
 * exactly that request, once.
 */
export async function createService(options: ServiceOptions): Promise<Service> {
  const clock = options.clock ?? systemClock
  const audience = serviceId(options.identity.holder.current().trustDomain, options.name)
  const used = new UsedTokens()
  const refuse = (
    error: unknown,
    remoteAddress: string | undefined,
    response: ServerResponse,
  ): void => {
    const code = error instanceof SallyportError ? error.code : 'SP_INTERNAL'
    const status = error instanceof SallyportError ? statusOf(code) : 500
    options.onRefused?.({
      code,
      reason: error instanceof SallyportError ? (error.detail ?? error.message) : String(error),
      ...(remoteAddress === undefined ? {} : { remoteAddress }),
    })
    if (response.headersSent) {
      response.destroy()
      return
    }
    const problem = {
      type: `https://sallyport.dev/errors/${code}`,
      title: error instanceof SallyportError ? error.message : 'the service failed',
      status,
      code,
      outcome: 'refused',
    }
    // What is left of the request is not read: the connection ends with the answer.
    response.writeHead(status, { 'content-type': 'application/problem+json', connection: 'close' })
    response.end(canonicalJson(problem))
  }

  const http = createServer(
    {
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: HANDSHAKE_TIMEOUT_MS,
      keepAliveTimeout: 30_000,
    },
    (request, response) => {
      // Read now: a socket that closes meanwhile takes it away.
      const { remoteAddress } = request.socket
      const run = async (): Promise<void> => {
        try {
          const body = await readWhole(request, options.maxBodyBytes ?? 1_048_576)
          const call = await authenticate(request, body, audience, clock.now())
          used.take(call, clock.now())
          await options.handler(replay(request, body), response, call)
        } catch (error) {
          refuse(error, remoteAddress, response)
        }
      }
      void run()
    },
  )
  const server = createMtlsServer({
    identity: options.identity.holder,
    accept: (peer) => kindOf(peer.id)?.kind === 'gateway' || 'only gateways may call services',
    onConnection: (socket) => http.emit('connection', socket),
    handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
    clock,
    ...(options.onRefused ? { onRefused: options.onRefused } : {}),
  })
  const address = await server.listen(options.listen)
  return {
    address: typeof address === 'string' ? { path: address } : hostAndPort(address),
    close: () => server.close(),
  }
}

const hostAndPort = ({ address, port }: AddressInfo): { host: string; port: number } => ({
  host: address,
  port,
})

async function authenticate(
  request: IncomingMessage,
  body: Buffer,
  audience: string,
  now: number,
): Promise<CallToken> {
  const peer = peerOf(request.socket)
  if (!peer) throw new SallyportError('SP_PEER_ANONYMOUS', 'the caller presented no certificate')
  assertFresh(peer, now)
  const tokens = request.headersDistinct[TOKEN_HEADER] ?? []
  const [token] = tokens
  if (token === undefined || tokens.length > 1) {
    throw new SallyportError('SP_CALL_TOKEN_MISSING', 'the request needs exactly one call token')
  }
  return verifyCallToken(token, peer.publicKey, {
    aud: audience,
    iss: peer.id.uri,
    requestHash: requestHash(request.method ?? '', request.url ?? '', body),
    now,
  })
}

/** By events, because leaving an iteration early would destroy the socket that the refusal still has to travel on. */
function readWhole(request: IncomingMessage, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    request.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= limit) chunks.push(chunk)
      else {
        request.pause()
        reject(new SallyportError('SP_REQUEST_TOO_LARGE', 'the request is too large'))
      }
    })
    request.once('end', () => {
      resolve(Buffer.concat(chunks))
    })
    // A request that breaks off is closed without an end; after an end this settles nothing.
    request.once('close', () => {
      reject(new SallyportError('SP_REQUEST_BROKEN', 'the request broke off'))
    })
    request.once('error', reject)
  })
}

/** The same request with its body still to be read, less the token, which is nobody's business behind the door. */
function replay(request: IncomingMessage, body: Buffer): IncomingMessage {
  const copy = new IncomingMessage(request.socket)
  copy.httpVersion = request.httpVersion
  copy.httpVersionMajor = request.httpVersionMajor
  copy.httpVersionMinor = request.httpVersionMinor
  copy.method = request.method ?? ''
  copy.url = request.url ?? ''
  const { rawHeaders } = request
  copy.rawHeaders = rawHeaders.filter(
    (_text, index) => rawHeaders[index - (index % 2)]?.toLowerCase() !== TOKEN_HEADER,
  )
  copy.headers = Object.fromEntries(
    Object.entries(request.headers).filter(([name]) => name !== TOKEN_HEADER),
  )
  copy.complete = true
  if (body.length > 0) copy.push(body)
  copy.push(null)
  return copy
}

/** Remembers tokens until they expire. */
class UsedTokens {
  /** By insertion, which is nearly by expiry: all live 30 seconds. */
  readonly #until = new Map<string, number>()

  /** @throws SallyportError `SP_CALL_TOKEN_REPLAYED`, `SP_CALL_TOKEN_FLOOD` */
  take(call: CallToken, now: number): void {
    for (const [key, until] of this.#until) {
      if (until >= now) break
      this.#until.delete(key)
    }
    const key = `${call.iss} ${call.jti}`
    if (this.#until.has(key)) {
      throw new SallyportError('SP_CALL_TOKEN_REPLAYED', 'the call token was used before')
    }
    // Forgetting one early would let it be used again, so the next one is refused instead.
    if (this.#until.size >= MAX_TOKENS_REMEMBERED) {
      throw new SallyportError('SP_CALL_TOKEN_FLOOD', 'too many calls at once')
    }
    // A second beyond its end, because the clock that judges expiry counts in whole seconds.
    this.#until.set(key, (call.exp + 1) * 1000)
  }
}

function statusOf(code: string): number {
  if (code === 'SP_REQUEST_TOO_LARGE') return 413
  if (code === 'SP_CALL_TOKEN_FLOOD') return 503
  return errorIsIdentity(code) ? 401 : 500
}

const errorIsIdentity = (code: string): boolean =>
  code.startsWith('SP_CALL_TOKEN_') || code.startsWith('SP_SVID_') || code.startsWith('SP_PEER_')
