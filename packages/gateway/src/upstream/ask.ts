import { toRefusal } from '../refusal.ts'
import { AnswerBody } from './answer-body.ts'
import type { AnswerControl, AnswerHeaders, Connections, SentRequest } from './connections.ts'
import { decoderOf } from './decode.ts'
import type { DecodeBounds, Decoder } from './decode.ts'

export interface UpstreamAnswer {
  readonly status: number
  /** Lower case, without parameters. */
  readonly contentType: string
  /** Of an upstream that asks for patience. */
  readonly retryAfter: number | undefined
  readonly mcpSession: string | undefined
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
  signal: AbortSignal,
  options: SentRequest,
  bounds: DecodeBounds,
): Promise<UpstreamAnswer> {
  return new Promise((resolve, reject) => {
    let controller: AnswerControl | undefined
    let incoming: AnswerBody | Decoder | undefined
    let failure: Error | undefined
    const fail = (error: Error): void => {
      signal.removeEventListener('abort', aborted)
      failure ??= error
      if (incoming) incoming.fail(failure)
      else reject(failure)
    }
    const aborted = (): void => {
      const reason: unknown = signal.reason
      fail(reason instanceof Error ? reason : new Error('the caller has gone'))
      if (failure) controller?.abort(failure)
    }
    signal.addEventListener('abort', aborted)
    if (signal.aborted) {
      aborted()
      return
    }
    pool.dispatch(options, {
      onRequestStart(started) {
        controller = started
        if (failure) started.abort(failure)
      },
      onResponseStart(answering, status, headers) {
        // Of what comes before an answer, nothing is for anyone here.
        if (status < 200) return
        try {
          const decoder = decoderOf(headers['content-encoding'], answering, bounds)
          const body = decoder ? decoder.body : new AnswerBody(answering)
          incoming = decoder ?? body
          resolve({ ...readHead(headers), status, body })
        } catch (error) {
          signal.removeEventListener('abort', aborted)
          failure = toRefusal(error)
          reject(failure)
          answering.abort(failure)
        }
      },
      onResponseData(_answering, chunk) {
        incoming?.push(chunk)
      },
      onResponseEnd() {
        signal.removeEventListener('abort', aborted)
        incoming?.end()
      },
      onResponseError(_answering, error) {
        fail(error)
      },
    })
  })
}

function readHead(headers: AnswerHeaders): Omit<UpstreamAnswer, 'status' | 'body'> {
  const single = (name: string): string | undefined => {
    const value = headers[name]
    return typeof value === 'string' ? value : undefined
  }
  const retryAfter = single('retry-after')
  const session = single('mcp-session-id')
  return {
    contentType: (single('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '',
    retryAfter:
      retryAfter !== undefined && /^\d{1,5}$/.test(retryAfter) ? Number(retryAfter) : undefined,
    mcpSession: session !== undefined && /^[\x21-\x7e]{1,256}$/.test(session) ? session : undefined,
  }
}
