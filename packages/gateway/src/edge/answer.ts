import type { Refusal } from '../refusal.ts'
import type { EdgeResponse } from './message.ts'

/** Every answer carries these and no header of an upstream. */
const COMMON = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }

/** The members of a refusal that its caller may see (RFC 9457), over HTTP and as MCP error data alike. */
export interface ProblemDocument {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly code: string
  readonly outcome: string
  readonly decision: string
  /** When asking again could succeed: what `retry-after` says over HTTP, where MCP has no header of its own. */
  readonly retryAfterSeconds?: number
  readonly needs?: readonly {
    readonly kind: 'approval' | 'mandate'
    readonly count: number
    /** Of an approval that was asked for. */
    readonly approval?: string
  }[]
}

/** @param decision the id under which the log has it */
export function problemOf(refusal: Refusal, decision: string): ProblemDocument {
  return {
    type: `https://sallyport.dev/errors/${refusal.code}`,
    title: refusal.message,
    status: refusal.status,
    code: refusal.code,
    outcome: refusal.outcome,
    decision,
    ...(refusal.retryAfterSeconds === undefined
      ? {}
      : { retryAfterSeconds: Math.ceil(refusal.retryAfterSeconds) }),
    ...(refusal.needs === undefined ? {} : { needs: refusal.needs }),
  }
}

/** @returns bytes of body written */
export function sendProblem(res: EdgeResponse, refusal: Refusal, decision: string): number {
  const body = Buffer.from(JSON.stringify(problemOf(refusal, decision)))
  if (res.headersSent || res.destroyed) {
    // Too late for words: the caller must not take what it has for the whole.
    res.destroy()
    return 0
  }
  const headers: Record<string, string | number> = {
    ...COMMON,
    ...refusal.headers,
    'content-type': 'application/problem+json',
    'content-length': body.length,
  }
  const { retryAfterSeconds } = refusal
  if (retryAfterSeconds !== undefined) headers['retry-after'] = Math.ceil(retryAfterSeconds)
  if (refusal.close) headers['connection'] = 'close'
  res.writeHead(refusal.status, headers)
  res.end(body)
  return body.length
}

export interface JsonAnswer {
  readonly status: number
  /** undefined: no body. */
  readonly body: string | Buffer | undefined
  readonly decision?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** @returns bytes of body written */
export function sendJson(res: EdgeResponse, answer: JsonAnswer): number {
  const body = typeof answer.body === 'string' ? Buffer.from(answer.body) : answer.body
  res.writeHead(answer.status, headOf(answer, body))
  res.end(body)
  return body?.length ?? 0
}

function headOf(
  { status, decision, headers: more }: JsonAnswer,
  body: Buffer | undefined,
): Record<string, string | number> {
  // Nearly every answer is such a one: made at once, it costs half as much.
  if (more === undefined && body !== undefined && decision !== undefined && status !== 204) {
    return {
      'cache-control': COMMON['cache-control'],
      'x-content-type-options': COMMON['x-content-type-options'],
      'content-type': 'application/json',
      'content-length': body.length,
      'sallyport-decision': decision,
    }
  }
  const headers: Record<string, string | number> = { ...COMMON, ...more }
  if (body !== undefined) headers['content-type'] = 'application/json'
  if (status !== 204) headers['content-length'] = body?.length ?? 0
  if (decision !== undefined) headers['sallyport-decision'] = decision
  return headers
}

/** Begins an answer that is too long to be held. */
export function beginJson(
  res: EdgeResponse,
  status: number,
  decision: string,
  type = 'application/json',
): void {
  res.writeHead(status, {
    ...COMMON,
    'content-type': type,
    'sallyport-decision': decision,
  })
}

/**
 * Begins an answer that is handed on as it comes. Its length is not told: where that is all that says that some of it is missing, clients
 * take a part for the whole.
 *
 * @param type undefined where it has no body
 * @param disposition as it was written anew
 */
export function beginBytes(
  res: EdgeResponse,
  status: number,
  decision: string,
  type: string | undefined,
  disposition: string | undefined,
): void {
  res.writeHead(status, {
    ...COMMON,
    ...(type === undefined ? {} : { 'content-type': type }),
    ...(disposition === undefined ? {} : { 'content-disposition': disposition }),
    'sallyport-decision': decision,
  })
}

/** Begins an event stream. */
export function beginEvents(res: EdgeResponse, decision?: string): void {
  res.writeHead(200, {
    ...COMMON,
    'content-type': 'text/event-stream',
    ...(decision === undefined ? {} : { 'sallyport-decision': decision }),
  })
  res.flushHeaders()
}
