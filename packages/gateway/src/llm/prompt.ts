import { parseJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { createRedactor } from '@sallyport/redact'
import type { Group, KnownSource, Redactor, Vault } from '@sallyport/redact'
import type { LlmSystem } from '@sallyport/network'
import { isObject } from '../adapters/jsonrpc.ts'
import { Refusal } from '../refusal.ts'
import type { JsonObject } from './surfaces.ts'

/** Members that are words of the protocol, or names that must stay what they are. */
const STRUCTURE = new Set(
  'model role type object id tool_call_id call_id tool_use_id status finish_reason stop_reason encoding_format service_tier effort detail media_type phase'.split(
    ' ',
  ),
)
/** What a vendor sealed and must get back as it was. */
const SEALED = new Set(['signature', 'encrypted_content'])
/** JSON as a text. */
const JSON_TEXT = new Set(['arguments', 'partial_json'])
/** Records of these have members that their author named, and numbers that may be data. */
const FREE = new Set(['input', 'parameters', 'input_schema', 'schema'])
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
  readonly vault: Vault
}

/**
 * A request with stand-ins for whatever its vendor may not read.
 *
 * @throws Refusal `SP_LLM_DATA` where such data stands where nothing can stand in for it, `SP_LLM_OPAQUE` for what cannot be
 *   looked into, `SP_LLM_REQUEST` for what the vendor would have to fetch; SallyportError `SP_REDACT_ENDLESS`
 */
export function redactPrompt(body: JsonObject, { llm, known, vault }: PromptOptions): Redacted {
  let count = 0
  const everything = llm.mayRead === 'restricted'
  const groups: Group[] = ['secrets', ...(everything ? [] : llm.find)]
  const replace = (kind: Parameters<Vault['token']>[0], value: string): string | undefined => {
    // A stand-in from before is one still.
    if (vault.has(value)) return undefined
    count++
    return vault.token(kind, value)
  }
  const texts = createRedactor({ find: { groups }, known, replace })
  const values = createRedactor({ find: { groups: ['secrets'] }, known, replace: () => undefined })
  const sealed = createRedactor({ find: { groups: [] }, known, replace: () => undefined })
  const only = createRedactor({ find: { groups: [] }, known, replace })
  const walk = new Walk(texts, values, sealed, only, everything)
  const redacted: Record<string, JsonValue> = {}
  for (const [name, value] of Object.entries(body)) {
    redacted[name] = walk.member(name, value, 0, false)
  }
  return { body: redacted, count }
}

class Walk {
  readonly #texts: Redactor
  readonly #values: Redactor
  readonly #sealed: Redactor
  readonly #known: Redactor
  readonly #everything: boolean

  constructor(
    texts: Redactor,
    values: Redactor,
    sealed: Redactor,
    known: Redactor,
    everything: boolean,
  ) {
    this.#texts = texts
    this.#values = values
    this.#sealed = sealed
    this.#known = known
    this.#everything = everything
  }

  member(name: string, value: JsonValue, depth: number, free: boolean): JsonValue {
    if (typeof value === 'string') {
      if (SEALED.has(name) && !free) return clean(this.#sealed, value)
      // A tool may call an input of its own `name`: that is content, and no name.
      if (STRUCTURE.has(name) && !free) return clean(this.#values, value)
      if (name === 'name' && !free) return clean(this.#texts, value)
      if (JSON_TEXT.has(name)) return this.#json(value)
    }
    const inside = free || (FREE.has(name) && depth > 0 && isObject(value))
    return this.#value(value, depth + 1, inside)
  }

  #value(value: JsonValue, depth: number, free: boolean): JsonValue {
    if (depth > MAX_DEPTH)
      throw new Refusal('SP_LLM_REQUEST', 'the request nests too deep', { status: 400 })
    if (typeof value === 'string') return this.#texts.redact(value)
    if (typeof value === 'number' && (free || depth > 1)) {
      // By its form alone a number is only a number.
      const text = this.#known.redact(String(value))
      return text === String(value) ? value : text
    }
    if (typeof value !== 'object' || value === null) return value
    if (Array.isArray(value)) {
      // `Array.isArray` does not narrow a readonly array.
      const list = value as readonly JsonValue[]
      // Tokens of a text, say: numbers that only the vendor reads.
      if (!free && !this.#everything && list.some(isNumber)) throw opaque()
      return list.map((item) => this.#value(item, depth + 1, free))
    }
    // Neither a scalar nor a list.
    const object = value as JsonObject
    if (!free) {
      if (!this.#everything) demandText(object)
      demandWhole(object)
    }
    const members: [string, JsonValue][] = []
    for (const [name, inner] of Object.entries(object)) {
      const plain = clean(this.#values, name)
      // A tool's input and its schema are records of names that their author chose.
      const written = free ? this.#texts.redact(plain) : plain
      members.push([written, this.member(name, inner, depth, free)])
    }
    return Object.fromEntries(members)
  }

  #json(text: string): string {
    let parsed: JsonValue
    try {
      parsed = parseJson(text, { maxDepth: MAX_DEPTH })
    } catch {
      return this.#texts.redact(text)
    }
    const redacted = this.#value(parsed, 0, true)
    const again = JSON.stringify(redacted)
    return again === JSON.stringify(parsed) ? text : again
  }
}

const isNumber = (value: JsonValue): boolean => typeof value === 'number'

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
