import type { Clock } from '@sallyport/base'
import type { SessionState } from '@sallyport/decide'
import { denied, Refusal } from '../refusal.ts'
import type { Enforced } from '../state/bundles.ts'
import { stillApproving } from './approvals.ts'
import { demandDeclared } from './declared.ts'
import type { Facts } from './facts.ts'
import type { Grant } from './grant.ts'
import type { Mandates } from './mandates.ts'
import { isSensitive } from './recorder.ts'
import type { Standing } from './standing.ts'
import type { Decided, TypedCall } from './types.ts'

export interface StillParts {
  readonly standing: Standing
  readonly mandates: Pick<Mandates, 'check'>
  readonly clock: Clock
}

/** What a granted call is decided again by. */
export type Granted = Pick<Grant, 'caller' | 'call' | 'mandate'>

/** The same with what it was typed as. */
export interface GrantedAs extends Granted {
  readonly typed: Pick<TypedCall, 'system' | 'operation'>
}

/** A granted call as it is decided now. */
export interface Now extends Decided {
  readonly enforced: Enforced
}

/** The same, of one that may go on. */
export interface Holds extends Now {
  /** As it is declared by now. */
  readonly typed: GrantedAs['typed']
}

/** Labels that are no reason, or one already. */
export interface BarringLabels {
  /** Its session has these since by this very call, or by those that go out with it: it was not decided by them. */
  readonly own?: readonly string[]
  /** It must be allowed by these all the same, though the session may not have them yet. */
  readonly beside?: readonly string[]
}

/**
 * Whether a granted call would be granted still: time has passed, for the answer lasts, or for others were waited for before it went out.
 *
 * Whatever a decision rests on is looked at once more: the caller's standing, the mandate and everybody it came through, who approved, risk,
 * labels, the time, and the declaration. What was used up for the call, an approval or a place under a limit, was used up for all of it.
 */
export class Still {
  readonly #parts: StillParts
  readonly #facts: Facts

  constructor(parts: StillParts, facts: Facts) {
    this.#parts = parts
    this.#facts = facts
  }

  /** The labels by which a call would be decided now. */
  labelsOf({ caller, enforced, mandate }: Grant): readonly string[] {
    return this.#facts.session(caller.session, enforced, mandate?.scope).labels
  }

  /**
   * Decides a granted call again as it stands, whatever comes of it, for a caller who is still about: the certificate that it came with may
   * have a successor. Nothing is recorded.
   *
   * @throws Refusal for what the caller's standing or its mandate has become: `SP_SVID_EXPIRED`, `SP_QUARANTINED`, `SP_ACCESS_TOKEN_*`,
   *   `SP_FOREIGN_*`, `SP_MANDATE_*`; `SP_STALE`
   */
  decide(granted: Granted, labels: BarringLabels = {}): Now {
    const { standing } = this.#parts
    standing.recheckLasting(granted.caller)
    return this.#decide(granted, standing.enforced(false), labels)
  }

  /**
   * The same of a call that goes on only where it may.
   *
   * @throws Refusal as `decide`; as `denied` where it is not allowed any more; `SP_DECLARATION_CHANGED` where what it was typed as is
   *   declared otherwise by now
   */
  demand({ typed, ...granted }: GrantedAs, labels: BarringLabels = {}): Holds {
    const now = this.decide(granted, labels)
    this.#demandAllowed(now, typed)
    return { ...now, typed: demandDeclared(typed, now.enforced.decider.index) }
  }

  /**
   * To be asked right before a call goes out, with nothing awaited in between: it must go out as it was recorded, by the declaration and for
   * the certificate that it was decided by.
   *
   * @throws Refusal with the grant's id: what the caller's standing, its mandate or the declaration has become, what is decided now, or
   *   `SP_DECLARATION_CHANGED` where it is allowed and something else would go out than was recorded
   */
  demandUnsent(grant: Grant, labels: BarringLabels): void {
    try {
      this.#demandUnsent(grant, labels)
    } catch (error) {
      if (error instanceof Refusal) error.decision = grant.id
      throw error
    }
  }

  #demandUnsent(grant: Grant, labels: BarringLabels): void {
    const { standing } = this.#parts
    const { caller, typed, enforced } = grant
    standing.recheck(caller)
    standing.demandCurrent(enforced)
    const now = this.#decide(grant, enforced, labels)
    this.#demandAllowed(now, typed)
    // As of the time that is recorded: what only goes by the clock, such as a condition that names the second, is no other request.
    const same =
      typed.rewrite?.({ ...now, call: { ...now.call, time: grant.call.time } }) ?? grant.upstream
    if (same === grant.upstream) return
    throw new Refusal('SP_DECLARATION_CHANGED', 'the decision does not hold any more', {
      status: 403,
    })
  }

  #decide(
    { caller, call: before, mandate }: Granted,
    enforced: Enforced,
    labels: BarringLabels,
  ): Now {
    const { mandates, clock } = this.#parts
    const call = { ...before, time: clock.now(), evidence: stillApproving(before, enforced) }
    if (mandate) {
      mandates.check(mandate)
      this.#facts.demandDelegators(mandate, call, enforced)
    }
    const session = barred(this.#facts.session(caller.session, enforced, mandate?.scope), labels)
    return { enforced, call, session, outcome: enforced.decider.decide(call, session) }
  }

  /** What goes on as it writes, or holds what is restricted, needs what is enforced to be as fresh as to begin it. */
  #demandAllowed({ outcome }: Now, typed: GrantedAs['typed']): void {
    if (outcome.decision !== 'allow') throw denied(outcome)
    this.#parts.standing.enforced(isSensitive({ typed, outcome }))
  }
}

function barred({ labels, risk }: SessionState, { own, beside }: BarringLabels): SessionState {
  const without = own?.length ? labels.filter((label) => !own.includes(label)) : labels
  const all = beside?.length ? [...new Set([...without, ...beside])].toSorted() : without
  return { labels: all, risk }
}
