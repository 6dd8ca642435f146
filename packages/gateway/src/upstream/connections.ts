/** What can be done about an answer as it comes. */
export interface AnswerControl {
  /** Gives it up, and its connection with it. */
  abort(reason: Error): void
  pause(): void
  resume(): void
}

/** Who waits for an answer. Each function but the first is called with what `onRequestStart` was given. */
export interface AnswerHandler {
  onRequestStart(control: AnswerControl): void
  onResponseStart(control: AnswerControl, status: number, headers: AnswerHeaders): void
  onResponseData(control: AnswerControl, chunk: Buffer): void
  onResponseEnd(control: AnswerControl): void
  onResponseError(control: AnswerControl, error: Error): void
}

/** By lower-case name; a list where a name stands more than once. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>

/** A body that is sent as it comes: pieces of `size` bytes together, and what is thrown instead of one ends the request before its end. */
export interface StreamedBody extends AsyncIterable<Buffer> {
  readonly size: number
}

export interface SentRequest {
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly body: Buffer | StreamedBody | null
  /** Milliseconds until the head of an answer, and of silence in its body. */
  readonly headersTimeout: number
  readonly bodyTimeout: number
  /** Nothing stands behind a request on its connection: undici need not look for what to send next as soon as a head has come. */
  readonly blocking: false
}

/** Connections to one destination, one request at a time on each. A pool of undici's is such. */
export interface Connections {
  readonly closed: boolean
  readonly destroyed: boolean
  dispatch(request: SentRequest, handler: AnswerHandler): unknown
  /** Forgets a request that still waits for a connection, where it does: nobody is told anything of it any more. */
  withdraw?(handler: AnswerHandler): void
  /** Lets what is in flight end. */
  close(): Promise<void>
  destroy(): Promise<void>
}
