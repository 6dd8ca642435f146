import type { CedarJson, EntityUid } from '@sallyport/cedar'
import { parseIp } from '@sallyport/cedar'
import type { Term, Terms } from './terms.ts'

/** Something that the encoding does not cover; `message` says what. */
export class Undecidable extends Error {}

/** A part that is there when `present` holds. */
export interface Guarded {
  readonly present: Term
  readonly value: Sym
}

/** A Cedar value that may depend on variables. Entities never do: principal, action and resource are given. */
export type Sym =
  | { readonly kind: 'bool' | 'long' | 'string'; readonly term: Term }
  /** Scaled by 10⁴; milliseconds. */
  | {
      readonly kind: 'decimal' | 'datetime' | 'duration'
      readonly term: Term
      /** `term` as so many times something, and what is left. */
      readonly divided?: { readonly by: number; readonly times: Term; readonly rest: Term }
    }
  /** `context.time.date`, as the number of its day. */
  | { readonly kind: 'date'; readonly day: Term }
  | { readonly kind: 'entity'; readonly uid: EntityUid }
  /** Whatever is present, several times or not. */
  | {
      readonly kind: 'set'
      readonly items: readonly Guarded[]
      /** From which of them on any stands for any other. */
      readonly alike?: number
      /** Whether it has more elements than these, and more than so many in all. */
      readonly longer?: { readonly than: number; readonly term: Term }
    }
  | { readonly kind: 'record'; readonly members: ReadonlyMap<string, Guarded> }
  /** `prefix` is absent where it spans the whole address. */
  | {
      readonly kind: 'ip'
      readonly v6: Term
      readonly address: Term
      readonly prefix?: number
    }
  /** Something that is there and is not encoded: whatever reads it is undecidable, for the reason given. */
  | { readonly kind: 'opaque'; readonly why: string }

/** The first and the last day that the encoding knows: of the years 2000 to 2099. */
export const DAYS = { first: 10_957, last: 47_481 } as const

const DAY_MS = 86_400_000

const dateOf = (day: number): string => new Date(day * DAY_MS).toISOString().slice(0, 10)

/** A day's number; undefined for a text that is no date of the years 2000 to 2099. */
function dayOf(text: string): number | undefined {
  const day = Date.parse(`${text}T00:00:00Z`) / DAY_MS
  const inside = Number.isInteger(day) && day >= DAYS.first && day <= DAYS.last
  return inside && dateOf(day) === text ? day : undefined
}

/** Whether a date is one of those that `test` accepts, as ranges of days. */
export function dateMatches(t: Terms, day: Term, test: (date: string) => boolean): Term {
  const ranges: Term[] = []
  let from: number | undefined
  for (let at = DAYS.first; at <= DAYS.last + 1; at++) {
    const matches = at <= DAYS.last && test(dateOf(at))
    if (matches) from ??= at
    else if (from !== undefined) {
      ranges.push(t.between(day, from, at - 1))
      from = undefined
    }
    if (ranges.length > 2000) throw new Undecidable('a pattern that matches scattered dates')
  }
  return t.or(...ranges)
}

/** A constant of the declaration's own entities. */
export function symOf(t: Terms, json: CedarJson): Sym {
  if (typeof json === 'boolean') return { kind: 'bool', term: t.bool(json) }
  if (typeof json === 'string') return { kind: 'string', term: t.string(json) }
  if (typeof json === 'number' || typeof json === 'bigint') {
    return { kind: 'long', term: t.long(json) }
  }
  // TypeScript does not narrow readonly arrays by Array.isArray.
  if (Array.isArray(json)) {
    const items = json as readonly CedarJson[]
    return { kind: 'set', items: items.map((item) => ({ present: t.true, value: symOf(t, item) })) }
  }
  if ('__entity' in json) {
    // Cedar's own JSON form of an entity.
    return { kind: 'entity', uid: json.__entity as EntityUid }
  }
  if ('__extn' in json) throw new Undecidable('an extension value in an entity')
  const members = Object.entries(json).map(([name, value]): [string, Guarded] => [
    name,
    { present: t.true, value: symOf(t, value) },
  ])
  return { kind: 'record', members: new Map(members) }
}

export function ipConstant(t: Terms, text: string): Sym {
  const { v6, address, prefix } = parseIp(text)
  const whole = prefix === (v6 ? 128 : 32)
  const base = { kind: 'ip', v6: t.bool(v6), address: t.address(address) } as const
  return whole ? base : { ...base, prefix }
}

/** Cedar's `==`: false between different types. */
export function equal(t: Terms, a: Sym, b: Sym): Term {
  if (a.kind === 'opaque') throw new Undecidable(a.why)
  if (b.kind === 'opaque') throw new Undecidable(b.why)
  if (a.kind === 'date' || b.kind === 'date') return equalDates(t, a, b)
  switch (a.kind) {
    case 'bool':
    case 'long':
    case 'string':
    case 'decimal':
    case 'datetime':
    case 'duration':
      return a.kind === b.kind ? t.equal(a.term, b.term) : t.false
    case 'entity':
      return t.bool(b.kind === 'entity' && a.uid.type === b.uid.type && a.uid.id === b.uid.id)
    case 'set':
      return b.kind === 'set' ? t.and(containsAll(t, a, b), containsAll(t, b, a)) : t.false
    case 'record':
      return b.kind === 'record' ? equalRecords(t, a.members, b.members) : t.false
    case 'ip':
      if (b.kind !== 'ip' || a.prefix !== b.prefix) return t.false
      return t.and(t.equal(a.v6, b.v6), t.equal(a.address, b.address))
  }
}

function equalDates(t: Terms, a: Sym, b: Sym): Term {
  if (a.kind === 'date' && b.kind === 'date') return t.equal(a.day, b.day)
  const [date, other] = a.kind === 'date' ? [a, b] : [b, a]
  if (date.kind !== 'date' || other.kind !== 'string') return t.false
  const { value } = other.term
  if (typeof value !== 'string') throw new Undecidable('a date compared with another input')
  const day = dayOf(value)
  return day === undefined ? t.false : t.equal(date.day, t.long(day))
}

type Members = ReadonlyMap<string, Guarded>

function equalRecords(t: Terms, a: Members, b: Members): Term {
  const names = new Set([...a.keys(), ...b.keys()])
  return t.and(
    ...Array.from(names, (name) => {
      const [x, y] = [a.get(name), b.get(name)]
      if (!x || !y) return t.not((x ?? y)?.present ?? t.false)
      // The elements that a set of the context may hold are collected per attribute, not for whole records.
      if (x.value.kind === 'set' || y.value.kind === 'set') {
        throw new Undecidable('records with sets in them compared as a whole')
      }
      return t.or(
        t.and(x.present, y.present, equal(t, x.value, y.value)),
        t.and(t.not(x.present), t.not(y.present)),
      )
    }),
  )
}

type SetSym = Extract<Sym, { kind: 'set' }>

export const contains = (t: Terms, set: SetSym, value: Sym): Term =>
  t.or(...set.items.map((item) => t.and(item.present, equal(t, item.value, value))))

export const containsAll = (t: Terms, set: SetSym, other: SetSym): Term =>
  t.and(...other.items.map(({ present, value }) => t.or(t.not(present), contains(t, set, value))))

export const containsAny = (t: Terms, set: SetSym, other: SetSym): Term =>
  t.or(...other.items.map(({ present, value }) => t.and(present, contains(t, set, value))))

/** `if test then a else b`. */
export function choose(t: Terms, test: Term, a: Sym, b: Sym): Sym {
  if (typeof test.value === 'boolean') return test.value ? a : b
  if ('term' in a && 'term' in b && a.kind === b.kind) {
    return { kind: a.kind, term: t.ite(test, a.term, b.term) }
  }
  const guard = (by: Term, { present, value }: Guarded): Guarded => ({
    present: t.and(by, present),
    value,
  })
  if (a.kind === 'set' && b.kind === 'set') {
    const no = t.not(test)
    const items = [...a.items.map((i) => guard(test, i)), ...b.items.map((i) => guard(no, i))]
    return { kind: 'set', items }
  }
  if (a.kind === 'record' && b.kind === 'record') {
    const members = new Map<string, Guarded>()
    for (const name of new Set([...a.members.keys(), ...b.members.keys()])) {
      const [x, y] = [a.members.get(name), b.members.get(name)]
      if (x && y) {
        const present = t.ite(test, x.present, y.present)
        members.set(name, { present, value: choose(t, test, x.value, y.value) })
      } else if (x) members.set(name, guard(test, x))
      else if (y) members.set(name, guard(t.not(test), y))
    }
    return { kind: 'record', members }
  }
  if (a.kind === 'entity' && b.kind === 'entity' && equal(t, a, b) === t.true) return a
  throw new Undecidable('`if` between values that are not of one scalar type')
}
