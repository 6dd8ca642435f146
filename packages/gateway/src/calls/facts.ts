import type { Clock } from '@sallyport/base'
import { cedarInput } from '@sallyport/decide'
import type { Call, SessionState } from '@sallyport/decide'
import { consentTo } from '@sallyport/oauth/verify'
import { Refusal } from '../refusal.ts'
import type { Bundles, Enforced } from '../state/bundles.ts'
import type { Sessions, SessionScope } from '../state/sessions.ts'
import type { CallMandate } from './mandates.ts'
import type { Caller, TypedCall } from './types.ts'

/** What decisions rest on: the call as policies see it, and what its session has become by now. */
export class Facts {
  readonly #sessions: Sessions
  readonly #bundles: Bundles
  readonly #clock: Clock

  constructor(sessions: Sessions, bundles: Bundles, clock: Clock) {
    this.#sessions = sessions
    this.#bundles = bundles
    this.#clock = clock
  }

  call(
    caller: Caller,
    { system, operation, input }: TypedCall,
    approvals: readonly string[],
  ): Call {
    const { token } = caller
    const { source, onBehalfOf } = caller
    const call: { -readonly [K in keyof Call]: Call[K] } = {
      instance: caller.instance,
      agent: caller.agent,
      system: system.name,
      operation: operation.name,
      input,
      time: this.#clock.now(),
      evidence: { approvals },
    }
    if (source !== undefined) call.source = source
    if (onBehalfOf !== undefined) call.onBehalfOf = onBehalfOf
    const payment =
      token === undefined
        ? undefined
        : consentTo(token, operation.name, cedarInput(operation, input))
    if (payment !== undefined) call.payment = payment
    return call
  }

  session(instance: string, { decider, settings }: Enforced, scope?: SessionScope): SessionState {
    const other = decider.index.findForeignAgent(instance)
    const foreignRisk =
      other &&
      this.#bundles.riskBelow(
        `spiffe://${other.trustDomain}${other.path.replace(/\*$/, '')}`,
        settings,
      )
    return {
      labels: this.#sessions.labelsOf(instance, decider.index.network, scope),
      risk: foreignRisk ?? this.#bundles.riskOf(instance, settings),
    }
  }

  /**
   * Each who passed a mandate on must be allowed the very same call: nobody gives what they have not.
   *
   * @throws Refusal `SP_MANDATE_DELEGATOR`
   */
  demandDelegators({ delegators }: CallMandate, call: Call, enforced: Enforced): void {
    for (const { instance, agent, mandate, scope } of delegators) {
      // Where the delegator would call from, and for whom, nobody knows: what policies ask of that is not met.
      const { source: _source, onBehalfOf: _behalf, payment: _payment, ...unproven } = call
      const { mandate: _mandate, ...rest } = unproven
      const own = { ...rest, instance, agent, ...(mandate === undefined ? {} : { mandate }) }
      const outcome = enforced.decider.decide(own, this.session(instance, enforced, scope))
      if (outcome.decision === 'allow') continue
      throw new Refusal('SP_MANDATE_DELEGATOR', 'whoever gave the mandate may not do this', {
        status: 403,
        outcome: 'forbidden',
        detail: `${instance}: ${outcome.code}`,
      })
    }
  }
}
