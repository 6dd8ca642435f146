import type { JsonValue } from '@sallyport/base'
import { createRedactor } from '@sallyport/redact'
import type { KnownSource, RedactingStream, Redactor, StandIns } from '@sallyport/redact'
import { isObject } from '../adapters/jsonrpc.ts'
import { numberIn } from './prompt.ts'
import type { JsonObject } from './surfaces.ts'

export interface AnswerOptions {
  readonly standIns: StandIns
  /** What the caller did not read and others did. */
  readonly others: KnownSource
}

const WITHHELD = '[withheld]'
const SECRETS: Parameters<typeof createRedactor>[0]['find'] = { groups: ['secrets'] }
/** Of texts in which nothing was found: each event of a stream says again whose it is. */
const MAX_CLEAN = 32
const MAX_CLEAN_LENGTH = 64
/** JSON as a text: what is put into it is escaped. */
const JSON_TEXT = new Set(['arguments', 'partial_json'])
const escaped = (value: string): string => JSON.stringify(value).slice(1, -1)
const MAX_DEPTH = 64

/**
 * What a model answers, on its way back: secrets and what only other instances read are withheld, then stand-ins give way to
 * what they stood for. In this order, so that what comes back to its owner is not taken for somebody else's.
 */
export class AnswerFilter {
  readonly #standIns: StandIns
  readonly #others: KnownSource
  readonly #monitor: Redactor
  /** Short texts in which nothing was to be withheld, by what is known as of a version. */
  readonly #clean = new Set<string>()
  #version = -1
  /** Places where something was withheld. */
  withheld = 0
  /** Of the texts that came in pieces. */
  characters = 0

  constructor({ standIns, others }: AnswerOptions) {
    this.#standIns = standIns
    this.#others = others
    this.#monitor = createRedactor({
      find: SECRETS,
      known: others,
      replace: (_kind, value) => {
        // What stands for something of the caller's own is no secret, whatever the model calls it.
        if (standIns.owns(value.replace(/[.,:;!?)'*]+$/, ''))) return undefined
        this.withheld++
        return WITHHELD
      },
    })
  }

  /** A text that comes in pieces. @param json whether it is the text of a JSON value */
  stream(json: boolean): RedactingStream {
    const stream = this.#stream(json)
    return {
      push: (piece) => {
        this.characters += piece.length
        return stream.push(piece)
      },
      end: () => stream.end(),
    }
  }

  /** A whole answer, or a whole event: every text in it. */
  whole<T extends JsonValue>(value: T): T {
    // Texts become texts, and everything else keeps its shape.
    return this.#walk(value, '', 0, false) as T
  }

  #stream(json: boolean): RedactingStream {
    const monitored = this.#monitor.stream()
    const restored = this.#standIns.restoring(json ? escaped : undefined)
    return {
      push: (piece) => restored.push(monitored.push(piece)),
      end: () => restored.push(monitored.end()) + restored.end(),
    }
  }

  #text(text: string, json: boolean): string {
    return this.#standIns.restore(this.#monitored(text), json ? escaped : undefined)
  }

  #monitored(text: string): string {
    if (text.length > MAX_CLEAN_LENGTH) return this.#monitor.redact(text)
    const { version } = this.#others
    if (version !== this.#version) {
      this.#clean.clear()
      this.#version = version
    }
    if (this.#clean.has(text)) return text
    const before = this.withheld
    const monitored = this.#monitor.redact(text)
    if (this.withheld === before && this.#clean.size < MAX_CLEAN) this.#clean.add(text)
    return monitored
  }

  /**
   * The same value, where nothing in it has to be another.
   *
   * @param free whether names and numbers are a model's own, as in a tool's input
   */
  #walk(value: JsonValue, name: string, depth: number, free: boolean): JsonValue {
    if (!free) {
      if (name === 'embedding' && isVector(value)) return value
      // The tokens of a text one by one, in which nothing is found that stands in the whole.
      if (name === 'logprobs' && typeof value === 'object' && value !== null) {
        return Array.isArray(value) ? [] : null
      }
    }
    if (typeof value === 'string') return this.#text(value, JSON_TEXT.has(name))
    if (typeof value === 'number' && free) {
      const text = this.#text(String(value), false)
      return text === String(value) ? value : numberIn(text)
    }
    if (typeof value !== 'object' || value === null) return value
    if (depth > MAX_DEPTH) return null
    if (Array.isArray(value)) {
      // `Array.isArray` does not narrow a readonly array.
      const list = value as readonly JsonValue[]
      const items = list.map((item) => this.#walk(item, name, depth + 1, free))
      return items.every((item, i) => item === list[i]) ? list : items
    }
    // Neither a scalar nor a list.
    return this.#object(value as JsonObject, depth, free)
  }

  #object(object: JsonObject, depth: number, free: boolean): JsonObject {
    const names = Object.keys(object)
    const members: [string, JsonValue][] = []
    let isSame = true
    for (const name of names) {
      // A member that there is.
      const inner = object[name] as JsonValue
      const written = free ? this.#text(name, false) : name
      const inside = free || (name === 'input' && isObject(inner))
      const member = this.#walk(inner, name, depth + 1, inside)
      isSame &&= member === inner && written === name
      members.push([written, member])
    }
    return isSame ? object : Object.fromEntries(members)
  }
}

/** A vector is no text, however it is written: numbers, or base64 of them. */
function isVector(value: JsonValue): boolean {
  if (typeof value === 'string') return /^[A-Za-z0-9+/]{16,}={0,2}$/.test(value)
  // `Array.isArray` does not narrow a readonly array.
  const list = Array.isArray(value) ? (value as readonly JsonValue[]) : undefined
  return list?.every((one) => typeof one === 'number') ?? false
}
