import { planProjection } from '@sallyport/decide'
import type { Projection, ProjectionPlan } from '@sallyport/decide'
import type { NetworkIndex, Operation } from '@sallyport/network'

/** Projections that one declaration may have ready at once: callers differ by what their policies grant them. */
const MAX_PLANS = 2000

/** Projections made ready, each once: making one takes longer than applying it to a short answer. */
export class Plans {
  readonly #byDeclaration = new WeakMap<NetworkIndex, Map<string, ProjectionPlan>>()

  of(
    system: string,
    { name, returns }: Operation,
    projection: Projection,
    index: NetworkIndex,
  ): ProjectionPlan {
    let plans = this.#byDeclaration.get(index)
    if (!plans) this.#byDeclaration.set(index, (plans = new Map()))
    const key = `${system}.${name} ${JSON.stringify(projection)}`
    let plan = plans.get(key)
    if (!plan) {
      const oldest = plans.keys().next().value
      if (plans.size >= MAX_PLANS && oldest !== undefined) plans.delete(oldest)
      plans.set(key, (plan = planProjection(returns, projection, index)))
    }
    return plan
  }
}
