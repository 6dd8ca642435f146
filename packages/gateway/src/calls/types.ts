import type { CedarJson } from '@sallyport/cedar'
import type { Call, Outcome, SessionState } from '@sallyport/decide'
import type { Operation, System } from '@sallyport/network'
import type { AccessClaims } from '@sallyport/oauth/verify'
import type { VerifiedSvid } from '@sallyport/spiffe'
import type { Trace } from '../edge/trace.ts'

/** Who calls: proven by the connection, never by the message. */
export interface Caller {
  /** SPIFFE id. */
  readonly instance: string
  readonly agent: string
  /** What labels and pace are kept by: the instance, and of another trust domain the agent. */
  readonly session: string
  readonly svid: VerifiedSvid
  /** TLS key exchange group, where known. */
  readonly group?: string
  /** Peer address of a directly accepted socket; absent behind relays. */
  readonly source?: string
  /** For whom the caller acts, proven by a token that was verified for this very caller; absent otherwise. */
  readonly onBehalfOf?: { readonly subject: string; readonly actors: readonly string[] }
  /** The enforcement point of somebody else's make that holds the call, and what it does not show. */
  readonly point?: { readonly id: string; readonly unobserved: readonly string[] }
  /** The token that was accepted with this request: it narrows what the caller may do, and is judged again as the call goes on. */
  readonly token?: AccessClaims
  /** The trace that this request says it is part of: for the log and for services of the network, never for policy. */
  readonly trace?: Trace
}

/** What is known of a body before any of it is here. */
export interface RawBody {
  /** Bytes. */
  readonly size: number
  /** In hexadecimal; undefined where the caller does not state it. */
  readonly sha256: string | undefined
}

/** The request that would go to the upstream: made from typed input only. */
export interface UpstreamRequest {
  readonly method: string
  /** Canonical, with its query. */
  readonly path: string
  readonly body: Buffer | undefined
  /** Of a body that is handed on as it comes: what was authorised of it. */
  readonly raw?: RawBody
  /** Inputs that travel as headers; lower case. */
  readonly headers?: Readonly<Record<string, string>>
}

/** A call that is allowed, and what that says of it. */
export interface Decided {
  readonly call: Call
  readonly session: SessionState
  readonly outcome: Outcome
}

/** What an adapter made of a request: one operation, its typed input, and what would be forwarded. */
export interface TypedCall {
  readonly system: System
  readonly operation: Operation
  readonly input: Readonly<Record<string, CedarJson>>
  /** What would be forwarded; it may carry the decision's id. */
  upstream(decision: string): UpstreamRequest
  /**
   * What is forwarded instead, where that depends on how the call was allowed: it is what is recorded.
   *
   * @throws Refusal where nothing can be
   */
  rewrite?(decided: Decided): UpstreamRequest
  /** Makes ready what forwarding takes, while the record of the decision is being written. Whether it is forwarded shows later. */
  meanwhile?(going: Going): void
}

/** A call that will be forwarded once its record is durable. */
export interface Going {
  /** Decision id. */
  readonly id: string
  readonly caller: Caller
  readonly typed: Pick<TypedCall, 'system' | 'operation'>
  readonly call: Call
  readonly upstream: UpstreamRequest
}
