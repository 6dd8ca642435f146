import type { CedarJson, EntityJson, EntityUid, Request } from '../src/index.ts'
import type { PolicyInput } from '../src/policy-set.ts'

/** A small, fast, seeded generator (mulberry32): the same seed gives the same trial everywhere. */
class Random {
  #state: number
  constructor(seed: number) {
    this.#state = seed >>> 0
  }
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = this.#state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  below(n: number): number {
    return Math.floor(this.next() * n)
  }
  chance(p: number): boolean {
    return this.next() < p
  }
  pick<T>(items: readonly [T, ...T[]]): T {
    return items[this.below(items.length)] ?? items[0]
  }
  list<T>(max: number, make: () => T): T[] {
    return Array.from({ length: this.below(max + 1) }, make)
  }
}

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

const TYPES = ['User', 'Group', 'N::Doc'] as const
const IDS = ['a', 'b', 'c', '', 'q"\\', 'é😀'] as const
const ACTIONS = ['read', 'write', 'all', 'rw'] as const
const ATTRIBUTES = ['n', 's', 'b', 'e', 'l', 'r', 'ip', 'd', 't', 'u'] as const
const LONGS = [
  '0',
  '1',
  '-1',
  '7',
  '9007199254740993',
  '9223372036854775807',
  '-9223372036854775808',
]
const STRINGS = ['', 'a', 'ab', 'a*b', '10.0.0.1', '2024-01-01', '1d', '1.5', 'é😀', '\n"\\']
const IPS = [
  '10.0.0.1',
  '10.0.0.0/8',
  '127.0.0.1',
  '::1',
  'ff00::/8',
  '2001:db8::/32',
  '10.0.0.1/32',
]
const DATES = ['2024-01-01', '1969-12-31T23:59:59.999Z', '2024-02-29T12:00:00+0130', '0001-01-01']
const DURATIONS = ['1d', '-1h30m', '0ms', '-9223372036854775808ms', '12345ms']
const DECIMALS = ['0.0', '1.5', '-1.5', '922337203685477.5807', '1.50']

const some = <T>(items: readonly T[]): readonly [T, ...T[]] => items as unknown as [T, ...T[]]
const quote = (text: string): string =>
  `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`
const uidText = ({ type, id }: EntityUid): string => `${type}::${quote(id)}`

/** One trial: a few policies over a hierarchy, and requests that many of them bear on. */
export function generateTrial(seed: number): Trial {
  const random = new Random(seed)
  const g = new Generator(random)
  const entities = g.entities()
  const policies = Array.from({ length: 1 + random.below(12) }, (_, i) => ({
    id: `p${i}`,
    source: g.policy(undefined),
  }))
  const templates = random
    .list(2, () => 0)
    .map((_, i) => {
      const slots = { principal: random.chance(0.7), resource: random.chance(0.5) }
      if (!slots.principal) slots.resource = true
      return { id: `t${i}`, slots, source: g.policy(slots) }
    })
  const links = templates.flatMap(({ id, slots }) =>
    random
      .list(3, () => 0)
      .map((_, i) => ({
        id: `${id}-l${i}`,
        templateId: id,
        ...(slots.principal ? { principal: g.uid() } : {}),
        ...(slots.resource ? { resource: g.uid() } : {}),
      })),
  )
  const requests = Array.from({ length: 4 }, () => g.request())
  // Drawn last, so that the rest of a seed's trial stays what it was.
  const changes = random.list(3, () => g.change())
  // A memo of four triples evicts all the time, the usual one never does here, and then there is none.
  const sliceMemo = random.pick([16_384, 16_384, 4, 0])
  return {
    input: {
      policies,
      templates: templates.map(({ id, source }) => ({ id, source })),
      links,
      sliceMemo,
    },
    entities,
    requests,
    changes,
  }
}

class Generator {
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  uid(): EntityUid {
    return { type: this.#random.pick(TYPES), id: this.#random.pick(IDS) }
  }

  #action(): EntityUid {
    return { type: 'Action', id: this.#random.pick(ACTIONS) }
  }

  /** Parents always come earlier in one fixed order, so that there is no cycle. */
  entities(): EntityJson[] {
    const all = TYPES.flatMap((type) => IDS.map((id) => ({ type, id })))
    const kept = all.filter(() => this.#random.chance(0.7))
    const entities = kept.map((uid) => this.#entity(uid, all))
    const to = (...ids: string[]) => ids.map((id) => ({ type: 'Action', id }))
    return [
      ...entities,
      { uid: { type: 'Action', id: 'read' }, attrs: {}, parents: to('rw') },
      { uid: { type: 'Action', id: 'write' }, attrs: {}, parents: to('rw') },
      { uid: { type: 'Action', id: 'rw' }, attrs: {}, parents: to('all') },
      { uid: { type: 'Action', id: 'all' }, attrs: {}, parents: [] },
    ]
  }

  #entity(uid: EntityUid, all: readonly EntityUid[]): EntityJson {
    const at = all.findIndex(({ type, id }) => type === uid.type && id === uid.id)
    const parents = all.slice(0, at).filter(() => this.#random.chance(0.15))
    return { uid, parents, attrs: this.attributes(2), tags: this.attributes(1) }
  }

  /** Some entities replaced or added, some removed, now and then an action moved to other groups. */
  change(): Change {
    const all = TYPES.flatMap((type) => IDS.map((id) => ({ type, id })))
    const touched = all.filter(() => this.#random.chance(0.15))
    const remove = touched.filter(() => this.#random.chance(0.4))
    const put = touched.filter((uid) => !remove.includes(uid)).map((uid) => this.#entity(uid, all))
    if (this.#random.chance(0.3)) {
      const parents = this.#random.list(1, () => ({ type: 'Action', id: 'all' }))
      const id = this.#random.pick(['read', 'write', 'rw'])
      put.push({ uid: { type: 'Action', id }, attrs: {}, parents })
    }
    return { put, remove }
  }

  attributes(depth: number): Record<string, CedarJson> {
    const names = ATTRIBUTES.filter(() => this.#random.chance(0.6))
    return Object.fromEntries(names.map((name) => [name, this.#data(name, depth)]))
  }

  /** Mostly the type that the name promises. */
  #data(name: string, depth: number): CedarJson {
    const r = this.#random
    const kind = r.chance(0.1) ? r.pick(ATTRIBUTES) : name
    const extension = (fn: string, args: readonly string[]) => ({
      __extn: { fn, arg: r.pick(some(args)) },
    })
    switch (kind) {
      case 'n':
        return lossless(r.pick(some(LONGS)))
      case 's':
        return r.pick(some(STRINGS))
      case 'b':
        return r.chance(0.5)
      case 'e':
        return { __entity: this.uid() }
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
        return depth === 0 ? {} : this.attributes(depth - 1)
    }
  }

  request(): Request {
    const context = this.attributes(2)
    return { principal: this.uid(), action: this.#action(), resource: this.uid(), context }
  }

  policy(slots: { principal: boolean; resource: boolean } | undefined): string {
    const r = this.#random
    const effect = r.chance(0.7) ? 'permit' : 'forbid'
    const action = r.pick([
      () => 'action',
      () => `action == ${uidText(this.#action())}`,
      () => `action in ${uidText(this.#action())}`,
      () => `action in [${r.list(3, () => uidText(this.#action())).join(', ')}]`,
    ])()
    const conditions = r.list(2, () => `${r.chance(0.75) ? 'when' : 'unless'} { ${this.#bool(3)} }`)
    const head = [
      this.#scope('principal', slots?.principal),
      action,
      this.#scope('resource', slots?.resource),
    ]
    return `${effect}(${head.join(', ')}) ${conditions.join(' ')};`
  }

  #scope(name: string, slot: boolean | undefined): string {
    const r = this.#random
    const target = slot ? `?${name}` : uidText(this.uid())
    const type = r.pick(TYPES)
    const withTarget = [
      `${name} == ${target}`,
      `${name} in ${target}`,
      `${name} is ${type} in ${target}`,
    ] as const
    return slot ? r.pick(withTarget) : r.pick([name, name, `${name} is ${type}`, ...withTarget])
  }

  #bool(depth: number): string {
    const r = this.#random
    const b = (): string => this.#bool(depth - 1)
    const v = (kind?: string): string => this.#value(kind ?? r.pick(ATTRIBUTES), depth - 1)
    if (depth <= 0) return r.pick(['true', 'false', 'context.b', 'principal.b'])
    return r.pick([
      () => `(${b()} && ${b()})`,
      () => `(${b()} || ${b()})`,
      () => `!(${b()})`,
      () => `(if ${b()} then ${b()} else ${b()})`,
      () => `${v()} == ${v()}`,
      () => this.#same(r.pick(ATTRIBUTES), depth),
      () => this.#same(r.pick(ATTRIBUTES), depth),
      () => `${v()} != ${v()}`,
      () => `${v('n')} ${r.pick(['<', '<=', '>', '>='])} ${v('n')}`,
      () => `${v('t')} ${r.pick(['<', '>='])} ${v('t')}`,
      () => `${v('u')} <= ${v('u')}`,
      () => `${v('e')} in ${r.chance(0.5) ? v('e') : `[${v('e')}, ${v('e')}]`}`,
      () => `${v('e')} in ${v('l')}`,
      () => `${v('e')} is ${r.pick(TYPES)}${r.chance(0.4) ? ` in ${v('e')}` : ''}`,
      () =>
        `${v(r.pick(['e', 'r']))} has ${r.pick(['n', 'r', 'r.n', 'r.r.s', 'e.n', '"no such"'])}`,
      () => `context has ${r.pick(['n', 'e.r.n', 'r.e.s', 's.n'])}`,
      () =>
        `${v('s')} like ${r.pick(['"*"', '"a*"', '"*b"', '"a\\*b"', '"*a*b*"', '""', '"*😀"'])}`,
      () => `${v('l')}.contains(${v()})`,
      () => `${v('l')}.${r.pick(['containsAll', 'containsAny'])}(${v('l')})`,
      () => `${v('l')}.isEmpty()`,
      () => `${v('e')}.hasTag(${r.pick(['"n"', '"s"', v('s')])})`,
      () => `${v('ip')}.${r.pick(['isIpv4', 'isIpv6', 'isLoopback', 'isMulticast'])}()`,
      () => `${v('ip')}.isInRange(${v('ip')})`,
      () =>
        `${v('d')}.${r.pick(['lessThan', 'lessThanOrEqual', 'greaterThan', 'greaterThanOrEqual'])}(${v('d')})`,
      () => v('b'),
    ])()
  }

  #same(kind: string, depth: number): string {
    return `${this.#value(kind, depth - 1)} == ${this.#value(kind, depth - 1)}`
  }

  #value(kind: string, depth: number): string {
    const r = this.#random
    const base = (): string =>
      r.pick([
        'context',
        'principal',
        'resource',
        'context.r',
        'principal.e',
        'context.e',
        'action',
      ])
    const v = (of: string): string => this.#value(of, depth - 1)
    if (r.chance(0.35)) return `${base()}.${r.chance(0.05) ? r.pick(ATTRIBUTES) : kind}`
    if (depth > 0 && r.chance(0.06)) return `${v('e')}.getTag("${kind}")`
    if (depth > 0 && r.chance(0.06)) return `(if ${this.#bool(1)} then ${v(kind)} else ${v(kind)})`
    switch (kind) {
      case 'n':
        if (depth > 0 && r.chance(0.5)) {
          return r.pick([
            () => `(${v('n')} ${r.pick(['+', '-', '*'])} ${v('n')})`,
            () => `(-${v('n').replace(/^-/, '')})`,
            () =>
              `${v('u')}.${r.pick(['toMilliseconds', 'toSeconds', 'toMinutes', 'toHours', 'toDays'])}()`,
          ])()
        }
        return `(${r.pick(some(LONGS))})`
      case 's':
        return quote(r.pick(some(STRINGS)))
      case 'b':
        return String(r.chance(0.5))
      case 'e':
        return r.pick(['principal', 'resource', 'action', uidText(this.uid()), uidText(this.uid())])
      case 'l':
        return `[${r.list(3, () => (depth > 0 ? v(r.pick(ATTRIBUTES)) : '1')).join(', ')}]`
      case 'r':
        return `{${r.pick(['n', 's', '"a b"'])}: ${depth > 0 ? v(r.pick(ATTRIBUTES)) : '1'}}`
      case 'ip':
        return `ip(${quote(r.pick(some([...IPS, 'nope'])))})`
      case 'd':
        return `decimal(${r.chance(0.1) ? v('s') : quote(r.pick(some(DECIMALS)))})`
      case 't':
        if (depth > 0 && r.chance(0.4)) {
          return r.chance(0.5) ? `${v('t')}.offset(${v('u')})` : `${v('t')}.toDate()`
        }
        return `datetime(${r.chance(0.1) ? v('s') : quote(r.pick(some(DATES)))})`
      default:
        if (depth > 0 && r.chance(0.4)) {
          return r.chance(0.5) ? `${v('t')}.durationSince(${v('t')})` : `${v('t')}.toTime()`
        }
        return `duration(${quote(r.pick(some(DURATIONS)))})`
    }
  }
}

/** cedar-wasm takes no integer beyond 2⁵³ in data, so those become the nearest that both can hold. */
function lossless(text: string): number {
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : Math.sign(value) * Number.MAX_SAFE_INTEGER
}
