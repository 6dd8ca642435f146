import { parseJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { createRedactor } from '@sallyport/redact'
import type { Kind, KnownSource, Redactor, StandIns } from '@sallyport/redact'
import type { LlmSystem } from '@sallyport/network'
import { isObject } from '../adapters/jsonrpc.ts'
import { Refusal } from '../refusal.ts'
import type { JsonObject } from './surfaces.ts'

/** What members hold whose value is not just a text. */
type About = 'structure' | 'sealed' | 'json' | 'free' | 'name'

const about = (what: About, names: string): [string, About][] =>
  names.split(' ').map((name) => [name, what])

const MEMBERS: ReadonlyMap<string, About> = new Map([
  // Words of the protocol, or names that must stay what they are.
  ...about(
    'structure',
    'model role type object id tool_call_id call_id tool_use_id status finish_reason stop_reason encoding_format service_tier effort detail media_type phase',
  ),
  // What a vendor sealed and must get back as it was.
  ...about('sealed', 'signature encrypted_content'),
  // JSON as a text.
  ...about('json', 'arguments partial_json'),
  // Records of these have members that their author named, and numbers that may be data.
  ...about('free', 'input parameters input_schema schema'),
  ...about('name', 'name'),
])
/** What consists of texts. Whatever else a part is, nobody looks into it here. */
const TEXTUAL = new Set(
  'message text input_text output_text refusal reasoning summary_text reasoning_text function function_call function_call_output custom custom_tool_call custom_tool_call_output allowed_tools auto any none tool direct grammar json_schema json_object thinking redacted_thinking enabled disabled adaptive ephemeral tool_use tool_result tool_reference search_result content compaction document url_citation file_citation char_location page_location content_block_location search_result_location web_search_result_location'.split(
    ' ',
  ),
)
/** Members that hold pictures, sounds and files: some servers ask for no `type` beside them. */
const OPAQUE =
  /^(?:(?:image|video|audio|file)_(?:url|embeds|data|pil)|input_audio|prompt_embeds|audio|images)$/
/** Addresses that a vendor would fetch, from wherever it stands. */
const FETCHED = /^(?:image|video|audio|file)_url$/
const MAX_DEPTH = 64

export interface Redacted {
  readonly body: JsonObject
  /** Places where something stands in for what was there. */
  readonly count: number
}

export interface PromptOptions {
  readonly llm: LlmSystem
  /** What the caller read and the vendor may not. */
  readonly known: KnownSource
  readonly standIns: StandIns
}

/**
 * A request with stand-ins for whatever its vendor may not read.
 *
 * @throws Refusal `SP_LLM_DATA` where such data stands where nothing can stand in for it, `SP_LLM_OPAQUE` for what cannot be
 *   looked into, `SP_LLM_REQUEST` for what the vendor would have to fetch; SallyportError `SP_REDACT_ENDLESS`
 */
export function redactPrompt(body: JsonObject, { llm, known, standIns }: PromptOptions): Redacted {
  let count = 0
  const everything = llm.mayRead === 'restricted'
  const replace = (kind: Kind, value: string): string | undefined => {
    const standIn = standIns.of(kind, value)
    // A stand-in from before is one still.
    if (standIn !== undefined) count++
    return standIn
  }
  const whatever = standIns.finding(known)
  const texts = createRedactor({ find: wantedOf(llm, everything), known: whatever, replace })
  const values = createRedactor({ find: SECRETS, known, replace: leave })
  const sealed = createRedactor({ find: NOTHING, known, replace: leave })
  const only = createRedactor({ find: NOTHING, known, replace })
  const walk = new Walk({ texts, values, sealed, known: only }, known, everything)
  const redacted: Record<string, JsonValue> = {}
  for (const name of Object.keys(body)) {
    redacted[name] = walk.member(name, body[name] as JsonValue, 0, false)
  }
  return { body: redacted, count }
}

type Wanted = Parameters<typeof createRedactor>[0]['find']

const leave = (): undefined => undefined
const SECRETS: Wanted = { groups: ['secrets'] }
const NOTHING: Wanted = { groups: [] }
/** Of vendors as declarations have them, which nobody changes. */
const wanted = new WeakMap<LlmSystem, Wanted>()

function wantedOf(llm: LlmSystem, everything: boolean): Wanted {
  if (everything) return SECRETS
  let found = wanted.get(llm)
  if (!found) wanted.set(llm, (found = { groups: ['secrets', ...llm.find] }))
  return found
}

/** What is looked for, and where. */
interface Redactors {
  readonly texts: Redactor
  readonly values: Redactor
  readonly sealed: Redactor
  readonly known: Redactor
}

class Walk {
  readonly #redactors: Redactors
  readonly #source: KnownSource
  readonly #everything: boolean

  constructor(redactors: Redactors, source: KnownSource, everything: boolean) {
    this.#redactors = redactors
    this.#source = source
    this.#everything = everything
  }

  member(name: string, value: JsonValue, depth: number, free: boolean): JsonValue {
    const about = MEMBERS.get(name)
    if (typeof value === 'string') {
      // A tool may call an input of its own `name`: that is content, and no name.
      if (!free) {
        if (about === 'sealed') return clean(this.#redactors.sealed, value)
        if (about === 'structure') return clean(this.#redactors.values, value)
        if (about === 'name') return clean(this.#redactors.texts, value)
      }
      if (about === 'json') return this.#json(value)
    }
    const inside = free || (about === 'free' && depth > 0 && isObject(value))
    return this.#value(value, depth + 1, inside)
  }

  /** The same value, where nothing in it has to be another. */
  #value(value: JsonValue, depth: number, free: boolean): JsonValue {
    if (depth > MAX_DEPTH)
      throw new Refusal('SP_LLM_REQUEST', 'the request nests too deep', { status: 400 })
    if (typeof value === 'string') return this.#redactors.texts.redact(value)
    if (typeof value === 'number') return free || depth > 1 ? this.#number(value) : value
    if (typeof value !== 'object' || value === null) return value
    if (Array.isArray(value)) {
      // `Array.isArray` does not narrow a readonly array.
      const list = value as readonly JsonValue[]
      // Tokens of a text, say: numbers that only the vendor reads.
      if (!free && !this.#everything && list.some(isNumber)) throw opaque()
      const items = list.map((item) => this.#value(item, depth + 1, free))
      return items.every((item, i) => item === list[i]) ? list : items
    }
    // Neither a scalar nor a list.
    return this.#object(value as JsonObject, depth, free)
  }

  #number(value: number): JsonValue {
    const written = String(value)
    if (this.#source.lacks(written)) return value
    // By its form alone a number is only a number.
    const text = this.#redactors.known.redact(written)
    return text === written ? value : numberIn(text)
  }

  #object(object: JsonObject, depth: number, free: boolean): JsonObject {
    const names = Object.keys(object)
    if (!free && names.some(isTelling)) {
      if (!this.#everything) demandText(object)
      demandWhole(object)
    }
    const { values, texts } = this.#redactors
    const members: [string, JsonValue][] = []
    let isSame = true
    for (const name of names) {
      // A member that there is.
      const inner = object[name] as JsonValue
      const plain = clean(values, name)
      // A tool's input and its schema are records of names that their author chose.
      const written = free ? texts.redact(plain) : plain
      const member = this.member(name, inner, depth, free)
      isSame &&= member === inner && written === name
      members.push([written, member])
    }
    return isSame ? object : Object.fromEntries(members)
  }

  #json(text: string): string {
    let parsed: JsonValue
    try {
      parsed = parseJson(text, { maxDepth: MAX_DEPTH })
    } catch {
      return this.#redactors.texts.redact(text)
    }
    const redacted = this.#value(parsed, 0, true)
    return redacted === parsed ? text : JSON.stringify(redacted)
  }
}

/** A number stays one, where what stands in for it is one. */
export const numberIn = (text: string): JsonValue =>
  /^\d{1,15}$/.test(text) && String(Number(text)) === text ? Number(text) : text

const isNumber = (value: JsonValue): boolean => typeof value === 'number'

/** Whether a member may be what `demandText` and `demandWhole` ask for: they say nothing of an object without one. */
const isTelling = (name: string): boolean =>
  name === 'type' || name === 'source' || name === 'file_id' || OPAQUE.test(name)

/** @throws Refusal `SP_LLM_OPAQUE` */
function demandText(object: JsonObject): void {
  const { type, source } = object
  const textual = typeof type !== 'string' || TEXTUAL.has(type)
  const written = type !== 'document' || (isObject(source) && source['type'] === 'text')
  const opaques = Object.entries(object).filter(
    ([name, value]) => OPAQUE.test(name) && (value !== null || FETCHED.test(name)),
  )
  if (!textual || !written || opaques.length > 0) throw opaque()
}

/**
 * What a vendor would have to get from elsewhere is no part of what was decided about: it would fetch from where no flow leads,
 * and tell whoever is asked.
 *
 * @throws Refusal `SP_LLM_REQUEST`
 */
function demandWhole(object: JsonObject): void {
  const { type, source, file_id: file } = object
  const kept =
    (file !== undefined && file !== null) ||
    type === 'item_reference' ||
    type === 'container_upload' ||
    (isObject(source) && (source['type'] === 'url' || source['type'] === 'file'))
  const fetched = Object.entries(object).some(([name, value]) => {
    if (!FETCHED.test(name) || value === null) return false
    const url = isObject(value) ? value['url'] : value
    return typeof url !== 'string' || !url.startsWith('data:')
  })
  if (!kept && !fetched) return
  throw new Refusal('SP_LLM_REQUEST', 'the request names what the vendor would have to fetch', {
    status: 400,
  })
}

const opaque = (): Refusal =>
  new Refusal('SP_LLM_OPAQUE', 'the request holds what cannot be looked into', {
    status: 403,
    outcome: 'forbidden',
  })

/** @throws Refusal `SP_LLM_DATA` */
function clean(redactor: Redactor, text: string): string {
  if (redactor.find(text).length === 0) return text
  throw notAllowed()
}

export const notAllowed = (): Refusal =>
  new Refusal('SP_LLM_DATA', 'the request holds data that this vendor may not read', {
    status: 403,
    outcome: 'forbidden',
  })
