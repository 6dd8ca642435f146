import type { JsonValue } from '@sallyport/base'
import { RefusedError } from '../refused.ts'
import type { RefusedNeed, RefusedOutcome } from '../refused.ts'

/** Why a call was refused, as data that an agent can act on. */
export interface Refused {
  /** Stable, with a page of its own: `SP_…`. */
  readonly code: string
  readonly message: string
  readonly outcome: RefusedOutcome
  /** The decision id, for the operator. */
  readonly decision?: string
  /** What would let the very same call through. */
  readonly needs?: readonly RefusedNeed[]
  readonly retryAfterSeconds?: number
}

/** What became of a call: done, or refused. Everything else that goes wrong is thrown. */
export type ToolOutcome =
  | { readonly status: 'done'; readonly value: JsonValue }
  | { readonly status: 'refused'; readonly refused: Refused }

export function refusedOf(error: RefusedError): Refused {
  const { code, message, outcome, decision, needs, retryAfterSeconds } = error
  return {
    ...{ code, message, outcome },
    ...(decision === undefined ? {} : { decision }),
    ...(needs === undefined ? {} : { needs }),
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  }
}

/** An outcome as a model reads it. */
export function textOfOutcome(outcome: ToolOutcome): string {
  if (outcome.status === 'refused') return JSON.stringify({ refused: outcome.refused })
  return typeof outcome.value === 'string' ? outcome.value : JSON.stringify(outcome.value)
}
