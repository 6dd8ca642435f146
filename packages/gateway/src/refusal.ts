import { SallyportError } from '@sallyport/base'
import type { Need, Outcome } from '@sallyport/decide'

/** How a refused call ended, as its caller is told. */
export type RefusalOutcome =
  'forbidden' | 'not-permitted' | 'error' | 'needs' | 'limited' | 'refused'

/** What was asked for and is declared nowhere, for the inventory. Its name holds no value. */
export interface Strange {
  readonly kind: 'caller' | 'operation' | 'field' | 'destination'
  /** Where it is not the system that the call was for. */
  readonly system?: string
  readonly name: string
}

export interface RefusalFacts {
  /** HTTP status; over MCP it travels in the error's data. */
  readonly status: number
  readonly outcome?: RefusalOutcome
  readonly decision?: string
  readonly needs?: readonly (Need & { readonly approval?: string })[]
  readonly retryAfterSeconds?: number
  /** For operators only. */
  readonly detail?: string
  readonly cause?: unknown
  /** The connection cannot be trusted to be in step any more. */
  readonly close?: boolean
  /** Sent with it over HTTP. */
  readonly headers?: Readonly<Record<string, string>>
  readonly strange?: Strange
  /** It is known that nothing of the call went out. */
  readonly unsent?: boolean
}

/** A call that does not go through. `message` is all the caller is told beside code and outcome. */
export class Refusal extends SallyportError {
  readonly status: number
  readonly outcome: RefusalOutcome
  readonly needs: RefusalFacts['needs']
  readonly retryAfterSeconds: number | undefined
  readonly close: boolean
  readonly headers: Readonly<Record<string, string>>
  readonly strange: Strange | undefined
  readonly unsent: boolean
  /** Set once a record of the refusal stands in the log. */
  decision: string | undefined

  constructor(code: string, message: string, facts: RefusalFacts) {
    super(code, message, {
      ...(facts.detail === undefined ? {} : { detail: facts.detail }),
      cause: facts.cause,
    })
    this.status = facts.status
    this.outcome = facts.outcome ?? 'refused'
    this.needs = facts.needs
    this.retryAfterSeconds = facts.retryAfterSeconds
    this.close = facts.close ?? false
    this.headers = facts.headers ?? {}
    this.strange = facts.strange
    this.unsent = facts.unsent ?? false
    this.decision = facts.decision
  }
}

/** Of what only our own agents may bring: an access token, or a mandate. */
export const foreignEvidence = (): Refusal =>
  new Refusal('SP_FOREIGN_EVIDENCE', 'agents of other trust domains bring no token or mandate', {
    status: 403,
  })

export const quarantined = (): Refusal =>
  new Refusal('SP_QUARANTINED', 'the caller is quarantined', {
    status: 403,
    outcome: 'forbidden',
    close: true,
  })

/** What was decided or asked by another declaration than is in force. */
export const declarationChanged = (): Refusal =>
  new Refusal('SP_DECLARATION_CHANGED', 'the declaration changed meanwhile', { status: 503 })

/** What the caller of a denied call is told: how it ended, and nothing of why. */
export function denied({ code }: Outcome): Refusal {
  switch (code) {
    case 'SP_DENIED_FORBIDDEN':
      return new Refusal(code, 'the call is forbidden', { status: 403, outcome: 'forbidden' })
    case 'SP_DENIED_POLICY_ERROR':
      return new Refusal(code, 'the call could not be decided', { status: 403, outcome: 'error' })
    default:
      return new Refusal(code, 'the call is not permitted', {
        status: 403,
        outcome: 'not-permitted',
      })
  }
}

/** Any thrown value as what its caller may know of it. */
export function toRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error
  if (error instanceof SallyportError && CALLERS_FAULT.test(error.code)) {
    return new Refusal(error.code, error.message, { status: 400, cause: error })
  }
  // Whatever was not foreseen is refused, and says nothing of itself.
  const detail = error instanceof Error ? error.message : String(error)
  return new Refusal('SP_INTERNAL', 'the call could not be handled', {
    status: 503,
    detail,
    cause: error,
  })
}

/** Why something failed, with what lies below it. For operators only. */
export function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause)
  const code = 'code' in cause ? String(cause.code) : ''
  const said = cause.message.includes(code) ? cause.message : `${code} ${cause.message}`.trim()
  return cause instanceof SallyportError && cause.detail ? `${said}: ${cause.detail}` : said
}

/** Codes of what a caller sent; their public messages name nothing but the caller's own input. */
const CALLERS_FAULT = /^SP_(?:INPUT|JSON|REDACT|TOKEN)_/
