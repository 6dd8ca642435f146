import type { Ending } from '../edge/ending.ts'
import { Fault } from '../h1/fault.ts'
import { toRefusal } from '../refusal.ts'
import { AnswerBody } from './answer-body.ts'
import type {
  AnswerControl,
  AnswerHandler,
  AnswerHeaders,
  Connections,
  SentRequest,
} from './connections.ts'
import { decoderOf } from './decode.ts'
import type { DecodeBounds, Decoder } from './decode.ts'

export interface UpstreamAnswer {
  readonly status: number
  /** Lower case, without parameters. */
  readonly contentType: string
  /** Of an upstream that asks for patience. */
  readonly retryAfter: number | undefined
  readonly mcpSession: string | undefined
  /** As they came: nothing of them leaves that was not read and written anew. */
  readonly headers: AnswerHeaders
  /** Unread: read it or destroy it. */
  readonly body: AnswerBody
}

/**
 * Sends a request on one of a pool's connections.
 *
 * @throws Refusal `SP_UPSTREAM_ENCODING`; Error where there is no answer
 */
export function ask(
  pool: Connections,
  signal: Ending,
  options: SentRequest,
  bounds: DecodeBounds,
): Promise<UpstreamAnswer> {
  return new Promise((resolve, reject) => {
    new Asked(pool, signal, bounds, resolve, reject).send(options)
  })
}

/** A request that was sent, until the end of its answer. */
class Asked implements AnswerHandler {
  readonly #pool: Connections
  readonly #signal: Ending
  readonly #bounds: DecodeBounds
  readonly #resolve: (answer: UpstreamAnswer) => void
  readonly #reject: (reason: Error) => void
  #control: AnswerControl | undefined
  #incoming: AnswerBody | Decoder | undefined
  #failure: Error | undefined

  constructor(
    pool: Connections,
    signal: Ending,
    bounds: DecodeBounds,
    resolve: (answer: UpstreamAnswer) => void,
    reject: (reason: Error) => void,
  ) {
    this.#pool = pool
    this.#signal = signal
    this.#bounds = bounds
    this.#resolve = resolve
    this.#reject = reject
  }

  send(options: SentRequest): void {
    if (this.#signal.aborted) this.handleEvent()
    else {
      this.#signal.addEventListener('abort', this)
      this.#pool.dispatch(options, this)
    }
  }

  /** Its caller has gone. */
  handleEvent(): void {
    const reason: unknown = this.#signal.reason
    this.#fail(reason instanceof Error ? reason : new Error('the caller has gone'))
    // What waits for a connection would be kept until one is free, while its place among the calls in flight is the next call's at once.
    if (!this.#control) this.#pool.withdraw?.(this)
    else if (this.#failure) this.#control.abort(this.#failure)
  }

  onRequestStart(started: AnswerControl): void {
    this.#control = started
    if (this.#failure) started.abort(this.#failure)
  }

  onResponseStart(answering: AnswerControl, status: number, headers: AnswerHeaders): void {
    // Of what comes before an answer, nothing is for anyone here.
    if (status < 200) return
    if (!isFramed(status, headers)) {
      const fault = new Fault('no-framing')
      this.#fail(fault)
      answering.abort(fault)
      return
    }
    try {
      const decoder = decoderOf(headers['content-encoding'], answering, this.#bounds)
      const body = decoder ? decoder.body : new AnswerBody(answering)
      this.#incoming = decoder ?? body
      this.#resolve(answerOf(status, headers, body))
    } catch (error) {
      this.#signal.removeEventListener('abort', this)
      this.#failure = toRefusal(error)
      this.#reject(this.#failure)
      answering.abort(this.#failure)
    }
  }

  onResponseData(_answering: AnswerControl, chunk: Buffer): void {
    this.#incoming?.push(chunk)
  }

  onResponseEnd(): void {
    this.#signal.removeEventListener('abort', this)
    this.#incoming?.end()
  }

  onResponseError(_answering: AnswerControl, error: Error): void {
    this.#fail(error)
  }

  #fail(error: Error): void {
    this.#signal.removeEventListener('abort', this)
    this.#failure ??= error
    if (this.#incoming) this.#incoming.fail(this.#failure)
    else this.#reject(this.#failure)
  }
}

/** llhttp takes what ends with its connection, and of a system that was killed in the middle that would be the whole. */
const isFramed = (status: number, headers: AnswerHeaders): boolean =>
  headers['content-length'] !== undefined ||
  headers['transfer-encoding'] !== undefined ||
  status === 204 ||
  status === 304

function answerOf(status: number, headers: AnswerHeaders, body: AnswerBody): UpstreamAnswer {
  const type = single(headers['content-type']) ?? ''
  const end = type.indexOf(';')
  const retryAfter = single(headers['retry-after'])
  const session = single(headers['mcp-session-id'])
  return {
    status,
    contentType: (end < 0 ? type : type.slice(0, end)).trim().toLowerCase(),
    retryAfter:
      retryAfter !== undefined && /^\d{1,5}$/.test(retryAfter) ? Number(retryAfter) : undefined,
    mcpSession: session !== undefined && /^[\x21-\x7e]{1,256}$/.test(session) ? session : undefined,
    headers,
    body,
  }
}

/** A header that stands once; undefined where it stands not at all, or more than once. */
export const single = (value: string | string[] | undefined): string | undefined =>
  typeof value === 'string' ? value : undefined
