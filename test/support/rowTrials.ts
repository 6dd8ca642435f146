import type { CedarJson, EntityJson, EntityUid, RowMap } from '@sallyport/cedar'

/** A seeded generator (mulberry32). */
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
  chance(p: number): boolean {
    return this.next() < p
  }
  below(n: number): number {
    return Math.floor(this.next() * n)
  }
  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)]
    if (item === undefined) throw new Error('nothing to pick from')
    return item
  }
  some<T>(items: readonly T[], p: number): T[] {
    return items.filter(() => this.chance(p))
  }
}

const LONGS = [
  '0',
  '1',
  '-1',
  '7',
  '100',
  '9007199254740993',
  '9223372036854775807',
  '-9223372036854775808',
]
const STRINGS = [
  '',
  'a',
  'A',
  'ab',
  'a*b',
  'a%b',
  'a_b',
  'axb',
  'é',
  'é',
  'é😀',
  'a ',
  "'; DROP TABLE docs; --",
  '\\',
  '!%',
  '\n"',
]
const IPS = ['10.0.0.1', '10.0.0.0/8', '10.1.2.3/8', '127.0.0.1', '::1', 'ff02::1', '2001:db8::/32']
const DECIMALS = ['0.0', '1.5', '-1.5', '922337203685477.5807', '-922337203685477.5808']
const DATES = [
  '1970-01-01',
  '2024-02-29T12:00:00.123Z',
  '1969-12-31T23:59:59.999Z',
  '2026-11-25T00:00:00Z',
]
const DURATIONS = ['0ms', '1d', '-1h30m', '-9223372036854775808ms', '12345ms']
const GROUPS = ['staff', 'admin', 'root', 'x"y', 'none']
const USERS = ['ann', 'bob', 'eve', "o'x"]
const FOLDERS = ['f1', 'f2', 'f3']

export const DDL = `CREATE TABLE docs (
  key int PRIMARY KEY, id text, b boolean, n bigint, i integer, s text, e text, f text, f_groups text[], f_folders text[],
  in_groups text[] NOT NULL, gs text[], ss varchar[], ns bigint[], bs boolean[], ips inet[], ip inet, d numeric, t timestamptz,
  t_ms bigint, u bigint, "r x" bigint, "r ""y" text, tags jsonb)`

export const ROW: RowMap = {
  table: 'docs',
  type: 'Doc',
  id: 'id',
  ancestors: { Group: 'in_groups' },
  tags: 'tags',
  attributes: {
    b: { kind: 'bool', column: 'b' },
    n: { kind: 'long', column: 'n' },
    i: { kind: 'long', column: 'i' },
    s: { kind: 'string', column: 's' },
    e: { kind: 'entity', type: 'User', column: 'e' },
    f: {
      kind: 'entity',
      type: 'Folder',
      column: 'f',
      ancestors: { Group: 'f_groups', Folder: 'f_folders' },
    },
    gs: { kind: 'set', of: { entity: 'Group' }, column: 'gs' },
    ss: { kind: 'set', of: 'string', column: 'ss' },
    ns: { kind: 'set', of: 'long', column: 'ns' },
    bs: { kind: 'set', of: 'bool', column: 'bs' },
    ips: { kind: 'set', of: 'ipaddr', column: 'ips' },
    ip: { kind: 'ipaddr', column: 'ip' },
    d: { kind: 'decimal', column: 'd' },
    t: { kind: 'datetime', column: 't' },
    m: { kind: 'datetime', column: 't_ms', millis: true },
    u: { kind: 'duration', column: 'u' },
    r: {
      kind: 'record',
      members: { x: { kind: 'long', column: 'r x' }, y: { kind: 'string', column: 'r "y' } },
    },
    z: { kind: 'absent' },
  },
}

const uid = (type: string, id: string): EntityUid => ({ type, id })
const ref = (type: string, id: string): CedarJson => ({ __entity: uid(type, id) })
const extension = (fn: string, arg: string): CedarJson => ({ __extn: { fn, arg } })

export const ENTITIES: readonly EntityJson[] = [
  { uid: uid('Group', 'root'), attrs: {}, parents: [] },
  { uid: uid('Group', 'admin'), attrs: { level: 9 }, parents: [uid('Group', 'root')] },
  { uid: uid('Group', 'staff'), attrs: { level: 1 }, parents: [uid('Group', 'admin')] },
  { uid: uid('Group', 'x"y'), attrs: {}, parents: [] },
  {
    uid: uid('User', 'ann'),
    attrs: { n: 7, s: 'ab', e: ref('User', 'bob'), b: true },
    parents: [uid('Group', 'staff')],
    tags: { k: 'v' },
  },
  { uid: uid('User', 'bob'), attrs: { n: 1, s: 'a*b' }, parents: [uid('Group', 'x"y')] },
  { uid: uid('User', "o'x"), attrs: { s: 'é' }, parents: [] },
  { uid: uid('Action', 'read'), attrs: {}, parents: [] },
]

export interface TrialRow {
  /** In the order of the table's columns. */
  readonly values: readonly unknown[]
  /** The row and what else its columns describe. */
  readonly entities: readonly EntityJson[]
}

const optional = <T>(random: Random, make: () => T): T | undefined =>
  random.chance(0.8) ? make() : undefined

export function makeRow(random: Random, key: number): TrialRow {
  const id = `d${key % 40}`
  const [b, n, s] = [
    optional(random, () => random.chance(0.5)),
    optional(random, () => random.pick(LONGS)),
    optional(random, () => random.pick(STRINGS)),
  ]
  const i = optional(random, () => random.below(10) - 5)
  const e = optional(random, () => random.pick(USERS))
  const f = optional(random, () => random.pick(FOLDERS))
  const [fGroups, fFolders] = [
    random.some(GROUPS, 0.2),
    random.some(FOLDERS, 0.2).filter((each) => each !== f),
  ]
  const inGroups = random.some(GROUPS, 0.25)
  const gs = optional(random, () => random.some(GROUPS, 0.3))
  const ss = optional(random, () => [...random.some(STRINGS, 0.2), ...random.some(STRINGS, 0.1)])
  const ns = optional(random, () => random.some(LONGS, 0.3))
  const bs = optional(random, () => random.some([true, false], 0.5))
  const ips = optional(random, () => random.some(IPS, 0.3))
  const ip = optional(random, () => random.pick(IPS))
  const d = optional(random, () => random.pick(DECIMALS))
  const t = optional(random, () => random.pick(DATES))
  const ms = optional(random, () => random.pick([...LONGS, '1732492800000']))
  const u = optional(random, () => random.pick([...LONGS, '86400000', '-5400000']))
  const [x, y] = [
    optional(random, () => random.below(3)),
    optional(random, () => random.pick(STRINGS)),
  ]
  const tags = Object.fromEntries(
    random.some(['k', 's', "q'"], 0.5).map((k) => [k, random.pick(STRINGS)]),
  )
  const attrs: Record<string, CedarJson | undefined> = {
    b,
    n: n === undefined ? undefined : long(n),
    i,
    s,
    e: e === undefined ? undefined : ref('User', e),
    f: f === undefined ? undefined : ref('Folder', f),
    gs: gs?.map((group) => ref('Group', group)),
    ss,
    ns: ns?.map(long),
    bs,
    ips: ips?.map((each) => extension('ip', each)),
    ip: ip === undefined ? undefined : extension('ip', ip),
    d: d === undefined ? undefined : extension('decimal', d),
    t: t === undefined ? undefined : extension('datetime', t),
    m: ms === undefined ? undefined : atMillis(ms),
    u: u === undefined ? undefined : extension('duration', `${u}ms`),
    r: { ...(x === undefined ? {} : { x }), ...(y === undefined ? {} : { y }) },
  }
  const parents = inGroups.map((group) => uid('Group', group))
  const folder: EntityJson[] =
    f === undefined
      ? []
      : [
          {
            uid: uid('Folder', f),
            attrs: {},
            parents: [
              ...fGroups.map((group) => uid('Group', group)),
              ...fFolders.map((each) => uid('Folder', each)),
            ],
          },
        ]
  const own = Object.entries(attrs).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  )
  return {
    values: [
      key,
      id,
      b,
      n,
      i,
      s,
      e,
      f,
      fGroups,
      fFolders,
      inGroups,
      gs,
      ss,
      ns,
      bs,
      ips,
      ip,
      d,
      t,
      ms,
      u,
      x,
      y,
      JSON.stringify(tags),
    ].map((value) => value ?? null),
    entities: [{ uid: uid('Doc', id), attrs: Object.fromEntries(own), parents, tags }, ...folder],
  }
}

function long(text: string): number | bigint {
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : BigInt(text)
}

const atMillis = (ms: string): CedarJson => {
  // A datetime's constructor offers no other way to a far date.
  const base = extension('datetime', '1970-01-01')
  const json: unknown = { __extn: { fn: 'offset', args: [base, extension('duration', `${ms}ms`)] } }
  return json as CedarJson
}

const quote = (text: string): string =>
  `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`

export const CONTEXT: Readonly<Record<string, CedarJson>> = {
  n: 7,
  s: 'ab',
  b: true,
  e: ref('User', 'ann'),
  g: ref('Group', 'admin'),
  ss: ['a', 'ab', "'; DROP TABLE docs; --"],
  ns: [1, 7, 9_223_372_036_854_775_807n],
  mixed: [1, 'a', ref('Group', 'staff')],
  gs: [ref('Group', 'admin'), ref('User', 'bob')],
  ip: extension('ip', '10.0.0.0/8'),
  d: extension('decimal', '1.5'),
  t: extension('datetime', '2024-02-29T12:00:00.123Z'),
  u: extension('duration', '1d'),
}

type Kind = 'n' | 's' | 'b' | 'e' | 'g' | 'ip' | 'd' | 't' | 'u' | 'ss' | 'ns' | 'gs'
const KINDS: readonly Kind[] = ['n', 's', 'b', 'e', 'g', 'ip', 'd', 't', 'u', 'ss', 'ns', 'gs']

/** Random policies over such rows. */
export class Policies {
  readonly #random: Random
  constructor(random: Random) {
    this.#random = random
  }

  policy(): string {
    const r = this.#random
    const scope = r.pick([
      'resource',
      'resource',
      'resource',
      'resource is Doc',
      'resource is User',
      `resource in Group::${quote(r.pick(GROUPS))}`,
      `resource is Doc in Group::${quote(r.pick(GROUPS))}`,
      `resource == Doc::"d${r.below(45)}"`,
    ])
    const effect = r.chance(0.7) ? 'permit' : 'forbid'
    const action = r.pick(['action', 'action', 'action == Action::"read"', 'action == Action::"x"'])
    const clause = r.chance(0.8) ? 'when' : 'unless'
    return `${effect}(principal, ${action}, ${scope}) ${clause} { ${this.bool(3)} };`
  }

  bool(depth: number): string {
    const r = this.#random
    const b = (): string => this.bool(depth - 1)
    const v = (kind: Kind): string => this.value(kind, depth - 1)
    if (depth <= 0) return r.pick(['resource.b', 'context.b', 'true', 'false', 'principal.b'])
    return r.pick([
      () => `(${b()} && ${b()})`,
      () => `(${b()} || ${b()})`,
      () => `!(${b()})`,
      () => `(if ${b()} then ${b()} else ${b()})`,
      () => this.#same(r.pick(KINDS), depth),
      () => this.#same(r.pick(KINDS), depth),
      () => `${v(r.pick(KINDS))} ${r.pick(['==', '!='])} ${v(r.pick(KINDS))}`,
      () => `${v('n')} ${r.pick(['<', '<=', '>', '>='])} ${v('n')}`,
      () => `${v('n')} ${r.pick(['<', '<=', '>', '>='])} ${v('n')}`,
      () => `${v('t')} ${r.pick(['<', '>='])} ${v('t')}`,
      () => `${v('u')} <= ${v('u')}`,
      () => `${v('e')} in ${r.pick([v('g'), v('gs'), v('e'), 'context.mixed'])}`,
      () => `${r.pick(['resource', 'resource.f'])} in ${r.pick([v('g'), v('gs'), 'Folder::"f1"'])}`,
      () => `principal in ${r.pick([v('g'), v('gs')])}`,
      () =>
        `${v('e')} is ${r.pick(['User', 'Doc', 'Group'])}${r.chance(0.4) ? ` in ${v('g')}` : ''}`,
      () => `resource has ${r.pick(['n', 's', 'z', 'r', 'r.x', 'r.y', 'e', 'e.n', 'n.x', 'e.zz'])}`,
      () => `${r.pick(['resource.e', 'resource.r', 'resource.n'])} has ${r.pick(['n', 'x', 'y'])}`,
      () => `resource has n && resource.n ${r.pick(['<', '=='])} ${v('n')}`,
      () =>
        `${v('s')} like ${r.pick(['"*"', '"a*"', '"*b"', '"a\\*b"', '"a%b"', '"a_b"', '"*é*"', '""', '"!%*"', '"*\\"*"'])}`,
      () => `${v('ss')}.contains(${v('s')})`,
      () =>
        `${r.pick([v('ns'), 'context.mixed', 'resource.bs'])}.contains(${r.pick([v('n'), v('b'), v('s')])})`,
      () => `${v('gs')}.contains(${v('g')})`,
      () => `resource.ips.contains(${v('ip')})`,
      () => `[${v('n')}, ${v('n')}].contains(${v('n')})`,
      () => {
        const kind = r.pick(['ss', 'ns', 'gs'] as const)
        const other = r.chance(0.9) ? kind : r.pick(['ss', 'ns', 'gs'] as const)
        return `${v(kind)}.${r.pick(['containsAll', 'containsAny'])}(${v(other)})`
      },
      () => `${v(r.pick(['ss', 'ns', 'gs']))}.isEmpty()`,
      () => `${v('ip')}.${r.pick(['isIpv4', 'isIpv6', 'isLoopback', 'isMulticast'])}()`,
      () => `${v('ip')}.isInRange(${v('ip')})`,
      () =>
        `${v('d')}.${r.pick(['lessThan', 'lessThanOrEqual', 'greaterThan', 'greaterThanOrEqual'])}(${v('d')})`,
      () => `resource.hasTag(${r.pick(['"k"', `"q'"`, v('s')])})`,
      () => v('b'),
    ])()
  }

  #same(kind: Kind, depth: number): string {
    return `${this.value(kind, depth - 1)} == ${this.value(kind, depth - 1)}`
  }

  value(kind: Kind, depth: number): string {
    const r = this.#random
    const v = (of: Kind): string => this.value(of, depth - 1)
    if (r.chance(0.06)) return r.pick(['resource.z', 'context.absent', 'resource.n', 'resource.s'])
    if (r.chance(0.15) && !['ip', 'd', 't', 'u'].includes(kind)) return `context.${kind}`
    if (depth > 0 && r.chance(0.08) && kind.length === 1) {
      return `(if ${this.bool(1)} then ${v(kind)} else ${v(kind)})`
    }
    const literals = (): string => {
      switch (kind) {
        case 'n':
          return `(${r.pick(LONGS)})`
        case 's':
          return quote(r.pick(STRINGS))
        case 'b':
          return String(r.chance(0.5))
        case 'e':
          return `User::${quote(r.pick(USERS))}`
        case 'g':
          return `Group::${quote(r.pick(GROUPS))}`
        case 'ip':
          return `ip("${r.pick(IPS)}")`
        case 'd':
          return `decimal("${r.pick(DECIMALS)}")`
        case 't':
          return `datetime("${r.pick(DATES)}")`
        case 'u':
          return `duration("${r.pick(DURATIONS)}")`
        case 'ss':
          return `[${r.some(STRINGS, 0.15).map(quote).join(', ')}]`
        case 'ns':
          return `[${r.some(LONGS, 0.3).join(', ')}]`
        default:
          return `[${r
            .some(GROUPS, 0.3)
            .map((group) => `Group::${quote(group)}`)
            .join(', ')}]`
      }
    }
    if (r.chance(0.3)) return literals()
    if (depth > 0 && r.chance(0.35)) {
      switch (kind) {
        case 'n':
          return r.pick([
            () => `(${v('n')} ${r.pick(['+', '-', '*'])} ${v('n')})`,
            () => `(-(${v('n')}))`,
            () =>
              `${v('u')}.${r.pick(['toMilliseconds', 'toSeconds', 'toMinutes', 'toHours', 'toDays'])}()`,
          ])()
        case 't':
          return r.chance(0.5) ? `${v('t')}.offset(${v('u')})` : `${v('t')}.toDate()`
        case 'u':
          return r.chance(0.5) ? `${v('t')}.durationSince(${v('t')})` : `${v('t')}.toTime()`
        case 's':
          return `resource.getTag(${r.pick(['"k"', '"s"'])})`
        default:
      }
    }
    return {
      n: r.pick(['resource.n', 'resource.i', 'resource.r.x', 'resource.e.n']),
      s: r.pick(['resource.s', 'resource.s', 'resource.r.y', 'resource.e.s']),
      b: 'resource.b',
      e: r.pick(['resource.e', 'resource.e', 'principal', 'resource']),
      g: 'context.g',
      ip: 'resource.ip',
      d: 'resource.d',
      t: r.pick(['resource.t', 'resource.m', 'context.t']),
      u: 'resource.u',
      ss: 'resource.ss',
      ns: 'resource.ns',
      gs: 'resource.gs',
    }[kind]
  }
}
