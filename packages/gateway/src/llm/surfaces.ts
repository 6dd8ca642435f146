import type { JsonValue } from '@sallyport/base'
import type { LlmDialect, LlmModel, LlmSurface, LlmSystem } from '@sallyport/network'
import { isObject } from '../adapters/jsonrpc.ts'
import { Refusal } from '../refusal.ts'

export type JsonObject = { readonly [key: string]: JsonValue }

/** One endpoint of a vendor's API. */
export interface Surface {
  readonly name: LlmSurface
  readonly dialect: LlmDialect
  /** Below `/SYSTEM` for callers, and below the upstream's base without `v1`. */
  readonly path: readonly string[]
  /** Members of a request that are understood; no other is passed on. */
  readonly members: ReadonlySet<string>
  /** Members that limit the answer's tokens; the first is set where a caller sets none. */
  readonly limits: readonly string[]
}

const words = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/))

const SURFACES: readonly Surface[] = [
  {
    name: 'chat',
    dialect: 'openai',
    path: ['v1', 'chat', 'completions'],
    members: words(
      'model messages stream stream_options max_tokens max_completion_tokens temperature top_p n stop presence_penalty frequency_penalty logit_bias seed tools tool_choice parallel_tool_calls response_format reasoning_effort verbosity logprobs top_logprobs user store',
    ),
    limits: ['max_completion_tokens', 'max_tokens'],
  },
  {
    name: 'responses',
    dialect: 'openai',
    path: ['v1', 'responses'],
    members: words(
      'model input instructions stream stream_options max_output_tokens temperature top_p tools tool_choice parallel_tool_calls text reasoning include truncation top_logprobs user store',
    ),
    limits: ['max_output_tokens'],
  },
  {
    name: 'embeddings',
    dialect: 'openai',
    path: ['v1', 'embeddings'],
    members: words('model input dimensions encoding_format user'),
    limits: [],
  },
  {
    name: 'messages',
    dialect: 'anthropic',
    path: ['v1', 'messages'],
    members: words(
      'model messages system stream max_tokens stop_sequences temperature top_p top_k tools tool_choice thinking metadata service_tier',
    ),
    limits: ['max_tokens'],
  },
]

export function surfaceAt(dialect: LlmDialect, path: readonly string[]): Surface | undefined {
  return SURFACES.find(
    (one) =>
      one.dialect === dialect &&
      one.path.length === path.length &&
      one.path.every((segment, i) => segment === path[i]),
  )
}

/** A request as far as it is understood. */
export interface ModelRequest {
  readonly model: string
  readonly stream: boolean
  /** Whether the caller asked to be told of the usage at the end of a stream. */
  readonly wantsUsage: boolean
  /** Tokens that the answer may have, all choices together. */
  readonly maxOutput: (most: number) => number
  readonly tools: readonly string[]
  /** What would be forwarded to a model, not yet redacted. @param limit how its server calls the limit of an answer's tokens */
  readonly body: (model: LlmModel, limit?: LlmSystem['outputLimit']) => JsonObject
}

const badRequest = (message: string): Refusal =>
  new Refusal('SP_LLM_REQUEST', message, { status: 400 })

const MAX_CHOICES = 16

/**
 * Reads a request to a model. What a vendor would do by itself, e.g. keep the conversation, search or run code, is not
 * understood here and refused.
 *
 * @throws Refusal `SP_LLM_REQUEST`
 */
export function readModelRequest(surface: Surface, body: JsonValue | undefined): ModelRequest {
  if (!isObject(body)) throw badRequest('the request body is not an object')
  for (const name of Object.keys(body)) {
    if (!surface.members.has(name)) {
      throw badRequest(`\`${name.slice(0, 64)}\` is not accepted here`)
    }
  }
  const { model, stream = false, tools = null, store, n } = body
  if (typeof model !== 'string') throw badRequest('`model` is not a text')
  if (typeof stream !== 'boolean') throw badRequest('`stream` is not true or false')
  if (stream && surface.name === 'embeddings') throw badRequest('`stream` is not accepted here')
  if (store !== undefined && store !== null && store !== false) {
    throw badRequest('`store` would leave the conversation with the vendor')
  }
  const choices = n ?? 1
  if (
    typeof choices !== 'number' ||
    !Number.isInteger(choices) ||
    choices < 1 ||
    choices > MAX_CHOICES
  ) {
    throw badRequest(`\`n\` is not a number from 1 to ${MAX_CHOICES}`)
  }
  const [asked, ...others] = surface.limits
    .map((name) => body[name])
    .filter((value) => value !== undefined && value !== null)
  // One vendor goes by the first of two, another by the second.
  if (others.length > 0) throw badRequest('the number of tokens is asked for twice')
  if (asked !== undefined && (typeof asked !== 'number' || !Number.isInteger(asked) || asked < 1)) {
    throw badRequest('the number of tokens that is asked for is no whole number from 1')
  }
  const { stream_options: options } = body
  if (options !== undefined && options !== null && !isObject(options)) {
    throw badRequest('`stream_options` is not an object')
  }
  if (surface.name === 'responses') demandItems(body['input'])
  return {
    model,
    stream,
    wantsUsage: isObject(options ?? undefined) && (options as JsonObject)['include_usage'] === true,
    tools: toolNames(tools),
    maxOutput: (most) => {
      if (surface.limits.length === 0) return 0
      if (typeof asked === 'number' && asked > most) {
        throw badRequest(`the model answers with at most ${most} tokens`)
      }
      return (typeof asked === 'number' ? asked : most) * choices
    },
    body: ({ name, maxOutputTokens }, spelled) => {
      const old = surface.name === 'chat' && spelled === 'max_tokens'
      const [limit] = old ? ['max_tokens'] : surface.limits
      // A server that does not know the newer name does not know `store` either, and may refuse what it does not know.
      const { max_completion_tokens: _newer, store: _store, ...plain } = body
      return {
        ...(old ? plain : body),
        model: name,
        ...(limit !== undefined && (asked === undefined || old)
          ? { [limit]: asked ?? maxOutputTokens }
          : {}),
        ...(surface.name === 'chat' && stream ? { stream_options: { include_usage: true } } : {}),
        // Kept otherwise, by default or by a setting of the account.
        ...(surface.members.has('store') && !old ? { store: false } : {}),
      }
    },
  }
}

/** An item that says neither what it is nor who speaks is taken for a reference to one that the vendor kept. */
function demandItems(input: JsonValue | undefined): void {
  if (!Array.isArray(input)) return
  // `Array.isArray` does not narrow a readonly array.
  for (const item of input as readonly JsonValue[]) {
    if (isObject(item) && typeof (item['type'] ?? item['role']) !== 'string') {
      throw badRequest('an item of `input` does not say what it is')
    }
  }
}

/** Functions of the caller's own; tools that a vendor runs would reach where no flow leads. */
function toolNames(tools: JsonValue): string[] {
  if (tools === null) return []
  if (!Array.isArray(tools)) throw badRequest('`tools` is not a list')
  // `Array.isArray` does not narrow a readonly array.
  return (tools as readonly JsonValue[]).map((tool) => {
    const type = isObject(tool) ? (tool['type'] ?? 'custom') : undefined
    if (!isObject(tool) || (type !== 'function' && type !== 'custom')) {
      throw badRequest('a tool is none of the caller’s own functions')
    }
    const [name, ...others] = [tool['function'], tool['custom'], tool].flatMap((place) =>
      isObject(place) && place['name'] !== undefined ? [place['name']] : [],
    )
    // Where each vendor looks for it differs: policies must read the name that the vendor does.
    if (others.length > 0) throw badRequest('a tool has two names')
    if (typeof name !== 'string' || name === '' || name.length > 128) {
      throw badRequest('a tool has no name')
    }
    return name
  })
}
