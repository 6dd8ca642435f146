import type { Readable } from 'node:stream'
import { canonicalJson, parseJson, SallyportError } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import { kindOf } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { IdentityHolder, mtlsConnector } from '@sallyport/transport'
import type { TrustAnchors } from '@sallyport/transport'
import type { Pool } from 'undici'
import { isObject } from '../adapters/jsonrpc.ts'
import { reasonOf } from '../refusal.ts'
import { RotatingPool, retireAt, undiciPool } from '../upstream/rotating-pool.ts'

export interface PlaneTarget {
  readonly host: string
  readonly port: number
}

export interface PlaneClientOptions {
  readonly target: PlaneTarget
  /** Anchors alone: to enrol. */
  readonly identity: IdentityHolder | TrustAnchors
  readonly clock: Clock
  readonly timeoutMs: number
}

export interface PlaneRequest {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly body?: unknown
  /** The body, where it is JSON already. */
  readonly json?: Buffer
  /** Statuses beside 2xx whose body is wanted. */
  readonly also?: readonly number[]
  readonly timeoutMs?: number
  readonly maxBytes?: number
}

export interface PlaneResponse {
  readonly status: number
  readonly body: { readonly [key: string]: JsonValue }
}

const MAX_ANSWER = 32 * 1024 * 1024

/** Whether a peer is the control plane of this trust domain. */
function isControl(peer: VerifiedSvid, trustDomain: string): boolean {
  return peer.id.trustDomain === trustDomain && kindOf(peer.id)?.kind === 'control'
}

/** Speaks the plane API, and to a control plane of the own trust domain only. */
export class PlaneClient {
  readonly #pool: RotatingPool<undefined, Pool>
  readonly #timeoutMs: number
  readonly #unsubscribe: () => void

  constructor(options: PlaneClientOptions) {
    const { identity, target, clock } = options
    this.#timeoutMs = options.timeoutMs
    const { trustDomain } = identity instanceof IdentityHolder ? identity.current() : identity
    this.#pool = new RotatingPool({
      open: undiciPool('https://control.invalid', 16, options.timeoutMs),
      clock,
      generation: (goodUntil) => ({
        tag: undefined,
        connector: mtlsConnector({
          identity,
          target,
          timeoutMs: options.timeoutMs,
          expect: (peer) => isControl(peer, trustDomain),
          onConnected: (_socket, peer) => {
            goodUntil(retireAt(peer))
          },
        }),
      }),
    })
    // Connections made with the certificate before would be judged by its end.
    this.#unsubscribe =
      identity instanceof IdentityHolder
        ? identity.onChange(() => {
            this.#pool.retire()
          })
        : () => undefined
  }

  /**
   * @throws SallyportError `SP_CONTROL_UNREACHABLE` where there is no whole answer, `SP_CONTROL_REFUSED` (with the plane's
   *   own code in `detail`) for any other status than was asked for
   */
  async request(request: PlaneRequest): Promise<PlaneResponse> {
    const { statusCode, body } = await this.#send(request)
    const bytes = await readAll(body, request.maxBytes ?? MAX_ANSWER)
    let json: JsonValue | undefined
    try {
      json = bytes.length === 0 ? {} : parseJson(bytes, { maxBytes: MAX_ANSWER })
    } catch (cause) {
      throw unreachable(`${request.path}: an answer that is not JSON`, cause)
    }
    const members = isObject(json) ? json : {}
    const fine = statusCode >= 200 && statusCode < 300
    if (!fine && request.also?.includes(statusCode) !== true) {
      const code = members['code']
      throw new SallyportError('SP_CONTROL_REFUSED', 'the control plane refused a request', {
        detail: `${request.path}: ${statusCode} ${typeof code === 'string' ? code : ''}`.trim(),
      })
    }
    return { status: statusCode, body: members }
  }

  /** The body of a long answer, unread. @throws SallyportError as `request` */
  async stream(path: string, signal: AbortSignal): Promise<Readable> {
    const { statusCode, body } = await this.#send({ method: 'GET', path }, signal)
    if (statusCode === 200) return body
    body.on('error', () => undefined).destroy()
    throw new SallyportError('SP_CONTROL_REFUSED', 'the control plane refused a request', {
      detail: `${path}: ${statusCode}`,
    })
  }

  async close(): Promise<void> {
    this.#unsubscribe()
    await this.#pool.destroy()
  }

  async #send(
    request: PlaneRequest,
    signal?: AbortSignal,
  ): Promise<{ statusCode: number; body: Readable }> {
    const timeout = request.timeoutMs ?? this.#timeoutMs
    const { method, path, body } = request
    const json = request.json ?? (body === undefined ? undefined : canonicalJson(body))
    try {
      return await this.#pool.lease().pool.request({
        method,
        path,
        headersTimeout: timeout,
        // A stream says something every second.
        bodyTimeout: timeout,
        ...(signal ? { signal } : {}),
        ...(json === undefined
          ? {}
          : { body: json, headers: { 'content-type': 'application/json' } }),
      })
    } catch (cause) {
      throw unreachable(path, cause)
    }
  }
}

async function readAll(stream: Readable, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of stream) {
      // Without an encoding set, a body yields buffers.
      const bytes = chunk as Buffer
      size += bytes.length
      if (size > maxBytes) throw new RangeError('the answer is too large')
      chunks.push(bytes)
    }
  } catch (cause) {
    throw unreachable('an answer broke off', cause)
  }
  return Buffer.concat(chunks)
}

function unreachable(detail: string, cause: unknown): SallyportError {
  return new SallyportError('SP_CONTROL_UNREACHABLE', 'the control plane cannot be reached', {
    detail: `${detail}: ${reasonOf(cause)}`,
    cause,
  })
}
