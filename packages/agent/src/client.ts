import { setTimeout as sleep } from 'node:timers/promises'

import { canonicalJson, SallyportError, systemClock } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import type { Target, TrustAnchors } from '@sallyport/transport'
import type { Dispatcher, Pool } from 'undici'

import type { CallAnswer, CallRequest } from './call.ts'
import { fetchThrough, gatewayUrl } from './fetch.ts'
import { Generation, GatewayFreshness } from './generation.ts'
import type { Identity } from './identity.ts'
import { McpClient } from './mcp.ts'
import { headersOf } from './plane.ts'
import { isObject, readBody } from './refused.ts'

export interface AgentClient {
  /**
   * One call through the gateway.
   *
   * @throws RefusedError where the gateway refuses it
   */
  request(request: CallRequest): Promise<CallAnswer>
  /** As `request`, but the body as it arrives. A stream stays open across rotations. */
  stream(request: CallRequest): AsyncGenerator<Buffer, void, undefined>
  /** An MCP system, by name; its path below the system is `mcp` unless given. */
  mcp(system: string, path?: string): McpClient
  /**
   * `fetch` through the gateway, for clients of others that take one. Addresses are those that `url` makes.
   *
   * @throws SallyportError `SP_CLIENT_ORIGIN` for any other
   */
  readonly fetch: typeof globalThis.fetch
  /** The connections of now, for whoever sends raw messages. @throws SallyportError `SP_CLIENT_CLOSED` */
  dispatcher(): Dispatcher
  /** An address for `fetch`: of `/SYSTEM/…`. */
  url(path: string): string
  /** Asks until the approval is decided; resolves to its status, `pending` where nobody decided in time. */
  awaitApproval(
    id: string,
    options: {
      readonly timeoutMs: number
      readonly intervalMs?: number
      readonly signal?: AbortSignal
    },
  ): Promise<string>
  /** What the gateway takes this process for. */
  whoami(): Promise<JsonValue>
  /** Ends every connection, streams too. */
  close(): Promise<void>
}

const MAX_ANSWER_BYTES = 16 * 1_048_576
const APPROVAL_INTERVAL_MS = 500
const PROOF_ATTEMPTS = 4
const PROOF_RETRY_MS = 200
/** How often a call is made whose connection takes too long. */
const CONNECT_ATTEMPTS = 3
const STALE_ATTEMPTS = 2
/** Errors of a kept-alive connection that its other end closed just as a request was written to it. */
const STALE = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])

/**
 * A client of the gateway over mutual TLS. When the identity rotates, new calls use new connections and the old
 * ones are drained; the gateway is shown the new SVID first, so that streams still open stay live.
 */
export function createClient(options: {
  readonly identity: Pick<Identity, 'holder'>
  readonly gateway: Target
  /** Of the gateway, where it is of another trust domain than the identity: its roots, and no others, vouch for it. */
  readonly gatewayTrust?: TrustAnchors
  readonly clock?: Clock
}): AgentClient {
  return new GatewayClient(options)
}

class GatewayClient implements AgentClient {
  readonly #identity: Pick<Identity, 'holder'>
  readonly #gateway: Target
  readonly #gatewayTrust: TrustAnchors | undefined
  readonly #clock: Clock
  readonly #freshness = new GatewayFreshness()
  readonly #unsubscribe: () => void
  readonly fetch: typeof globalThis.fetch = fetchThrough(() => this.dispatcher())
  readonly #all = new Set<Generation>()
  #current: Generation
  #turn: Promise<void> = Promise.resolve()
  #closed = false

  constructor({ identity, gateway, gatewayTrust, clock }: Parameters<typeof createClient>[0]) {
    this.#identity = identity
    this.#gateway = gateway
    this.#gatewayTrust = gatewayTrust
    this.#clock = clock ?? systemClock
    this.#current = this.#generation()
    this.#unsubscribe = identity.holder.onChange(() => {
      this.#moveOn()
    })
  }

  async request(request: CallRequest): Promise<CallAnswer> {
    return this.#send(this.#open(), request)
  }

  async *stream(request: CallRequest): AsyncGenerator<Buffer, void, undefined> {
    const answer = await dispatch(this.#open(), {
      ...request,
      headers: { accept: 'text/event-stream', ...request.headers },
    })
    const headers = headersOf(answer.headers)
    const status = answer.statusCode
    if (status >= 400) {
      const body = readBody({ status, headers }, await collect(answer.body), MAX_ANSWER_BYTES)
      throw new SallyportError(
        'SP_STREAM_STATUS',
        `the stream was answered with status ${status}`,
        {
          detail: typeof body === 'string' ? body.slice(0, 200) : canonicalJson(body).slice(0, 200),
        },
      )
    }
    // Undici's bodies yield buffers unless an encoding is set.
    for await (const chunk of answer.body) yield chunk as Buffer
  }

  dispatcher(): Dispatcher {
    return this.#open()
  }

  url(path: string): string {
    return gatewayUrl(path)
  }

  mcp(system: string, path = 'mcp'): McpClient {
    return new McpClient(`/${system}${path === '' ? '' : `/${path}`}`, (request) =>
      this.request(request),
    )
  }

  async awaitApproval(
    id: string,
    options: {
      readonly timeoutMs: number
      readonly intervalMs?: number
      readonly signal?: AbortSignal
    },
  ): Promise<string> {
    const until = this.#clock.monotonic() + options.timeoutMs
    const { signal } = options
    for (;;) {
      const { body } = await this.request({
        method: 'GET',
        path: `/.sallyport/approvals/${encodeURIComponent(id)}`,
        ...(signal ? { signal } : {}),
      })
      const status = isObject(body) ? body['status'] : undefined
      if (typeof status !== 'string') {
        throw new SallyportError('SP_RESPONSE_INVALID', 'the answer names no approval status')
      }
      const left = until - this.#clock.monotonic()
      if (status !== 'pending' || left <= 0) return status
      await sleep(
        Math.min(left, options.intervalMs ?? APPROVAL_INTERVAL_MS),
        undefined,
        signal ? { signal } : {},
      )
    }
  }

  async whoami(): Promise<JsonValue> {
    return (await this.request(WHOAMI)).body
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#unsubscribe()
    await Promise.all([...this.#all].map((generation) => generation.destroy()))
    this.#all.clear()
  }

  #open(): Pool {
    if (this.#closed) throw new SallyportError('SP_CLIENT_CLOSED', 'the client is closed')
    return this.#current.pool
  }

  #generation(): Generation {
    const generation: Generation = new Generation({
      identity: this.#identity.holder,
      target: this.#gateway,
      ...(this.#gatewayTrust && { peers: this.#gatewayTrust }),
      clock: this.#clock,
      freshness: this.#freshness,
      retire: () => {
        if (generation === this.#current) this.#moveOn()
      },
    })
    this.#all.add(generation)
    return generation
  }

  /** One move at a time. */
  #moveOn(): void {
    this.#turn = this.#advance(this.#turn)
  }

  /** New connection first, then the old one drained. */
  async #advance(before: Promise<void>): Promise<void> {
    await before
    if (this.#closed) return
    const next = this.#generation()
    await this.#prove(next)
    const old = this.#current
    this.#current = next
    void this.#drain(old)
  }

  async #drain(old: Generation): Promise<void> {
    try {
      await old.drain()
    } catch {
      // It was destroyed meanwhile, by `close`.
    }
    this.#all.delete(old)
  }

  /** Shows the gateway the new SVID. Should that fail, new calls move on regardless: the old SVID runs out. */
  async #prove(next: Generation): Promise<void> {
    for (let attempt = 0; attempt < PROOF_ATTEMPTS && !this.#closed; attempt++) {
      try {
        await this.#send(next.pool, WHOAMI)
        return
      } catch {
        await sleep(PROOF_RETRY_MS * 2 ** attempt)
      }
    }
  }

  async #send(pool: Pool, request: CallRequest): Promise<CallAnswer> {
    const answer = await dispatch(pool, request)
    const headers = headersOf(answer.headers)
    const status = answer.statusCode
    const bytes = await collect(answer.body)
    return { status, headers, body: readBody({ status, headers }, bytes, MAX_ANSWER_BYTES) }
  }
}

const WHOAMI: CallRequest = { method: 'GET', path: '/.sallyport/whoami' }

async function dispatch(pool: Pool, request: CallRequest): Promise<Dispatcher.ResponseData> {
  const query = new URLSearchParams(request.query).toString()
  const hasBody = request.body !== undefined
  const options = {
    method: request.method,
    path: query === '' ? request.path : `${request.path}?${query}`,
    headers: {
      accept: 'application/json',
      ...request.headers,
      ...(hasBody ? { 'content-type': 'application/json' } : {}),
      ...(request.approval === undefined ? {} : { 'sallyport-approval': request.approval }),
      ...(request.mandate === undefined ? {} : { 'sallyport-mandate': request.mandate }),
    },
    body: hasBody ? canonicalJson(request.body) : null,
    ...(request.signal ? { signal: request.signal } : {}),
  }
  for (let attempt = 1; ; attempt++) {
    try {
      return await pool.request(options)
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : ''
      // A gateway too busy to shake hands was sent nothing. Of what was sent only a read may be made twice: of anything else
      // nobody knows whether it was done.
      const most =
        code === 'SP_CONNECT_TIMEOUT'
          ? CONNECT_ATTEMPTS
          : request.method === 'GET' && STALE.has(code)
            ? STALE_ATTEMPTS
            : 1
      if (attempt >= most) throw error
    }
  }
}

async function collect(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > MAX_ANSWER_BYTES) {
      throw new SallyportError('SP_RESPONSE_TOO_LARGE', 'the answer is too large')
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
