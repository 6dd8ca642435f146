import { answer, sorted } from './answer.ts'
import type { Clauses } from './clauses.ts'
import { reading, refOf } from './data.ts'
import type { EntityRecord, EntityStore } from './entities.ts'
import type { Env } from './operators.ts'
import { admits } from './policy.ts'
import type { CompiledPolicy } from './policy.ts'
import { PolicyIndex } from './policy-index.ts'
import type { PreparedContext } from './prepare.ts'
import { Slice } from './slice-memo.ts'
import type { CedarDecision, EntityUid } from './types.ts'
import { EntityRef, EvaluationError, RecordValue } from './value.ts'

/** Decides a group of a plan. */
export type GroupDecider = (group: number) => CedarDecision

/** What is left of the policies of a group: only their principal is still asked about. */
class Left {
  /** Set where every policy applies to every principal. */
  readonly #slice: Slice | undefined
  readonly #index: PolicyIndex
  /** By who asks: a record never changes, and neither does what is left. */
  readonly #slices = new WeakMap<EntityRecord, Slice>()

  constructor(slice: Slice | undefined, index: PolicyIndex) {
    this.#slice = slice
    this.#index = index
  }

  /** The policies that may apply. */
  of(env: Env): Slice {
    if (this.#slice !== undefined) return this.#slice
    const { principalRecord } = env
    if (principalRecord === undefined) return this.#index.candidates(env)
    let slice = this.#slices.get(principalRecord)
    if (slice === undefined) {
      slice = sorted(this.#index.candidates(env))
      this.#slices.set(principalRecord, slice)
    }
    return slice
  }
}

interface Group {
  /** Indices of its resources, ascending. */
  readonly members: readonly number[]
  readonly resource: EntityRecord
  readonly left: Left
}

/**
 * What the plans of one policy set share: many resources leave the same of its policies, which is then one object that
 * decisions find close by, whichever resource they are about.
 */
export class PlanParts {
  readonly clauses: Clauses
  readonly #policies: readonly CompiledPolicy[]
  readonly #acting = new Map<number | string, readonly CompiledPolicy[]>()
  readonly #left = new Map<string, Left>()

  constructor(policies: readonly CompiledPolicy[], clauses: Clauses) {
    this.#policies = policies
    this.clauses = clauses
  }

  /** The policies whose scope admits an action. */
  acting(action: EntityRef, actionRecord: EntityRecord | undefined): readonly CompiledPolicy[] {
    const key = actionRecord?.serial ?? JSON.stringify([action.type, action.id])
    let acting = this.#acting.get(key)
    if (acting === undefined) {
      const env: Env = { ...NOTHING, action, actionRecord }
      acting = this.#policies.filter((policy) => admits(policy.action, action, env))
      this.#acting.set(key, acting)
    }
    return acting
  }

  left(specialised: readonly Specialised[]): Left {
    const key = keyOf(specialised)
    let left = this.#left.get(key)
    if (left === undefined) this.#left.set(key, (left = this.#reduced(specialised)))
    return left
  }

  #reduced(specialised: readonly Specialised[]): Left {
    return indexed(
      specialised.map(({ policy, kept }) => ({
        ...policy,
        ...this.clauses.pick(policy, kept),
        action: ALL,
        resource: ALL,
      })),
    )
  }
}

/**
 * One action on certain resources, prepared: clauses that read nothing but the resource are evaluated once, and resources
 * that what remains cannot tell apart are decided together. Answers are exactly those of deciding each resource for itself.
 */
export class ResourcePlan {
  readonly #groups: readonly Group[]
  readonly #clauses: Clauses
  readonly #action: EntityUid

  constructor(
    parts: PlanParts,
    action: EntityUid,
    resources: readonly EntityRecord[],
    store: EntityStore,
  ) {
    this.#clauses = parts.clauses
    this.#action = action
    const acting = parts.acting(refOf(action), store.find(action))
    const groups = new Map<string, { members: number[]; group: Group }>()
    for (const [i, resource] of resources.entries()) {
      const left = acting.flatMap((policy) => specialise(policy, parts.clauses, resource) ?? [])
      // Where a clause that is left reads the resource, no other resource can share the answer.
      const key = `${left.some(({ own }) => own) ? i : ''} ${keyOf(left)}`
      const known = groups.get(key)
      if (known) known.members.push(i)
      else {
        const members = [i]
        groups.set(key, { members, group: { members, resource, left: parts.left(left) } })
      }
    }
    this.#groups = [...groups.values()].map(({ group }) => group)
  }

  /** Which resources are decided together: their places in the list that the plan was made of. */
  get groups(): readonly (readonly number[])[] {
    return this.#groups.map(({ members }) => members)
  }

  /**
   * Decides for one principal and context.
   *
   * @param entities the store that the plan was made with, or one that extends it by what no resource descends from
   */
  decider(principal: EntityUid, context: PreparedContext, entities: EntityStore): GroupDecider {
    const principalRecord = reading(() => entities.findAs(0, principal))
    const actionRecord = entities.findAs(1, this.#action)
    const principalRef = principalRecord === undefined ? refOf(principal) : principalRecord.uid
    const action = actionRecord === undefined ? refOf(this.#action) : actionRecord.uid
    return (group) => {
      const of = this.#groups[group]
      // In the order of every other environment: the engine then knows them as of one kind.
      const env: Env = {
        principal: principalRef,
        action,
        resource: of === undefined ? NOTHING.resource : of.resource.uid,
        context,
        principalRecord,
        actionRecord,
        resourceRecord: of?.resource,
        store: entities,
      }
      if (of === undefined) return answer(NO_POLICIES, this.#clauses, env)
      return answer(of.left.of(env), this.#clauses, env)
    }
  }
}

const NO_POLICIES = new Slice([])

interface Specialised {
  readonly policy: CompiledPolicy
  /** Indices of the clauses that a decision still has to evaluate. */
  readonly kept: readonly number[]
  /** Whether one of them reads the resource. */
  readonly own: boolean
}

const keyOf = (specialised: readonly Specialised[]): string =>
  specialised.map(({ policy, kept }) => `${policy.order}:${kept.join()}`).join(';')

/**
 * What a policy still asks about a resource; undefined where it cannot hold, whatever else is asked. A clause that is true is
 * left out wherever it stands. One that is false ends the policy only if nothing before it is left, since a clause that
 * fails comes before one that is false.
 */
function specialise(
  policy: CompiledPolicy,
  clauses: Clauses,
  record: EntityRecord,
): Specialised | undefined {
  const env: Env = { ...NOTHING, resource: record.uid, resourceRecord: record }
  if (!admits(policy.resource, record.uid, env)) return undefined
  const kept: number[] = []
  clauses.begin(env)
  for (const [i, variables] of policy.reads.entries()) {
    const known = onlyResource(variables) ? valueOf(clauses, policy, i, env) : undefined
    if (known === false && kept.length === 0) return undefined
    if (known !== true) kept.push(i)
  }
  return { policy, kept, own: kept.some((i) => policy.reads[i]?.has('resource') === true) }
}

const onlyResource = (reads: ReadonlySet<string>): boolean =>
  reads.size === 0 || (reads.size === 1 && reads.has('resource'))

/** Undefined where a clause fails, or reads an entity besides the resource, which another store may hold. */
function valueOf(
  clauses: Clauses,
  policy: CompiledPolicy,
  place: number,
  env: Env,
): boolean | undefined {
  try {
    return clauses.holdsAt(policy, place, env)
  } catch (error) {
    if (error instanceof EvaluationError || error === OTHER_ENTITY) return undefined
    throw error
  }
}

const OTHER_ENTITY: unique symbol = Symbol('an entity besides the resource')

const NOWHERE = {
  find(): never {
    throw OTHER_ENTITY
  },
}

const ALL = { kind: 'all' } as const

/** An environment of which only what is put into it can be read. */
const NOTHING: Env = {
  principal: new EntityRef('', ''),
  action: new EntityRef('', ''),
  resource: new EntityRef('', ''),
  context: new RecordValue(new Map()),
  principalRecord: undefined,
  actionRecord: undefined,
  resourceRecord: undefined,
  store: NOWHERE,
}

function indexed(left: readonly CompiledPolicy[]): Left {
  // The index counts policies by their order.
  const policies = left.map((policy, order) => ({ ...policy, order }))
  const everyone = policies.every(({ principal }) => principal.kind === 'all')
  const slice = new Slice(policies)
  const index = new PolicyIndex(policies.length)
  for (const policy of policies) index.add(policy)
  return new Left(everyone ? slice : undefined, index)
}
