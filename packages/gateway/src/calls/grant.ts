import type { Call, Outcome } from '@sallyport/decide'
import type { OutcomeRecord } from '@sallyport/wire'
import type { Enforced } from '../state/bundles.ts'
import type { Reserved } from './limits.ts'
import type { CallMandate } from './mandates.ts'
import type { Caller, TypedCall, UpstreamRequest } from './types.ts'

/** What has gone on of a body, by now. */
export interface PassedBody {
  readonly bytes: number
  /** SHA-256 of these bytes, in hexadecimal. */
  readonly sha256: string
}

/** A call that may be forwarded: decided, counted, recorded. */
export interface Grant {
  /** Decision id. */
  readonly id: string
  readonly caller: Caller
  readonly typed: TypedCall
  readonly call: Call
  readonly upstream: UpstreamRequest
  readonly enforced: Enforced
  readonly outcome: Outcome
  /** That covers the call. */
  readonly mandate?: CallMandate
  readonly reserved: Reserved
  /** By the clock that never goes back. */
  readonly startedAt: number
  /** Of a call whose body is handed on as it comes. */
  readonly body?: PassedBody
  /** Goes on without a record of its decision, as reads may where the settings say so: then there is none of how it ends, either. */
  readonly unrecorded?: true
}

/** What a caller presents beside the call itself. */
export interface Presented {
  /** Id of an approval. */
  readonly approval: string | undefined
  /** A mandate: its id, or the whole chain. */
  readonly mandate: string | undefined
}

export interface Finish {
  readonly status: number
  readonly result: OutcomeRecord['result']
  readonly bytesOut: number
  /** Where bytes are counted and not read: those from the caller. */
  readonly bytesIn?: number
  /** Of an answer that was handed on as it came: SHA-256, hex, of `bytesOut`. */
  readonly answerSha256?: string
  readonly released: OutcomeRecord['released']
  /** Whether the request reached the upstream, as far as anyone knows. */
  readonly forwarded: boolean
}
