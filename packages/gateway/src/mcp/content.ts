import type { JsonValue } from '@sallyport/base'
import { MCP_CONTENT } from '@sallyport/network'
import type { Operation } from '@sallyport/network'
import type { OutcomeRecord } from '@sallyport/wire'
import { isObject } from '../adapters/jsonrpc.ts'
import { sumReleased } from '../calls/released.ts'
import type { Pipeline } from '../calls/pipeline.ts'
import { unusable } from '../upstream/exchange.ts'
import type { Again } from './kept.ts'

/** A content block (MCP 2025-11-25, `ContentBlock`) read as a record of the data set that is declared for content. */
interface Read {
  readonly record: JsonObject
  /** The block of what is left of the record; undefined where that is none. */
  again(record: JsonObject): JsonObject | undefined
}

export type JsonObject = { readonly [key: string]: JsonValue }
type Released = OutcomeRecord['released']
type Granted = Pick<Again, 'id' | 'caller' | 'typed' | 'enforced' | 'outcome'>

const CONTENT = MCP_CONTENT.replace('[]', '')
const MIME =
  /^[A-Za-z0-9!#$&^_.+-]{1,127}\/[A-Za-z0-9!#$&^_.+-]{1,127}(?:; ?[A-Za-z0-9=.+-]{1,64})?$/
const MAX_BLOCKS = 1000

const isText = (value: JsonValue | undefined): value is string => typeof value === 'string'

/** Members of `names` that are texts. */
function texts(from: JsonObject, names: readonly string[]): JsonObject {
  const found: [string, JsonValue][] = []
  for (const name of names) {
    const value = from[name]
    if (isText(value)) found.push([name, value])
  }
  return Object.fromEntries(found)
}

/** What says how a block is meant, and holds nothing else. */
function form(block: JsonObject): JsonObject {
  const { mimeType, annotations } = block
  const shown: Record<string, JsonValue> = {}
  if (isText(mimeType) && MIME.test(mimeType)) shown['mimeType'] = mimeType
  if (isObject(annotations)) {
    const { audience, priority, lastModified } = annotations
    const kept: Record<string, JsonValue> = {}
    if (Array.isArray(audience)) {
      kept['audience'] = ['user', 'assistant'].filter((one) => audience.includes(one))
    }
    if (typeof priority === 'number') kept['priority'] = priority
    if (isText(lastModified) && /^[\dT:.Z+-]{1,40}$/.test(lastModified)) {
      kept['lastModified'] = lastModified
    }
    shown['annotations'] = kept
  }
  return shown
}

/** A resource's contents: its URI is known already where it is the one that was asked for. */
function readResource(resource: JsonObject, asked?: string): Read {
  const known: JsonObject = asked !== undefined && resource['uri'] === asked ? { uri: asked } : {}
  return {
    record: texts(resource, ['uri', 'text', 'blob']),
    again: (record) => {
      const left: JsonObject = { ...known, ...record }
      const whole = isText(left['uri']) && ('text' in left || 'blob' in left)
      return whole ? { ...left, ...form(resource) } : undefined
    },
  }
}

function readBlock(block: JsonValue): Read | undefined {
  if (!isObject(block)) return undefined
  const { type } = block
  switch (type) {
    case 'text':
      return {
        record: texts(block, ['text']),
        again: ({ text }) => (isText(text) ? { type, text, ...annotations(block) } : undefined),
      }
    case 'image':
    case 'audio':
      return {
        record: texts(block, ['data']),
        again: ({ data }) => (isText(data) ? { type, data, ...form(block) } : undefined),
      }
    case 'resource_link':
      return {
        record: texts(block, ['uri', 'name', 'title', 'description']),
        again: (record) =>
          isText(record['uri'])
            ? { type, ...record, name: record['name'] ?? record['uri'], ...form(block) }
            : undefined,
      }
    case 'resource': {
      const { resource } = block
      if (!isObject(resource)) return undefined
      const inner = readResource(resource)
      return {
        record: inner.record,
        again: (record) => {
          const again = inner.again(record)
          return again && { type, resource: again, ...annotations(block) }
        },
      }
    }
    default:
      return undefined
  }
}

const annotations = ({ annotations: given }: JsonObject): JsonObject =>
  given === undefined ? {} : form({ annotations: given })

/** Whether content of an operation's answers is classified; nothing of it leaves otherwise. */
export const hasContent = ({ returns }: Operation): boolean => Object.hasOwn(returns, MCP_CONTENT)

/** What an operation returns beside content. */
export function withoutContent({ returns }: Operation): Operation['returns'] {
  const { [MCP_CONTENT]: _content, ...rest } = returns
  return rest
}

/** @throws Refusal `SP_UPSTREAM_RESPONSE` where there are too many: of a part, nobody knows what it means */
function bounded(blocks: readonly JsonValue[]): readonly JsonValue[] {
  if (blocks.length > MAX_BLOCKS) throw unusable('it has too many pieces of content')
  return blocks
}

/** Releases what the blocks of an answer hold, as their data set is treated; what has no block of its own is left out. */
export class ContentRelease {
  readonly #pipeline: Pipeline
  readonly #grant: Granted
  released: Released = {}

  constructor(pipeline: Pipeline, grant: Granted) {
    this.#pipeline = pipeline
    this.#grant = grant
  }

  /** Content blocks: of a tool's result, of a message of a prompt or to a model. Undefined stands where a block had to go. */
  blocks(blocks: readonly JsonValue[]): Promise<(JsonObject | undefined)[]> {
    return this.#release(bounded(blocks).map(readBlock))
  }

  /** `contents` of a resource. */
  resources(contents: readonly JsonValue[], asked: string): Promise<(JsonObject | undefined)[]> {
    const read = bounded(contents)
    return this.#release(read.map((one) => (isObject(one) ? readResource(one, asked) : undefined)))
  }

  /** Texts, each as the `text` of a block. */
  async texts(given: readonly string[]): Promise<(string | undefined)[]> {
    const blocks = await this.blocks(given.map((text) => ({ type: 'text', text })))
    return blocks.map((block) => (isText(block?.['text']) ? block['text'] : undefined))
  }

  /** JSON, as `returns` has it. */
  async json(data: JsonValue | undefined): Promise<JsonValue | undefined> {
    const { typed } = this.#grant
    return this.#take(withoutContent(typed.operation), data)
  }

  async #release(read: readonly (Read | undefined)[]): Promise<(JsonObject | undefined)[]> {
    const { operation } = this.#grant.typed
    const dataset = operation.returns[MCP_CONTENT]
    if (dataset === undefined || read.length === 0) return read.map(() => undefined)
    const records = read.map((one) => one?.record ?? {})
    const value = await this.#take({ [MCP_CONTENT]: dataset }, { [CONTENT]: records })
    const left = isObject(value) ? value[CONTENT] : undefined
    // A record is left out as a whole only where its data set is, and then they all are.
    if (!Array.isArray(left) || left.length !== read.length) return read.map(() => undefined)
    return read.map((one, i) => {
      // `Array.isArray` makes of it a list of anything.
      const record = (left as readonly JsonValue[])[i]
      return isObject(record) ? one?.again(record) : undefined
    })
  }

  async #take(
    returns: Operation['returns'],
    body: JsonValue | undefined,
  ): Promise<JsonValue | undefined> {
    const { typed } = this.#grant
    const part = { ...typed, operation: { ...typed.operation, returns } }
    const { value, released } = await this.#pipeline.answers.release(
      { ...this.#grant, typed: part },
      body,
    )
    this.released = sumReleased(this.released, released)
    return value
  }
}
