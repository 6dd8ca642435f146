import type { PolicyCover, PolicyPoints } from '@sallyport/cedar'
import type { NetworkIndex } from '@sallyport/network'
import type { Call, Decider, Outcome, OutcomeExplanation, SessionState } from './types.ts'

/** Calls of our own agents, and those of agents of other trust domains: by policies of their own, over the same network. */
export class FederatedDecider implements Decider {
  readonly digest: string
  readonly index: NetworkIndex
  readonly #own: Decider
  readonly #foreign: Decider

  constructor(own: Decider, foreign: Decider) {
    this.digest = own.digest
    this.index = own.index
    this.#own = own
    this.#foreign = foreign
  }

  decide(call: Call, session: SessionState): Outcome {
    return this.#for(call).decide(call, session)
  }

  explain(call: Call, session: SessionState): OutcomeExplanation {
    return this.#for(call).explain(call, session)
  }

  points(): readonly PolicyPoints[] {
    const own = this.#own.points()
    const known = new Set(own.map(({ policyId }) => policyId))
    return [...own, ...this.#foreign.points().filter(({ policyId }) => !known.has(policyId))]
  }

  cover(call: Call, session: SessionState): readonly (readonly PolicyCover[])[] {
    return this.#for(call).cover(call, session)
  }

  stateDigest(call: Call, session: SessionState): string {
    return this.#for(call).stateDigest(call, session)
  }

  #for({ agent }: Call): Decider {
    return this.index.findForeignAgent(agent) ? this.#foreign : this.#own
  }
}
