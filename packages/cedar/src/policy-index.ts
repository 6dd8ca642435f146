import type { EntityRecord } from './entities.ts'
import type { Env } from './operators.ts'
import type { CompiledPolicy, Scope } from './policy.ts'
import type { Slice } from './slice-memo.ts'
import type { EntityUid } from './types.ts'
import type { EntityRef } from './value.ts'

type ByUid<T> = Map<string, Map<string, T>>

/**
 * One level of the index: the ways in which a scope may name its entity, each leading to the next level.
 * A request meets only the nodes its own entity, its type and its ancestors lead to.
 */
class Level<T> {
  all: T | undefined
  readonly is = new Map<string, T>()
  readonly eq: ByUid<T> = new Map()
  readonly in: ByUid<T> = new Map()
  inCount = 0

  /** The nodes a scope is filed under, made where there are none. */
  under(scope: Scope, make: () => T): T[] {
    switch (scope.kind) {
      case 'all':
        return [(this.all ??= make())]
      case 'is':
        return [getOrMake(this.is, scope.type, make)]
      case 'eq':
        return [at(this.eq, scope.entity, make)]
      default:
        return scope.entities.map((entity) =>
          at(this.in, entity, () => {
            this.inCount++
            return make()
          }),
        )
    }
  }

  /** Adds to `found` the nodes that admit an entity (`is T in E` only as far as E). */
  collect(entity: EntityRef, record: EntityRecord | undefined, found: T[]): void {
    if (this.all !== undefined) found.push(this.all)
    if (this.is.size > 0) push(this.is.get(entity.type), found)
    if (this.eq.size > 0) push(this.eq.get(entity.type)?.get(entity.id), found)
    if (this.inCount === 0) return
    push(this.in.get(entity.type)?.get(entity.id), found)
    if (record === undefined) return
    if (record.ancestors.length <= this.inCount) {
      // An entity that names itself as its ancestor cannot be in a store, so nothing is met twice.
      let last: string | undefined
      let ids: Map<string, T> | undefined
      for (const { type, id } of record.ancestors) {
        if (type !== last) ids = this.in.get((last = type))
        if (ids !== undefined) push(ids.get(id), found)
      }
      return
    }
    for (const [type, ids] of this.in) {
      const ancestors = record.ancestorIds.get(type)
      if (ancestors) for (const [id, node] of ids) if (ancestors.has(id)) found.push(node)
    }
  }
}

interface Leaf {
  readonly policies: CompiledPolicy[]
  /** Whether the place alone says that the policies apply, and no other place holds any of them. */
  exact: boolean
}
type ResourceLevel = Level<Leaf>
type PrincipalLevel = Level<ResourceLevel>

const NOTHING: Slice = Object.freeze([])

/** Policies by action, then principal, then resource. */
export class PolicyIndex {
  readonly #root = new Level<PrincipalLevel>()
  /** Every entity and type that a scope names, with a negative number of its own. */
  readonly #named: ByUid<number> = new Map()
  readonly #types = new Map<string, number>()
  #lastName = 0
  /** Policies that several nodes lead to (`action in [A, B]`) must be met once. */
  readonly #seen: Uint32Array
  #round = 0
  // Reused between decisions, which are synchronous and do not nest.
  readonly #actions: PrincipalLevel[] = []
  readonly #principals: ResourceLevel[] = []
  readonly #leaves: Leaf[] = []

  constructor(policies: readonly CompiledPolicy[]) {
    this.#seen = new Uint32Array(policies.length)
    for (const policy of policies) {
      for (const scope of [policy.action, policy.principal, policy.resource]) this.#name(scope)
      for (const byPrincipal of this.#root.under(policy.action, () => new Level<ResourceLevel>())) {
        for (const byResource of byPrincipal.under(policy.principal, () => new Level<Leaf>())) {
          for (const leaf of byResource.under(policy.resource, () => ({
            policies: [],
            exact: true,
          }))) {
            leaf.policies.push(policy)
            leaf.exact &&= isExact(policy)
          }
        }
      }
    }
  }

  /**
   * A number that stands for all that a slice depends on in one entity: two entities that share one are in the scope of
   * the same policies. Entities that are in no store and that no policy names share the number of their type.
   */
  key(uid: EntityUid, record: EntityRecord | undefined): number {
    if (record !== undefined) return record.serial
    return this.#named.get(uid.type)?.get(uid.id) ?? this.#types.get(uid.type) ?? 0
  }

  /** The policies whose scope admits the request, each once, in no order. */
  candidates(env: Env): Slice {
    const [actions, principals, leaves] = [this.#actions, this.#principals, this.#leaves]
    actions.length = principals.length = leaves.length = 0
    this.#root.collect(env.action, env.actionRecord, actions)
    for (const level of actions) level.collect(env.principal, env.principalRecord, principals)
    for (const level of principals) level.collect(env.resource, env.resourceRecord, leaves)
    const [only] = leaves
    if (only === undefined) return NOTHING
    // The commonest case shares the index's own list, which does not change once the index is made.
    return leaves.length === 1 && only.exact ? only.policies : this.#distinct(leaves, env)
  }

  #distinct(leaves: readonly Leaf[], env: Env): Slice {
    if (++this.#round > 0xffff_ffff) {
      this.#seen.fill(0)
      this.#round = 1
    }
    const found: CompiledPolicy[] = []
    for (const { policies, exact } of leaves) {
      if (exact) {
        for (const policy of policies) found.push(policy)
        continue
      }
      for (const policy of policies) {
        if (this.#seen[policy.order] === this.#round) continue
        this.#seen[policy.order] = this.#round
        if (typed(policy.principal, env.principal) && typed(policy.resource, env.resource)) {
          found.push(policy)
        }
      }
    }
    return found
  }

  #name(scope: Scope): void {
    const number = (): number => --this.#lastName
    if (scope.kind === 'eq') at(this.#named, scope.entity, number)
    if (scope.kind === 'in') for (const entity of scope.entities) at(this.#named, entity, number)
    if (scope.kind === 'is') getOrMake(this.#types, scope.type, number)
  }
}

/** Whether the nodes that hold a policy are one, and say all of its scope. */
function isExact({ action, principal, resource }: CompiledPolicy): boolean {
  const open = (scope: Scope): boolean => scope.kind === 'in' && scope.type !== undefined
  const several = action.kind === 'in' && action.entities.length > 1
  return !several && !open(principal) && !open(resource)
}

/** The part of `is T in E` that the index leaves open. */
function typed(scope: Scope, entity: EntityRef): boolean {
  return scope.kind !== 'in' || scope.type === undefined || scope.type === entity.type
}

function push<T>(node: T | undefined, found: T[]): void {
  if (node !== undefined) found.push(node)
}

function getOrMake<T>(map: Map<string, T>, key: string, make: () => T): T {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}

function at<T>(map: ByUid<T>, { type, id }: EntityRef, make: () => T): T {
  return getOrMake(
    getOrMake(map, type, () => new Map<string, T>()),
    id,
    make,
  )
}
