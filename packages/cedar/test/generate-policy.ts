import {
  ACTIONS,
  ATTRIBUTES,
  DATES,
  DECIMALS,
  DURATIONS,
  IPS,
  LONGS,
  quote,
  some,
  STRINGS,
  TYPES,
  uidText,
} from './vocabulary.ts'
import type { Attribute, Random, Universe } from './vocabulary.ts'

const NUMBERS = ['n', 'a b'] as const
const PATTERNS: readonly string[] = [
  ...['"*"', '"a*"', '"*b"', '"a\\*b"', '"*a*b*"', '""', '"*😀"', '"é*"', '"**"', '"*\\n*"'],
  ...['"\\u{e9}*"', '"a"', '"*\\*"'],
]
const HAS: readonly string[] = [
  ...['n', 'r', 'l', 'r.n', 'r.r.s', 'e.n', 'e.r.n', 'constructor', '"a b"', '"if"', '"no such"'],
  ...['s.n', 'r.constructor', 'toString', '"hasOwnProperty"'],
]
const ACTION_GROUPS = ['all', 'rw'] as const

/** Policies of the whole language, most of which neither always hold nor always fail. */
export class PolicyGenerator {
  readonly #random: Random
  readonly #universe: Universe

  constructor(random: Random, universe: Universe) {
    this.#random = random
    this.#universe = universe
  }

  /** @param slots the slots of a template; undefined for a policy */
  text(slots: { principal: boolean; resource: boolean } | undefined): string {
    const r = this.#random
    const effect = r.chance(0.7) ? 'permit' : 'forbid'
    const conditions = r.list(2, () => `${r.chance(0.75) ? 'when' : 'unless'} { ${this.#bool(3)} }`)
    const head = [
      this.#scope('principal', slots?.principal),
      this.#actions(),
      this.#scope('resource', slots?.resource),
    ]
    const annotation = r.chance(0.1) ? r.pick(['@note("x")', '@bare', '@id("same") @a("\\"")']) : ''
    return `${annotation} ${effect}(${head.join(', ')}) ${conditions.join(' ')};`
  }

  #actions(): string {
    const r = this.#random
    const one = (): string => uidText(r.pick(ACTIONS))
    return r.pick([
      () => 'action',
      () => `action == ${one()}`,
      () => `action in ${one()}`,
      () => `action in ${uidText({ type: 'Action', id: r.pick(ACTION_GROUPS) })}`,
      () => `action in [${r.list(3, one).join(', ')}]`,
    ])()
  }

  #scope(name: string, slot: boolean | undefined): string {
    const r = this.#random
    const target = slot ? `?${name}` : uidText(this.#universe.any())
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
    const v = (kind?: Attribute): string => this.#value(kind ?? r.pick(ATTRIBUTES), depth - 1)
    const n = (): string => v(r.pick(NUMBERS))
    if (depth <= 0) return r.pick(['true', 'false', 'context.b', 'principal.b'])
    return r.pick([
      () => `(${b()} && ${b()})`,
      () => `(${b()} || ${b()})`,
      () => `(${b()} ${r.pick(['&&', '||'])} ${b()} ${r.pick(['&&', '||'])} ${b()})`,
      () => `!${r.chance(0.2) ? '!' : ''}(${b()})`,
      () => `(if ${b()} then ${b()} else ${b()})`,
      () => `${v()} == ${v()}`,
      () => this.#same(depth),
      () => this.#same(depth),
      () => `${v()} != ${v()}`,
      () => `${n()} ${r.pick(['<', '<=', '>', '>='])} ${n()}`,
      () => `${v('t')} ${r.pick(['<', '<=', '>', '>='])} ${v('t')}`,
      () => `${v('u')} ${r.pick(['<', '<=', '>', '>='])} ${v('u')}`,
      () => `${v('e')} in ${r.chance(0.5) ? v('e') : `[${v('e')}, ${v('e')}]`}`,
      () => `${v('e')} in ${v('l')}`,
      () => `${v('e')} is ${r.pick(TYPES)}${r.chance(0.4) ? ` in ${v('e')}` : ''}`,
      () => `action ${r.pick(['is Action', 'is N::Action', 'in Action::"rw"', '!= action'])}`,
      () => `${v(r.pick(['e', 'r']))} has ${r.pick(some(HAS))}`,
      () => `context has ${r.pick(some(HAS))}`,
      () => this.#guarded(),
      () => `${v(r.pick(['s', 'constructor']))} like ${r.pick(some(PATTERNS))}`,
      () => `${v('l')}.contains(${v()})`,
      () => `${v('l')}.${r.pick(['containsAll', 'containsAny'])}(${v('l')})`,
      () => `${v('l')}.isEmpty()`,
      () => `${v('e')}.hasTag(${r.pick(['"n"', '"s"', '"a b"', v('s')])})`,
      () => `${v('ip')}.${r.pick(['isIpv4', 'isIpv6', 'isLoopback', 'isMulticast'])}()`,
      () => `${v('ip')}.isInRange(${v('ip')})`,
      () =>
        `${v('d')}.${r.pick(['lessThan', 'lessThanOrEqual', 'greaterThan', 'greaterThanOrEqual'])}(${v('d')})`,
      () => v(r.pick(['b', 'if'])),
    ])()
  }

  /** What a careful author writes: the attribute is read only where it is there. */
  #guarded(): string {
    const r = this.#random
    const of = r.pick(['context', 'principal', 'resource'])
    return r.pick([
      `(${of} has n && ${of}.n ${r.pick(['<', '>='])} ${r.pick(['1', '7', 'context.n'])})`,
      `(${of} has r.n && ${of}.r.n == 1)`,
      `(${of} has l && ${of}.l.contains(${r.pick(['1', '"a"', 'principal', '{}'])}))`,
      `(${of} has e && ${of}.e in principal)`,
      `(principal.hasTag("s") && principal.getTag("s") == ${quote(r.pick(some(STRINGS)))})`,
      `(${of} has ip && ${of}.ip.isInRange(ip("10.0.0.0/8")))`,
      `(${of} has s && ${of}.s like "a*")`,
    ])
  }

  #same(depth: number): string {
    const kind = this.#random.pick(ATTRIBUTES)
    return `${this.#value(kind, depth - 1)} == ${this.#value(kind, depth - 1)}`
  }

  #value(kind: Attribute, depth: number): string {
    const r = this.#random
    const v = (of: Attribute): string => this.#value(of, depth - 1)
    if (r.chance(0.35)) {
      const base = r.pick([
        'context',
        'principal',
        'resource',
        'context.r',
        'principal.e',
        'context.e',
        'action',
      ])
      return `${base}${this.#member(r.chance(0.05) ? r.pick(ATTRIBUTES) : kind)}`
    }
    if (depth > 0 && r.chance(0.06)) {
      return `${v('e')}.getTag(${r.chance(0.8) ? quote(kind) : v('s')})`
    }
    if (depth > 0 && r.chance(0.06)) return `(if ${this.#bool(1)} then ${v(kind)} else ${v(kind)})`
    if (depth > 0 && r.chance(0.03)) return `{x: ${v(kind)}, "y z": 1}.x`
    switch (kind) {
      case 'n':
      case 'a b':
        return depth > 0 && r.chance(0.5) ? this.#number(depth) : `(${r.pick(LONGS)})`
      case 's':
      case 'constructor':
      case 'é':
        return quote(r.pick(some(STRINGS)))
      case 'b':
      case 'if':
        return String(r.chance(0.5))
      case 'e':
        return r.pick([
          'principal',
          'resource',
          'action',
          uidText(this.#universe.any()),
          uidText(this.#universe.any()),
        ])
      case 'l':
        return `[${r.list(3, () => (depth > 0 ? v(r.pick(ATTRIBUTES)) : '1')).join(', ')}]`
      case 'r':
        return this.#record(depth)
      case 'ip':
        return `ip(${quote(r.pick(some([...IPS, 'nope', '10.0.0.1/33'])))})`
      case 'd':
        return `decimal(${r.chance(0.1) ? v('s') : quote(r.pick(some([...DECIMALS, '1', '.5'])))})`
      case 't':
        if (depth > 0 && r.chance(0.4)) {
          return r.chance(0.5) ? `${v('t')}.offset(${v('u')})` : `${v('t')}.toDate()`
        }
        return `datetime(${r.chance(0.1) ? v('s') : quote(r.pick(some([...DATES, '2023-02-29'])))})`
      default:
        if (depth > 0 && r.chance(0.4)) {
          return r.chance(0.5) ? `${v('t')}.durationSince(${v('t')})` : `${v('t')}.toTime()`
        }
        return `duration(${quote(r.pick(some([...DURATIONS, '1h1d', ''])))})`
    }
  }

  #member(name: Attribute): string {
    const plain = /^(?!if$)[A-Za-z_]\w*$/.test(name)
    return plain && this.#random.chance(0.9) ? `.${name}` : `[${quote(name)}]`
  }

  #number(depth: number): string {
    const r = this.#random
    const n = (): string => this.#value(r.pick(NUMBERS), depth - 1)
    const sign = (): string => r.pick(['+', '-', '*'])
    return r.pick([
      () => `(${n()} ${sign()} ${n()})`,
      () => `(${n()} ${sign()} ${n()} ${sign()} ${n()})`,
      () => `(-${n().replace(/^-/, '')})`,
      () =>
        `${this.#value('u', depth - 1)}.${r.pick(['toMilliseconds', 'toSeconds', 'toMinutes', 'toHours', 'toDays'])}()`,
    ])()
  }

  #record(depth: number): string {
    const r = this.#random
    const member = (): string => (depth > 0 ? this.#value(r.pick(ATTRIBUTES), depth - 1) : '1')
    const names = ['n', 's', '"a b"', 'constructor'].filter(() => r.chance(0.4))
    return `{${names.map((name) => `${name}: ${member()}`).join(', ')}}`
  }
}
