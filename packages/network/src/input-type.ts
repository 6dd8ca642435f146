import { flattened, withoutNull } from './combined-schema.ts'
import { demandNoCount, itemCounts, only, refuse } from './input-keywords.ts'
import type { JsonObject } from './input-keywords.ts'
import { decimalType, longType, stringType } from './scalar-type.ts'
import type { InputMember, InputSchema, InputType } from './types.ts'

/** Structured remittance information of ISO 20022, as Open Banking describes it, nests eleven deep. */
const MAX_DEPTH = 12
const MAX_MEMBERS = 400
const MAX_VARIANTS = 16
const MAX_STEPS = 5000
const MAX_REF_HOPS = 8

/** Member names that Cedar records can hold and no JSON reader treats as special. */
const MEMBER_NAME = /^(?!__)[A-Za-z_][A-Za-z0-9_.-]{0,62}$/

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
      case 'number':
        // What JSON Schema knows as an integer, in the words of another generator.
        return schema['multipleOf'] === 1 ? longType(schema, where) : decimalType(schema, where)
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
    const counts = ['minProperties', 'maxProperties']
    only(schema, ['type', 'properties', 'required', 'additionalProperties', ...counts], where)
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
    demandNoCount(schema, members, where)
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
