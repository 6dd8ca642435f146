import { isDeepStrictEqual } from 'node:util'
import { decideAgain } from '../calls/again.ts'
import type { AgainParts } from '../calls/again.ts'
import type { Grant } from '../calls/pipeline.ts'
import { declarationChanged, Refusal } from '../refusal.ts'
import type { Kept } from './kept.ts'

/** A granted call as it is decided now: what comes of it is projected by this. */
export interface Again extends Kept, Pick<Grant, 'enforced' | 'outcome'> {}

/**
 * Decides a granted call again, for what comes of it may come much later.
 *
 * @throws Refusal where it would not be allowed any more, or its operation is declared otherwise by now
 */
export function again(parts: AgainParts, before: Kept): Again {
  const { id, caller, call, mandate } = before
  const { enforced, outcome } = decideAgain(parts, before)
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
    throw declarationChanged()
  }
  return { system: declared, operation: found }
}
