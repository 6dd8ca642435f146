import { planProjection } from '@sallyport/decide'
import type { Projection, ProjectionPlan } from '@sallyport/decide'
import type { NetworkIndex, Operation } from '@sallyport/network'

/** Projections that one declaration may have ready at once: callers differ by what their policies grant them. */
const MAX_PLANS = 2000

interface Ready {
  readonly byKey: Map<string, ProjectionPlan>
  /** The decider hands out one object for the same treatments of one data set: what it looks like need not be asked again. */
  readonly byObject: WeakMap<Projection, Map<Operation, ProjectionPlan>>
}

/** Projections made ready, each once: making one takes longer than applying it to a short answer. */
export class Plans {
  readonly #byDeclaration = new WeakMap<NetworkIndex, Ready>()

  of(
    system: string,
    operation: Operation,
    projection: Projection,
    index: NetworkIndex,
  ): ProjectionPlan {
    let ready = this.#byDeclaration.get(index)
    if (!ready) {
      ready = { byKey: new Map(), byObject: new WeakMap() }
      this.#byDeclaration.set(index, ready)
    }
    // An object that could change would not say what it said before.
    if (!Object.isFrozen(projection)) {
      return byKey(ready.byKey, system, operation, projection, index)
    }
    let plans = ready.byObject.get(projection)
    if (!plans) ready.byObject.set(projection, (plans = new Map()))
    let plan = plans.get(operation)
    if (!plan) {
      plan = byKey(ready.byKey, system, operation, projection, index)
      plans.set(operation, plan)
    }
    return plan
  }
}

function byKey(
  plans: Map<string, ProjectionPlan>,
  system: string,
  { name, returns }: Operation,
  projection: Projection,
  index: NetworkIndex,
): ProjectionPlan {
  const key = `${system}.${name} ${JSON.stringify(projection)}`
  let plan = plans.get(key)
  if (!plan) {
    const oldest = plans.keys().next().value
    if (plans.size >= MAX_PLANS && oldest !== undefined) plans.delete(oldest)
    plans.set(key, (plan = planProjection(returns, projection, index)))
  }
  return plan
}
