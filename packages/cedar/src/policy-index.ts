import { Anchors } from './anchors.ts'
import type { EntityRecord } from './entities.ts'
import type { Env } from './operators.ts'
import type { CompiledPolicy, Scope } from './policy.ts'
import { Slice } from './slice-memo.ts'
import type { EntityUid } from './types.ts'
import type { EntityRef } from './value.ts'

/**
 * One level of the index: the ways in which a scope may name its entity, each leading to the next level.
 * A request meets only the nodes its own entity, its type and its ancestors lead to.
 */
class Level<T> {
  all: T | undefined = undefined
  types: Map<string, T> | undefined = undefined
  exactly: Anchors<T> | undefined = undefined
  within: Anchors<T> | undefined = undefined

  /** The nodes a scope is filed under, made where there are none. */
  under(scope: Scope, make: () => T): T[] {
    switch (scope.kind) {
      case 'all':
        return [(this.all ??= make())]
      case 'is':
        return [getOrMake((this.types ??= new Map<string, T>()), scope.type, make)]
      case 'eq': {
        const { entity } = scope
        if (this.exactly !== undefined) return [this.exactly.getOrMake(entity, make)]
        const node = make()
        this.exactly = new Anchors(entity, node)
        return [node]
      }
      default:
        return scope.entities.map((entity) => {
          if (this.within !== undefined) return this.within.getOrMake(entity, make)
          const node = make()
          this.within = new Anchors(entity, node)
          return node
        })
    }
  }

  /** Adds to `found` the nodes that admit an entity (`is T in E` only as far as E). */
  collect(entity: EntityRef, record: EntityRecord | undefined, found: T[]): void {
    const { type, id } = entity
    if (this.all !== undefined) found.push(this.all)
    if (this.types !== undefined) push(this.types.get(type), found)
    if (this.exactly !== undefined) push(this.exactly.get(type, id), found)
    if (this.within === undefined) return
    push(this.within.get(type, id), found)
    // An entity that is its own ancestor cannot be in a store, so nothing is met twice.
    if (record !== undefined) this.within.ofAncestors(record, found)
  }
}

const NOTHING: Slice = Object.freeze(new Slice([]))

/** Where policies are filed. */
class Leaf {
  readonly policies: CompiledPolicy[] = []
  /** What a request gets that meets no other leaf. */
  slice: Slice = NOTHING
  /** Whether the place alone says that the policies apply, and no other place holds any of them. */
  exact = true

  add(policy: CompiledPolicy): void {
    this.exact &&= isExact(policy)
    this.policies.push(policy)
    // From two on, the slice shares the list that grows.
    if (this.policies.length <= 2) this.slice = new Slice(this.policies)
  }
}
type ResourceLevel = Level<Leaf>
type PrincipalLevel = Level<ResourceLevel>

/** Policies by action, then principal, then resource. */
export class PolicyIndex {
  readonly #root = new Level<PrincipalLevel>()
  /** Every entity and type that a scope names, with a negative number of its own. */
  readonly #named = new Map<string, Map<string, number>>()
  readonly #types = new Map<string, number>()
  #lastName = 0
  /** The type last asked for by `key`, which seldom changes: most often that of actions, which few stores hold. */
  #lastType: string | undefined = undefined
  #lastNamed: ReadonlyMap<string, number> | undefined = undefined
  /** Policies that several nodes lead to (`action in [A, B]`) must be met once. */
  readonly #seen: Uint32Array
  #round = 0
  // Reused between decisions, which are synchronous and do not nest.
  readonly #actions: PrincipalLevel[] = []
  readonly #principals: ResourceLevel[] = []
  readonly #leaves: Leaf[] = []

  /** @param size how many policies will be added, of orders from 0 */
  constructor(size: number) {
    this.#seen = new Uint32Array(size)
  }

  /** Files a policy. Not to be called once `candidates` was: slices that it gave may be remembered. */
  add(policy: CompiledPolicy): void {
    for (const scope of [policy.action, policy.principal, policy.resource]) this.#name(scope)
    for (const byPrincipal of this.#root.under(policy.action, () => new Level<ResourceLevel>())) {
      for (const byResource of byPrincipal.under(policy.principal, () => new Level<Leaf>())) {
        for (const leaf of byResource.under(policy.resource, () => new Leaf())) leaf.add(policy)
      }
    }
  }

  /**
   * A number that stands for all that a slice depends on in one entity: two entities that share one are in the scope of
   * the same policies. Entities that are in no store and that no policy names share the number of their type.
   */
  key(uid: EntityUid, record: EntityRecord | undefined): number {
    if (record !== undefined) return record.serial
    const { type } = uid
    if (type !== this.#lastType) {
      this.#lastType = type
      this.#lastNamed = this.#named.get(type)
    }
    return this.#lastNamed?.get(uid.id) ?? this.#types.get(type) ?? 0
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
    return leaves.length === 1 && only.exact ? only.slice : this.#distinct(leaves, env)
  }

  #distinct(leaves: readonly Leaf[], env: Env): Slice {
    if (++this.#round > 0xffff_ffff) {
      this.#seen.fill(0)
      this.#round = 1
    }
    const found: CompiledPolicy[] = []
    for (const leaf of leaves) {
      for (const policy of leaf.policies) this.#meet(policy, leaf.exact, env, found)
    }
    return new Slice(found)
  }

  #meet(policy: CompiledPolicy, exact: boolean, env: Env, found: CompiledPolicy[]): void {
    if (!exact) {
      if (this.#seen[policy.order] === this.#round) return
      this.#seen[policy.order] = this.#round
      if (!typed(policy.principal, env.principal) || !typed(policy.resource, env.resource)) return
    }
    found.push(policy)
  }

  #name(scope: Scope): void {
    const number = (): number => --this.#lastName
    if (scope.kind === 'is') getOrMake(this.#types, scope.type, number)
    const named = scope.kind === 'eq' ? [scope.entity] : scope.kind === 'in' ? scope.entities : []
    for (const { type, id } of named) {
      getOrMake(
        getOrMake(this.#named, type, () => new Map<string, number>()),
        id,
        number,
      )
    }
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
