import { isObject } from '../adapters/jsonrpc.ts'
import type { JsonValue } from '@sallyport/base'
import type { LlmSurface } from '@sallyport/network'
import type { RedactingStream } from '@sallyport/redact'
import { parseUpstream, unusable } from '../upstream/exchange.ts'
import type { AnswerFilter } from './answer.ts'
import { usageOf } from './budget.ts'
import type { Usage } from './budget.ts'
import type { JsonObject } from './surfaces.ts'

/** Rewrites the events of one answer. */
export interface EventRewriter {
  /** @returns events to be written in its place, framed @throws Refusal `SP_UPSTREAM_RESPONSE` */
  event(data: string): readonly string[]
  /** The upstream has nothing more to say. @throws Refusal `SP_UPSTREAM_RESPONSE` where it stopped in the middle */
  end(): readonly string[]
  /** What the vendor says that a whole answer took; undefined as long as there is more to come. */
  readonly usage: Usage | undefined
}

export interface RewriterOptions {
  readonly filter: AnswerFilter
  /** Whether the caller is told of the usage where its vendor tells it on request only. */
  readonly wantsUsage: boolean
}

export function eventRewriter(surface: LlmSurface, options: RewriterOptions): EventRewriter {
  if (surface === 'messages') return new MessageEvents(options)
  return surface === 'responses' ? new ResponseEvents(options) : new ChatEvents(options)
}

const framed = (event: JsonObject): string => {
  const { type } = event
  // A name that holds a line feed would be lines of its own.
  const name = typeof type === 'string' && /^[\w.-]{1,128}$/.test(type) ? `event: ${type}\n` : ''
  return `${name}data: ${JSON.stringify(event)}\n\n`
}

const numberText = (value: JsonValue | undefined): string =>
  typeof value === 'number' ? String(value) : ''

const cutShort = (): never => {
  throw unusable('the stream ended in the middle of an answer')
}

const objectIn = (data: string): JsonObject => {
  const event = parseUpstream(data)
  if (!isObject(event)) throw unusable('an event is not an object')
  return event
}

const MAX_TEXTS = 1024

/** The texts of one answer, each of which comes in pieces. */
class Texts {
  readonly #filter: AnswerFilter
  readonly #open = new Map<string, RedactingStream>()

  constructor(filter: AnswerFilter) {
    this.#filter = filter
  }

  push(key: string, piece: string, json: boolean): string {
    let text = this.#open.get(key)
    if (!text) {
      if (this.#open.size >= MAX_TEXTS) throw unusable('it has too many texts at once')
      this.#open.set(key, (text = this.#filter.stream(json)))
    }
    return text.push(piece)
  }

  /** What is left of the texts whose key begins like this. */
  end(prefix: string): [key: string, rest: string][] {
    const rests: [string, string][] = []
    for (const [key, text] of this.#open) {
      if (!key.startsWith(prefix)) continue
      this.#open.delete(key)
      rests.push([key, text.end()])
    }
    return rests.filter(([, rest]) => rest !== '')
  }
}

/** `chat.completion.chunk` objects and `[DONE]`. */
class ChatEvents implements EventRewriter {
  readonly #options: RewriterOptions
  readonly #texts: Texts
  #usage: Usage | undefined
  #done = false
  /** The chunk that another is made like. */
  #last: JsonObject = {}

  constructor(options: RewriterOptions) {
    this.#options = options
    this.#texts = new Texts(options.filter)
  }

  get usage(): Usage | undefined {
    return this.#done ? this.#usage : undefined
  }

  event(data: string): string[] {
    if (data === '[DONE]') {
      this.#done = true
      return [...this.#rest(''), 'data: [DONE]\n\n']
    }
    const chunk = objectIn(data)
    const { filter, wantsUsage } = this.#options
    const { choices, usage, ...rest } = chunk
    if (usage !== undefined) this.#usage = usageOf(usage, false) ?? this.#usage
    if (!Array.isArray(choices)) return [framed(filter.whole(chunk))]
    this.#last = rest
    if (choices.length === 0 && !wantsUsage && usage !== undefined) return []
    const before: string[] = []
    // `Array.isArray` does not narrow a readonly array.
    const rewritten = (choices as readonly JsonValue[]).map((choice) => {
      if (!isObject(choice)) throw unusable('a choice is not an object')
      const index = numberText(choice['index'])
      const { delta, ...facts } = choice
      const changed = isObject(delta) ? { delta: this.#delta(index, delta) } : {}
      if (typeof facts['finish_reason'] === 'string') before.push(...this.#rest(`${index}/`))
      return { ...filter.whole(facts), ...changed }
    })
    const plain = { ...filter.whole(rest), choices: rewritten }
    // Asked for by the gateway; told to whoever asked too.
    const isTold = wantsUsage && usage !== undefined
    before.push(framed(isTold ? { ...plain, usage: filter.whole(usage) } : plain))
    // What was held back comes before the chunk that says that there is no more; what came with that one stands in it.
    return before
  }

  end(): readonly string[] {
    return this.#done ? [] : cutShort()
  }

  #delta(choice: string, delta: JsonObject): JsonObject {
    const { tool_calls: calls, role, ...texts } = delta
    const changed: Record<string, JsonValue> =
      role === undefined ? {} : { role: this.#options.filter.whole(role) }
    for (const [name, value] of Object.entries(texts)) {
      changed[name] =
        typeof value === 'string'
          ? this.#texts.push(`${choice}/${name}`, value, false)
          : this.#options.filter.whole(value)
    }
    if (calls === undefined) return changed
    if (!Array.isArray(calls)) return { ...changed, tool_calls: null }
    // As above.
    const list = calls as readonly JsonValue[]
    return { ...changed, tool_calls: list.map((call) => this.#toolCall(choice, call)) }
  }

  #toolCall(choice: string, call: JsonValue): JsonValue {
    if (!isObject(call) || !isObject(call['function'])) return this.#options.filter.whole(call)
    const { arguments: piece, ...named } = call['function']
    if (typeof piece !== 'string') return this.#options.filter.whole(call)
    const key = `${choice}/#${numberText(call['index'])}`
    const { function: _function, ...facts } = call
    const { filter } = this.#options
    const text = this.#texts.push(key, piece, true)
    return { ...filter.whole(facts), function: { ...filter.whole(named), arguments: text } }
  }

  #rest(prefix: string): string[] {
    return this.#texts.end(prefix).map(([key, rest]) => {
      const slash = key.indexOf('/')
      const [index, name] = [Number(key.slice(0, slash)), key.slice(slash + 1)]
      const delta = name.startsWith('#')
        ? { tool_calls: [{ index: Number(name.slice(1)), function: { arguments: rest } }] }
        : { [name]: rest }
      return framed({ ...this.#last, choices: [{ index, delta, finish_reason: null }] })
    })
  }
}

/** Events of the Responses API: `….delta` in pieces, everything else whole. */
class ResponseEvents implements EventRewriter {
  readonly #filter: AnswerFilter
  readonly #texts: Texts
  /** Key → the last delta of that text, which another is made like. */
  readonly #like = new Map<string, JsonObject>()
  usage: Usage | undefined
  #done = false
  #sequence = 0

  constructor({ filter }: RewriterOptions) {
    this.#filter = filter
    this.#texts = new Texts(filter)
  }

  event(data: string): string[] {
    // Some compatible servers end like this.
    if (data === '[DONE]') return ['data: [DONE]\n\n']
    const event = objectIn(data)
    const { type, delta, response } = event
    if (typeof type !== 'string') throw unusable('an event has no type')
    if (/^response\.(?:completed|incomplete|failed)$|^error$/.test(type)) {
      this.#done = true
      if (isObject(response)) this.usage = usageOf(response['usage'], false)
    }
    if (type.endsWith('.delta') && typeof delta === 'string') {
      const key = keyOf(event, type.slice(0, -'.delta'.length))
      const { obfuscation: _padding, logprobs: _pieces, delta: _delta, ...facts } = event
      const plain = this.#filter.whole(facts)
      this.#like.set(key, plain)
      return [
        this.#framed({ ...plain, delta: this.#texts.push(key, delta, JSON_DELTA.test(type)) }),
      ]
    }
    const before = type.endsWith('.done')
      ? this.#rest(
          type === 'response.output_item.done'
            ? itemOf(event)
            : keyOf(event, type.slice(0, -'.done'.length)),
        )
      : this.#done
        ? this.#rest('')
        : []
    return [...before, this.#framed(this.#filter.whole(event))]
  }

  end(): readonly string[] {
    return this.#done ? [] : cutShort()
  }

  #rest(prefix: string): string[] {
    return this.#texts
      .end(prefix)
      .map(([key, delta]) => this.#framed({ ...this.#like.get(key), delta }))
  }

  /** Numbered anew, for there are more of them. */
  #framed(event: JsonObject): string {
    const numbered =
      event['sequence_number'] === undefined ? {} : { sequence_number: this.#sequence++ }
    return framed({ ...event, ...numbered })
  }
}

const JSON_DELTA = /arguments|tool_call_input/
const itemOf = ({ output_index: output }: JsonObject): string => `${numberText(output)}/`
const keyOf = (event: JsonObject, type: string): string =>
  `${itemOf(event)}${numberText(event['content_index'] ?? event['summary_index'])}/${type}`

/** Events of the Messages API. */
class MessageEvents implements EventRewriter {
  readonly #filter: AnswerFilter
  readonly #texts: Texts
  #usage: Usage | undefined
  #done = false
  #stopped = false

  constructor({ filter }: RewriterOptions) {
    this.#filter = filter
    this.#texts = new Texts(filter)
  }

  /** It begins with the output of one token: counted is what stands at the end. */
  get usage(): Usage | undefined {
    return this.#stopped ? this.#usage : undefined
  }

  event(data: string): string[] {
    const event = objectIn(data)
    const { type, index, delta, message } = event
    this.#count(isObject(message) ? message['usage'] : event['usage'])
    if (type === 'content_block_delta' && isObject(delta)) {
      const name = DELTAS.get(delta['type'])
      const piece = name === undefined ? undefined : delta[name]
      if (name === undefined || typeof piece !== 'string') {
        return [framed(this.#filter.whole(event))]
      }
      // A signature is what it is; it holds nothing that anybody reads.
      const text =
        name === 'signature'
          ? piece
          : this.#texts.push(`${numberText(index)}/${name}`, piece, name === 'partial_json')
      const { [name]: _piece, ...facts } = delta
      const plain = this.#filter.whole({ ...event, delta: facts })
      return [framed({ ...plain, delta: { ...plain.delta, [name]: text } })]
    }
    if (type === 'message_stop') this.#stopped = true
    if (type === 'message_stop' || type === 'error') this.#done = true
    const before =
      type === 'content_block_stop'
        ? this.#rest(`${numberText(index)}/`)
        : this.#done
          ? this.#rest('')
          : []
    return [...before, framed(this.#filter.whole(event))]
  }

  end(): readonly string[] {
    return this.#done ? [] : cutShort()
  }

  /** Input at the beginning, output at the end. */
  #count(usage: JsonValue | undefined): void {
    const found = usageOf(usage, true)
    if (!found) return
    const { input = 0, output = 0 } = this.#usage ?? {}
    this.#usage = { input: Math.max(input, found.input), output: Math.max(output, found.output) }
  }

  #rest(prefix: string): string[] {
    return this.#texts.end(prefix).map(([key, rest]) => {
      const [index, name = ''] = key.split('/')
      const [type = 'text_delta'] = [...DELTAS].find(([, member]) => member === name) ?? []
      const delta = { type, [name]: rest }
      return framed({ type: 'content_block_delta', index: Number(index), delta })
    })
  }
}

const DELTAS: ReadonlyMap<JsonValue | undefined, string> = new Map([
  ['text_delta', 'text'],
  ['input_json_delta', 'partial_json'],
  ['thinking_delta', 'thinking'],
  ['signature_delta', 'signature'],
])
