import { isObject } from './input-type.ts'
import { isFileSchema, MAX_FILE, SHA256, typesPattern } from './openapi-files.ts'
import { follow, refuse } from './openapi-parts.ts'
import type { Resolve } from './openapi-parts.ts'
import type { HttpBody, InputMember, InputSchema, InputType } from './types.ts'

type Part = Readonly<Record<string, unknown>>

interface RawBody {
  readonly members: Readonly<Record<string, InputMember>>
  readonly body: HttpBody
}

/** Types whose bodies have members, which policies would not see: these are read, or not taken at all. */
const READ = /^(?:multipart\/.*|application\/x-www-form-urlencoded|[^/]+\/(?:[^/]+\+)?json)$/

export const isReadType = (type: string): boolean => READ.test(type)

/**
 * A request body that is nothing but bytes: OpenAPI 3.0, section 4.7.14.2; 3.1, section 4.8.14.1. Policies see its type, its size and
 * its SHA-256 where the caller states it.
 *
 * @param content of the request body, by media type
 * @throws Halt `SP_NETWORK_OPENAPI`
 */
export function rawOf(content: Part, resolve: Resolve): RawBody {
  const types = Object.keys(content).map((type) => type.trim().toLowerCase())
  const bounds = Object.values(content).map((media) => boundsOf(media, resolve))
  const [first] = bounds
  if (first === undefined || types.some(isReadType) || bounds.includes(undefined)) {
    throw refuse(
      'the request body cannot be sent as `application/json`, as a form, as `multipart/form-data` or as bytes',
      'describe one of these where the system takes it; bytes are `{ type: string, format: binary }`, and no JSON',
    )
  }
  if (bounds.some((other) => other?.minimum !== first.minimum || other.maximum !== first.maximum)) {
    throw refuse(
      'the media types of the request body state several sizes',
      'state the same `minLength` and `maxLength` for each',
    )
  }
  const any = types.includes('*/*')
  const type: InputType = any
    ? { type: 'string', maxLength: 127 }
    : { type: 'string', maxLength: 127, pattern: typesPattern(types) }
  const schema: InputSchema = {
    type: 'record',
    members: {
      type: { schema: type, required: true },
      size: { schema: { type: 'long', ...first }, required: true },
      sha256: { schema: SHA256, required: false },
    },
  }
  return { members: { body: { schema, required: true } }, body: { kind: 'raw' } }
}

interface Bounds {
  readonly minimum: number
  readonly maximum: number
}

/** @returns undefined for what is more than bytes */
function boundsOf(media: unknown, resolve: Resolve): Bounds | undefined {
  if (!isObject(media)) return undefined
  // OpenAPI 3.1: a binary body needs no schema.
  const schema = media['schema'] === undefined ? {} : follow(media['schema'], resolve)
  if (Object.keys(schema).length > 0 && !isFileSchema(schema)) return undefined
  const { minLength: minimum = 0, maxLength: maximum = MAX_FILE } = schema
  if (!isSize(minimum) || !isSize(maximum) || minimum > maximum) {
    throw refuse('the bounds of the request body are no numbers of bytes', 'correct them')
  }
  return { minimum, maximum }
}

const isSize = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

/**
 * The members of a body whose digest callers have to state, because `Content-Digest` is a required header.
 *
 * @throws Halt `SP_NETWORK_OPENAPI` where the body is not bytes
 */
export function withDigest({
  members,
  body,
}: {
  readonly members: RawBody['members']
  readonly body?: HttpBody
}): RawBody['members'] {
  const schema = members['body']?.schema
  if (body?.kind !== 'raw' || schema?.type !== 'record') {
    throw refuse(
      'the required header parameter `Content-Digest` cannot be carried',
      'what is forwarded is written anew; callers can state the digest of a body of bytes alone',
    )
  }
  const sha256: InputMember = { schema: SHA256, required: true }
  return {
    body: { schema: { ...schema, members: { ...schema.members, sha256 } }, required: true },
  }
}
