import type { CedarJson, EntityJson, EntityUid, Request } from '../src/index.ts'
import type { PolicyInput } from '../src/policy-set.ts'
import { PolicyGenerator } from './generate-policy.ts'
import {
  ACTIONS,
  ATTRIBUTES,
  DATES,
  DECIMALS,
  DURATIONS,
  IPS,
  LONGS,
  Random,
  some,
  STRINGS,
  Universe,
} from './vocabulary.ts'
import type { Attribute } from './vocabulary.ts'

export interface Trial {
  readonly input: PolicyInput & { readonly policies: readonly { id: string; source: string }[] }
  readonly entities: readonly EntityJson[]
  readonly requests: readonly Request[]
  /** What happens to the entities, one after the other. */
  readonly changes: readonly Change[]
}

interface Change {
  readonly put: readonly EntityJson[]
  readonly remove: readonly EntityUid[]
}

/**
 * One trial: one to sixty policies, templates and their links over a hierarchy, and requests that many of them bear on.
 *
 * @param requests how many requests it asks, of each state of its entities
 */
export function generateTrial(seed: number, requests = 4): Trial {
  const random = new Random(seed)
  const universe = new Universe(random)
  const policy = new PolicyGenerator(random, universe)
  const world = new World(random, universe)
  const most = random.pick([6, 12, 24, 60])
  const policies = Array.from({ length: 1 + random.below(most) }, (_, i) => ({
    id: `p${i}`,
    source: policy.text(undefined),
  }))
  const templates = random
    .list(3, () => 0)
    .map((_, i) => {
      const slots = { principal: random.chance(0.7), resource: random.chance(0.5) }
      if (!slots.principal) slots.resource = true
      return { id: `t${i}`, slots, source: policy.text(slots) }
    })
  const links = templates.flatMap(({ id, slots }) =>
    random
      .list(4, () => 0)
      .map((_, i) => ({
        id: `${id}-l${i}`,
        templateId: id,
        ...(slots.principal ? { principal: universe.any() } : {}),
        ...(slots.resource ? { resource: universe.any() } : {}),
      })),
  )
  return {
    input: {
      policies,
      templates: templates.map(({ id, source }) => ({ id, source })),
      links,
      // A memo of four triples evicts all the time, the usual one never does here, and then there is none.
      sliceMemo: random.pick([16_384, 16_384, 4, 0]),
    },
    entities: world.entities(),
    requests: Array.from({ length: requests }, () => world.request()),
    changes: random.list(3, () => world.change()),
  }
}

/** Entities and requests. */
class World {
  readonly #random: Random
  readonly #universe: Universe
  /** How many of the entities and attributes there could be are there. */
  readonly #density: number

  constructor(random: Random, universe: Universe) {
    this.#random = random
    this.#universe = universe
    this.#density = random.pick([0.12, 0.2, 0.3, 0.5])
  }

  entities(): EntityJson[] {
    const kept = this.#universe.all.filter(() => this.#random.chance(0.7))
    const to = (...ids: string[]) => ids.map((id) => ({ type: 'Action', id }))
    const action = (at: 0 | 1 | 2 | 3 | 4, parents: EntityUid[]): EntityJson => ({
      uid: ACTIONS[at],
      attrs: {},
      parents,
    })
    return [
      ...kept.map((uid) => this.#entity(uid)),
      action(0, to('rw')),
      action(1, to('rw')),
      action(2, []),
      action(3, to('all')),
      ...(this.#random.chance(0.5) ? [action(4, to('read'))] : []),
    ]
  }

  /** Parents always come earlier in one fixed order, so that there is no cycle. */
  #entity(uid: EntityUid): EntityJson {
    const { all } = this.#universe
    const at = all.findIndex(({ type, id }) => type === uid.type && id === uid.id)
    const parents = all.slice(0, at).filter(() => this.#random.chance(2 / all.length))
    const attrs = this.#attributes(this.#random.chance(0.2) ? 2 : 1)
    return this.#random.chance(0.7)
      ? { uid, parents, attrs }
      : { uid, parents, attrs, tags: this.#attributes(0) }
  }

  /** Some entities replaced or added, some removed, now and then an action moved to other groups. */
  change(): Change {
    const touched = this.#universe.all.filter(() => this.#random.chance(0.15))
    const remove = touched.filter(() => this.#random.chance(0.4))
    const put = touched.filter((uid) => !remove.includes(uid)).map((uid) => this.#entity(uid))
    if (this.#random.chance(0.3)) {
      const parents = this.#random.list(1, () => ACTIONS[2])
      const uid = this.#random.pick([ACTIONS[0], ACTIONS[1], ACTIONS[3]])
      put.push({ uid, attrs: {}, parents })
    }
    return { put, remove }
  }

  request(): Request {
    return {
      principal: this.#universe.any(),
      action: this.#random.pick(ACTIONS),
      resource: this.#universe.any(),
      context: this.#attributes(2, this.#density + 0.2),
    }
  }

  #attributes(depth: number, density = this.#density): Record<string, CedarJson> {
    const names = ATTRIBUTES.filter(() => this.#random.chance(density))
    return Object.fromEntries(names.map((name) => [name, this.#data(name, depth)]))
  }

  /** Mostly the type that the name promises. */
  #data(name: Attribute, depth: number): CedarJson {
    const r = this.#random
    const kind = r.chance(0.1) ? r.pick(ATTRIBUTES) : name
    const extension = (fn: string, args: readonly string[]) => ({
      __extn: { fn, arg: r.pick(some(args)) },
    })
    switch (kind) {
      case 'n':
      case 'a b':
        return long(r.pick(LONGS))
      case 's':
      case 'constructor':
        return r.pick(some(STRINGS))
      case 'b':
      case 'if':
        return r.chance(0.5)
      case 'e':
        return { __entity: this.#universe.any() }
      case 'ip':
        return extension('ip', IPS)
      case 'd':
        return extension('decimal', DECIMALS)
      case 't':
        return extension('datetime', DATES)
      case 'u':
        return extension('duration', DURATIONS)
      case 'l':
        return depth === 0 ? [] : r.list(3, () => this.#data(r.pick(ATTRIBUTES), depth - 1))
      default:
        return depth === 0 ? {} : this.#attributes(depth - 1, 0.2)
    }
  }
}

/** As a caller of this package writes it: a bigint where a double is not exact. */
function long(text: string): number | bigint {
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : BigInt(text)
}
