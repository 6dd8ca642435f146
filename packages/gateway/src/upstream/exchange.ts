import { parseJson } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import type { System } from '@sallyport/network'
import type { IdentityMaterial } from '@sallyport/transport'
import type { Going } from '../calls/types.ts'
import type { Ending } from '../edge/ending.ts'
import { traceparentOf } from '../edge/trace.ts'
import { reasonOf, Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { AnswerBody } from './answer-body.ts'
import { ask } from './ask.ts'
import type { UpstreamAnswer } from './ask.ts'
import { Breakers } from './breakers.ts'
import type { Attempt } from './breakers.ts'
import { addressed, CallTokens } from './call-tokens.ts'
import type { Addressed } from './call-tokens.ts'
import type { SentRequest, StreamedBody } from './connections.ts'
import type { Credentials } from './credentials.ts'
import type { DecodeBounds } from './decode.ts'
import type { UpstreamPools } from './pools.ts'
import type { SigningAhead } from './signing/ahead.ts'

export interface ExchangeOptions {
  readonly pools: UpstreamPools
  /** SPIFFE id of this gateway. */
  readonly gateway: string
  readonly credentials: Credentials
  readonly settings: GatewaySettings
  readonly clock: Clock
  readonly signing: SigningAhead
}

/** One request on behalf of a caller. */
export interface ExchangeRequest extends Addressed {
  readonly accept: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent again where the connection turned out to be closed: only for what changes nothing. */
  readonly repeatable: boolean
  /** Until the head of an answer (default: the timeout of a whole answer). */
  readonly headersMs?: number
  /** Silence after which an answer is given up (default: the timeout of a whole answer). */
  readonly idleMs?: number
  /** A body that is sent as it comes: once, whatever becomes of it. */
  readonly streamed?: StreamedBody
  readonly signal: Ending
}

export type { UpstreamAnswer } from './ask.ts'

/** A header that says who calls. */
export interface Credential {
  readonly header: string
  /** Here at once, where nobody has to be asked for it. */
  readonly value: string | Promise<string>
}

type DeclaredCredential = NonNullable<
  Extract<System['upstream'], { kind: 'external' }>['credential']
>

/** Largest nesting of an upstream's JSON. */
const MAX_DEPTH = 64
const MAX_ATTEMPTS = 3

/** Speaks HTTP to upstreams: only what was authorised, with the credential of the gateway, never following anywhere. */
export class Exchange {
  readonly #options: ExchangeOptions
  readonly #breakers: Breakers
  readonly #tokens: CallTokens
  readonly #bounds: DecodeBounds

  constructor(options: ExchangeOptions) {
    this.#options = options
    const { clock, settings, gateway, signing } = options
    this.#tokens = new CallTokens(gateway, clock, signing)
    this.#bounds = { maxRatio: settings.maxCompressionRatio, maxBytes: settings.maxStreamedBytes }
    const { breakerFailures: after, breakerOpenMs: openMs } = settings
    this.#breakers = new Breakers({ clock, after, openMs })
  }

  /**
   * Sends a request and waits for the head of the answer.
   *
   * @throws Refusal `SP_UPSTREAM_FAILED`, `SP_UPSTREAM_TIMEOUT`, `SP_UPSTREAM_OPEN`, `SP_CREDENTIAL_MISSING`
   */
  async send(exchange: ExchangeRequest): Promise<UpstreamAnswer> {
    const { pools } = this.#options
    const { caller, system, signal } = exchange
    const left = this.#breakers.enterBoth(system.name, caller)
    let sent = false
    try {
      for (let attempt = 1; ; attempt++) {
        const { pool, tag } = pools.for(caller, system).lease()
        let header: string | undefined
        let secret = ''
        try {
          const credential = this.credential(exchange, tag)
          if (credential) {
            header = credential.header
            const { value } = credential
            secret = typeof value === 'string' ? value : await value
          }
        } catch (cause) {
          // Once it went out, nothing may be told that means it never did.
          throw sent ? failed(cause) : cause
        }
        // Certificates rotated meanwhile: the credential belongs to connections that take no more requests.
        if ((pool.closed || pool.destroyed) && attempt < MAX_ATTEMPTS) continue
        const request = this.#request(exchange)
        if (header !== undefined) request.headers[header] = secret
        const traceparent = traceTowards(exchange)
        if (traceparent !== undefined) request.headers['traceparent'] = traceparent
        sent = true
        try {
          const answer = await ask(pool, signal, request, this.#bounds)
          if (answer.status === 401) this.forget(system)
          left('answered', 'answered')
          return answer
        } catch (error) {
          if (error instanceof Refusal) throw error
          const again = exchange.repeatable && !exchange.streamed && wasClosed(error)
          if (!again || attempt >= MAX_ATTEMPTS || signal.aborted) throw failed(error)
        }
      }
    } catch (error) {
      if (signal.aborted) left('neither', 'neither')
      else left(...blame(error))
      throw error
    }
  }

  /** What is sent for a caller, but for the credential. */
  #request(exchange: ExchangeRequest): SentRequest {
    const { settings } = this.#options
    const { request, headers: others, headersMs, idleMs } = exchange
    const { accept } = exchange
    const headers: Record<string, string> =
      request.body === undefined
        ? { accept, 'accept-encoding': 'identity' }
        : { accept, 'accept-encoding': 'identity', 'content-type': 'application/json' }
    return {
      method: request.method,
      path: request.path,
      headers: request.headers || others ? { ...headers, ...request.headers, ...others } : headers,
      body: exchange.streamed ?? request.body ?? null,
      headersTimeout: headersMs ?? settings.upstreamTimeoutMs,
      bodyTimeout: idleMs ?? settings.upstreamTimeoutMs,
      blocking: false,
    }
  }

  /**
   * Reads an answer's JSON, whole and bounded; undefined where it is empty.
   *
   * @throws Refusal `SP_UPSTREAM_RESPONSE`, `SP_UPSTREAM_FAILED`
   */
  async json(answer: UpstreamAnswer): Promise<JsonValue | undefined> {
    const bytes = await readBounded(answer.body, this.#options.settings)
    if (bytes.length === 0) return undefined
    if (!isJsonType(answer.contentType)) throw unusable('its content type is not JSON')
    return parseUpstream(bytes)
  }

  /**
   * What a request to a system carries: a token of the call for a service of the network, else the credential declared. Undefined where
   * that is nothing; the value rejects with a Refusal `SP_CREDENTIAL_MISSING`.
   */
  credential(exchange: Addressed, identity: IdentityMaterial): Credential | undefined {
    const { upstream } = exchange.system
    if (upstream.kind === 'service') {
      const value = this.#tokens.of(exchange, upstream.service, identity)
      return { header: 'sallyport-call-token', value }
    }
    if (upstream.kind !== 'external' || !upstream.credential) return undefined
    const { credential } = upstream
    return { header: credential.header, value: this.#declared(credential) }
  }

  async #declared({ secret: name, as, scheme }: DeclaredCredential): Promise<string> {
    const secret = await this.#options.credentials.get(name)
    if (as === 'basic-user') return basicUser(secret)
    return scheme === undefined ? secret : `${scheme} ${secret}`
  }

  /**
   * Makes the token of a call that is about to be let go, where it takes one. Nothing leaves by this, and a token whose call is not let
   * go is dropped with it.
   */
  prepare(going: Going): void {
    const exchange = addressed(going)
    const { caller, system } = exchange
    if (system.upstream.kind !== 'service') return
    const identity = this.#options.pools.for(caller, system).tag
    this.#tokens.prepare(exchange, system.upstream.service, identity)
  }

  /** The system did not accept its credential: the next call has it anew. */
  forget({ upstream }: System): void {
    if (upstream.kind === 'external' && upstream.credential) {
      this.#options.credentials.forget(upstream.credential.secret)
    }
  }
}

/**
 * The caller's trace as a service of the network goes on with it. Systems outside learn of none: by its id strangers could tell which calls
 * belong together, theirs and each other's.
 */
export const traceTowards = ({ system, trace, decision }: Addressed): string | undefined =>
  trace !== undefined && system.upstream.kind === 'service'
    ? traceparentOf(trace, decision)
    : undefined

/** RFC 7617, section 2: a user name has no colon. @throws Refusal `SP_CREDENTIAL_MISSING` */
function basicUser(secret: string): string {
  if (secret.includes(':')) {
    throw new Refusal('SP_CREDENTIAL_MISSING', 'the system cannot be reached', {
      status: 503,
      detail: 'a secret with a colon is no user name',
    })
  }
  return `Basic ${Buffer.from(`${secret}:`).toString('base64')}`
}

/** An external server's URL has its base; a service of the network serves at `ofService`. */
export function basePath({ upstream }: System, ofService: string): string {
  if (upstream.kind !== 'external') return ofService
  let base = bases.get(upstream)
  if (base === undefined) {
    base = new URL(upstream.url).pathname.replace(/\/$/, '')
    bases.set(upstream, base)
  }
  return base
}

/** Of upstreams as declarations have them, which nobody changes. */
const bases = new WeakMap<System['upstream'], string>()

export const isJsonType = (type: string): boolean =>
  type === 'application/json' || /^application\/[a-z0-9.-]+\+json$/.test(type)

/**
 * The next piece of an answer's body; undefined where it is whole.
 *
 * @throws Refusal `SP_UPSTREAM_RESPONSE` over the bound, `SP_UPSTREAM_FAILED`, `SP_UPSTREAM_TIMEOUT`
 */
export async function nextPiece(body: AnswerBody, maxBytes: number): Promise<Buffer | undefined> {
  let piece: Buffer | undefined
  try {
    piece = (await body.next()).value
  } catch (error) {
    throw failed(error)
  }
  bounded(body, maxBytes)
  return piece
}

/** All pieces of an answer's body as they come. @throws Refusal as `nextPiece` */
export async function* readPieces(
  body: AnswerBody,
  maxBytes: number,
): AsyncGenerator<Buffer, void, undefined> {
  for (;;) {
    const piece = await nextPiece(body, maxBytes)
    if (piece === undefined) return
    yield piece
  }
}

/** The same of what is here already, without waiting. */
export function pieceHere(body: AnswerBody, maxBytes: number): Buffer | undefined {
  let piece: Buffer | undefined
  try {
    piece = body.take()
  } catch (error) {
    throw failed(error)
  }
  bounded(body, maxBytes)
  return piece
}

function bounded(body: AnswerBody, maxBytes: number): void {
  if (body.taken <= maxBytes) return
  body.destroy()
  throw unusable('it is too large')
}

async function readBounded(
  body: AnswerBody,
  { maxResponseBytes, upstreamTimeoutMs }: GatewaySettings,
): Promise<Buffer> {
  // A short answer is here with its head.
  const first = pieceHere(body, maxResponseBytes)
  if (first !== undefined && body.isWhole) return first
  const chunks = first === undefined ? [] : [first]
  // The idle timeout alone would let a slow upstream hold a call for ever.
  const timer = setTimeout(() => {
    body.destroy(new Error('the answer took too long'))
  }, upstreamTimeoutMs)
  try {
    for await (const bytes of readPieces(body, maxResponseBytes)) chunks.push(bytes)
  } finally {
    clearTimeout(timer)
  }
  return Buffer.concat(chunks)
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : ''

/** The connection ended before an answer: the other side had closed it while the request was on its way. */
const wasClosed = (error: unknown): boolean =>
  ['UND_ERR_SOCKET', 'H1_CLOSED', 'ECONNRESET', 'EPIPE'].includes(codeOf(error))

/** Codes of a connection that never was: nothing of the call was sent. */
const UNCONNECTED =
  /^(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|E(?:HOST|NET)UNREACH|UND_ERR_CONNECT_TIMEOUT|ERR_(?:TLS|SSL)_\w+|CERT_\w+|SP_(?:CONNECT|SVID|PEER)_\w+)$/

/**
 * Whom a failure speaks against. No caller has a say in whether a connection comes about, so that counts for all; what happens once it
 * stands may be the caller's own doing, and counts for that caller alone.
 */
export function blame(error: unknown): [ofSystem: Attempt, ofCaller: Attempt] {
  if (!(error instanceof Refusal)) return ['neither', 'neither']
  if (UNCONNECTED.test(codeOf(error.cause))) return ['failed', 'neither']
  const lost = error.code === 'SP_UPSTREAM_FAILED' || error.code === 'SP_UPSTREAM_TIMEOUT'
  return ['neither', lost ? 'failed' : 'neither']
}

export function failed(cause: unknown): Refusal {
  if (cause instanceof Refusal && cause.code === 'SP_UPSTREAM_ENCODING') return cause
  const detail = reasonOf(cause)
  return /TIMEOUT/.test(codeOf(cause))
    ? new Refusal('SP_UPSTREAM_TIMEOUT', 'the system did not answer in time', {
        status: 504,
        detail,
        cause,
      })
    : new Refusal('SP_UPSTREAM_FAILED', 'the system could not be reached', {
        status: 502,
        detail,
        cause,
      })
}

/** Strict JSON of an upstream; its size was bounded when it was read. @throws Refusal `SP_UPSTREAM_RESPONSE` */
export function parseUpstream(text: string | Uint8Array): JsonValue {
  try {
    return parseJson(text, { maxBytes: Number.MAX_SAFE_INTEGER, maxDepth: MAX_DEPTH })
  } catch (cause) {
    throw unusable('it is not strict JSON', cause)
  }
}

export function unusable(detail: string, cause?: unknown): Refusal {
  return new Refusal('SP_UPSTREAM_RESPONSE', 'the system gave an answer that cannot be used', {
    status: 502,
    detail,
    cause,
  })
}

/** Statuses of an upstream's refusal that its caller may learn, and nothing else of it. */
const TOLD: ReadonlySet<number> = new Set([400, 404, 405, 409, 410, 412, 413, 415, 422, 429])

/** An answer that is not a success, as its caller is told. */
export function upstreamRefusal({ status, retryAfter }: UpstreamAnswer): Refusal {
  return TOLD.has(status)
    ? new Refusal('SP_UPSTREAM_REFUSED', 'the system refused the request', {
        status,
        ...(retryAfter === undefined ? {} : { retryAfterSeconds: retryAfter }),
      })
    : new Refusal('SP_UPSTREAM_FAILED', 'the system could not handle the request', {
        status: 502,
        detail: `status ${status}`,
      })
}
