import { newId } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { isObject } from '../adapters/jsonrpc.ts'
import type { ClientAbilities } from '../adapters/mcp-sessions.ts'
import { Refusal } from '../refusal.ts'
import type { ContentRelease, JsonObject } from './content.ts'
import type { Asked } from './questions.ts'

const MAX_FIELDS = 64
const MAX_CHOICES = 500
const MAX_TEXT = 10_000
const MAX_URL = 2048
const FIELD = /^(?!__)[A-Za-z_][A-Za-z0-9_.-]{0,62}$/
const FORMATS = ['email', 'uri', 'date', 'date-time']
/**
 * What a form must not ask for (MCP 2025-11-25, client/elicitation: servers MUST NOT request sensitive information by form).
 * Read in names, titles and descriptions of the fields, and in the message.
 */
const SECRET =
  /pass[\s_-]?(?:word|phrase|code|wd)|\bpwd\b|secret|credential|(?:api|access|auth|private|secret|session|signing|ssh|recovery)[\s_-]?(?:key|token|cookie)|\btokens?\b|bearer|seed[\s_-]?phrase|mnemonic|\b(?:otp|totp|mfa|2fa|cvv|cvc|csc|ssn|cvn)\b|(?:^|\b(?:enter|your|card|the|an?|atm|bank|new|current|account|security)[\s_-]+)pin\b|one[\s_-]?time|card[\s_-]?(?:number|no\b|verification)|security[\s_-]?(?:code|number|answer)|social[\s_-]?security/i

const refuse = (what: string): Refusal =>
  new Refusal('SP_MCP_QUESTION', `the system asks a person what cannot be asked: ${what}`, {
    status: 403,
    outcome: 'forbidden',
  })

/**
 * Reads `elicitation/create` (MCP 2025-11-25, client/elicitation).
 *
 * @param hosts where a person may be sent to
 * @throws Refusal `SP_MCP_QUESTION`
 */
export function readElicitation(
  params: JsonValue | undefined,
  hosts: readonly string[],
  client: ClientAbilities,
): Asked {
  if (!isObject(params)) throw refuse('it has no parameters')
  const { mode = 'form', message } = params
  if (typeof message !== 'string' || message.length > MAX_TEXT) throw refuse('it has no message')
  if (mode === 'url') {
    if (!client.url) throw refuse('the client opens no pages')
    return byPage(params, message, hosts)
  }
  if (mode !== 'form') throw refuse('in a way that is not known')
  if (!client.form) throw refuse('the client shows no forms')
  return byForm(params['requestedSchema'], message)
}

function byPage(params: JsonObject, message: string, hosts: readonly string[]): Asked {
  const { url: given } = params
  const url = typeof given === 'string' && URL.canParse(given) ? new URL(given) : undefined
  if (!url || url.protocol !== 'https:' || url.username !== '' || url.password !== '') {
    throw refuse('the page is no plain https address')
  }
  if (!hosts.includes(url.host)) throw refuse('the page is not on a declared host')
  const { href } = url
  if (href.length > MAX_URL) throw refuse('the address of the page is too long')
  return {
    input: { mode: 'url', host: url.host, url: href },
    async shown(release) {
      const [text] = await release.texts([message])
      const [page] = await release.blocks([{ type: 'resource_link', uri: href }])
      // An address that is not whole leads somewhere else.
      if (text === undefined || page?.['uri'] !== href) return undefined
      // The server's own id of it would be one more text of the server's; nobody asks for it again.
      return { mode: 'url', message: text, url: href, elicitationId: newId('eli') }
    },
    // What is typed there is between the person and the page.
    told: ({ action }) => (isAction(action) ? { action } : undefined),
  }
}

function byForm(schema: JsonValue | undefined, message: string): Asked {
  const properties =
    isObject(schema) && schema['type'] === 'object' ? schema['properties'] : undefined
  if (!isObject(schema) || !isObject(properties)) throw refuse('the form is no object')
  const fields = Object.entries(properties)
  if (fields.length > MAX_FIELDS) throw refuse('the form has too many fields')
  if (SECRET.test(message)) throw refuse('a secret')
  const read = fields.map(([name, field]) => readField(name, field))
  const required = Array.isArray(schema['required']) ? schema['required'] : []
  return {
    input: { mode: 'form' },
    async shown(release) {
      const [text] = await release.texts([message])
      // What a person chooses among goes back to the server as it is: it is shown as it is, or not at all.
      const asked = read.flatMap(({ name, schema: field }) => [name, ...wordsOf(field)])
      const left = await release.texts(asked)
      if (text === undefined || asked.some((word, i) => left[i] !== word)) return undefined
      const shown: [string, JsonValue][] = []
      for (const { name, schema: field } of read) shown.push([name, await labelled(field, release)])
      const requestedSchema = {
        type: 'object',
        properties: Object.fromEntries(shown),
        required: read.map(({ name }) => name).filter((name) => required.includes(name)),
      }
      return { message: text, requestedSchema }
    },
    told({ action, content }) {
      if (!isAction(action)) return undefined
      if (action !== 'accept') return { action }
      if (!isObject(content)) return undefined
      const kept: [string, JsonValue][] = []
      for (const [name, value] of Object.entries(content)) {
        const field = read.find((one) => one.name === name)
        if (!field || !fits(field.schema, value)) return undefined
        kept.push([name, value])
      }
      return { action, content: Object.fromEntries(kept) }
    },
  }
}

const isAction = (action: JsonValue | undefined): action is string =>
  action === 'accept' || action === 'decline' || action === 'cancel'

interface FormField {
  readonly name: string
  /** Rebuilt of what forms have: whatever else a server puts there is left out. */
  readonly schema: JsonObject
}

/** `PrimitiveSchemaDefinition`: texts, numbers, yes or no, choices. */
function readField(name: string, given: JsonValue): FormField {
  if (!FIELD.test(name) || !isObject(given)) throw refuse('a field of the form has no usable name')
  const { title, description, type, format, default: preset } = given
  const words = [name, title, description, format]
  if (
    words.some(
      (text) =>
        typeof text === 'string' && SECRET.test(text.replaceAll(/(?<=[a-z])(?=[A-Z])/g, ' ')),
    )
  ) {
    throw refuse('a secret')
  }
  const schema: Record<string, JsonValue> = {}
  for (const [key, text] of [
    ['title', title],
    ['description', description],
  ] as const) {
    if (typeof text === 'string') schema[key] = text.slice(0, MAX_TEXT)
  }
  if (
    typeof type !== 'string' ||
    !['string', 'number', 'integer', 'boolean', 'array'].includes(type)
  ) {
    throw refuse('a field of the form has no simple type')
  }
  schema['type'] = type
  if (type === 'string' && typeof format === 'string') {
    if (!FORMATS.includes(format)) throw refuse('a field of the form has an unknown format')
    schema['format'] = format
  }
  for (const key of ['minLength', 'maxLength', 'minimum', 'maximum', 'minItems', 'maxItems']) {
    const bound = given[key]
    if (typeof bound === 'number') schema[key] = bound
  }
  Object.assign(schema, choices(given))
  if (type === 'array') {
    const { items } = given
    if (!isObject(items)) throw refuse('a field of the form has no choices')
    schema['items'] = {
      ...(items['type'] === 'string' ? { type: 'string' } : {}),
      ...choices(items),
    }
  }
  if (preset !== undefined && fits(schema, preset)) schema['default'] = preset
  return { name, schema }
}

/** `enum`, with `enumNames` or as `oneOf` and `anyOf` of `const` and `title`. */
function choices(given: JsonObject): JsonObject {
  const kept: Record<string, JsonValue> = {}
  for (const key of ['enum', 'enumNames']) {
    const values = given[key]
    if (values === undefined) continue
    const texts = Array.isArray(values) && values.every((value) => typeof value === 'string')
    if (!texts || values.length > MAX_CHOICES) throw refuse('the choices of a field are no texts')
    kept[key] = values
  }
  for (const key of ['oneOf', 'anyOf']) {
    const values = given[key]
    if (values === undefined) continue
    if (!Array.isArray(values) || values.length > MAX_CHOICES) throw refuse('too many choices')
    // `Array.isArray` makes of it a list of anything.
    kept[key] = (values as readonly JsonValue[]).map((value) => {
      const { const: of, title } = isObject(value) ? value : {}
      if (typeof of !== 'string') throw refuse('the choices of a field are no texts')
      return { const: of, ...(typeof title === 'string' ? { title } : {}) }
    })
  }
  return kept
}

/** A field with what it says of itself as far as that may be shown. */
async function labelled(field: JsonObject, release: ContentRelease): Promise<JsonObject> {
  const names = ['title', 'description'].filter((name) => typeof field[name] === 'string')
  const given = names.map((name) => (typeof field[name] === 'string' ? field[name] : ''))
  const left = await release.texts(given)
  const { title: _title, description: _description, ...rest } = field
  const kept = names.flatMap((name, i) => (left[i] === undefined ? [] : [[name, left[i]] as const]))
  return { ...Object.fromEntries(kept), ...rest }
}

/** Whether a value is one that the field asks for. */
function fits(field: JsonObject, value: JsonValue): boolean {
  const allowed = values(field)
  switch (field['type']) {
    case 'string':
      return (
        typeof value === 'string' &&
        value.length <= MAX_TEXT &&
        (!allowed || allowed.includes(value))
      )
    case 'number':
      return typeof value === 'number'
    case 'integer':
      return Number.isSafeInteger(value)
    case 'boolean':
      return typeof value === 'boolean'
    default: {
      const of = isObject(field['items']) ? values(field['items']) : undefined
      if (!Array.isArray(value) || value.length > MAX_CHOICES) return false
      return value.every((one) => typeof one === 'string' && (of?.includes(one) ?? false))
    }
  }
}

/** Every text that a field offers: its choices, and what it begins with. */
function wordsOf(field: JsonObject): string[] {
  const items = isObject(field['items']) ? field['items'] : {}
  return [field, items].flatMap((of) =>
    [of['enum'], of['enumNames'], of['oneOf'], of['anyOf'], [of['default'] ?? null]].flatMap(
      (list) =>
        // `Array.isArray` makes of it a list of anything.
        (Array.isArray(list) ? (list as readonly JsonValue[]) : []).flatMap((one) =>
          (isObject(one) ? [one['const'], one['title']] : [one]).filter(
            (word) => typeof word === 'string',
          ),
        ),
    ),
  )
}

function values(field: JsonObject): readonly JsonValue[] | undefined {
  const { enum: plain, oneOf, anyOf } = field
  if (Array.isArray(plain)) return plain
  const titled = oneOf ?? anyOf
  if (!Array.isArray(titled)) return undefined
  // `Array.isArray` makes of it a list of anything.
  return (titled as readonly JsonValue[]).flatMap((one) =>
    isObject(one) && one['const'] !== undefined ? [one['const']] : [],
  )
}
