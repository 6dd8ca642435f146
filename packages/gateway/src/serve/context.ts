import type { Caller } from '../calls/types.ts'
import type { CanonicalRequest } from '../edge/canonical.ts'
import type { Ending } from '../edge/ending.ts'
import type { EdgeRequest, EdgeResponse } from '../edge/message.ts'
import type { Enforced } from '../state/bundles.ts'

/** One request, the first of its two doors passed. */
export interface BareContext {
  readonly req: EdgeRequest
  readonly res: EdgeResponse
  readonly request: CanonicalRequest
  readonly caller: Caller
  /** Aborts when the caller's connection goes. */
  readonly signal: Ending
}

/** The same, with what it is decided by. */
export interface RequestContext extends BareContext {
  readonly enforced: Enforced
}
