import type { JsonValue } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import type { InputMember, InputType } from '@sallyport/network'
import { encodeComponent } from '../edge/target.ts'
import { Refusal } from '../refusal.ts'
import { scalarText, textAs, unknownInput } from './texts.ts'

export const FORM_TYPE: RegExp =
  /^application\/x-www-form-urlencoded(?:\s*;\s*charset="?utf-8"?)?$/i

const MAX_PAIRS = 2000
const MAX_STEPS = 8
/** What clients leave as it is, and what is escaped. `;` is not among them: servers have taken it for `&`. */
const PAIR = /^(?:[A-Za-z0-9\-._~!$'()*+,:@/?[\]=]|%[0-9A-Fa-f]{2})+$/
/** A name, and the names and places in brackets behind it. */
const NAME = /^([A-Za-z_][A-Za-z0-9_.-]*)((?:\[[A-Za-z0-9_.-]*\])*)$/

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function badForm(message: string): Refusal {
  return new Refusal('SP_REQUEST_FORM', message, { status: 400, close: true })
}

/** What stands under one name, in all ways in which a form can say it. */
interface Node {
  readonly texts: string[]
  /** `name[…]`, by what is in the brackets. */
  readonly members: Map<string, Node>
  /** `name[]` */
  readonly items: string[]
}

const emptyNode = (): Node => ({ texts: [], members: new Map(), items: [] })

/**
 * Reads `application/x-www-form-urlencoded` (WHATWG URL, section 5.1) so strictly that nobody reads it differently, as the members
 * that are declared for it. A name stands twice only where a list is declared.
 *
 * @param deep members that are written with brackets: `a[b]=1`, `a[0]=1` or `a[]=1`
 * @throws Refusal `SP_REQUEST_FORM`, `SP_INPUT_UNKNOWN`, `SP_INPUT_TYPE`
 */
export function readForm(
  bytes: Buffer,
  members: Readonly<Record<string, InputMember>>,
  deep: readonly string[],
): Record<string, JsonValue> {
  const root = emptyNode()
  // What is not ASCII is no form, whatever it would decode to.
  const pairs = bytes.toString('latin1').split('&', MAX_PAIRS + 1)
  if (pairs.length > MAX_PAIRS) throw badForm('the form has too many members')
  for (const pair of pairs) {
    const equals = pair.indexOf('=')
    if (equals < 1 || !PAIR.test(pair)) throw badForm('the form is not in plain form')
    const name = decode(pair.slice(0, equals))
    insert(root, name, decode(pair.slice(equals + 1)), members, deep)
  }
  const given = [...root.members].map(([name, node]): [string, JsonValue] => [
    name,
    valueOf(node, memberOf(members, name).schema, name),
  ])
  return Object.fromEntries(given)
}

function insert(
  root: Node,
  spelled: string,
  text: string,
  members: Readonly<Record<string, InputMember>>,
  deep: readonly string[],
): void {
  const [, name, brackets = ''] = NAME.exec(spelled) ?? []
  if (name === undefined) throw unknownInput(spelled)
  memberOf(members, name)
  const steps = brackets === '' ? [] : brackets.slice(1, -1).split('][')
  if (steps.length > 0 && !deep.includes(name)) throw unknownInput(spelled)
  if (steps.length > MAX_STEPS) throw badForm('the form nests too deep')
  let node = child(root, name)
  for (const [i, step] of steps.entries()) {
    if (step !== '') node = child(node, step)
    else if (i === steps.length - 1) {
      node.items.push(text)
      return
    } else throw badForm(`\`${spelled.slice(0, 120)}\` does not say which item it belongs to`)
  }
  node.texts.push(text)
}

function child({ members }: Node, name: string): Node {
  let node = members.get(name)
  if (!node) members.set(name, (node = emptyNode()))
  return node
}

function memberOf(members: Readonly<Record<string, InputMember>>, name: string): InputMember {
  const member = Object.hasOwn(members, name) ? members[name] : undefined
  if (!member) throw unknownInput(name)
  return member
}

function valueOf(node: Node, type: InputType, at: string): JsonValue {
  const { texts, members, items } = node
  const ways = [texts.length, members.size, items.length].filter((count) => count > 0).length
  if (ways !== 1) throw badForm(`the form names \`${at.slice(0, 120)}\` in two ways`)
  if (type.type === 'record') {
    if (members.size === 0) throw unfit(at)
    const given = [...members].map(([name, inner]): [string, JsonValue] => {
      const path = `${at}[${name}]`
      const member = Object.hasOwn(type.members, name) ? type.members[name] : undefined
      if (!member) throw unknownInput(path)
      return [name, valueOf(inner, member.schema, path)]
    })
    return Object.fromEntries(given)
  }
  if (type.type === 'set') {
    const one = [...texts, ...items].map((text) => scalarAs(at, text, type.items))
    const placed = [...members].map(([place, inner], i) => {
      // Out of order, or with gaps, the same items have several readings.
      if (place !== String(i))
        throw badForm(`the items of \`${at.slice(0, 120)}\` are not in order`)
      return valueOf(inner, type.items, `${at}[${place}]`)
    })
    return [...one, ...placed]
  }
  if (texts.length > 1) throw badForm(`the form names \`${at.slice(0, 120)}\` twice`)
  const [text] = texts
  if (text === undefined) throw unfit(at)
  return scalarAs(at, text, type)
}

function scalarAs(at: string, text: string, type: InputType): JsonValue {
  if (type.type === 'record' || type.type === 'set') throw unfit(at)
  return textAs(at, text, type)
}

const unfit = (at: string): Refusal =>
  new Refusal('SP_INPUT_TYPE', `the input \`${at.slice(0, 120)}\` has not the type declared`, {
    status: 400,
  })

function decode(spelled: string): string {
  // `+` is a blank; whatever else was escaped is a byte.
  const text = spelled.replaceAll('+', ' ')
  if (!text.includes('%')) return text
  const bytes = text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_all, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  try {
    return utf8.decode(Buffer.from(bytes, 'latin1'))
  } catch {
    throw badForm('the form’s percent-encoding is not UTF-8')
  }
}

/**
 * The one spelling of a form that is forwarded: names sorted, everything but unreserved characters escaped, items with their places.
 *
 * @param input the members that travel in the body
 */
export function writeForm(
  input: Readonly<Record<string, CedarJson | undefined>>,
  deep: readonly string[],
): Buffer {
  const pairs: string[] = []
  const write = (name: string, value: CedarJson | undefined, isDeep: boolean): void => {
    if (Array.isArray(value)) {
      // `Array.isArray` does not narrow readonly arrays by itself.
      const items = value as readonly CedarJson[]
      for (const [i, item] of items.entries()) write(isDeep ? `${name}[${i}]` : name, item, isDeep)
    } else if (typeof value === 'object') {
      // Neither a list nor a scalar: Cedar has records besides.
      const record = value as Readonly<Record<string, CedarJson>>
      for (const inner of Object.keys(record).toSorted()) {
        write(`${name}[${inner}]`, record[inner], isDeep)
      }
    } else pairs.push(`${encodeComponent(name)}=${encodeComponent(scalarText(value))}`)
  }
  for (const name of Object.keys(input).toSorted()) write(name, input[name], deep.includes(name))
  return Buffer.from(pairs.join('&'))
}
