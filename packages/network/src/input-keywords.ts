import { Halt } from './problem.ts'
import type { InputMember, InputType } from './types.ts'

const DEFAULT_MAX_ITEMS = 1000

/** Keywords that describe and do not constrain. */
const ANNOTATIONS: ReadonlySet<string> = new Set([
  '$schema',
  '$id',
  '$comment',
  '$defs',
  'title',
  'description',
  'default',
  'example',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  'externalDocs',
  'xml',
  'format',
])

export type JsonObject = Readonly<Record<string, unknown>>

/** An input that no typed one can be made of. */
export function refuse(message: string, fix: string): Halt {
  return new Halt(
    'SP_NETWORK_INPUT',
    message,
    'inputs are typed so that policies can be checked against them and the gateway enforces exactly what they say',
    fix,
  )
}

/** Refuses every keyword that is neither handled nor a mere annotation. */
export function only(schema: JsonObject, handled: readonly string[], where: string): void {
  for (const [key, value] of Object.entries(schema)) {
    if (handled.includes(key) || ANNOTATIONS.has(key) || key.startsWith('x-')) continue
    // OpenAPI 3.0 spells out the default.
    if (key === 'nullable' && value === false) continue
    throw refuse(
      `${where} uses \`${key.slice(0, 40)}\`, which a typed input cannot carry`,
      'remove it or state it as a policy; it would not be enforced here',
    )
  }
}

export function count(given: unknown, fallback: number, cap: number, where: string): number {
  if (given === undefined) return fallback
  if (typeof given !== 'number' || !Number.isInteger(given) || given < 0 || given > cap) {
    throw refuse(`a bound of ${where} is not a whole number up to ${cap}`, 'correct the bound')
  }
  return given
}

export function itemCounts(
  schema: JsonObject,
  where: string,
): Pick<Extract<InputType, { type: 'set' }>, 'minItems' | 'maxItems'> {
  const maxItems = count(schema['maxItems'], DEFAULT_MAX_ITEMS, DEFAULT_MAX_ITEMS, where)
  const minItems = count(schema['minItems'], 0, DEFAULT_MAX_ITEMS, where)
  if (minItems > maxItems) {
    throw refuse(`no list satisfies \`minItems\` and \`maxItems\` of ${where}`, 'correct them')
  }
  // None and 0 are one type, for variants that have to agree as for whoever compares two declarations.
  return { ...(minItems > 0 && { minItems }), maxItems }
}

/**
 * How many members an object has is no part of a typed input. What its members say already constrains nothing more: there are no others
 * than those declared, and none of those required is left out.
 */
export function demandNoCount(
  schema: JsonObject,
  members: Readonly<Record<string, InputMember>>,
  where: string,
): void {
  const all = Object.values(members)
  const needed = all.filter(({ required }) => required).length
  const least = count(schema['minProperties'], 0, Number.MAX_SAFE_INTEGER, where)
  const most = count(schema['maxProperties'], all.length, Number.MAX_SAFE_INTEGER, where)
  const [keyword, fix] =
    least > needed
      ? ['minProperties', `require members of it (${needed} of them are)`]
      : most < all.length
        ? ['maxProperties', `leave members out that agents need not set (it names ${all.length})`]
        : []
  if (keyword === undefined) return
  throw refuse(
    `\`${keyword}\` of ${where === '' ? 'the input' : where} counts members, which a typed input cannot`,
    `${fix}, or take the keyword out: the system refuses such calls too`,
  )
}
