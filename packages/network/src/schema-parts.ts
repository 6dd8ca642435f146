/** What the JSON Schemas of the declaration are put together from. */
export const NAME = '^[a-z][a-z0-9-]{0,62}$'

/** A caller: an agent, or one of another trust domain as `NAME@TRUST-DOMAIN`. */
export const CALLER = '^[a-z][a-z0-9-]{0,62}(@[a-z0-9._-]{1,255})?$'

export type Schema = Readonly<Record<string, unknown>>

export const text = (description: string, maxLength = 1000): Schema => ({
  type: 'string',
  minLength: 1,
  maxLength,
  description,
})
export const name = (description: string): Schema => ({
  type: 'string',
  pattern: NAME,
  description,
})
export const integer = (
  description: string,
  minimum: number,
  maximum: number,
  fallback?: number,
): Schema => ({
  type: 'integer',
  minimum,
  maximum,
  description,
  ...(fallback !== undefined && { default: fallback }),
})
export const oneOf = (
  description: string,
  values: readonly string[],
  fallback?: string,
): Schema => ({
  type: 'string',
  enum: values,
  description,
  ...(fallback !== undefined && { default: fallback }),
})
export const object = (
  description: string,
  required: readonly string[],
  properties: Readonly<Record<string, Schema>>,
): Schema => ({ type: 'object', description, additionalProperties: false, required, properties })
export const named = (description: string, value: Schema, key: string = NAME): Schema => ({
  type: 'object',
  description,
  propertyNames: { pattern: key },
  additionalProperties: value,
})
export const list = (description: string, items: Schema, minItems = 0): Schema => ({
  type: 'array',
  description,
  items,
  minItems,
  // Comparing objects pair by pair takes quadratic time; flows are compared by what they claim instead.
  uniqueItems: items['type'] === 'string',
})

export const DESCRIPTION: Schema = text('One sentence for people.')
export const OWNER: Schema = text('Who answers for it.', 128)
