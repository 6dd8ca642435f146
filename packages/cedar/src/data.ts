import { SallyportError } from '@sallyport/base'
import { DATA_CONSTRUCTORS, EXTENSIONS } from './extensions.ts'
import { toLong } from './long.ts'
import type { EntityUid } from './types.ts'
import { EntityRef, EvaluationError, RecordValue, SetValue } from './value.ts'
import type { Value } from './value.ts'

/** Nesting that data may have; policies and schemas are far below it. */
const MAX_DEPTH = 64

/** Values that one request's context, or one entity's attributes or tags, may have in all: shared parts count each time. */
const MAX_VALUES = 131_072

const MAX_TYPE = 4096

/** What may not be a part of a type's name. */
const RESERVED = new Set('true false if then else in is like has __cedar'.split(' '))

const bad = (message: string): SallyportError => new SallyportError('SP_CEDAR_VALUE', message)

let left = 0

/**
 * Turns Cedar's JSON form of a value into a run-time value. Refuses what Cedar has no value for: null, floats,
 * integers beyond 64 bits, numbers that are not safe integers, lone surrogates, cycles and deep nesting.
 *
 * @throws SallyportError `SP_CEDAR_VALUE`
 */
export function valueFromJson(json: unknown): Value {
  left = MAX_VALUES
  return reading(() => value(json, 0))
}

function value(json: unknown, depth: number): Value {
  if (--left < 0) throw bad(`there are more than ${MAX_VALUES} values`)
  switch (typeof json) {
    case 'boolean':
      return json
    case 'string':
      if (!json.isWellFormed()) throw bad('a string has an unpaired surrogate')
      return json
    case 'number':
      if (!Number.isSafeInteger(json)) throw bad(`the number \`${json}\` is not an exact integer`)
      return json + 0
    case 'bigint': {
      const long = toLong(json)
      if (long === undefined) throw bad('an integer does not fit 64 bits')
      return long
    }
    case 'object':
      break
    default:
      throw bad(`a ${typeof json} is not a Cedar value`)
  }
  if (json === null) throw bad('null is not a Cedar value')
  if (depth >= MAX_DEPTH) throw bad(`a value nests deeper than ${MAX_DEPTH}`)
  if (Array.isArray(json)) {
    if (json.length > left) throw bad(`there are more than ${MAX_VALUES} values`)
    // Unlike `map`, this meets holes, which no JSON text has.
    return new SetValue(Array.from(json, (item: unknown) => value(item, depth + 1)))
  }
  requirePlain(json)
  if (Object.hasOwn(json, '__entity')) return entityFromJson(json)
  if (Object.hasOwn(json, '__extn')) return extensionFromJson(json, depth)
  if ('__expr' in json && typeof json.__expr === 'string') throw bad('`__expr` is not supported')
  return record(json, depth)
}

function requirePlain(json: object): void {
  const proto: unknown = Object.getPrototypeOf(json)
  if (proto !== Object.prototype && proto !== null) throw bad('an object is not a plain record')
}

/** Attributes or tags of an entity. @throws SallyportError `SP_CEDAR_VALUE` */
export function recordFromJson(
  json: unknown,
  isValue?: (member: unknown) => member is Value,
  base?: RecordValue,
  serial?: number,
): RecordValue {
  if (typeof json !== 'object' || json === null) throw bad('what should be a record is none')
  requirePlain(json)
  left = MAX_VALUES
  return record(json, 0, isValue, base, serial)
}

/**
 * The context of a request, in which an entity or an extension value cannot stand for the record.
 *
 * @param isValue says of a member that it is a value already
 * @param base what the context has too, where `json` has nothing else for it
 * @param serial what the record is known by, where it may be met again
 * @throws SallyportError `SP_CEDAR_VALUE`
 */
export function contextFromJson(
  json: unknown,
  isValue?: (member: unknown) => member is Value,
  base?: RecordValue,
  serial?: number,
): RecordValue {
  const context = recordFromJson(json, isValue, base, serial)
  for (const name of NO_CONTEXT) {
    if (context.fields.has(name)) throw bad(`the context is an \`${name}\`, not a record`)
  }
  return context
}

const NO_CONTEXT = ['__entity', '__extn', '__expr']

/**
 * Does what reads the input of a caller. Objects may have getters, or be proxies, that throw anything.
 *
 * @throws SallyportError of `read`'s own, or `SP_CEDAR_VALUE`
 */
export function reading<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof SallyportError) throw error
    throw unreadable(error)
  }
}

export function unreadable(cause: unknown): SallyportError {
  return new SallyportError('SP_CEDAR_VALUE', 'the request or the entities cannot be read', {
    cause,
  })
}

function record(
  json: object,
  depth: number,
  isValue?: (member: unknown) => member is Value,
  base?: RecordValue,
  serial?: number,
): RecordValue {
  const fields = new Map<string, Value>()
  // Half the time of `new Map(base.fields)`.
  if (base !== undefined) for (const [key, member] of base.fields) fields.set(key, member)
  // Own enumerable members of a plain object are all that a record has.
  for (const key of Object.keys(json)) {
    if (!key.isWellFormed()) throw bad('an attribute name has an unpaired surrogate')
    // A key of its own.
    const member = (json as Readonly<Record<string, unknown>>)[key]
    fields.set(key, isValue?.(member) === true ? member : value(member, depth + 1))
  }
  return new RecordValue(fields, serial)
}

/** @throws SallyportError `SP_CEDAR_VALUE` */
export function refFromJson(json: unknown): EntityRef {
  if (typeof json !== 'object' || json === null) throw bad('an entity reference is not an object')
  if (Object.keys(json).length !== 2) throw bad('an entity reference needs exactly `type` and `id`')
  // An object of two members; `refOf` looks at what they are.
  return refOf(json as EntityUid)
}

/** The reference of a request's principal, action or resource. @throws SallyportError `SP_CEDAR_VALUE` */
export function refOf(uid: EntityUid): EntityRef {
  const { type, id } = uid
  if (typeof type !== 'string' || typeof id !== 'string') {
    throw bad('an entity reference needs `type` and `id` as texts')
  }
  if (!id.isWellFormed()) throw bad('an entity has an unpaired surrogate')
  if (type !== lastType) requireType(type)
  return new EntityRef(type, id)
}

/** A type that was looked at: most entities in a row are of one type. */
let lastType = ''

function requireType(type: string): void {
  const valid =
    type.length <= MAX_TYPE &&
    type.split('::').every((part) => /^[A-Za-z_]\w*$/.test(part) && !RESERVED.has(part))
  if (!valid) throw bad(`\`${type.slice(0, 60)}\` is not the name of a type`)
  lastType = type
}

function entityFromJson(json: object): EntityRef {
  if (Object.keys(json).length !== 1) throw bad('an `__entity` stands beside other members')
  return refFromJson((json as { __entity: unknown }).__entity)
}

function extensionFromJson(json: object, depth: number): Value {
  // `__extn` was seen to be an own member.
  const call = (json as { __extn: unknown }).__extn
  if (Object.keys(json).length !== 1 || typeof call !== 'object' || call === null) {
    throw bad('an `__extn` is malformed')
  }
  const { fn, arg, args } = call as { fn?: unknown; arg?: unknown; args?: unknown }
  const operands: unknown[] = Array.isArray(args) ? args : [arg]
  const extension =
    typeof fn === 'string' && DATA_CONSTRUCTORS.has(fn) ? EXTENSIONS.get(fn) : undefined
  if (!extension || operands.length !== extension.arity || Object.keys(call).length !== 2) {
    throw bad('an `__extn` calls no known constructor')
  }
  const [a, b] = operands.map((operand) => value(operand, depth + 1))
  try {
    return extension.call(a ?? false, b)
  } catch (error) {
    if (error instanceof EvaluationError) throw bad(error.message)
    throw error
  }
}
