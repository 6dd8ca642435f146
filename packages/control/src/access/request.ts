import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

/** OpenID AuthZEN Authorization API 1.0, section 5, as far as this decision point reads it. */

export interface Subject {
  readonly type: string
  readonly id: string
}

export interface Action {
  readonly name: string
  /** The operation's input, not typed yet. */
  readonly properties: Members
}

export interface Resource {
  readonly type: string
  readonly id: string
}

/** One question: may this subject do this to this resource, now? */
export interface Question {
  readonly subject: Subject
  readonly action: Action
  readonly resource: Resource
}

export type Semantic = 'execute_all' | 'deny_on_first_deny' | 'permit_on_first_permit'

export interface Page {
  /** Of an earlier answer; empty for the first page. */
  readonly token: string
  readonly limit: number
}

export type Members = Readonly<Record<string, JsonValue>>

const MAX_EVALUATIONS = 100
const MAX_ID = 2048
const MAX_NAME = 256
const MAX_TOKEN = 4096
const MAX_PAGE = 100
const SEMANTICS: readonly Semantic[] = [
  'execute_all',
  'deny_on_first_deny',
  'permit_on_first_permit',
]

/** `context` and the properties of subject and resource are the caller's claims: they may be there and are never read. */
const QUESTION = ['subject', 'action', 'resource', 'context'] as const

/**
 * One question (section 6).
 *
 * @throws SallyportError `SP_AUTHZEN_REQUEST`
 */
export function readQuestion(body: Members): Question {
  only(body, QUESTION, 'the request')
  return {
    subject: readSubject(body['subject']),
    action: readAction(body['action']),
    resource: readResource(body['resource']),
  }
}

/**
 * Questions with defaults (section 7): what an entry leaves out is taken, whole, from the top.
 *
 * @returns one question and `single` where there is no `evaluations` or an empty one
 * @throws SallyportError `SP_AUTHZEN_REQUEST`
 */
export function readQuestions(body: Members): {
  readonly single: boolean
  readonly questions: readonly Question[]
  readonly semantic: Semantic
} {
  only(body, [...QUESTION, 'evaluations', 'options'], 'the request')
  const { evaluations, options, ...defaults } = body
  const semantic = readSemantic(options)
  if (evaluations !== undefined && !Array.isArray(evaluations)) {
    throw malformed('`evaluations` is not a list')
  }
  // Narrowed to an array; TypeScript does not narrow readonly arrays by Array.isArray.
  const entries = (evaluations ?? []) as readonly JsonValue[]
  if (entries.length === 0) {
    return { single: true, questions: [readQuestion(defaults)], semantic }
  }
  if (entries.length > MAX_EVALUATIONS) {
    throw malformed(`\`evaluations\` has more than ${MAX_EVALUATIONS} entries`)
  }
  if (defaults['context'] !== undefined) object(defaults['context'], 'context')
  const questions = entries.map((entry) =>
    readQuestion({ ...defaults, ...object(entry, 'an entry of evaluations') }),
  )
  return { single: false, questions, semantic }
}

function readSemantic(options: JsonValue | undefined): Semantic {
  if (options === undefined) return 'execute_all'
  const given = object(options, 'options')['evaluations_semantic'] ?? 'execute_all'
  const semantic = SEMANTICS.find((known) => known === given)
  if (semantic === undefined) {
    throw malformed(`\`evaluations_semantic\` is not one of ${SEMANTICS.join(', ')}`)
  }
  return semantic
}

/** Who is asked about; in a search for subjects (section 8) the id is not read. */
export function readSubject(value: JsonValue | undefined, search = false): Subject {
  const { type, id } = entity(value, 'subject', search)
  return { type, id }
}

/** What is asked about; in a search for resources (section 9) the id is not read. */
export function readResource(value: JsonValue | undefined, search = false): Resource {
  const { type, id } = entity(value, 'resource', search)
  return { type, id }
}

export function readAction(value: JsonValue | undefined): Action {
  const members = object(value, 'action')
  only(members, ['name', 'properties'], '`action`')
  const { properties } = members
  return {
    name: text(members['name'], 'action.name', MAX_NAME),
    properties: properties === undefined ? {} : object(properties, 'action.properties'),
  }
}

/** @throws SallyportError `SP_AUTHZEN_REQUEST` */
export function readPage(value: JsonValue | undefined): Page {
  if (value === undefined) return { token: '', limit: MAX_PAGE }
  const members = object(value, 'page')
  only(members, ['token', 'limit', 'properties'], '`page`')
  const { token = '', limit = MAX_PAGE } = members
  if (typeof token !== 'string' || token.length > MAX_TOKEN) {
    throw malformed('`page.token` is not one of this decision point')
  }
  if (typeof limit !== 'number' || !Number.isSafeInteger(limit) || limit < 1) {
    throw malformed('`page.limit` is not a whole number from 1')
  }
  return { token, limit: Math.min(limit, MAX_PAGE) }
}

/** @throws SallyportError `SP_AUTHZEN_REQUEST` where a member is there that is not known: it could be a misspelt one */
export function only(members: Members, known: readonly string[], what: string): void {
  const extra = Object.keys(members).find((name) => !known.includes(name))
  if (extra === undefined) {
    if (members['context'] !== undefined) object(members['context'], 'context')
    return
  }
  throw malformed(`${what} has a member \`${extra.slice(0, 64)}\` that is not known`)
}

function entity(
  value: JsonValue | undefined,
  what: string,
  search: boolean,
): { readonly type: string; readonly id: string } {
  const members = object(value, what)
  only(members, ['type', 'id', 'properties'], `\`${what}\``)
  if (members['properties'] !== undefined) object(members['properties'], `${what}.properties`)
  return {
    type: text(members['type'], `${what}.type`, MAX_NAME),
    id: search ? '' : text(members['id'], `${what}.id`, MAX_ID),
  }
}

function object(value: JsonValue | undefined, what: string): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw malformed(`\`${what}\` is not an object`)
  }
  // Neither null nor an array: a JSON object.
  return value as Members
}

function text(value: JsonValue | undefined, what: string, max: number): string {
  if (typeof value === 'string' && value !== '' && value.length <= max && value.isWellFormed()) {
    return value
  }
  throw malformed(`\`${what}\` is not a text of 1 to ${max} characters`)
}

export function malformed(detail: string): SallyportError {
  return new SallyportError('SP_AUTHZEN_REQUEST', `the request is malformed: ${detail}`)
}
