import { inputRecordFrom, isObject } from './input-type.ts'
import { fileTypeOf, isFileSchema, typesPattern } from './openapi-files.ts'
import { follow, refuse } from './openapi-parts.ts'
import type { Resolve } from './openapi-parts.ts'
import { rawOf } from './openapi-raw.ts'
import type { HttpBody, InputMember, InputSchema, InputType } from './types.ts'

type Part = Readonly<Record<string, unknown>>

const JSON_TYPE = /^application\/json(?:\s*;\s*charset="?utf-8"?)?$/i
const FORM_TYPE = /^application\/x-www-form-urlencoded(?:\s*;\s*charset="?utf-8"?)?$/i
const PARTS_TYPE = /^multipart\/form-data$/i
const WHERE = 'the request body'

type Variants = NonNullable<InputSchema['variants']>

/** What an operation takes in the body of its request. */
export interface ImportedBody {
  readonly members: Readonly<Record<string, InputMember>>
  readonly variants?: Variants
  /** Absent: JSON. */
  readonly body?: HttpBody
}

/**
 * The body of an operation: as JSON where it takes that, else as a form, else as parts, else as bytes.
 *
 * @throws Halt `SP_NETWORK_OPENAPI`, `SP_NETWORK_INPUT`
 */
export function bodyOf(operation: Part, method: string, resolve: Resolve): ImportedBody {
  if (operation['requestBody'] === undefined) return { members: {} }
  if (method === 'get' || method === 'delete') {
    throw refuse(`a ${method.toUpperCase()} request has no body`, 'use query parameters')
  }
  const given = follow(operation['requestBody'], resolve)
  const content = isObject(given['content']) ? given['content'] : {}
  const mediaOf = (form: RegExp): Part | undefined => {
    const type = Object.keys(content).find((one) => form.test(one))
    const media = type === undefined ? undefined : content[type]
    return isObject(media) ? media : undefined
  }
  const json = mediaOf(JSON_TYPE)
  const form = mediaOf(FORM_TYPE)
  const parts = mediaOf(PARTS_TYPE)
  let imported: ImportedBody
  if (json) imported = shapesOf(inputRecordFrom(json['schema'], WHERE, resolve))
  else if (form) imported = formOf(form, resolve)
  else if (parts) imported = partsOf(parts, resolve)
  else imported = rawOf(content, resolve)
  const required = Object.values(imported.members).some((member) => member.required)
  if (required && given['required'] !== true) {
    throw refuse(
      'the request body is optional but has required members',
      'set `required: true` on the request body',
    )
  }
  return imported
}

/** OpenAPI 3.1, section 4.8.15 (`encoding`): a list repeats its name unless another style is stated. */
function formOf(media: Part, resolve: Resolve): ImportedBody {
  const shapes = shapesOf(inputRecordFrom(media['schema'], WHERE, resolve))
  const { members } = shapes
  const deep: string[] = []
  for (const [name, { schema }] of Object.entries(members)) {
    const encoding = encodingOf(media, name)
    if (encoding['style'] === 'deepObject') deep.push(name)
    else if (isList(schema) ? encoding['explode'] === false : schema.type === 'record') {
      throw refuse(
        `the form’s member \`${name}\` has several readings`,
        'lists repeat their name; for names in brackets state the style `deepObject`',
      )
    } else if ((encoding['style'] ?? 'form') !== 'form') {
      throw refuse(`the style of \`${name}\` is not carried`, 'use `form` or `deepObject`')
    }
  }
  return { ...shapes, body: { kind: 'form', deep } }
}

const isList = (schema: InputType): boolean =>
  schema.type === 'set' && schema.items.type !== 'record' && schema.items.type !== 'set'

/** RFC 7578 */
function partsOf(media: Part, resolve: Resolve): ImportedBody {
  const made = new Set<InputSchema>()
  const { members, variants } = inputRecordFrom(
    media['schema'],
    WHERE,
    resolve,
    (schema, where) => {
      if (!isFileSchema(schema)) return undefined
      const file = fileTypeOf(schema, where)
      made.add(file)
      return file
    },
  )
  const files = new Set<string>()
  const found = new Set<InputSchema>()
  /** The members with what files among them may be. */
  const withFiles = (given: ImportedBody['members']): ImportedBody['members'] =>
    Object.fromEntries(
      Object.entries(given).map(([name, member]) => {
        const { schema } = member
        const file = schema.type === 'set' ? schema.items : schema
        if (file.type !== 'record' || !made.has(file)) return [name, member]
        files.add(name)
        found.add(file)
        const typed = withTypes(file, encodingOf(media, name)['contentType'])
        return [
          name,
          { ...member, schema: schema.type === 'set' ? { ...schema, items: typed } : typed },
        ]
      }),
    )
  const shapes: ImportedBody = {
    members: withFiles(members),
    ...(variants !== undefined && {
      variants: {
        ...variants,
        of: variants.of.map((shape) => ({ ...shape, members: withFiles(shape.members) })),
      },
    }),
  }
  if (found.size < made.size) {
    throw refuse('a file stands inside of an object', 'let it be a part of its own')
  }
  return { ...shapes, body: { kind: 'parts', files: [...files] } }
}

const shapesOf = ({ members, variants }: InputSchema): ImportedBody =>
  variants === undefined ? { members } : { members, variants }

/** The types that a file may have, where they are stated: `application/pdf, image/*`. */
function withTypes(file: InputSchema, stated: unknown): InputSchema {
  if (typeof stated !== 'string') return file
  const types = stated.split(',').map((type) => type.trim().toLowerCase())
  if (types.includes('*/*') || types.includes('application/octet-stream')) return file
  const type: InputMember = {
    schema: { type: 'string', maxLength: 127, pattern: typesPattern(types) },
    required: true,
  }
  return { ...file, members: { ...file.members, type } }
}

function encodingOf(media: Part, name: string): Part {
  const { encoding } = media
  const one = isObject(encoding) && Object.hasOwn(encoding, name) ? encoding[name] : undefined
  return isObject(one) ? one : {}
}
