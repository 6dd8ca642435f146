import { sha256Hex } from '@sallyport/base'
import type { InputSchema, InputType } from '@sallyport/network'
import { heldBy } from './literals.ts'
import type { Literals } from './literals.ts'
import { acceptsDecimal, divided, freeDecimal, readInTwoWays, unread } from './numbers.ts'
import { languageOf } from './pattern.ts'
import type { LeftOut } from './numbers.ts'
import { representable } from './terms.ts'
import type { Term, Terms } from './terms.ts'
import { equal } from './values.ts'
import type { Guarded, Sym } from './values.ts'

type SetType = Extract<InputType, { type: 'set' }>

/** Elements of a set beside those that policies name: one that none of them names, and one for each open question. */
const OPEN_SLOTS = 2
const MAX_SLOTS = 8
/** And where the other side takes shorter sets, for one that is too long for it. */
const MAX_LONGER = 16

/**
 * How many free elements each set of an input has, and whether that is fewer than a proof needs.
 *
 * @param against as the other side reads it
 * @param openSets questions about sets that need an element of their own
 */
export function slotsFor(
  type: InputType,
  against: InputType | undefined,
  openSets: number,
): { readonly slots: number; readonly bounded: boolean } {
  // What fills one set up to its count, another that holds all of it has to hold as well.
  const wanted = OPEN_SLOTS + openSets + (openSets > 0 ? filledOf(type, against) : 0)
  return { slots: Math.min(wanted, MAX_SLOTS), bounded: wanted > MAX_SLOTS }
}

/** The elements that all sets of an input are filled up with, apart from those whose elements are all encoded. */
function filledOf(type: InputType, against: InputType | undefined): number {
  if (type.type === 'record') {
    return Object.entries(type.members).reduce(
      (sum, [name, { schema }]) => sum + filledOf(schema, memberOf(against, name)),
      0,
    )
  }
  if (type.type !== 'set') return 0
  const own = isClosed(type.items) ? 0 : filling(type, against)
  return own + filledOf(type.items, against?.type === 'set' ? against.items : undefined)
}

/** Elements that a set has at least, for either side; more than the other side takes, where it takes fewer. */
function filling({ minItems = 0, maxItems }: SetType, against: InputType | undefined): number {
  const other = against?.type === 'set' ? against : undefined
  const least = Math.max(minItems, other?.minItems ?? 0)
  const longer = other && other.maxItems < maxItems ? other.maxItems + 1 : 0
  return Math.max(Math.min(least, MAX_SLOTS), Math.min(longer, MAX_LONGER))
}

const memberOf = (type: InputType | undefined, name: string): InputType | undefined =>
  type?.type === 'record' && Object.hasOwn(type.members, name)
    ? type.members[name]?.schema
    : undefined

/** Whether all values are known and can be written down, so that each is an element of its own. */
const isClosed = (items: InputType): boolean =>
  items.type === 'boolean' || (items.type === 'string' && items.enum?.every(representable) === true)

/**
 * An input of which everything is free, as its schema types it.
 *
 * @param against as the other side reads it
 */
export function freeInput(
  t: Terms,
  type: InputType,
  against: InputType | undefined,
  literals: Literals,
  slots: number,
  path = 'input',
  name = 'input',
): Sym {
  switch (type.type) {
    case 'string':
      return { kind: 'string', term: t.variable(path, 'String') }
    case 'long':
      return against?.type === 'decimal'
        ? readInTwoWays(path)
        : { kind: 'long', term: t.variable(path, 'Long') }
    case 'decimal':
      return against?.type === 'long' ? readInTwoWays(path) : freeDecimal(t, type, against, path)
    case 'boolean':
      return { kind: 'bool', term: t.variable(path, 'Bool') }
    case 'set':
      return freeSet(t, type, against, literals, slots, path, name)
    case 'record': {
      const members = Object.entries(type.members).map(
        ([member, { schema, required }]): [string, Guarded] => {
          const at = `${path}.${member}`
          const present = required ? t.true : t.variable(`${at}?`, 'Bool')
          const other = memberOf(against, member)
          return [
            member,
            { present, value: freeInput(t, schema, other, literals, slots, at, member) },
          ]
        },
      )
      return { kind: 'record', members: new Map(members) }
    }
  }
}

function freeSet(
  t: Terms,
  type: SetType,
  against: InputType | undefined,
  literals: Literals,
  slots: number,
  path: string,
  name: string,
): Sym {
  const { items } = type
  const values: Sym[] = []
  const held = [...heldBy(literals, name)]
  if (items.type === 'boolean') {
    values.push({ kind: 'bool', term: t.true }, { kind: 'bool', term: t.false })
  } else if (items.type === 'string') {
    for (const text of items.enum ?? held) {
      const known = typeof text === 'string' && representable(text)
      if (known) values.push({ kind: 'string', term: t.string(text) })
    }
  } else if (items.type === 'long') {
    for (const long of held) {
      if (typeof long === 'bigint') values.push({ kind: 'long', term: t.long(long) })
    }
  }
  const alike = values.length
  const free = isClosed(items) ? 0 : Math.max(slots, filling(type, against))
  const inner = against?.type === 'set' ? against.items : undefined
  for (let i = 0; i < free; i++) {
    // Of a set of sets, policies name the elements of both where they name it.
    values.push(freeInput(t, items, inner, literals, slots, `${path}-${i}`, name))
  }
  const present = (i: number): Term => t.variable(`${path}-has-${i}`, 'Bool')
  const given = values.map((value, i) => ({ present: present(i), value }))
  const most = against?.type === 'set' ? against.maxItems : type.maxItems
  if (isClosed(items) || most >= type.maxItems || most < MAX_LONGER) {
    return { kind: 'set', items: given, alike }
  }
  return {
    kind: 'set',
    items: given,
    alike,
    longer: { than: most, term: t.variable(`${path}-more`, 'Bool') },
  }
}

/**
 * What holds of an input whatever it is. Of elements of which any stands for any other, the first are there: one way instead of many to
 * say the same.
 */
export function inOrder(t: Terms, value: Sym): Term[] {
  if (value.kind === 'record') {
    return Array.from(value.members.values()).flatMap((member) => inOrder(t, member.value))
  }
  if (value.kind === 'decimal') return divided(t, value)
  if (value.kind !== 'set') return []
  const alike = value.items.slice(value.alike ?? value.items.length)
  return [
    ...alike.slice(1).map(({ present }, i) => t.or(t.not(present), alike[i]?.present ?? t.true)),
    ...value.items.flatMap((item) => inOrder(t, item.value)),
  ]
}

/** What stands for elements that are not encoded, in an input of `freeInput`. */
export function longerIn(value: Sym): Term[] {
  if (value.kind === 'record') {
    return Array.from(value.members.values()).flatMap((member) => longerIn(member.value))
  }
  if (value.kind !== 'set') return []
  const inner = value.items.flatMap((item) => longerIn(item.value))
  return value.longer ? [value.longer.term, ...inner] : inner
}

/** Whether a schema takes this value, as `readInput` would. */
export function accepts(t: Terms, type: InputType, value: Sym, leftOut: LeftOut): Term {
  switch (type.type) {
    case 'string':
      return value.kind === 'string' ? acceptsText(t, type, value.term, leftOut) : t.false
    case 'long':
      if (value.kind === 'opaque') return unread(t, type, value.why, leftOut)
      return value.kind === 'long' ? t.between(value.term, type.minimum, type.maximum) : t.false
    case 'decimal':
      if (value.kind === 'opaque') return unread(t, type, value.why, leftOut)
      return value.kind === 'decimal' ? acceptsDecimal(t, type, value, leftOut) : t.false
    case 'boolean':
      return t.bool(value.kind === 'bool')
    case 'set':
      return value.kind === 'set' ? acceptsSet(t, type, value, leftOut) : t.false
    case 'record':
      return value.kind === 'record' ? acceptsRecord(t, type, value.members, leftOut) : t.false
  }
}

function acceptsText(
  t: Terms,
  { maxLength, pattern, enum: values }: Extract<InputType, { type: 'string' }>,
  text: Term,
  leftOut: LeftOut,
): Term {
  const length = t.lengthAtMost(text, maxLength)
  const listed = values ? t.or(...values.map((one) => isText(t, text, one, leftOut))) : t.true
  if (pattern === undefined) return t.and(length, listed)
  const regexp = new RegExp(pattern, 'u')
  const language = languageOf(pattern)
  if (language === undefined && text.value === undefined) {
    leftOut.add(`the pattern \`${pattern}\``)
    // The same pattern over the same text is the same unknown on both sides; left out, another one would seem to be it.
    const name = sha256Hex(JSON.stringify([pattern, text.op])).slice(0, 32)
    return t.and(length, listed, t.variable(`pattern-${name}`, 'Bool'))
  }
  return t.and(
    length,
    listed,
    t.matches(text, language ?? '', (one) => regexp.test(one)),
  )
}

function isText(t: Terms, text: Term, one: string, leftOut: LeftOut): Term {
  if (representable(one) || text.value !== undefined) return t.equal(text, t.string(one))
  leftOut.add('a character beyond plane 2')
  const name = sha256Hex(JSON.stringify([one, text.op])).slice(0, 32)
  return t.variable(`beyond-${name}`, 'Bool')
}

function acceptsSet(
  t: Terms,
  type: SetType,
  { items: given, longer }: Extract<Sym, { kind: 'set' }>,
  leftOut: LeftOut,
): Term {
  const each = given.map(({ present, value }) =>
    t.or(t.not(present), accepts(t, type.items, value, leftOut)),
  )
  // Each element once, so that counting them is counting the set.
  const distinct = given.flatMap((a, i) =>
    given.slice(i + 1).map((b) => t.not(t.and(a.present, b.present, equal(t, a.value, b.value)))),
  )
  const few = t.countAtMost(
    given.map(({ present }) => present),
    type.maxItems,
  )
  const [all, least] = [t.and(...each, ...distinct, few), enough(t, type, given, leftOut)]
  if (longer === undefined || type.maxItems > longer.than) return t.and(all, least)
  leftOut.add(`a list of more than ${longer.than} items`)
  return t.and(all, least, t.not(longer.term))
}

function enough(
  t: Terms,
  { items, minItems = 0 }: SetType,
  given: readonly Guarded[],
  leftOut: LeftOut,
): Term {
  if (minItems === 0) return t.true
  const there = given.map(({ present }) => present)
  if (minItems <= MAX_SLOTS || isClosed(items)) return t.not(t.countAtMost(there, minItems - 1))
  // That no list has so many of what is encoded does not make the input impossible: as with patterns, one unknown.
  leftOut.add(`a list of ${minItems} items or more`)
  const name = sha256Hex(JSON.stringify([minItems, there.map(({ op }) => op)])).slice(0, 32)
  return t.variable(`least-${name}`, 'Bool')
}

function acceptsRecord(
  t: Terms,
  { members, variants }: InputSchema,
  given: ReadonlyMap<string, Guarded>,
  leftOut: LeftOut,
): Term {
  const declared = Object.entries(members).map(([name, { schema, required }]) => {
    const member = given.get(name)
    if (!member) return t.bool(!required)
    const { present, value } = member
    const taken = t.or(t.not(present), accepts(t, schema, value, leftOut))
    return required ? t.and(present, taken) : taken
  })
  // What is not declared is refused.
  const others = Array.from(given, ([name, { present }]) =>
    Object.hasOwn(members, name) ? t.true : t.not(present),
  )
  if (!variants) return t.and(...declared, ...others)
  const fitting = variants.of.map((shape) => acceptsRecord(t, shape, given, leftOut))
  const single = variants.fits === 'one' ? t.countAtMost(fitting, 1) : t.true
  return t.and(...declared, ...others, t.or(...fitting), single)
}
