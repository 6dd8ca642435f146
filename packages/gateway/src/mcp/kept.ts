import type { Call } from '@sallyport/decide'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import type { TypedCall } from '../calls/types.ts'

/** Whom a server is spoken to for: a call that was granted, and for whom it was made. */
export interface Asker extends Pick<Grant, 'id'> {
  readonly call: Pick<Call, 'onBehalfOf' | 'mandate'>
  readonly typed: Pick<TypedCall, 'system' | 'operation'>
}

/** What a granted call is decided again by. */
export interface Kept
  extends Pick<Asker, 'typed'>, Pick<Grant, 'id' | 'caller' | 'call' | 'mandate'> {}

/** A granted call as it is decided now: what comes of it is projected by this. */
export interface Again extends Kept, Pick<Grant, 'enforced' | 'outcome'> {}

/**
 * Decides a granted call again, for what comes of it may come much later.
 *
 * @throws Refusal as `Still.demand`
 */
export function again({ still }: Pick<Pipeline, 'still'>, before: Kept): Again {
  return { ...kept(before), ...still.demand(before) }
}

/** All that is kept for speaking to a server later: nothing of what was asked. */
export function asker({ id, call, typed: { system, operation } }: Asker): Asker {
  const { onBehalfOf, mandate } = call
  return {
    id,
    call: {
      ...(onBehalfOf === undefined ? {} : { onBehalfOf }),
      ...(mandate === undefined ? {} : { mandate }),
    },
    typed: { system, operation },
  }
}

/** Bytes of a call beyond which a session does not keep it: there are many sessions. */
const MAX_LAST = 8192

/** What a session keeps of its last call; of one that said much nothing, so that the next one opens the way to the server again. */
export const lastOf = (grant: Grant): Kept | undefined =>
  (grant.upstream.body?.length ?? 0) > MAX_LAST ? undefined : kept(grant)

/** All that is kept for deciding again: neither what was sent nor the declaration of back then. */
export function kept({ id, caller, call, mandate, typed: { system, operation } }: Kept): Kept {
  return {
    ...{ id, caller, call, typed: { system, operation } },
    ...(mandate === undefined ? {} : { mandate }),
  }
}
