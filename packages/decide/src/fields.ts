import { SallyportError } from '@sallyport/base'
import type { EntityStore, EntityUid, PolicySet, ResourcePlan } from '@sallyport/cedar'
import { DATA_CLASSES } from '@sallyport/network'
import type { DataClass, DataSet, Network, Operation } from '@sallyport/network'
import type { FieldTreatment, Projection } from './types.ts'

/** Least revealing last. */
const TREATMENTS: readonly FieldTreatment[] = ['whole', 'tokenise', 'mask', 'drop']

function stricter(a: FieldTreatment, b: FieldTreatment): FieldTreatment {
  return TREATMENTS.indexOf(a) < TREATMENTS.indexOf(b) ? b : a
}

export interface FieldsSummary {
  readonly projection: Projection
  /** Tags of every field that leaves in any form. */
  readonly labels: readonly string[]
  /** Highest class that leaves whole. */
  readonly maxClass: DataClass
}

/** How a caller sees fields, best first; what none of these allows is dropped. */
export const FIELD_ACTIONS: readonly (readonly [EntityUid, FieldTreatment])[] = [
  [{ type: 'Action', id: 'field.read' }, 'whole'],
  [{ type: 'Action', id: 'field.mask' }, 'mask'],
  [{ type: 'Action', id: 'field.tokenise' }, 'tokenise'],
]

/** A decision on an action and on one group of a data set's fields. */
export type Ask = (plan: ResourcePlan, group: number) => boolean

/** The fields of a data set, ready to have their treatments decided. */
interface FieldPlans {
  readonly dataset: DataSet
  readonly plans: readonly { readonly plan: ResourcePlan; readonly treatment: FieldTreatment }[]
  /** Fields that no policy tells apart: one group of each plan, in their order. */
  readonly alike: readonly (readonly number[])[]
  /** Field index → index into `alike`. */
  readonly kindOf: readonly number[]
}

/** What certain treatments of the fields of one data set come to. */
interface Summary {
  readonly treatments: Readonly<Record<string, FieldTreatment>>
  readonly labels: readonly string[]
  readonly maxClass: DataClass
  /** Data sets that are reached through fields which leave whole. */
  readonly inside: readonly string[]
}

/** Combinations of treatments whose summary a data set remembers. */
const MAX_SUMMARIES = 256

/** The data sets of a network, ready to have their fields treated. */
export class Fields {
  readonly #network: ReadonlyMap<string, DataSet>
  readonly #policies: PolicySet
  readonly #store: EntityStore
  readonly #plans = new Map<string, FieldPlans>()
  readonly #summaries = new Map<string, Map<string, Summary>>()

  constructor(network: Network, policies: PolicySet, store: EntityStore) {
    this.#network = new Map(network.datasets.map((dataset) => [dataset.name, dataset]))
    this.#policies = policies
    this.#store = store
  }

  /**
   * Decides the treatment of every field that an operation can return, through data sets inside data sets as far as
   * their fields leave whole: nothing is reached through a field that does not.
   *
   * @param owed treatments that are owed at least, by `DATASET.FIELD`
   */
  project(
    returns: Operation['returns'],
    ask: Ask,
    owed: readonly (readonly [about: string, least: FieldTreatment])[],
  ): FieldsSummary {
    const projection = new Map<string, Summary>()
    const waiting = Object.values(returns).filter((name) => name !== 'public')
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      const dataset = this.#network.get(name)
      if (dataset === undefined || projection.has(name)) continue
      const plans = this.#plansOf(dataset)
      const kinds = plans.alike.map((groups) => treatmentOf(plans, groups, ask))
      const summary = this.#summary(plans, kinds, owed)
      projection.set(name, summary)
      waiting.push(...summary.inside)
    }
    const all = [...projection]
    const [only] = all
    if (only !== undefined && all.length === 1) {
      const [name, { treatments, labels, maxClass }] = only
      return { projection: { [name]: treatments }, labels, maxClass }
    }
    return {
      projection: Object.fromEntries(all.map(([name, { treatments }]) => [name, treatments])),
      labels: [...new Set(all.flatMap(([, { labels }]) => labels))].sort(),
      maxClass: all.reduce<DataClass>((max, [, s]) => higherClass(max, s.maxClass), 'public'),
    }
  }

  #plansOf(dataset: DataSet): FieldPlans {
    let plans = this.#plans.get(dataset.name)
    if (plans === undefined) {
      plans = planFields(dataset, this.#policies, this.#store)
      this.#plans.set(dataset.name, plans)
    }
    return plans
  }

  /** Derived from the treatments and the declaration alone, so it can be remembered; which they are is decided each time. */
  #summary(
    { dataset, kindOf }: FieldPlans,
    kinds: readonly FieldTreatment[],
    owed: readonly (readonly [string, FieldTreatment])[],
  ): Summary {
    const treatments = (): FieldTreatment[] => kindOf.map((kind) => kinds[kind] ?? 'drop')
    if (owed.length > 0) return summarise(dataset, fulfil(owed, dataset, treatments()))
    let known = this.#summaries.get(dataset.name)
    if (known === undefined) this.#summaries.set(dataset.name, (known = new Map<string, Summary>()))
    const key = kinds.join()
    let summary = known.get(key)
    if (summary === undefined) {
      if (known.size >= MAX_SUMMARIES) known.clear()
      known.set(key, (summary = summarise(dataset, treatments())))
    }
    return summary
  }
}

function planFields(dataset: DataSet, policies: PolicySet, store: EntityStore): FieldPlans {
  const records = dataset.fields.map(({ name }) => {
    const record = store.get({ type: 'Field', id: `${dataset.name}.${name}` })
    if (record === undefined) throw new SallyportError('SP_INTERNAL', 'a field has no entity')
    return record
  })
  const plans = FIELD_ACTIONS.map(([action, treatment]) => ({
    plan: policies.plan(action, records, store),
    treatment,
  }))
  const groupsOf = records.map((_, i) =>
    plans.map(({ plan }) => plan.groups.findIndex((members) => members.includes(i))),
  )
  const alike = new Map(groupsOf.map((groups) => [groups.join(), groups]))
  const keys = [...alike.keys()]
  return {
    dataset,
    plans,
    alike: [...alike.values()],
    kindOf: groupsOf.map((groups) => keys.indexOf(groups.join())),
  }
}

function treatmentOf({ plans }: FieldPlans, groups: readonly number[], ask: Ask): FieldTreatment {
  for (const [i, { plan, treatment }] of plans.entries()) {
    if (ask(plan, groups[i] ?? -1)) return treatment
  }
  return 'drop'
}

/** The treatments made as strict as obligations ask. */
function fulfil(
  owed: readonly (readonly [about: string, least: FieldTreatment])[],
  { name, fields }: DataSet,
  treatments: readonly FieldTreatment[],
): FieldTreatment[] {
  return fields.map((field, i) =>
    owed
      .filter(([about]) => about === `${name}.${field.name}`)
      .reduce<FieldTreatment>(
        (treatment, [, least]) => stricter(treatment, least),
        treatments[i] ?? 'drop',
      ),
  )
}

function summarise({ fields }: DataSet, treatments: readonly FieldTreatment[]): Summary {
  const labels = new Set<string>()
  const inside: string[] = []
  const treated: [string, FieldTreatment][] = []
  let maxClass: DataClass = 'public'
  for (const [i, field] of fields.entries()) {
    const treatment = treatments[i] ?? 'drop'
    treated.push([field.name, treatment])
    if (treatment !== 'drop') for (const tag of field.tags) labels.add(tag)
    if (treatment !== 'whole') continue
    maxClass = higherClass(maxClass, field.class)
    if (field.dataset !== undefined) inside.push(field.dataset)
  }
  return {
    treatments: Object.freeze(Object.fromEntries(treated)),
    labels: Object.freeze([...labels].sort()),
    maxClass,
    inside,
  }
}

export function higherClass(a: DataClass, b: DataClass): DataClass {
  return DATA_CLASSES.indexOf(a) < DATA_CLASSES.indexOf(b) ? b : a
}
