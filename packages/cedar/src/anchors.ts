import type { EntityRecord } from './entities.ts'
import type { EntityRef } from './value.ts'

/**
 * Nodes filed under entities. Most places of an index have one, a few have thousands: one is kept and compared in place,
 * which spares a decision the cold memory of two hash tables.
 */
export class Anchors<T> {
  readonly #type: string
  readonly #id: string
  readonly #node: T
  /** Type → id → node of all, where there are several. */
  #byType: Map<string, Map<string, T>> | undefined = undefined
  #size = 1

  constructor({ type, id }: EntityRef, node: T) {
    this.#type = type
    this.#id = id
    this.#node = node
  }

  getOrMake(entity: EntityRef, make: () => T): T {
    const known = this.get(entity.type, entity.id)
    if (known !== undefined) return known
    if (this.#byType === undefined) {
      this.#byType = new Map([[this.#type, new Map([[this.#id, this.#node]])]])
    }
    let ids = this.#byType.get(entity.type)
    if (ids === undefined) this.#byType.set(entity.type, (ids = new Map<string, T>()))
    const made = make()
    ids.set(entity.id, made)
    this.#size++
    return made
  }

  get(type: string, id: string): T | undefined {
    if (this.#byType !== undefined) return this.#byType.get(type)?.get(id)
    return id === this.#id && type === this.#type ? this.#node : undefined
  }

  /** Adds to `found` the nodes of all ancestors, by whichever is the shorter way. */
  ofAncestors({ ancestors, ancestorIds }: EntityRecord, found: T[]): void {
    if (this.#byType === undefined) {
      if (ancestorIds.get(this.#type)?.has(this.#id) === true) found.push(this.#node)
      return
    }
    if (ancestors.length > this.#size) {
      for (const [type, nodes] of this.#byType) {
        const ids = ancestorIds.get(type)
        if (ids) for (const [id, node] of nodes) if (ids.has(id)) found.push(node)
      }
      return
    }
    let last: string | undefined
    let nodes: Map<string, T> | undefined
    for (const { type, id } of ancestors) {
      if (type !== last) nodes = this.#byType.get((last = type))
      const node = nodes?.get(id)
      if (node !== undefined) found.push(node)
    }
  }
}
