import type { LlmDialect } from '@sallyport/network'
import { problemOf } from '../edge/answer.ts'
import type { EdgeResponse } from '../edge/message.ts'
import type { Refusal } from '../refusal.ts'

/** What whoever was refused can do about it. */
const REMEDIES: Readonly<Record<string, string>> = {
  SP_LLM_REVIEW_EXPIRED: 'have the vendor reviewed again and state the new date in the declaration',
  SP_LLM_DATA: 'leave out the data, or ask a model whose vendor may read it',
  SP_LLM_UNTRACKED: 'start a new instance of the agent',
  SP_LLM_OPAQUE: 'send text, or ask a model whose vendor may read everything',
  SP_LLM_REQUEST: 'leave out or correct what the message names',
  SP_REDACT_FULL: 'send less at once',
  SP_LIMIT_REACHED: 'wait until the window has moved on, or have the limit raised',
  SP_NO_OPERATION: 'ask a model and an endpoint that the declaration lists',
  SP_NO_FLOW: 'have the flow declared',
  SP_NEEDS_APPROVAL: 'ask for the approval that is named here and present its id',
  SP_NEEDS_MANDATE: 'present a mandate for the task',
}

const OPENAI_TYPES: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  429: 'rate_limit_error',
}
const ANTHROPIC_TYPES: Readonly<Record<number, string>> = {
  ...OPENAI_TYPES,
  413: 'request_too_large',
  529: 'overloaded_error',
}

/** The body of a refusal in the form that a vendor's own clients read. */
function vendorError(
  dialect: LlmDialect,
  refusal: Refusal,
  decision: string,
): Readonly<Record<string, unknown>> {
  const { code, status } = refusal
  const remedy = REMEDIES[code]
  const message = `${refusal.message} (${code}${decision === '' ? '' : `, decision ${decision}`})${
    remedy === undefined ? '' : `: ${remedy}`
  }`
  const sallyport = { ...problemOf(refusal, decision), ...(remedy === undefined ? {} : { remedy }) }
  if (dialect === 'anthropic') {
    const type = ANTHROPIC_TYPES[status] ?? 'api_error'
    return { type: 'error', error: { type, message, code, sallyport }, request_id: decision }
  }
  const type = OPENAI_TYPES[status] ?? 'server_error'
  return { error: { message, type, param: null, code, sallyport } }
}

/** Answers a refusal so that the vendor's clients raise their typed error, and do not ask again by themselves. */
export function sendVendorError(
  res: EdgeResponse,
  dialect: LlmDialect,
  refusal: Refusal,
  decision: string,
): void {
  if (res.headersSent || res.destroyed) {
    // Too late for words: the caller must not take what it has for the whole.
    res.destroy()
    return
  }
  const body = Buffer.from(JSON.stringify(vendorError(dialect, refusal, decision)))
  const headers: Record<string, string | number> = {
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...refusal.headers,
    'content-type': 'application/json',
    'content-length': body.length,
    // Both vendors' clients repeat what fails; a decision stays what it is.
    'x-should-retry': 'false',
    'x-request-id': decision,
  }
  const { retryAfterSeconds } = refusal
  if (retryAfterSeconds !== undefined) headers['retry-after'] = Math.ceil(retryAfterSeconds)
  if (refusal.close) headers['connection'] = 'close'
  res.writeHead(refusal.status, headers)
  res.end(body)
}
