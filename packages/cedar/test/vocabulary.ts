import type { EntityUid } from '../src/index.ts'

/** A small, fast, seeded generator (mulberry32): the same seed gives the same trial everywhere. */
export class Random {
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

/** What trials are made of: few words, so that policies and requests meet, and awkward ones among them. */
export const TYPES = ['User', 'Group', 'N::Doc'] as const
const IDS = ['a', 'b', 'c', '', 'q"\\', 'é😀'] as const
export const ACTIONS: readonly [EntityUid, EntityUid, EntityUid, EntityUid, EntityUid] = [
  { type: 'Action', id: 'read' },
  { type: 'Action', id: 'write' },
  { type: 'Action', id: 'all' },
  { type: 'Action', id: 'rw' },
  { type: 'N::Action', id: 'read' },
]
/** Each name says the type of most values under it. */
// prettier-ignore
export const ATTRIBUTES = [
  'n', 's', 'b', 'e', 'l', 'r', 'ip', 'd', 't', 'u', 'constructor', 'a b', 'if', 'é',
] as const
export type Attribute = (typeof ATTRIBUTES)[number]

export const LONGS = [
  '0',
  '1',
  '-1',
  '7',
  '2',
  '60000',
  '9007199254740991',
  '9007199254740993',
  '9223372036854775807',
  '-9223372036854775808',
] as const
export const STRINGS: readonly string[] = [
  ...['', 'a', 'ab', 'a*b', '10.0.0.1', '2024-01-01', '1d', '1.5', 'é😀', 'e\u0301', '\n"\\'],
  ...['n', 's', 'a b', 'constructor', '\u0000', '\u202e', 'A'],
]
export const IPS: readonly string[] = [
  ...['10.0.0.1', '10.0.0.0/8', '127.0.0.1', '::1', 'ff00::/8', '2001:db8::/32', '10.0.0.1/32'],
  ...[
    '10.0.0.0/16',
    '10.0.0.0',
    '::',
    '0:0:0:0:0:0:0:1',
    '0.0.0.0/0',
    '::/0',
    '239.1.2.3',
    '::ffff:a00:1',
  ],
]
export const DATES: readonly string[] = [
  ...['2024-01-01', '1969-12-31T23:59:59.999Z', '2024-02-29T12:00:00+0130', '0001-01-01'],
  ...['2024-02-29T10:30:00Z', '9999-12-31T23:59:59.999-2359', '2024-01-01T00:00:00Z'],
]
export const DURATIONS: readonly string[] = [
  ...['1d', '-1h30m', '0ms', '-9223372036854775808ms', '12345ms', '24h', '1d2h3m4s5ms'],
]
export const DECIMALS: readonly string[] = [
  ...['0.0', '1.5', '-1.5', '922337203685477.5807', '1.50', '-922337203685477.5808', '-0.0001'],
]

/** A list that is not empty as the type of one. */
export const some = <T>(items: readonly T[]): readonly [T, ...T[]] =>
  // Every list given here is a literal with members.
  items as unknown as [T, ...T[]]

/** A Cedar string literal. */
export const quote = (text: string): string =>
  `"${text
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n')
    .replaceAll('\u0000', '\\0')}"`

export const uidText = ({ type, id }: EntityUid): string => `${type}::${quote(id)}`

/** The entities that one trial is about. */
export class Universe {
  readonly #random: Random
  readonly all: readonly EntityUid[]

  constructor(random: Random) {
    this.#random = random
    // The oracle reads all entities anew for each request: worlds are mostly small.
    const first = random.below(IDS.length)
    const count = random.pick([2, 2, 3, IDS.length])
    const ids = Array.from({ length: count }, (_, i) => IDS[(first + i) % IDS.length] ?? '')
    this.all = TYPES.flatMap((type) => ids.map((id) => ({ type, id })))
  }

  /** Mostly of the plain types; now and then an action where nobody expects one. */
  any(): EntityUid {
    return this.#random.chance(0.03)
      ? this.#random.pick(ACTIONS)
      : this.#random.pick(some(this.all))
  }
}
