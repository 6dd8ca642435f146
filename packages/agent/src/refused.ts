import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

/** What the caller can obtain so that the very same call is allowed. */
export interface RefusedNeed {
  readonly kind: string
  readonly count?: number
  /** Of an approval: its id, for `awaitApproval` and for the next attempt. */
  readonly approval?: string
}

const OUTCOMES = ['forbidden', 'not-permitted', 'error', 'needs', 'limited', 'refused'] as const
export type RefusedOutcome = (typeof OUTCOMES)[number]

export interface RefusedFacts {
  readonly status: number
  readonly outcome: RefusedOutcome
  readonly decision?: string
  readonly needs?: readonly RefusedNeed[]
  readonly retryAfterSeconds?: number
}

/** A call that the gateway or the control plane refused, as told to the caller (RFC 9457 problem details). */
export class RefusedError extends SallyportError {
  readonly status: number
  readonly outcome: RefusedOutcome
  /** The decision id, for the operator. */
  readonly decision: string | undefined
  readonly needs: readonly RefusedNeed[] | undefined
  readonly retryAfterSeconds: number | undefined

  constructor(code: string, message: string, facts: RefusedFacts) {
    super(code, message)
    this.status = facts.status
    this.outcome = facts.outcome
    this.decision = facts.decision
    this.needs = facts.needs
    this.retryAfterSeconds = facts.retryAfterSeconds
  }
}

export type JsonObject = { readonly [key: string]: JsonValue }

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const text = (value: JsonValue | undefined): string | undefined =>
  typeof value === 'string' ? value : undefined

/** Reads a problem object of this network; undefined for any other value. */
export function refusedFrom(
  value: unknown,
  status: number,
  retryAfter?: string,
): RefusedError | undefined {
  if (!isObject(value)) return undefined
  const code = text(value['code'])
  if (!code?.startsWith('SP_')) return undefined
  const named = text(value['outcome'])
  const decision = text(value['decision'])
  const needs = Array.isArray(value['needs']) ? value['needs'].filter(isObject).map(needOf) : []
  const seconds = Number(retryAfter ?? value['retryAfterSeconds'] ?? Number.NaN)
  return new RefusedError(code, text(value['title']) ?? 'the call was refused', {
    status,
    outcome: OUTCOMES.find((outcome) => outcome === named) ?? 'refused',
    ...(decision === undefined ? {} : { decision }),
    ...(needs.length > 0 ? { needs } : {}),
    ...(Number.isFinite(seconds) && seconds >= 0 ? { retryAfterSeconds: seconds } : {}),
  })
}

function needOf(value: JsonObject): RefusedNeed {
  const count = value['count']
  const approval = text(value['approval'])
  return {
    kind: text(value['kind']) ?? 'unknown',
    ...(typeof count === 'number' ? { count } : {}),
    ...(approval === undefined ? {} : { approval }),
  }
}

/**
 * The body of an answer: JSON read strictly where it says so, text otherwise.
 *
 * @throws RefusedError for problem details of this network
 * @throws SallyportError `SP_RESPONSE_INVALID` for JSON that is none
 */
export function readBody(
  answer: { readonly status: number; readonly headers: Headers },
  bytes: Buffer,
  maxBytes: number,
): JsonValue {
  const type = (answer.headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
  if (type !== 'application/json' && !type.endsWith('+json')) {
    return bytes.length === 0 ? null : bytes.toString('utf8')
  }
  let body: JsonValue
  try {
    body = parseJson(bytes, { maxBytes })
  } catch (cause) {
    throw new SallyportError('SP_RESPONSE_INVALID', 'the answer is not valid JSON', { cause })
  }
  if (type === 'application/problem+json') {
    const retryAfter = answer.headers.get('retry-after') ?? undefined
    const refused = refusedFrom(body, answer.status, retryAfter)
    if (refused) throw refused
  }
  return body
}
