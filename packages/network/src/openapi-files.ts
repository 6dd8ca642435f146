import { refuse } from './openapi-parts.ts'
import type { InputSchema, InputType } from './types.ts'

type Part = Readonly<Record<string, unknown>>

/** Bytes, where a description states no bound; what a gateway takes is bounded by its settings in any case. */
export const MAX_FILE: number = 2 ** 31

/** A text that is no text: OpenAPI 3.0, section 4.7.14.2; 3.1, section 4.8.15. */
export function isFileSchema(schema: Part): boolean {
  const { type, format, contentMediaType, contentEncoding } = schema
  return (
    (type === 'string' && format === 'binary') ||
    ((type === undefined || type === 'string') &&
      typeof contentMediaType === 'string' &&
      contentEncoding === undefined)
  )
}

/**
 * What policies learn of a file: how it is called, what it is said to be, how long it is, and its SHA-256. Its bytes are
 * nobody's input.
 */
export function fileTypeOf({ maxLength }: Part, where: string): InputSchema {
  const maximum = maxLength ?? MAX_FILE
  if (typeof maximum !== 'number' || !Number.isSafeInteger(maximum) || maximum < 0) {
    throw refuse(`\`maxLength\` of ${where} is no number of bytes`, 'correct it')
  }
  return {
    type: 'record',
    members: {
      name: { schema: { type: 'string', maxLength: 255 }, required: true },
      type: { schema: { type: 'string', maxLength: 127 }, required: true },
      size: { schema: { type: 'long', minimum: 0, maximum }, required: true },
      sha256: { schema: SHA256, required: true },
    },
  }
}

/** In hexadecimal. */
export const SHA256: InputType = { type: 'string', maxLength: 64, pattern: '^[0-9a-f]{64}$' }

/** Whether this is a media type without parameters, or a pattern such as `image/*`. */
export const isTypePattern = (type: string): boolean =>
  /^[a-z0-9]+\/(?:[a-z0-9.+-]+|\*)$/.test(type)

/**
 * A pattern of media types as descriptions list them.
 *
 * @param types lower case, e.g. `application/pdf` or `image/*`
 * @throws Halt `SP_NETWORK_OPENAPI` for what is none
 */
export function typesPattern(types: readonly string[]): string {
  const malformed = types.find((type) => !isTypePattern(type))
  if (malformed !== undefined) {
    throw refuse(
      `the type \`${malformed.slice(0, 120)}\` is malformed`,
      'write it as `type/subtype`',
    )
  }
  const each = types.map((type) => type.replaceAll(/[.+]/g, '\\$&').replace('*', '[a-z0-9.+-]+'))
  return `^(?:${each.join('|')})$`
}
