import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Caller } from '../calls/types.ts'
import type { CanonicalRequest } from '../edge/canonical.ts'
import type { Enforced } from '../state/bundles.ts'

/** One request, its two doors' first already passed. */
export interface RequestContext {
  readonly req: IncomingMessage
  readonly res: ServerResponse
  readonly request: CanonicalRequest
  readonly caller: Caller
  readonly enforced: Enforced
  /** Aborts when the caller's connection goes. */
  readonly signal: AbortSignal
}
