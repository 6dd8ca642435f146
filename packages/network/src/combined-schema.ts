import { Halt } from './problem.ts'

type JsonObject = Readonly<Record<string, unknown>>

const MAX_PARTS = 32
const MAX_HOPS = 8

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function refuse(where: string, what: string): Halt {
  return new Halt(
    'SP_NETWORK_INPUT',
    `${what} in \`allOf\` of ${where}`,
    'inputs are typed so that policies can be checked against them and the gateway enforces exactly what they say',
    'write the combined schema out',
  )
}

/**
 * A schema with its `allOf` worked in, as far as one schema can say the same: objects with the members of all their parts, and
 * keywords of several parts that do not contradict each other.
 *
 * @param spend called once for each part; throws where there are too many
 * @throws Halt `SP_NETWORK_INPUT` where it cannot
 */
export function flattened(
  schema: JsonObject,
  where: string,
  resolve: (ref: string) => unknown,
  spend: () => void,
  depth = 0,
): JsonObject {
  spend()
  const { allOf, ...own } = schema
  if (allOf === undefined) return schema
  if (!Array.isArray(allOf) || allOf.length > MAX_PARTS || depth > MAX_HOPS) {
    throw refuse(where, `not a list of at most ${MAX_PARTS} parts, or one inside itself,`)
  }
  const parts = allOf.map((part: unknown) =>
    flattened(dereferenced(part, where, resolve), where, resolve, spend, depth + 1),
  )
  let merged: Record<string, unknown> = {}
  for (const part of [...parts, own]) merged = both(merged, part, where)
  return merged
}

function dereferenced(
  given: unknown,
  where: string,
  resolve: (ref: string) => unknown,
): JsonObject {
  let value = given
  for (let hops = 0; hops < MAX_HOPS; hops++) {
    if (!isObject(value)) throw refuse(where, 'a part that is no schema')
    const ref = value['$ref']
    if (typeof ref !== 'string') return value
    value = resolve(ref)
  }
  throw refuse(where, 'a `$ref` that goes in circles')
}

/** Words about a schema, of which the outermost are kept. */
const SAID = new Set(['title', 'description', 'example', 'examples', 'default', 'externalDocs'])

function both(a: JsonObject, b: JsonObject, where: string): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...a }
  for (const [key, value] of Object.entries(b)) {
    const before = merged[key]
    if (before === undefined || SAID.has(key)) merged[key] = value
    else if (key === 'properties' && isObject(before) && isObject(value)) {
      const members: Record<string, unknown> = { ...before }
      for (const [name, member] of Object.entries(value)) {
        // Both hold: the parts of the member, in turn, become one schema when it is read.
        members[name] = Object.hasOwn(members, name) ? { allOf: [members[name], member] } : member
      }
      merged[key] = members
    } else if (key === 'required' && Array.isArray(before) && Array.isArray(value)) {
      merged[key] = [...new Set<unknown>([...before, ...value])]
    } else if (key === 'enum' && Array.isArray(before) && Array.isArray(value)) {
      const common = before.filter((item: unknown) => value.includes(item))
      if (common.length === 0) throw refuse(where, 'values that exclude each other')
      merged[key] = common
    } else if (key === 'additionalProperties') {
      // Undeclared members are refused in any case; of the parts together, not of each.
      merged[key] = before === false && value === false ? false : before && value
    } else if (JSON.stringify(before) !== JSON.stringify(value)) {
      throw refuse(where, `two values of \`${key.slice(0, 40)}\``)
    }
  }
  return merged
}

/**
 * A schema that null does not fit any more. Inputs have no null: whoever means nothing leaves the member out, and what is
 * refused here the upstream would have taken, never the other way round.
 */
export function withoutNull(schema: JsonObject): JsonObject {
  const { nullable: _null, type, ...rest } = schema
  const types = Array.isArray(type) ? type.filter((one) => one !== 'null') : undefined
  const one = types?.length === 1 ? types[0] : (types ?? type)
  for (const key of ['oneOf', 'anyOf'] as const) {
    const of = rest[key]
    if (!Array.isArray(of)) continue
    const others = of.filter((part) => !(isObject(part) && part['type'] === 'null'))
    const { [key]: _parts, ...others2 } = rest
    // One that is left says all; beside other keywords it would have to be worked in.
    if (
      others.length === 1 &&
      isObject(others[0]) &&
      Object.keys(others2).every((k) => SAID.has(k))
    ) {
      return others[0]
    }
    if (others.length !== of.length) return { ...rest, [key]: others }
  }
  if (one === type && !('nullable' in schema)) return schema
  return one === undefined ? rest : { ...rest, type: one }
}
