import type { Clock } from '@sallyport/base'
import type { SessionState } from '@sallyport/decide'
import { Refusal } from '../refusal.ts'
import type { Facts } from './facts.ts'
import type { Grant } from './grant.ts'
import type { Mandates } from './mandates.ts'
import { isSensitive } from './recorder.ts'
import type { Standing } from './standing.ts'

export interface StillParts {
  readonly standing: Standing
  readonly mandates: Pick<Mandates, 'check'>
  readonly clock: Clock
}

/**
 * Whether a granted call would be granted still, where others were waited for since: e.g. a statement goes out once each of its tables is
 * decided and recorded, one after the other, and by then the first decision may rest on what is not so any more.
 */
export class Still {
  readonly #parts: StillParts
  readonly #facts: Facts

  constructor(parts: StillParts, facts: Facts) {
    this.#parts = parts
    this.#facts = facts
  }

  /** The labels by which a call would be decided now. */
  labelsOf(grant: Grant): readonly string[] {
    return this.#session(grant).labels
  }

  /**
   * To be asked right before the call goes out, with nothing awaited in between.
   *
   * @param own labels that the session has since by this very call, or by those that go out with it: it was not decided by them
   * @param beside labels that it must be allowed by all the same, though the session may not have them yet
   * @throws Refusal with the grant's id: what the caller's standing, its mandate or the declaration has become, what is decided now, or
   *   `SP_DECLARATION_CHANGED` where it is allowed and something else would go out than was recorded
   */
  demand(grant: Grant, own: readonly string[], beside: readonly string[]): void {
    try {
      this.#demand(grant, own, beside)
    } catch (error) {
      if (error instanceof Refusal) error.decision = grant.id
      throw error
    }
  }

  #demand(grant: Grant, own: readonly string[], beside: readonly string[]): void {
    const { standing, mandates, clock } = this.#parts
    const { caller, typed, enforced, mandate } = grant
    standing.recheck(caller)
    if (mandate) mandates.check(mandate)
    standing.demandCurrent(enforced)
    standing.enforced(isSensitive(grant))
    const call = { ...grant.call, time: clock.now() }
    if (mandate) this.#facts.demandDelegators(mandate, call, enforced)
    const { labels, risk } = this.#session(grant)
    const session =
      own.length === 0 && beside.length === 0
        ? { labels, risk }
        : {
            labels: withBeside(
              labels.filter((label) => !own.includes(label)),
              beside,
            ),
            risk,
          }
    const outcome = enforced.decider.decide(call, session)
    if (outcome.decision !== 'allow') throw changed(outcome.code)
    // As of the time that is recorded: what only goes by the clock, such as a condition that names the second, is no other request.
    const same = typed.rewrite?.({ call: grant.call, session, outcome }) ?? grant.upstream
    if (same !== grant.upstream) throw changed('SP_DECLARATION_CHANGED')
  }

  #session({ caller, enforced, mandate }: Grant): SessionState {
    return this.#facts.session(caller.session, enforced, mandate?.scope)
  }
}

const withBeside = (labels: readonly string[], beside: readonly string[]): readonly string[] =>
  [...new Set([...labels, ...beside])].toSorted()

const changed = (code: string): Refusal =>
  new Refusal(code, 'the decision does not hold any more', { status: 403 })
