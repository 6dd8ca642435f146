import type { Env } from './operators.ts'
import type { EntityRecord } from './entities.ts'
import type { CompiledPolicy, Scope } from './policy.ts'
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
      for (const { type, id } of record.ancestors) {
        // An entity that names itself as its ancestor cannot be in a store, so nothing is met twice.
        push(this.in.get(type)?.get(id), found)
      }
      return
    }
    for (const [type, ids] of this.in) {
      const ancestors = record.ancestorIds.get(type)
      if (ancestors) for (const [id, node] of ids) if (ancestors.has(id)) found.push(node)
    }
  }
}

type ResourceLevel = Level<CompiledPolicy[]>
type PrincipalLevel = Level<ResourceLevel>

/** Policies by action, then principal, then resource. */
export class PolicyIndex {
  readonly #root = new Level<PrincipalLevel>()
  /** Policies that several nodes lead to (`action in [A, B]`) must be met once. */
  readonly #seen: Uint32Array
  #round = 0
  // Reused between decisions, which are synchronous and do not nest.
  readonly #actions: PrincipalLevel[] = []
  readonly #principals: ResourceLevel[] = []
  readonly #lists: CompiledPolicy[][] = []

  constructor(policies: readonly CompiledPolicy[]) {
    this.#seen = new Uint32Array(policies.length)
    for (const policy of policies) {
      for (const byPrincipal of this.#root.under(policy.action, () => new Level<ResourceLevel>())) {
        for (const byResource of byPrincipal.under(
          policy.principal,
          () => new Level<CompiledPolicy[]>(),
        )) {
          for (const list of byResource.under(policy.resource, () => [])) list.push(policy)
        }
      }
    }
  }

  /** The policies whose scope admits the request, each once, in no order. */
  candidates(env: Env): CompiledPolicy[] {
    const [actions, principals, lists] = [this.#actions, this.#principals, this.#lists]
    actions.length = principals.length = lists.length = 0
    const { store } = env
    this.#root.collect(env.action, store.find(env.action), actions)
    const principal = store.find(env.principal)
    for (const level of actions) level.collect(env.principal, principal, principals)
    const resource = store.find(env.resource)
    for (const level of principals) level.collect(env.resource, resource, lists)
    return this.#distinct(lists, env)
  }

  #distinct(lists: readonly CompiledPolicy[][], env: Env): CompiledPolicy[] {
    if (++this.#round > 0xffff_ffff) {
      this.#seen.fill(0)
      this.#round = 1
    }
    const found: CompiledPolicy[] = []
    for (const list of lists) {
      for (const policy of list) {
        if (this.#seen[policy.order] === this.#round) continue
        this.#seen[policy.order] = this.#round
        if (typed(policy.principal, env.principal) && typed(policy.resource, env.resource)) {
          found.push(policy)
        }
      }
    }
    return found
  }
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
