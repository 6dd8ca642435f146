import type { JsonValue } from '@sallyport/base'
import { createRedactor } from '@sallyport/redact'
import type { KnownSource, RedactingStream, Vault } from '@sallyport/redact'
import { isObject } from '../adapters/jsonrpc.ts'
import type { JsonObject } from './surfaces.ts'

export interface AnswerOptions {
  readonly vault: Vault
  /** What the caller did not read and others did. */
  readonly others: KnownSource
}

const WITHHELD = '[withheld]'
/** JSON as a text: what is put into it is escaped. */
const JSON_TEXT = new Set(['arguments', 'partial_json'])
const escaped = (value: string): string => JSON.stringify(value).slice(1, -1)
const MAX_DEPTH = 64

/**
 * What a model answers, on its way back: secrets and what only other instances read are withheld, then stand-ins give way to
 * what they stood for. In this order, so that what comes back to its owner is not taken for somebody else's.
 */
export class AnswerFilter {
  readonly #vault: Vault
  readonly #monitor: ReturnType<typeof createRedactor>
  /** Places where something was withheld. */
  withheld = 0
  /** Of the texts that came in pieces. */
  characters = 0

  constructor({ vault, others }: AnswerOptions) {
    this.#vault = vault
    this.#monitor = createRedactor({
      find: { groups: ['secrets'] },
      known: others,
      replace: () => {
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
    const restored = this.#vault.restoring(json ? escaped : undefined)
    return {
      push: (piece) => restored.push(monitored.push(piece)),
      end: () => restored.push(monitored.end()) + restored.end(),
    }
  }

  #text(text: string, json: boolean): string {
    const one = this.#stream(json)
    return one.push(text) + one.end()
  }

  /** @param free whether names and numbers are a model's own, as in a tool's input */
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
      return text === String(value) ? value : text
    }
    if (typeof value !== 'object' || value === null) return value
    if (depth > MAX_DEPTH) return null
    if (Array.isArray(value)) {
      // `Array.isArray` does not narrow a readonly array.
      return (value as readonly JsonValue[]).map((item) => this.#walk(item, name, depth + 1, free))
    }
    // Neither a scalar nor a list.
    const members = Object.entries(value as JsonObject)
    return Object.fromEntries(
      members.map(([key, inner]) => [
        free ? this.#text(key, false) : key,
        this.#walk(inner, key, depth + 1, free || (key === 'input' && isObject(inner))),
      ]),
    )
  }
}

/** A vector is no text, however it is written: numbers, or base64 of them. */
function isVector(value: JsonValue): boolean {
  if (typeof value === 'string') return /^[A-Za-z0-9+/]{16,}={0,2}$/.test(value)
  // `Array.isArray` does not narrow a readonly array.
  const list = Array.isArray(value) ? (value as readonly JsonValue[]) : undefined
  return list?.every((one) => typeof one === 'number') ?? false
}
