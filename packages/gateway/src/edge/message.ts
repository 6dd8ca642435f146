import type { Socket } from 'node:net'
import type { Ending } from './ending.ts'

/**
 * A request as it came in, whichever HTTP it came by. An `IncomingMessage` is one, and so is a stream of HTTP/2, whose
 * `:authority` then stands in `rawHeaders` as `host`.
 */
export interface EdgeRequest extends AsyncIterable<unknown> {
  // As `IncomingMessage` has them: absent on what a client received.
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly httpVersion: string
  readonly rawHeaders: readonly string[]
  /** Known once the body was read. */
  readonly rawTrailers: readonly string[]
  /** Of the connection, never a stand-in: what the peer proved is known by it. */
  readonly socket: Socket
  /** Whether all of it has arrived. */
  readonly complete: boolean
  /** HTTP/2 alone: whether the head was not all there is. */
  readonly hasMore?: boolean
  /** Whether its body may take as long as whoever reads it lets it. */
  takesItsTime?: boolean
}

/** Where its answer goes. A `ServerResponse` is one. */
export interface EdgeResponse {
  readonly headersSent: boolean
  readonly destroyed: boolean
  readonly writableEnded: boolean
  /** Whether all of it was handed to the system. */
  readonly writableFinished: boolean
  /** False lets the connection go once this is answered. */
  shouldKeepAlive: boolean
  /** Tells the caller that its body is wanted (RFC 9110, section 15.2.1). */
  writeContinue(): unknown
  writeHead(status: number, headers: Record<string, string | number>): unknown
  flushHeaders(): void
  /** @returns false where the caller reads too slowly for more */
  write(bytes: string | Uint8Array): boolean
  end(bytes?: string | Uint8Array): unknown
  /** Breaks it off, so that the caller cannot take what it has for the whole. */
  destroy(): unknown
  once(event: 'close' | 'drain', listener: () => void): unknown
  removeListener(event: 'close' | 'drain', listener: () => void): unknown
}

/** Waits until the caller has read enough for more. @throws Error where it is gone */
export function drained(res: EdgeResponse, signal: Ending): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (then: () => void) => (): void => {
      res.removeListener('drain', ready)
      signal.removeEventListener('abort', gone)
      then()
    }
    const ready = settle(resolve)
    const gone = settle(() => {
      reject(new Error('the caller has gone'))
    })
    if (signal.aborted || res.destroyed) {
      gone()
      return
    }
    res.once('drain', ready)
    signal.addEventListener('abort', gone)
  })
}
