import { SallyportError } from '@sallyport/base'
import type {
  CedarDecision,
  EntityStore,
  EntityUid,
  GroupDecider,
  PolicySet,
  ResourcePlan,
} from '@sallyport/cedar'
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

/** What a caller asks of the fields of a data set. */
export interface Ask {
  /** A plan for this caller and call. */
  begin(plan: ResourcePlan): GroupDecider
  grants(answer: CedarDecision): boolean
}

/** The fields of a data set, ready to have their treatments decided. */
interface FieldPlans {
  readonly dataset: DataSet
  readonly plans: readonly { readonly plan: ResourcePlan; readonly treatment: FieldTreatment }[]
  /** Fields that no policy tells apart: one group of each plan, in their order. */
  readonly alike: readonly (readonly number[])[]
  /** Field index → index into `alike`. */
  readonly kindOf: readonly number[]
  /** Treatments of the kinds, as `keyOf` spells them → what they come to. */
  readonly summaries: Map<number | string, Summary>
}

/** Treatments that are owed at least, by `DATASET.FIELD`. */
type Owed = readonly (readonly [about: string, least: FieldTreatment])[]

/** What certain treatments of the fields of one data set come to. */
interface Summary {
  readonly treatments: Readonly<Record<string, FieldTreatment>>
  readonly labels: readonly string[]
  readonly maxClass: DataClass
  /** Data sets that are reached through fields which leave whole. */
  readonly inside: readonly string[]
  /** All there is to say where this data set is the only one. */
  readonly alone: FieldsSummary
}

/** Combinations of treatments whose summary a data set remembers. */
const MAX_SUMMARIES = 256

/** The data sets of a network, ready to have their fields treated. */
export class Fields {
  readonly #network: ReadonlyMap<string, DataSet>
  readonly #policies: PolicySet
  readonly #store: EntityStore
  readonly #plans = new Map<string, FieldPlans>()
  readonly #roots = new WeakMap<Operation['returns'], readonly FieldPlans[]>()

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
  project(returns: Operation['returns'], ask: Ask, owed: Owed): FieldsSummary {
    const roots = this.#rootsOf(returns)
    const [root] = roots
    if (root !== undefined && roots.length === 1) {
      const { inside, alone } = this.#summary(root, treatmentsOf(root, ask), owed)
      if (inside.length === 0) return alone
    }
    return this.#projectAll(roots, ask, owed)
  }

  #projectAll(roots: readonly FieldPlans[], ask: Ask, owed: Owed): FieldsSummary {
    const all = new Map<string, Summary>()
    const waiting = [...roots]
    for (let plans = waiting.pop(); plans !== undefined; plans = waiting.pop()) {
      const { name } = plans.dataset
      if (all.has(name)) continue
      const summary = this.#summary(plans, treatmentsOf(plans, ask), owed)
      all.set(name, summary)
      waiting.push(...summary.inside.flatMap((inner) => this.#plansOf(inner) ?? []))
    }
    const summaries = [...all.values()]
    return {
      projection: Object.fromEntries([...all].map(([name, { treatments }]) => [name, treatments])),
      labels: [...new Set(summaries.flatMap(({ labels }) => labels))].sort(),
      maxClass: summaries.reduce<DataClass>((max, s) => higherClass(max, s.maxClass), 'public'),
    }
  }

  #rootsOf(returns: Operation['returns']): readonly FieldPlans[] {
    let roots = this.#roots.get(returns)
    if (roots === undefined) {
      roots = Object.values(returns).flatMap((name) => this.#plansOf(name) ?? [])
      this.#roots.set(returns, roots)
    }
    return roots
  }

  #plansOf(name: string): FieldPlans | undefined {
    let plans = this.#plans.get(name)
    const dataset = this.#network.get(name)
    if (plans === undefined && dataset !== undefined) {
      plans = planFields(dataset, this.#policies, this.#store)
      this.#plans.set(name, plans)
    }
    return plans
  }

  /** Derived from the treatments and the declaration alone, so it can be remembered; which they are is decided each time. */
  #summary(
    { dataset, kindOf, summaries }: FieldPlans,
    kinds: readonly FieldTreatment[],
    owed: Owed,
  ): Summary {
    const treatments = (): FieldTreatment[] => kindOf.map((kind) => kinds[kind] ?? 'drop')
    if (owed.length > 0) return summarise(dataset, fulfil(owed, dataset, treatments()))
    const key = keyOf(kinds)
    let summary = summaries.get(key)
    if (summary === undefined) {
      if (summaries.size >= MAX_SUMMARIES) summaries.clear()
      summaries.set(key, (summary = summarise(dataset, treatments())))
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
    summaries: new Map(),
  }
}

/** How fields of each kind leave: the first of read, mask and tokenise that is granted, or not at all. */
function treatmentsOf({ plans, alike }: FieldPlans, ask: Ask): FieldTreatment[] {
  const begun: (GroupDecider | undefined)[] = []
  const treatments: FieldTreatment[] = []
  for (const groups of alike) treatments.push(treatmentOf(groups, plans, begun, ask))
  return treatments
}

/** @param begun the plans that were begun for this caller, by their places */
function treatmentOf(
  groups: readonly number[],
  plans: FieldPlans['plans'],
  begun: (GroupDecider | undefined)[],
  ask: Ask,
): FieldTreatment {
  for (let i = 0; i < plans.length; i++) {
    const step = plans[i]
    const group = groups[i]
    if (step === undefined || group === undefined) break
    const decide = (begun[i] ??= ask.begin(step.plan))
    if (ask.grants(decide(group))) return step.treatment
  }
  return 'drop'
}

/** So many treatments make a small integer, which is quicker made and found than a text. */
const FEW_KINDS = 14

function keyOf(kinds: readonly FieldTreatment[]): number | string {
  if (kinds.length > FEW_KINDS) return kinds.join()
  let key = 0
  for (const kind of kinds) key = key * TREATMENTS.length + TREATMENTS.indexOf(kind)
  return key
}

/** The treatments made as strict as obligations ask. */
function fulfil(
  owed: Owed,
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

function summarise({ name, fields }: DataSet, treatments: readonly FieldTreatment[]): Summary {
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
  const byName = Object.freeze(Object.fromEntries(treated))
  const sorted = Object.freeze([...labels].sort())
  // Shared between outcomes, so nobody may change it.
  const projection = Object.freeze({ [name]: byName })
  return {
    treatments: byName,
    labels: sorted,
    maxClass,
    inside,
    alone: Object.freeze({ projection, labels: sorted, maxClass }),
  }
}

/** Whether an operation's answers are bytes, of which nothing can be held back. */
export const isBytes = ({ binding }: Pick<Operation, 'binding'>): boolean =>
  binding.kind === 'http' && binding.bytes !== undefined

/** Whether nothing of an answer would have to be held back, where nothing of it can be. */
export function passesWhole(operation: Operation, projection: Projection): boolean {
  if (!isBytes(operation)) return true
  const { $: target, ...parts } = operation.returns
  if (target === undefined || Object.keys(parts).length > 0) return false
  if (target === 'public') return true
  const fields = Object.hasOwn(projection, target) ? projection[target] : undefined
  const treatments = Object.values(fields ?? {})
  return treatments.length > 0 && treatments.every((treatment) => treatment === 'whole')
}

export function higherClass(a: DataClass, b: DataClass): DataClass {
  return DATA_CLASSES.indexOf(a) < DATA_CLASSES.indexOf(b) ? b : a
}
