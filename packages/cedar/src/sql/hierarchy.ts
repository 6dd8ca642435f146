import type { EntityRecord, EntityStore } from '../entities.ts'
import type { EntityUid } from '../types.ts'
import { EntityRef } from '../value.ts'
import type { ColumnMap, RowMap } from './columns.ts'
import { unsupported } from './text.ts'

/**
 * What is known of entities beside the row. Entities of a row's own types are only in the table, so nothing may be
 * concluded from a store about them.
 */
export class Hierarchy {
  readonly #store: EntityStore
  /** Types whose entities are described by columns. */
  readonly #rowTypes = new Set<string>()

  /** @throws SallyportError `SP_CEDAR_FILTER_UNSUPPORTED` where store and row speak of the same entities */
  constructor(store: EntityStore, row: RowMap) {
    this.#store = store
    this.#rowTypes.add(row.type)
    let climbing = row.ancestors !== undefined
    const visit = (column: ColumnMap): void => {
      if (column.kind === 'record') Object.values(column.members).forEach(visit)
      if (column.kind !== 'entity' || column.ancestors === undefined) return
      this.#rowTypes.add(column.type)
      climbing = true
    }
    Object.values(row.attributes).forEach(visit)
    for (const { uid, ancestorIds } of store.records()) {
      const through = climbing ? [...ancestorIds.keys()] : []
      const type = [uid.type, ...through].find((each) => this.#rowTypes.has(each))
      if (type !== undefined) throw unsupported(`entities of type \`${type}\` beside the rows`)
    }
  }

  /** For the evaluation of what is known. */
  find(uid: EntityUid): EntityRecord | undefined {
    if (this.#rowTypes.has(uid.type)) {
      throw unsupported(`what is in the entity \`${uid.type}::"…"\`, which is a row`)
    }
    return this.#store.find(uid)
  }

  isRow(type: string): boolean {
    return this.#rowTypes.has(type)
  }

  /** Ids of the entities of a type that are in any of `targets`. */
  descendants(type: string, targets: readonly EntityRef[]): string[] {
    const ids = new Set(targets.filter((target) => target.type === type).map(({ id }) => id))
    for (const record of this.recordsOf(type)) {
      if (targets.some((target) => record.ancestorIds.get(target.type)?.has(target.id))) {
        ids.add(record.uid.id)
      }
    }
    return [...ids]
  }

  /** Ids of the entities of a type that `entity` is in. */
  ancestors(entity: EntityRef, type: string): string[] {
    const above = this.find(entity)?.ancestorIds.get(type) ?? []
    return [...(entity.type === type ? [entity.id] : []), ...above]
  }

  *recordsOf(type: string): Generator<EntityRecord> {
    for (const record of this.#store.records()) if (record.uid.type === type) yield record
  }
}
