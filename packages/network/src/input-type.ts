import { flattened, withoutNull } from './combined-schema.ts'
import { Halt } from './problem.ts'
import type { InputMember, InputSchema, InputType } from './types.ts'

/** Structured remittance information of ISO 20022, as Open Banking describes it, nests eleven deep. */
const MAX_DEPTH = 12
const MAX_MEMBERS = 400
const MAX_VARIANTS = 16
const MAX_STEPS = 5000
const MAX_REF_HOPS = 8
const DEFAULT_MAX_LENGTH = 4096
const MAX_MAX_LENGTH = 65_536
const DEFAULT_MAX_ITEMS = 1000
const MAX_PATTERN = 256

/** Member names that Cedar records can hold and no JSON reader treats as special. */
const MEMBER_NAME = /^(?!__)[A-Za-z_][A-Za-z0-9_.-]{0,62}$/

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

type JsonObject = Readonly<Record<string, unknown>>

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * Maps JSON Schema onto the typed input that Cedar can hold without loss. A keyword that cannot be carried over is
 * an error, never silently dropped: what the gateway would not enforce must not look enforced.
 *
 * @param resolve looks up a local `$ref`
 * @param special gives the type of a schema that is not to be read as the others; undefined for the others
 * @throws Halt `SP_NETWORK_INPUT`
 */
export function inputTypeFrom(
  schema: unknown,
  where: string,
  resolve: (ref: string) => unknown,
  special: Special = () => undefined,
): InputType {
  return new Importer(resolve, special).type(schema, where, 0)
}

type Special = (schema: JsonObject, where: string) => InputType | undefined

/** As `inputTypeFrom`, for what must be an object. */
export function inputRecordFrom(
  schema: unknown,
  where: string,
  resolve: (ref: string) => unknown,
  special?: Special,
): InputSchema {
  const type = inputTypeFrom(schema, where, resolve, special)
  if (type.type !== 'record') {
    throw refuse(`${where} must be an object`, 'describe the input as an object with properties')
  }
  return type
}

/** Refuses a member name that the typed input cannot carry. */
export function checkMemberName(name: string, where: string): void {
  if (!MEMBER_NAME.test(name)) {
    throw refuse(
      `the member name \`${name.slice(0, 80)}\` of ${where} cannot be used`,
      'use letters, digits, `_`, `.` and `-`, at most 63, not starting with `__`',
    )
  }
}

function refuse(message: string, fix: string): Halt {
  return new Halt(
    'SP_NETWORK_INPUT',
    message,
    'inputs are typed so that policies can be checked against them and the gateway enforces exactly what they say',
    fix,
  )
}

class Importer {
  readonly #resolve: (ref: string) => unknown
  readonly #special: Special
  #members = 0
  #steps = 0

  constructor(resolve: (ref: string) => unknown, special: Special) {
    this.#resolve = resolve
    this.#special = special
  }

  type(given: unknown, where: string, depth: number): InputType {
    if (depth > MAX_DEPTH) {
      throw refuse(`${where} nests deeper than ${MAX_DEPTH}`, 'flatten the input')
    }
    this.#spend()
    const whole = flattened(this.#deref(given, where), where, this.#resolve, () => {
      this.#spend()
    })
    // What is left of a choice between something and null may be a reference itself.
    const schema = this.#deref(withoutNull(whole), where)
    const special = this.#special(schema, where)
    if (special) return special
    for (const fits of ['oneOf', 'anyOf'] as const) {
      if (schema[fits] !== undefined) return this.#union(schema, fits, where, depth)
    }
    // What is no object at all the upstream might take, and policies could not read.
    const type = schema['type'] ?? (isObject(schema['properties']) ? 'object' : undefined)
    switch (type) {
      case 'string':
        return stringType(schema, where)
      case 'integer':
        return longType(schema, where)
      case 'boolean':
        only(schema, ['type'], where)
        return { type: 'boolean' }
      case 'array':
        // That no item stands twice holds of every list here.
        only(schema, ['type', 'items', 'minItems', 'maxItems', 'uniqueItems'], where)
        return {
          type: 'set',
          items: this.type(schema['items'], `${where}[]`, depth + 1),
          ...itemCounts(schema, where),
        }
      case 'object':
        return this.#record(schema, where, depth)
      case 'number':
        throw refuse(
          `${where} is a \`number\`, which Cedar cannot hold`,
          'declare an `integer`; amounts are whole minor units with a currency',
        )
      default:
        throw refuse(
          `${where} has no single type that Cedar can hold`,
          'give `type` as one of string, integer, boolean, array, object; make members optional instead of null',
        )
    }
  }

  /** Choices inside choices would multiply. */
  #spend(): void {
    if (++this.#steps > MAX_STEPS) {
      throw refuse('the schemas of the operation refer to each other too often', 'simplify them')
    }
  }

  /** One of several objects: their members together, of which an input has those of one. */
  #union(schema: JsonObject, fits: 'oneOf' | 'anyOf', where: string, depth: number): InputType {
    only(schema, [fits, 'discriminator', 'type'], where)
    const given: unknown = schema[fits]
    if (!Array.isArray(given) || given.length === 0 || given.length > MAX_VARIANTS) {
      throw refuse(`\`${fits}\` of ${where} is no list of 1 to ${MAX_VARIANTS}`, 'correct it')
    }
    const of = given.map((one: unknown, i) => {
      const variant = this.type(pinned(schema, one), `${where}(${i})`, depth + 1)
      if (variant.type !== 'record' || variant.variants !== undefined) {
        throw refuse(
          `${where} is one of several things that are not all plain objects`,
          'a policy reads one type; describe the operation once for each of them',
        )
      }
      return variant
    })
    const members: Record<string, InputMember> = {}
    for (const [name, member] of of.flatMap((one) => Object.entries(one.members))) {
      const before = members[name]
      const merged = before === undefined ? member.schema : joined(before.schema, member.schema)
      if (merged === undefined) {
        throw refuse(`\`${name}\` of ${where} has two types`, 'give it one, whatever the variant')
      }
      const required = of.every((one) => one.members[name]?.required === true)
      members[name] = { schema: merged, required }
    }
    return { type: 'record', members, variants: { fits: fits === 'oneOf' ? 'one' : 'any', of } }
  }

  #deref(given: unknown, where: string): JsonObject {
    let schema = given
    for (let hops = 0; ; hops++) {
      if (!isObject(schema))
        throw refuse(`${where} has no schema`, 'describe it with a JSON Schema')
      const ref = schema['$ref']
      if (ref === undefined) return schema
      if (typeof ref !== 'string' || hops >= MAX_REF_HOPS) {
        throw refuse(`the \`$ref\` at ${where} goes in circles`, 'point it at a schema')
      }
      only(schema, ['$ref'], where)
      schema = this.#resolve(ref)
    }
  }

  #record(schema: JsonObject, where: string, depth: number): InputSchema {
    only(schema, ['type', 'properties', 'required', 'additionalProperties'], where)
    // Whatever the upstream would take beside: undeclared members are refused here.
    if (typeof (schema['additionalProperties'] ?? false) !== 'boolean') {
      throw refuse(
        `${where} accepts members that it does not name`,
        'set `additionalProperties: false`; undeclared members are refused in any case',
      )
    }
    const properties = schema['properties'] ?? {}
    const required: unknown = schema['required'] ?? []
    if (!isObject(properties) || !Array.isArray(required)) {
      throw refuse(`${where} is malformed`, '`properties` is a mapping and `required` a list')
    }
    const members: Record<string, InputMember> = {}
    for (const [name, member] of Object.entries(properties)) {
      checkMemberName(name, where)
      if (++this.#members > MAX_MEMBERS) {
        throw refuse(`${where} has more than ${MAX_MEMBERS} members in all`, 'narrow the operation')
      }
      members[name] = {
        schema: this.type(member, where === '' ? name : `${where}.${name}`, depth + 1),
        required: required.includes(name),
      }
    }
    const missing = required.find((name) => typeof name !== 'string' || !(name in members))
    if (missing !== undefined) {
      throw refuse(
        `${where} requires \`${String(missing).slice(0, 80)}\`, which it does not describe`,
        'add it to `properties`',
      )
    }
    return { type: 'record', members }
  }
}

/** Variants may tell themselves apart by the values of one text; anything else has to be the same in all. */
function joined(a: InputType, b: InputType): InputType | undefined {
  if (JSON.stringify(a) === JSON.stringify(b)) return a
  if (a.type !== 'string' || b.type !== 'string' || !a.enum || !b.enum) return undefined
  const { enum: one, ...rest } = a
  const { enum: two, ...other } = b
  if (JSON.stringify(rest) !== JSON.stringify(other)) return undefined
  return { ...a, enum: [...new Set([...one, ...two])] }
}

/** A variant with the value by which a `discriminator` knows it (OpenAPI 3.1, section 4.8.25). */
function pinned(schema: JsonObject, one: unknown): unknown {
  const { discriminator } = schema
  if (!isObject(discriminator) || !isObject(one)) return one
  const name = discriminator['propertyName']
  const ref = one['$ref']
  if (typeof name !== 'string' || typeof ref !== 'string') return one
  const mapping = isObject(discriminator['mapping']) ? discriminator['mapping'] : {}
  const short = ref.slice(ref.lastIndexOf('/') + 1)
  const values = Object.keys(mapping).filter(
    (value) => mapping[value] === ref || mapping[value] === short,
  )
  const pin = { type: 'string', enum: values.length > 0 ? values : [short] }
  return { allOf: [one, { type: 'object', required: [name], properties: { [name]: pin } }] }
}

/** Refuses every keyword that is neither handled nor a mere annotation. */
function only(schema: JsonObject, handled: readonly string[], where: string): void {
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

function count(given: unknown, fallback: number, cap: number, where: string): number {
  if (given === undefined) return fallback
  if (typeof given !== 'number' || !Number.isInteger(given) || given < 0 || given > cap) {
    throw refuse(`a bound of ${where} is not a whole number up to ${cap}`, 'correct the bound')
  }
  return given
}

function itemCounts(
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

function stringType(schema: JsonObject, where: string): InputType {
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

function longType(schema: JsonObject, where: string): InputType {
  const bounds = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum']
  only(schema, ['type', ...bounds], where)
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
