import { fromTenThousandths, MAX_DECIMAL, tenThousandths } from '@sallyport/base'
import { count, only, refuse } from './input-keywords.ts'
import type { JsonObject } from './input-keywords.ts'
import type { DecimalType, InputType } from './types.ts'

const DEFAULT_MAX_LENGTH = 4096
const MAX_MAX_LENGTH = 65_536
const MAX_PATTERN = 256

/** Texts, with what holds them. */
export function stringType(schema: JsonObject, where: string): InputType {
  const handled = ['type', 'maxLength', 'minLength', 'pattern', 'enum', 'const']
  only(schema, handled, where)
  const maxLength = count(schema['maxLength'], DEFAULT_MAX_LENGTH, MAX_MAX_LENGTH, where)
  const listed: unknown = schema['const'] === undefined ? schema['enum'] : [schema['const']]
  // Inputs have no null, whether or not it is among the choices.
  const values: unknown = Array.isArray(listed) ? listed.filter((one) => one !== null) : listed
  if (values !== undefined && !isStringList(values)) {
    throw refuse(`the values of ${where} are not all strings`, 'list strings only')
  }
  const pattern = patternOf(schema, where)
  const tokenOf = schema['x-sallyport-token-of']
  if (tokenOf !== undefined && typeof tokenOf !== 'string') {
    throw refuse(`\`x-sallyport-token-of\` of ${where} is not a string`, 'write `DATASET.FIELD`')
  }
  return {
    type: 'string',
    maxLength,
    ...(pattern !== undefined && { pattern }),
    ...(values !== undefined && { enum: values }),
    ...(tokenOf !== undefined && { tokenOf }),
  }
}

function isStringList(values: unknown): values is readonly string[] {
  return Array.isArray(values) && values.length > 0 && values.every((v) => typeof v === 'string')
}

/** `minLength` has no place of its own in a typed input: it travels as part of the pattern. */
function patternOf(schema: JsonObject, where: string): string | undefined {
  const pattern: unknown = schema['pattern']
  const min = count(schema['minLength'], 0, MAX_MAX_LENGTH, where)
  if (pattern !== undefined) {
    if (typeof pattern !== 'string' || pattern.length > MAX_PATTERN || !compiles(pattern)) {
      throw refuse(
        `the pattern of ${where} is no regular expression of at most ${MAX_PATTERN} characters`,
        'correct it; it is read as ECMAScript with the `u` flag',
      )
    }
  }
  if (min === 0) return pattern
  const long = `[\\s\\S]{${min},}$`
  return pattern === undefined ? `^${long}` : `^(?=${long})[\\s\\S]*?(?:${pattern})`
}

function compiles(pattern: string): boolean {
  try {
    return new RegExp(pattern, 'u') instanceof RegExp
  } catch {
    return false
  }
}

/** Whole numbers, with their bounds. */
export function longType(schema: JsonObject, where: string): InputType {
  // Of one, every whole number is a multiple.
  only(schema, ['type', ...BOUNDS, ...(schema['multipleOf'] === 1 ? ['multipleOf'] : [])], where)
  const int32 = schema['format'] === 'int32'
  const bound = (name: string, exclusive: string, fallback: number, step: 1 | -1): number => {
    const plain = schema[name] ?? fallback
    const strict = schema[exclusive]
    if (typeof plain !== 'number' || !Number.isSafeInteger(plain)) {
      throw refuse(`\`${name}\` of ${where} is not a whole number below 2^53`, 'correct it')
    }
    // OpenAPI 3.0 has a flag here, JSON Schema 2020-12 (OpenAPI 3.1) the bound itself.
    if (strict === undefined || strict === false) return plain
    if (strict === true) return plain + step
    if (typeof strict !== 'number' || !Number.isSafeInteger(strict + step)) {
      throw refuse(`\`${exclusive}\` of ${where} is not a whole number below 2^53`, 'correct it')
    }
    return step === 1 ? Math.max(plain, strict + 1) : Math.min(plain, strict - 1)
  }
  const minimum = bound(
    'minimum',
    'exclusiveMinimum',
    int32 ? -(2 ** 31) : Number.MIN_SAFE_INTEGER,
    1,
  )
  const maximum = bound(
    'maximum',
    'exclusiveMaximum',
    int32 ? 2 ** 31 - 1 : Number.MAX_SAFE_INTEGER,
    -1,
  )
  if (minimum > maximum) throw refuse(`no number satisfies the bounds of ${where}`, 'correct them')
  return { type: 'long', minimum, maximum }
}

/** Numbers of at most four decimals, with their bounds. */
export function decimalType(schema: JsonObject, where: string): DecimalType {
  only(schema, ['type', ...BOUNDS, 'multipleOf'], where)
  const [least, most] = [
    scaledBound(schema, 'minimum', 'exclusiveMinimum', 1, where),
    scaledBound(schema, 'maximum', 'exclusiveMaximum', -1, where),
  ]
  if (least > most) throw refuse(`no number satisfies the bounds of ${where}`, 'correct them')
  const bounds = { minimum: fromTenThousandths(least), maximum: fromTenThousandths(most) }
  const step: unknown = schema['multipleOf']
  if (step === undefined) return { type: 'decimal', ...bounds }
  if (typeof step !== 'number' || !((tenThousandths(step) ?? 0) > 0)) {
    throw refuse(
      `\`multipleOf\` of ${where} is no number above 0 with at most four decimals`,
      'policies compare decimals of four places: take it out, or declare a `string` with a pattern, as the system takes it',
    )
  }
  return { type: 'decimal', ...bounds, step }
}

const BOUNDS = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'] as const

/** In ten-thousandths; none, and one that no input can reach, is the last that there is. */
function scaledBound(
  schema: JsonObject,
  name: (typeof BOUNDS)[number],
  exclusive: (typeof BOUNDS)[number],
  step: 1 | -1,
  where: string,
): number {
  const strict: unknown = schema[exclusive]
  const scaled = (word: string, given: unknown): number => {
    if (typeof given === 'number' && Math.abs(given) > MAX_DECIMAL && given * step < 0) {
      return -step * MAX_SCALED
    }
    const value = typeof given === 'number' ? tenThousandths(given) : undefined
    if (value !== undefined) return value
    throw refuse(
      `\`${word}\` of ${where} is no number below 10^11 with at most four decimals`,
      'correct it',
    )
  }
  const plain = schema[name] === undefined ? -step * MAX_SCALED : scaled(name, schema[name])
  // OpenAPI 3.0 has a flag here, JSON Schema 2020-12 (OpenAPI 3.1) the bound itself. Between two neighbours there is no input.
  if (strict === undefined || strict === false) return plain
  if (strict === true) return plain + step
  const other = scaled(exclusive, strict) + step
  return step === 1 ? Math.max(plain, other) : Math.min(plain, other)
}

const MAX_SCALED = Number(tenThousandths(MAX_DECIMAL))
