import { SallyportError } from '@sallyport/base'

/** The part of JSON Schema 2020-12 that this API describes itself with, and checks what it is sent by. */
export type Schema =
  | {
      readonly type: 'string'
      readonly maxLength: number
      readonly minLength?: number
      readonly pattern?: string
      readonly enum?: readonly string[]
      readonly description?: string
    }
  | { readonly type: 'integer'; readonly minimum: number; readonly maximum: number }
  | { readonly type: 'number' }
  | { readonly type: 'boolean' }
  | { readonly type: 'array'; readonly items: Schema }
  | ObjectSchema
  | OpenSchema

export interface ObjectSchema {
  readonly type: 'object'
  readonly properties: Readonly<Record<string, Schema>>
  readonly required: readonly string[]
  readonly additionalProperties: boolean
}

/** Anything: what others own and check themselves. */
export interface OpenSchema {
  readonly description: string
  readonly type?: never
}

export const text = (maxLength: number, pattern?: string): Schema => ({
  type: 'string',
  maxLength,
  minLength: 1,
  ...(pattern === undefined ? {} : { pattern }),
})
export const choice = (...values: readonly string[]): Schema => ({
  type: 'string',
  maxLength: Math.max(...values.map((value) => value.length)),
  enum: values,
})
export const time: Schema = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER }
export const any = (description: string): OpenSchema => ({ description })
export const listOf = (items: Schema): Schema => ({ type: 'array', items })

/** Members whose name ends in `?` may be absent; others not named here are refused. */
export function object(members: Readonly<Record<string, Schema>>): ObjectSchema {
  return build(members, false)
}

/** The same, but tolerant of members of later versions: for what browsers and this server itself send. */
export function openObject(members: Readonly<Record<string, Schema>>): ObjectSchema {
  return build(members, true)
}

function build(
  members: Readonly<Record<string, Schema>>,
  additionalProperties: boolean,
): ObjectSchema {
  const properties: Record<string, Schema> = {}
  const required: string[] = []
  for (const [key, schema] of Object.entries(members)) {
    const name = key.endsWith('?') ? key.slice(0, -1) : key
    properties[name] = schema
    if (name === key) required.push(name)
  }
  return { type: 'object', properties, required, additionalProperties }
}

/** @throws SallyportError `SP_API_INPUT` naming the place */
export function check(schema: Schema, value: unknown, path: string): void {
  switch (schema.type) {
    case undefined:
      return
    case 'string':
      return checkString(schema, value, path)
    case 'integer':
      if (
        !Number.isSafeInteger(value) ||
        Number(value) < schema.minimum ||
        Number(value) > schema.maximum
      ) {
        throw mismatch(path, `an integer from ${schema.minimum} to ${schema.maximum}`)
      }
      return
    case 'number':
    case 'boolean':
      if (typeof value !== schema.type) throw mismatch(path, `a ${schema.type}`)
      return
    case 'array':
      if (!Array.isArray(value)) throw mismatch(path, 'an array')
      for (const [index, item] of value.entries()) check(schema.items, item, `${path}[${index}]`)
      return
    case 'object':
      return checkObject(schema, value, path)
  }
}

function checkString(
  schema: Extract<Schema, { type: 'string' }>,
  value: unknown,
  path: string,
): void {
  if (typeof value !== 'string') throw mismatch(path, 'a string')
  if (value.length > schema.maxLength || value.length < (schema.minLength ?? 0)) {
    throw mismatch(path, `a string of ${schema.minLength ?? 0} to ${schema.maxLength} characters`)
  }
  if (schema.enum && !schema.enum.includes(value)) {
    throw mismatch(path, `one of ${schema.enum.map((item) => `\`${item}\``).join(', ')}`)
  }
  if (schema.pattern !== undefined && !new RegExp(schema.pattern, 'v').test(value)) {
    throw mismatch(path, `a string like \`${schema.pattern}\``)
  }
}

function checkObject(schema: ObjectSchema, value: unknown, path: string): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw mismatch(path, 'an object')
  }
  for (const name of schema.required) {
    if (!Object.hasOwn(value, name)) throw mismatch(`${path}.${name}`, 'present')
  }
  for (const [name, member] of Object.entries(value)) {
    const known = Object.hasOwn(schema.properties, name) ? schema.properties[name] : undefined
    if (known) check(known, member, `${path}.${name}`)
    else if (!schema.additionalProperties)
      throw mismatch(`${path}.${name}`, 'absent: it is unknown')
  }
}

function mismatch(path: string, wanted: string): SallyportError {
  return new SallyportError('SP_API_INPUT', `\`${path}\` must be ${wanted}`)
}
