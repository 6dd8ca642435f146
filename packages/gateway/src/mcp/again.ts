import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '@sallyport/base'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { Refusal } from '../refusal.ts'
import type { Bundles } from '../state/bundles.ts'
import type { Liveness } from '../state/liveness.ts'
import type { Kept } from './kept.ts'

/** A granted call as it is decided now: what comes of it is projected by this. */
export interface Again extends Kept, Pick<Grant, 'enforced' | 'outcome'> {}

export interface AgainParts {
  readonly pipeline: Pick<Pipeline, 'redecide'>
  readonly liveness: Liveness
  readonly bundles: Bundles
  readonly clock: Clock
}

/**
 * Decides a granted call again, for what comes of it may come much later.
 *
 * @throws Refusal where it would not be allowed any more, or its operation is declared otherwise by now
 */
export function again(parts: AgainParts, before: Kept): Again {
  const { pipeline, liveness, bundles, clock } = parts
  const { id, caller, call, mandate } = before
  const isRevoked = (serial: string): boolean => bundles.isRevoked(serial)
  if (!liveness.isLive(caller.instance, clock.now(), isRevoked)) {
    throw new Refusal('SP_SVID_EXPIRED', 'the identity has ended', { status: 401 })
  }
  const { enforced, outcome } = pipeline.redecide(before)
  if (outcome.decision !== 'allow') {
    throw new Refusal(outcome.code, 'the call is not permitted any more', {
      status: 403,
      outcome: 'forbidden',
    })
  }
  const typed = presently(before.typed, enforced.decider.index.findSystem(call.system))
  return {
    ...{ id, caller, call, typed, enforced, outcome },
    ...(mandate === undefined ? {} : { mandate }),
  }
}

/** What was asked of another system, or of an operation that meant something else, answers nothing that is declared now. */
function presently(
  { system, operation }: Kept['typed'],
  declared: Kept['typed']['system'] | undefined,
): Kept['typed'] {
  if (declared === system) return { system, operation }
  const found = declared?.operations.find(({ name }) => name === operation.name)
  if (
    !declared ||
    !found ||
    !isDeepStrictEqual(found, operation) ||
    !isDeepStrictEqual(declared.upstream, system.upstream)
  ) {
    throw new Refusal('SP_DECLARATION_CHANGED', 'the declaration changed meanwhile', {
      status: 503,
    })
  }
  return { system: declared, operation: found }
}
