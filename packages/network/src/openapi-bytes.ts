import { isObject } from './input-type.ts'
import { isFileSchema, isTypePattern, MAX_FILE } from './openapi-files.ts'
import { isLinesType } from './openapi-lines.ts'
import { follow, refuse } from './openapi-parts.ts'
import type { Resolve } from './openapi-parts.ts'
import { isReadType } from './openapi-raw.ts'
import { Halt } from './problem.ts'
import type { BytesAnswer } from './types.ts'

type Part = Readonly<Record<string, unknown>>

/**
 * What the successful answers of an operation are where they are nothing but bytes: OpenAPI 3.0, section 4.7.14.2; 3.1, section 4.8.14.1.
 *
 * @returns undefined where anything of them is read, or of a type that nobody names
 * @throws Halt `SP_NETWORK_OPENAPI` for bytes of several sizes, or of one that is no number
 */
export function bytesOf(operation: Part, resolve: Resolve): BytesAnswer | undefined {
  const media = mediaOf(operation, resolve)
  const types = media.map(([type]) => type.trim().toLowerCase())
  const schemas = media.map(([, one]) => schemaOf(one, resolve))
  if (types.length === 0 || !types.every(isNamed) || schemas.includes(undefined)) return undefined
  const [maxBytes, ...others] = new Set(schemas.map((schema) => schema?.['maxLength'] ?? MAX_FILE))
  if (others.length > 0) {
    throw refuse(
      'the media types of the answer state several sizes',
      'state the same `maxLength` for each',
    )
  }
  if (typeof maxBytes !== 'number' || !Number.isSafeInteger(maxBytes) || maxBytes < 0) {
    throw refuse('`maxLength` of the answer is no number of bytes', 'correct it')
  }
  return { types: [...new Set(types)].toSorted(), maxBytes }
}

/** Of any type at all nobody could say what it is, and what is read elsewhere is not handed on unread. */
const isNamed = (type: string): boolean =>
  isTypePattern(type) &&
  !isReadType(type) &&
  !isLinesType(type) &&
  type !== 'text/event-stream' &&
  type !== 'text/*' &&
  type !== 'application/*'

/** The media types of all its successful answers; `default` is one of these where no other is described. */
function mediaOf(operation: Part, resolve: Resolve): (readonly [string, unknown])[] {
  const { responses } = operation
  if (!isObject(responses)) return []
  const statuses = Object.keys(responses).filter((status) => /^2(?:\d\d|XX)$/.test(status))
  return (statuses.length > 0 ? statuses : ['default']).flatMap((status) => {
    const content = partOf(responses[status], resolve)?.['content']
    return isObject(content) ? Object.entries(content) : []
  })
}

/** @returns undefined for what is more than bytes */
function schemaOf(media: unknown, resolve: Resolve): Part | undefined {
  if (!isObject(media)) return undefined
  // OpenAPI 3.1: an answer of bytes needs no schema.
  const schema = media['schema'] === undefined ? {} : partOf(media['schema'], resolve)
  return schema && (Object.keys(schema).length === 0 || isFileSchema(schema)) ? schema : undefined
}

/** What is said of answers so that nobody understands it declares none. */
function partOf(given: unknown, resolve: Resolve): Part | undefined {
  try {
    return follow(given, resolve)
  } catch (error) {
    if (error instanceof Halt) return undefined
    throw error
  }
}
