import { SallyportError } from '@sallyport/base'
import { reading, recordFromJson, refFromJson } from './data.ts'
import type { EntityJson, EntityUid } from './types.ts'
import { EntityRef } from './value.ts'
import type { Value } from './value.ts'

/** One entity, with every ancestor known. Never changed: what becomes of an entity is another record. */
export interface EntityRecord {
  /** This record's alone in this process, from 1: a changed entity, or one of changed ancestors, has another. */
  readonly serial: number
  readonly uid: EntityRef
  readonly attrs: ReadonlyMap<string, Value>
  readonly tags: ReadonlyMap<string, Value>
  readonly parents: readonly EntityRef[]
  readonly ancestors: readonly EntityRef[]
  /** Type → ids of `ancestors`. */
  readonly ancestorIds: ReadonlyMap<string, ReadonlySet<string>>
}

type ByUid<T> = Map<string, Map<string, T>>

interface Draft {
  readonly uid: EntityRef
  readonly attrs: ReadonlyMap<string, Value>
  readonly tags: ReadonlyMap<string, Value>
  readonly parents: readonly EntityRef[]
}

const bad = (message: string): SallyportError => new SallyportError('SP_CEDAR_ENTITIES', message)

const twice = ({ type, id }: EntityRef): SallyportError =>
  bad(`the entity \`${type}::${JSON.stringify(id)}\` is there twice`)

const NONE: ReadonlyMap<string, Value> = new Map()

let lastSerial = 0

/** Entities as decisions read them: converted once, ancestors closed over, immutable. */
export class EntityStore {
  readonly #own: ByUid<EntityRecord>
  readonly #base: EntityStore | undefined
  /** Parents that some entity names and no entity is: an overlay that adds one must rebuild. */
  readonly #dangling: ByUid<true>
  readonly #types: (string | undefined)[] = [undefined, undefined, undefined]
  readonly #ids: (ReadonlyMap<string, EntityRecord> | undefined)[] = [
    undefined,
    undefined,
    undefined,
  ]
  readonly size: number

  private constructor(
    own: ByUid<EntityRecord>,
    dangling: ByUid<true>,
    size: number,
    base?: EntityStore,
  ) {
    this.#own = own
    this.#dangling = dangling
    this.#base = base
    this.size = size
  }

  /**
   * Builds a store.
   *
   * @throws SallyportError `SP_CEDAR_ENTITIES` for a uid twice or a cycle, `SP_CEDAR_VALUE` for a bad value
   */
  static from(entities: readonly EntityJson[]): EntityStore {
    return EntityStore.#build(draftsOf(entities))
  }

  static #build(drafts: readonly Draft[], base?: EntityStore): EntityStore {
    const byUid: ByUid<Draft> = new Map()
    for (const draft of drafts) {
      if (lookup(byUid, draft.uid) || base?.find(draft.uid)) {
        throw twice(draft.uid)
      }
      insert(byUid, draft.uid, draft)
    }
    const own: ByUid<EntityRecord> = new Map()
    const dangling: ByUid<true> = new Map()
    for (const draft of drafts) close(draft, byUid, own, dangling, base)
    return new EntityStore(own, dangling, drafts.length + (base?.size ?? 0), base)
  }

  /**
   * A store with a few more entities, sharing this one. Costs only what is added.
   *
   * @throws SallyportError `SP_CEDAR_ENTITIES` if one is already there
   */
  with(extra: readonly EntityJson[]): EntityStore {
    const drafts = draftsOf(extra)
    if (drafts.some((draft) => this.#dangles(draft.uid))) {
      return EntityStore.#build([...this.records(), ...drafts])
    }
    return EntityStore.#build(drafts, this)
  }

  /**
   * A store in which entities are put (added, or replaced whole) and removed; removing one that is not there does
   * nothing. Entities that neither changed nor descend from one that did are shared with this store, which stays
   * as it is. Costs one pass over the entities, and building those that change.
   *
   * @throws SallyportError `SP_CEDAR_ENTITIES` for a uid twice or a cycle, `SP_CEDAR_VALUE` for a bad value
   */
  update(change: {
    readonly put?: readonly EntityJson[]
    readonly remove?: readonly EntityUid[]
  }): EntityStore {
    const drafts = draftsOf(change.put ?? [])
    const changed: ByUid<true> = new Map()
    for (const uid of [
      ...drafts.map(({ uid }) => uid),
      ...reading(() => (change.remove ?? []).map(refFromJson)),
    ]) {
      if (lookup(changed, uid)) throw twice(uid)
      insert(changed, uid, true)
    }
    const own: ByUid<EntityRecord> = new Map()
    const dangling: ByUid<true> = new Map()
    for (const record of this.records()) {
      if (lookup(changed, record.uid)) continue
      // A record lists every ancestor, there or not, so whatever a change reaches is found here.
      if (record.ancestors.some((uid) => lookup(changed, uid))) {
        drafts.push(record)
        continue
      }
      insert(own, record.uid, record)
      for (const parent of record.parents) if (this.#dangles(parent)) insert(dangling, parent, true)
    }
    const byUid: ByUid<Draft> = new Map()
    for (const draft of drafts) insert(byUid, draft.uid, draft)
    for (const draft of drafts) close(draft, byUid, own, dangling, undefined)
    let size = 0
    for (const ids of own.values()) size += ids.size
    return new EntityStore(own, dangling, size)
  }

  get(uid: EntityUid): EntityRecord | undefined {
    return this.find(uid)
  }

  find(uid: EntityUid): EntityRecord | undefined {
    return lookup(this.#own, uid) ?? this.#base?.find(uid)
  }

  /** As `find`, remembering the type last asked for in each role of a request: it seldom changes. */
  findAs(role: 0 | 1 | 2, uid: EntityUid): EntityRecord | undefined {
    const { type } = uid
    if (type !== this.#types[role]) {
      this.#types[role] = type
      this.#ids[role] = this.#own.get(type)
    }
    return this.#ids[role]?.get(uid.id) ?? this.#base?.findAs(role, uid)
  }

  *records(): Generator<EntityRecord> {
    if (this.#base) yield* this.#base.records()
    for (const ids of this.#own.values()) yield* ids.values()
  }

  #dangles(uid: EntityRef): boolean {
    return (
      lookup(this.#dangling, uid) === true || (this.#base !== undefined && this.#base.#dangles(uid))
    )
  }
}

function draftsOf(entities: readonly EntityJson[]): Draft[] {
  return reading(() => entities.map(draftOf))
}

function draftOf(entity: EntityJson): Draft {
  const uid = refFromJson(entity.uid)
  const parents = entity.parents.map(refFromJson)
  if (isAction(uid) && !parents.every(isAction)) {
    throw bad(`the action \`${uid.type}::${JSON.stringify(uid.id)}\` is in what is no action`)
  }
  return {
    uid,
    attrs: recordFromJson(entity.attrs).fields,
    tags: entity.tags === undefined ? NONE : recordFromJson(entity.tags).fields,
    parents,
  }
}

const isAction = ({ type }: EntityRef): boolean => type === 'Action' || type.endsWith('::Action')

/** Depth-first, without recursion: hostile hierarchies may be as deep as they are long. */
function close(
  start: Draft,
  drafts: ByUid<Draft>,
  own: ByUid<EntityRecord>,
  dangling: ByUid<true>,
  base: EntityStore | undefined,
): void {
  if (lookup(own, start.uid)) return
  const stack: { draft: Draft; next: number }[] = [{ draft: start, next: 0 }]
  const open = new Set<Draft>([start])
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const parent = top.draft.parents[top.next++]
    if (parent === undefined) {
      insert(own, top.draft.uid, record(top.draft, own, dangling, base))
      open.delete(top.draft)
      stack.pop()
      continue
    }
    const draft = lookup(drafts, parent)
    if (draft === undefined || lookup(own, parent)) continue
    if (open.has(draft))
      throw bad(`the entity \`${parent.type}::"${parent.id}"\` is its own ancestor`)
    open.add(draft)
    stack.push({ draft, next: 0 })
  }
}

function record(
  draft: Draft,
  own: ByUid<EntityRecord>,
  dangling: ByUid<true>,
  base: EntityStore | undefined,
): EntityRecord {
  const ancestors: EntityRef[] = []
  const ancestorIds = new Map<string, Set<string>>()
  const note = (uid: EntityRef): void => {
    let ids = ancestorIds.get(uid.type)
    if (!ids) ancestorIds.set(uid.type, (ids = new Set()))
    if (ids.has(uid.id)) return
    ids.add(uid.id)
    ancestors.push(uid)
  }
  for (const parent of draft.parents) {
    note(parent)
    const known = lookup(own, parent) ?? base?.find(parent)
    if (known) known.ancestors.forEach(note)
    else insert(dangling, parent, true)
  }
  const { uid, attrs, tags, parents } = draft
  return { serial: ++lastSerial, uid, attrs, tags, parents, ancestors, ancestorIds }
}

function lookup<T>(map: ByUid<T>, uid: EntityUid): T | undefined {
  return map.get(uid.type)?.get(uid.id)
}

function insert<T>(map: ByUid<T>, uid: EntityUid, value: T): void {
  let ids = map.get(uid.type)
  if (!ids) map.set(uid.type, (ids = new Map()))
  ids.set(uid.id, value)
}
