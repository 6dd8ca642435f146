import type { DataClass, Field, NetworkIndex, Operation } from '@sallyport/network'
import { pathTree } from '../project.ts'
import type { PathNode } from '../project.ts'
import type { FieldTreatment, Projection } from '../types.ts'
import type { ProjectionStream } from './filter.ts'
import { KeyTable } from './keys.ts'

/** What becomes of a text, a number, a bool or null. */
export const DROP = 0
export const KEEP = 1
/** Null is kept, and nothing else. */
export const NULL = 2
export const MASK = 3
export const TOKEN = 4

/** What becomes of a value, whatever it turns out to be. */
export interface ValuePlan {
  readonly scalar: typeof DROP | typeof KEEP | typeof NULL | typeof MASK | typeof TOKEN
  /** Absent: an object is dropped, or hidden where the plan masks. */
  readonly object?: ObjectPlan
  /** Of each item; absent: an array is dropped, or hidden where the plan masks. */
  readonly array?: ValuePlan
  /** How it is masked, or the kind of its token. */
  readonly how?: string
}

export interface MemberPlan {
  /** As it is written: `"name":`. */
  readonly key: Uint8Array
  readonly value: ValuePlan
  /** The class that leaves whole with it. */
  readonly raises?: DataClass
}

export interface ObjectPlan {
  /** By the number of the member's name. What is not here is dropped. */
  readonly members: (MemberPlan | undefined)[]
  /** Whose record it is. */
  readonly dataset?: string
  /** How what no schema declares is named: by the data set, or by the path. */
  readonly at: string
  /** Whether a member that is dropped is one that is declared. */
  declares(name: string): boolean
}

/** A projection, made ready once for every answer that it is applied to. */
export interface ProjectionPlan {
  readonly root: ValuePlan
  /** The names that the plan knows; a copy of it takes up the others. */
  readonly keys: KeyTable
  /** Streams of it that are used again. */
  readonly spare: ProjectionStream[]
}

const NOTHING: ValuePlan = { scalar: DROP }
const SCALAR: ValuePlan = { scalar: KEEP }

/** What `project` does, as a plan that needs to see one byte of a value to know what becomes of it. */
export function planProjection(
  returns: Operation['returns'],
  projection: Projection,
  index: NetworkIndex,
): ProjectionPlan {
  const planner = new Planner(projection, index)
  return { root: planner.root(pathTree(returns)), keys: planner.keys, spare: [] }
}

class Planner {
  readonly keys = new KeyTable()
  readonly #projection: Projection
  readonly #index: NetworkIndex
  /** A data set may hold records of itself. */
  readonly #records = new Map<string, ObjectPlan | undefined>()

  constructor(projection: Projection, index: NetworkIndex) {
    this.#projection = projection
    this.#index = index
  }

  root(node: PathNode): ValuePlan {
    if (node.leaf === undefined) return this.#node(node, '$')
    const one = this.#leaf(node.leaf)
    // `$` has no form for a whole that is an array, so it stands for that too.
    return { ...one, array: one }
  }

  #node(node: PathNode, at: string): ValuePlan {
    if (node.leaf !== undefined) return this.#leaf(node.leaf)
    return {
      scalar: DROP,
      ...(node.items === undefined ? {} : { array: this.#node(node.items, `${at}[]`) }),
      ...(node.members.size === 0 ? {} : { object: this.#tree(node, at) }),
    }
  }

  #tree({ members }: PathNode, at: string): ObjectPlan {
    const plan: ObjectPlan = { members: [], at, declares: (name) => members.has(name) }
    for (const [name, node] of members) {
      this.#member(plan, name, { value: this.#node(node, `${at}.${name}`) })
    }
    return plan
  }

  #leaf(target: string): ValuePlan {
    if (target === 'public') return SCALAR
    return this.#recordOf(target, NULL)
  }

  #recordOf(dataset: string, scalar: typeof NULL | typeof DROP): ValuePlan {
    const object = this.#record(dataset)
    return object === undefined ? { scalar } : { scalar, object }
  }

  #record(dataset: string): ObjectPlan | undefined {
    if (this.#records.has(dataset)) return this.#records.get(dataset)
    const treatments = Object.hasOwn(this.#projection, dataset)
      ? this.#projection[dataset]
      : undefined
    const plan: ObjectPlan | undefined = treatments && {
      ...{ members: [], dataset, at: dataset },
      declares: (name) => this.#index.findField(dataset, name) !== undefined,
    }
    this.#records.set(dataset, plan)
    if (!plan) return undefined
    for (const [name, treatment] of Object.entries(treatments ?? {})) {
      const field = this.#index.findField(dataset, name)
      if (field === undefined || treatment === 'drop') continue
      this.#member(plan, name, this.#field(field, dataset, treatment))
    }
    return plan
  }

  #field(
    field: Field,
    dataset: string,
    treatment: Exclude<FieldTreatment, 'drop'>,
  ): Omit<MemberPlan, 'key'> {
    switch (treatment) {
      case 'mask':
        return { value: { scalar: MASK, ...(field.mask === undefined ? {} : { how: field.mask }) } }
      case 'tokenise': {
        const one: ValuePlan = {
          scalar: TOKEN,
          how: this.#index.tokenKind(`${dataset}.${field.name}`),
        }
        return { value: { ...one, array: one } }
      }
      default:
        return { value: this.#whole(field), raises: field.class }
    }
  }

  #whole({ dataset }: Field): ValuePlan {
    if (dataset === undefined) return { scalar: KEEP, array: SCALAR }
    return { ...this.#recordOf(dataset, NULL), array: this.#recordOf(dataset, DROP) }
  }

  #member(plan: ObjectPlan, name: string, { value, raises }: Omit<MemberPlan, 'key'>): void {
    if (value === NOTHING) return
    plan.members[this.keys.idOf(name)] = {
      key: Buffer.from(`${JSON.stringify(name)}:`),
      value,
      ...(raises === undefined ? {} : { raises }),
    }
  }
}
