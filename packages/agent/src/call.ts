import type { JsonValue } from '@sallyport/base'

export interface CallRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Begins with the system's name: `/SYSTEM/rest`. */
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly body?: JsonValue
  /** Id of an approval that this very call was given. */
  readonly approval?: string
  /** The mandate that the call is made under: its id, or the whole chain as a token. */
  readonly mandate?: string
  /** Of these a gateway takes what an operation declares as its input, and a `traceparent` (W3C Trace Context). */
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

export interface CallAnswer {
  readonly status: number
  readonly headers: Headers
  /** JSON as read, otherwise text; null where there is none. */
  readonly body: JsonValue
}
