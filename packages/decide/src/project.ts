import type { JsonValue } from '@sallyport/base'
import type { DataClass, Field, NetworkIndex, Operation } from '@sallyport/network'
import { mask } from '@sallyport/redact'
import type { Tokeniser } from '@sallyport/redact'
import { higherClass } from './fields.ts'
import type { Projection } from './types.ts'

export interface Projected {
  /** What may leave; undefined where nothing may. */
  readonly value: JsonValue | undefined
  /** By data set: how many records left in any form, and the highest class that left whole in them. */
  readonly released: Readonly<
    Record<string, { readonly records: number; readonly maxWholeClass: DataClass }>
  >
  /** Paths of what did not leave, each once, array places as `[]`; at most 100. */
  readonly dropped: readonly string[]
  /** Of these, members that nobody declares: by data set or path, and name; at most 32. */
  readonly strangers: readonly (readonly [at: string, name: string])[]
}

const MAX_DROPPED = 100
const MAX_STRANGERS = 32
const MAX_DEPTH = 64

/**
 * Lets through of a response only what the operation declares and the decision grants. Whatever no path covers, no
 * field names, or has another shape than declared is dropped.
 *
 * @param shown is called with every value that leaves whole
 */
export function project(
  body: JsonValue,
  returns: Operation['returns'],
  projection: Projection,
  index: NetworkIndex,
  tokeniser: Pick<Tokeniser, 'tokenise'>,
  shown: Shown = () => undefined,
): Projected {
  const projector = new Projector(projection, index, tokeniser, shown)
  const value = projector.walk(body, pathTree(returns), '$', 0)
  return {
    value,
    released: projector.released(),
    dropped: projector.dropped(),
    strangers: projector.strangers(),
  }
}

/** Called with every value that leaves whole. */
type Shown = (value: string | number, field: Field) => void

/** The paths of `returns` as a tree. */
export interface PathNode {
  /** Data set name, or `public`. */
  leaf?: string
  items?: PathNode
  readonly members: Map<string, PathNode>
}

export function pathTree(returns: Operation['returns']): PathNode {
  const root: PathNode = { members: new Map() }
  for (const [path, target] of Object.entries(returns)) {
    let node = root
    for (const step of path.split('.')) {
      const name = step.replace(/(?:\[\])+$/, '')
      if (name !== '$' || node !== root) node = member(node, name)
      for (let i = (step.length - name.length) / 2; i > 0; i--) {
        node = node.items ??= { members: new Map() }
      }
    }
    node.leaf = target
  }
  return root
}

function member(node: PathNode, name: string): PathNode {
  let next = node.members.get(name)
  if (!next) node.members.set(name, (next = { members: new Map() }))
  return next
}

type Members = Readonly<Record<string, JsonValue>>

const isScalar = (value: JsonValue): value is null | boolean | number | string =>
  typeof value !== 'object' || value === null

// `Array.isArray` does not narrow readonly arrays out of the union by itself.
const isArray = (value: JsonValue): value is readonly JsonValue[] => Array.isArray(value)
const isObject = (value: JsonValue): value is Members => !isScalar(value) && !isArray(value)

class Projector {
  readonly #projection: Projection
  readonly #index: NetworkIndex
  readonly #tokeniser: Pick<Tokeniser, 'tokenise'>
  readonly #shown: Shown
  readonly #released = new Map<string, { records: number; maxWholeClass: DataClass }>()
  readonly #dropped = new Set<string>()
  readonly #strangers = new Map<string, readonly [string, string]>()

  constructor(
    projection: Projection,
    index: NetworkIndex,
    tokeniser: Pick<Tokeniser, 'tokenise'>,
    shown: Shown,
  ) {
    this.#projection = projection
    this.#index = index
    this.#tokeniser = tokeniser
    this.#shown = shown
  }

  released(): Projected['released'] {
    return Object.fromEntries(this.#released)
  }

  dropped(): string[] {
    return [...this.#dropped]
  }

  strangers(): Projected['strangers'] {
    return [...this.#strangers.values()]
  }

  walk(value: JsonValue, node: PathNode, path: string, depth: number): JsonValue | undefined {
    if (depth > MAX_DEPTH) return this.#drop(path)
    if (node.leaf !== undefined) {
      const { leaf } = node
      // `$` has no form for a whole that is an array, so it stands for that too.
      return path === '$' && isArray(value)
        ? this.#each(value, (item) => this.#leaf(item, leaf, '$[]', depth + 1))
        : this.#leaf(value, leaf, path, depth)
    }
    if (isArray(value)) {
      const { items } = node
      if (items === undefined) return this.#drop(path)
      return this.#each(value, (item) => this.walk(item, items, `${path}[]`, depth + 1))
    }
    if (!isObject(value) || node.members.size === 0) return this.#drop(path)
    const kept: [string, JsonValue][] = []
    for (const [name, inner] of Object.entries(value)) {
      const next = node.members.get(name)
      const at = `${path}.${name}`
      if (!next) this.#strange(path, name)
      const result = next ? this.walk(inner, next, at, depth + 1) : this.#drop(at)
      if (result !== undefined) kept.push([name, result])
    }
    return Object.fromEntries(kept)
  }

  #leaf(value: JsonValue, target: string, path: string, depth: number): JsonValue | undefined {
    if (target === 'public') return isScalar(value) ? value : this.#drop(path)
    // An absent record is no record.
    if (value === null) return null
    return isObject(value) ? this.#record(value, target, path, depth) : this.#drop(path)
  }

  #record(value: Members, dataset: string, path: string, depth: number): JsonValue | undefined {
    const treatments = Object.hasOwn(this.#projection, dataset)
      ? this.#projection[dataset]
      : undefined
    if (treatments === undefined || depth > MAX_DEPTH) return this.#drop(path)
    const tally = this.#tally(dataset)
    const kept: [string, JsonValue][] = []
    for (const [name, inner] of Object.entries(value)) {
      const field = this.#index.findField(dataset, name)
      const treatment = Object.hasOwn(treatments, name) ? treatments[name] : undefined
      const at = `${path}.${name}`
      let result: JsonValue | undefined
      if (field === undefined) this.#strange(dataset, name)
      if (field === undefined || treatment === undefined || treatment === 'drop') this.#drop(at)
      else if (treatment === 'mask') result = mask(inner, field.mask)
      else if (treatment === 'tokenise') {
        result = this.#tokens(inner, this.#index.tokenKind(`${dataset}.${name}`), at)
      } else {
        result = this.#whole(inner, field, at, depth)
        if (result !== undefined) {
          tally.maxWholeClass = higherClass(tally.maxWholeClass, field.class)
        }
      }
      if (result !== undefined) kept.push([name, result])
    }
    if (kept.length > 0) tally.records++
    return Object.fromEntries(kept)
  }

  #tally(dataset: string): { records: number; maxWholeClass: DataClass } {
    let tally = this.#released.get(dataset)
    if (!tally) this.#released.set(dataset, (tally = { records: 0, maxWholeClass: 'public' }))
    return tally
  }

  #whole(value: JsonValue, field: Field, path: string, depth: number): JsonValue | undefined {
    const { dataset } = field
    if (isScalar(value)) {
      // A text where records are declared has a shape nobody classified.
      return dataset === undefined || value === null ? this.#show(value, field) : this.#drop(path)
    }
    if (isArray(value)) {
      return this.#each(value, (item) =>
        dataset !== undefined && isObject(item)
          ? this.#record(item, dataset, `${path}[]`, depth + 1)
          : dataset === undefined && isScalar(item)
            ? this.#show(item, field)
            : this.#drop(`${path}[]`),
      )
    }
    // An object in a field that names no data set has members nobody declared.
    return dataset === undefined || !isObject(value)
      ? this.#drop(path)
      : this.#record(value, dataset, path, depth + 1)
  }

  #show<T extends JsonValue>(value: T, field: Field): T {
    if (typeof value === 'string' || typeof value === 'number') this.#shown(value, field)
    return value
  }

  /** Null stays null: that there is no value is not a value. A bool's two tokens would hide nothing. */
  #tokens(value: JsonValue, kind: string, path: string): JsonValue | undefined {
    if (value === null) return null
    if (isArray(value)) {
      return this.#each(value, (item) =>
        isArray(item) ? this.#drop(path) : this.#tokens(item, kind, `${path}[]`),
      )
    }
    if (typeof value !== 'string' && typeof value !== 'number') return this.#drop(path)
    try {
      return this.#tokeniser.tokenise(kind, String(value))
    } catch {
      // What cannot be tokenised (too long, say) must not leave in another form.
      return this.#drop(path)
    }
  }

  #each(
    items: readonly JsonValue[],
    treat: (item: JsonValue) => JsonValue | undefined,
  ): JsonValue[] {
    return items.map(treat).filter((item) => item !== undefined)
  }

  #strange(at: string, name: string): void {
    if (this.#strangers.size < MAX_STRANGERS) this.#strangers.set(`${at}.${name}`, [at, name])
  }

  #drop(path: string): undefined {
    if (this.#dropped.size < MAX_DROPPED) this.#dropped.add(path)
  }
}
