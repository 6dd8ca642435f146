import { SallyportError, tenThousandths } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import type { DecimalType, InputSchema, InputType } from '@sallyport/network'
import { matchesPattern } from './pattern.ts'

export interface ReadInputOptions {
  /**
   * Gives the value behind a token of `tokenOf` (`DATASET.FIELD`). Called for every text in such a member that has a
   * token's form; what it throws refuses the call.
   */
  restore?(tokenOf: string, token: string): string
}

type InputCode = 'SP_INPUT_UNKNOWN' | 'SP_INPUT_MISSING' | 'SP_INPUT_TYPE' | 'SP_INPUT_VALUE'

/** How tokens of `@sallyport/redact` begin, and more than the longest of them. */
const TOKEN_PREFIX = 'tok_'
const MAX_TOKEN = 8192

const refuse = (code: InputCode, path: string, what: string): SallyportError<InputCode> =>
  new SallyportError(code, `the input \`${path.slice(0, 120)}\` ${what}`)

/**
 * Reads a call's input as its schema types it. What the schema does not declare is refused, not ignored, so that
 * exactly what was authorised is what can be forwarded.
 *
 * @throws SallyportError `SP_INPUT_*`, or what `restore` throws
 */
export function readInput(
  schema: InputSchema,
  raw: unknown,
  options: ReadInputOptions = {},
): Record<string, CedarJson> {
  return readRecord(schema, raw, '', options)
}

function readRecord(
  schema: InputSchema,
  raw: unknown,
  path: string,
  options: ReadInputOptions,
): Record<string, CedarJson> {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw refuse('SP_INPUT_TYPE', path === '' ? '$' : path, 'must be an object')
  }
  for (const name of Object.keys(raw)) {
    if (!Object.hasOwn(schema.members, name)) {
      throw refuse('SP_INPUT_UNKNOWN', at(path, name), 'is not declared')
    }
  }
  // Its names are declared ones, of which none begins with two underscores.
  const members: Record<string, CedarJson> = {}
  for (const name of Object.keys(schema.members)) {
    const member = schema.members[name]
    if (member === undefined) continue
    if (Object.hasOwn(raw, name)) {
      // An own member of a non-null object, still of unknown type.
      const value = (raw as Record<string, unknown>)[name]
      members[name] = readValue(member.schema, value, at(path, name), options)
    } else if (member.required) throw refuse('SP_INPUT_MISSING', at(path, name), 'is required')
  }
  if (schema.variants) demandVariant(schema.variants, raw, path, options)
  return members
}

const at = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`)

/** Of several shapes an input has exactly one, or at least one. */
function demandVariant(
  variants: NonNullable<InputSchema['variants']>,
  raw: unknown,
  path: string,
  options: ReadInputOptions,
): void {
  const fitting = variants.of.filter((variant) => {
    try {
      readRecord(variant, raw, path, options)
      return true
    } catch (error) {
      if (error instanceof SallyportError && error.code.startsWith('SP_INPUT_')) return false
      throw error
    }
  })
  if (fitting.length === 0 || (variants.fits === 'one' && fitting.length > 1)) {
    throw refuse('SP_INPUT_VALUE', path === '' ? '$' : path, 'has none of the shapes declared')
  }
}

function readValue(
  type: InputType,
  raw: unknown,
  path: string,
  options: ReadInputOptions,
): CedarJson {
  switch (type.type) {
    case 'string':
      return readString(type, raw, path, options)
    case 'long':
      if (typeof raw !== 'number' || !Number.isSafeInteger(raw)) {
        throw refuse('SP_INPUT_TYPE', path, 'must be a whole number')
      }
      if (raw < type.minimum || raw > type.maximum) {
        throw refuse('SP_INPUT_VALUE', path, `must be from ${type.minimum} to ${type.maximum}`)
      }
      // Turns -0, which JSON can spell, into 0.
      return raw + 0
    case 'decimal':
      return readDecimal(type, raw, path)
    case 'boolean':
      if (typeof raw !== 'boolean') throw refuse('SP_INPUT_TYPE', path, 'must be true or false')
      return raw
    case 'set':
      return readSet(type, raw, path, options)
    default:
      return readRecord(type, raw, path, options)
  }
}

function readDecimal({ minimum, maximum, step }: DecimalType, raw: unknown, path: string): number {
  if (typeof raw !== 'number') throw refuse('SP_INPUT_TYPE', path, 'must be a number')
  const scaled = tenThousandths(raw)
  if (scaled === undefined) {
    throw refuse('SP_INPUT_VALUE', path, 'must be below 10^11 and have at most four decimals')
  }
  if (raw < minimum || raw > maximum) {
    throw refuse('SP_INPUT_VALUE', path, `must be from ${minimum} to ${maximum}`)
  }
  if (step !== undefined && scaled % (tenThousandths(step) ?? 0) !== 0) {
    throw refuse('SP_INPUT_VALUE', path, `must be a multiple of ${step}`)
  }
  return raw + 0
}

function readSet(
  type: Extract<InputType, { type: 'set' }>,
  raw: unknown,
  path: string,
  options: ReadInputOptions,
): CedarJson[] {
  if (!Array.isArray(raw)) throw refuse('SP_INPUT_TYPE', path, 'must be an array')
  if (raw.length > type.maxItems) {
    throw refuse('SP_INPUT_VALUE', path, `has more than ${type.maxItems} items`)
  }
  if (type.minItems !== undefined && raw.length < type.minItems) {
    throw refuse('SP_INPUT_VALUE', path, `has fewer than ${type.minItems} items`)
  }
  const items = raw.map((item: unknown, i) => readValue(type.items, item, `${path}[${i}]`, options))
  // Policies see a set; an item sent twice would act twice and be judged once.
  if (new Set(items.map((item) => JSON.stringify(item))).size !== items.length) {
    throw refuse('SP_INPUT_VALUE', path, 'names the same item twice')
  }
  return items
}

function readString(
  type: Extract<InputType, { type: 'string' }>,
  raw: unknown,
  path: string,
  options: ReadInputOptions,
): string {
  if (typeof raw !== 'string') throw refuse('SP_INPUT_TYPE', path, 'must be a text')
  if (!raw.isWellFormed()) throw refuse('SP_INPUT_VALUE', path, 'has an unpaired surrogate')
  let text = raw
  if (type.tokenOf !== undefined && options.restore && raw.startsWith(TOKEN_PREFIX)) {
    if (raw.length > MAX_TOKEN) throw refuse('SP_INPUT_VALUE', path, 'is too long')
    text = options.restore(type.tokenOf, raw)
    if (!text.isWellFormed()) throw refuse('SP_INPUT_VALUE', path, 'has an unpaired surrogate')
  }
  if (tooLong(text, type.maxLength)) {
    throw refuse('SP_INPUT_VALUE', path, `has more than ${type.maxLength} characters`)
  }
  if (type.enum && !type.enum.includes(text)) {
    throw refuse('SP_INPUT_VALUE', path, 'is not one of the values declared')
  }
  if (type.pattern !== undefined && !matchesPattern(type.pattern, text)) {
    throw refuse('SP_INPUT_VALUE', path, 'does not have the form declared')
  }
  return text
}

/** Counts code points, as JSON Schema does. */
function tooLong(text: string, maxLength: number): boolean {
  if (text.length <= maxLength) return false
  return text.length > 2 * maxLength || Array.from(text).length > maxLength
}
