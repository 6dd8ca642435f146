import { parseJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { MCP_LOG_LEVELS } from '@sallyport/network'
import type { Operation, System } from '@sallyport/network'
import { MAX_MANDATE_TOKEN } from '@sallyport/wire'
import { isObject, isRpcId } from '../adapters/jsonrpc.ts'
import type { RpcId, RpcRequest } from '../adapters/jsonrpc.ts'
import type { McpSession } from '../adapters/mcp-sessions.ts'
import type { Presented } from '../calls/pipeline.ts'
import { plain } from '../inventory/plain.ts'
import { Refusal } from '../refusal.ts'
import type { RequestContext } from '../serve/context.ts'
import { noOperation } from '../serve/http.ts'
import { hasContent, withoutContent } from './content.ts'
import type { ContentRelease, JsonObject } from './content.ts'
import type { Invocation, McpInvocations } from './invoke.ts'
import { kept } from './kept.ts'
import { offerOf } from './offer.ts'

export interface MethodParts {
  readonly invocations: McpInvocations
}

const MAX_URI = 2048
const MAX_TEXT = 4 * 1024 * 1024
const MAX_SUBSCRIPTIONS = 256
const MAX_COMPLETIONS = 100

const refuse = (message: string): Refusal => new Refusal('SP_MCP_MESSAGE', message, { status: 400 })

type Params = RpcRequest['params']

/** Methods of clients that go to the server, each as a call of one operation. */
export class McpMethods {
  readonly #parts: MethodParts

  constructor(parts: MethodParts) {
    this.#parts = parts
  }

  /** @returns false for a method that the system does not have */
  async serve(
    context: RequestContext,
    system: System,
    session: McpSession,
    rpc: RpcRequest,
  ): Promise<boolean> {
    const read = this.#method(system, session, rpc)
    if (!read) return false
    await this.#parts.invocations.serve(context, system, session, rpc, read)
    return true
  }

  #method(
    system: System,
    session: McpSession,
    { method, params }: RpcRequest,
  ): (() => Invocation) | undefined {
    const offer = offerOf(system)
    switch (method) {
      case 'tools/call':
        return () => toolCall(system, params)
      case 'prompts/get':
        return offer.prompts.length === 0 ? undefined : () => promptGet(system, params)
      case 'resources/read':
        return offer.resources.length === 0 ? undefined : () => resourceRead(system, params)
      case 'resources/subscribe':
      case 'resources/unsubscribe':
        if (offer.resources.length === 0) return undefined
        return () => subscription(system, session, method, params)
      case 'completion/complete': {
        const operation = offer.service('completion')
        return operation && (() => completion(system, operation, params))
      }
      case 'logging/setLevel': {
        const operation = offer.service('logging')
        return operation && (() => setLevel(operation, session, params))
      }
      default:
        return undefined
    }
  }
}

/** Reads `_meta`, and refuses whatever stands beside what a method has. */
function readMeta(
  params: Params,
  known: readonly string[],
): { readonly presented: Presented; readonly progressToken: RpcId | undefined } {
  for (const member of Object.keys(params)) {
    if (member !== '_meta' && !known.includes(member)) {
      throw refuse('`params` has a member that is not accepted')
    }
  }
  const { _meta: meta } = params
  if (meta !== undefined && !isObject(meta)) throw refuse('`_meta` is not an object')
  const { progressToken } = meta ?? {}
  if (progressToken !== undefined && !isRpcId(progressToken)) {
    throw refuse('`progressToken` is neither a short string nor a whole number')
  }
  const approval = meta?.['sallyport/approval']
  if (approval !== undefined && typeof approval !== 'string') {
    throw refuse('`sallyport/approval` is not a text')
  }
  const mandate = meta?.['sallyport/mandate']
  if (
    mandate !== undefined &&
    (typeof mandate !== 'string' || mandate.length > MAX_MANDATE_TOKEN)
  ) {
    throw refuse('`sallyport/mandate` is no text, or too long')
  }
  return { presented: { approval, mandate }, progressToken }
}

function toolCall(system: System, params: Params): Invocation {
  const meta = readMeta(params, ['name', 'arguments'])
  const { name, arguments: args } = params
  if (typeof name !== 'string') throw refuse('`name` is not a text')
  if (args !== undefined && !isObject(args)) throw refuse('`arguments` is not an object')
  const operation = offerOf(system).tool(name)
  if (!operation) throw noOperation({ kind: 'operation', name: `tool ${plain.tool(name)}` })
  return {
    ...meta,
    operation,
    raw: args ?? {},
    method: 'tools/call',
    params: (input) => ({ name, arguments: input }),
    result: (release, given) => toolResult(operation, release, given),
  }
}

async function toolResult(
  operation: Operation,
  release: ContentRelease,
  { structuredContent, content, isError }: JsonObject,
): Promise<unknown> {
  const blocks: readonly JsonValue[] = Array.isArray(content) ? content : []
  const failed = isError === true
  const shows = hasContent(operation)
  const shown = shows ? (await release.blocks(blocks)).filter((one) => one !== undefined) : []
  if (failed) {
    // What a tool says of its failure is text: where nothing classifies it, it does not leave.
    const text = { type: 'text', text: 'the tool reported an error' }
    return { content: shown.length > 0 ? shown : [text], isError: true }
  }
  const data = structuredContent ?? (shows ? undefined : textJson(blocks))
  const value = await release.json(data)
  return {
    content: shows ? shown : [{ type: 'text', text: JSON.stringify(value ?? {}) }],
    ...(isObject(value) ? { structuredContent: value } : {}),
    isError: false,
  }
}

/** Servers before structured content put their JSON into a text. */
function textJson(content: readonly JsonValue[]): JsonValue | undefined {
  const [only] = content
  const text = content.length === 1 && isObject(only) && only['type'] === 'text' && only['text']
  return typeof text === 'string' ? jsonOf(text) : undefined
}

function jsonOf(text: string): JsonValue | undefined {
  try {
    return parseJson(text, { maxBytes: MAX_TEXT })
  } catch {
    return undefined
  }
}

function promptGet(system: System, params: Params): Invocation {
  const meta = readMeta(params, ['name', 'arguments'])
  const { name, arguments: args } = params
  if (typeof name !== 'string') throw refuse('`name` is not a text')
  if (args !== undefined && !isObject(args)) throw refuse('`arguments` is not an object')
  const operation = offerOf(system).prompt(name)
  if (!operation) throw noOperation({ kind: 'operation', name: `prompt ${plain.tool(name)}` })
  return {
    ...meta,
    operation,
    raw: args ?? {},
    method: 'prompts/get',
    params: (input) => ({ name, arguments: input }),
    async result(release, { messages }) {
      // `Array.isArray` makes of it a list of anything.
      const given = (Array.isArray(messages) ? (messages as readonly JsonValue[]) : []).flatMap(
        (message) => {
          const { role, content } = isObject(message) ? message : {}
          return role === 'user' || role === 'assistant' ? [{ role, content: content ?? null }] : []
        },
      )
      const blocks = await release.blocks(given.map(({ content }) => content))
      const shown = given.flatMap(({ role }, i) => {
        const content = blocks[i]
        return content === undefined ? [] : [{ role, content }]
      })
      return { description: operation.description, messages: shown }
    },
  }
}

function readUri(
  system: System,
  params: Params,
): Pick<Invocation, 'operation' | 'raw' | 'presented' | 'progressToken'> & {
  readonly uri: string
} {
  const meta = readMeta(params, ['uri'])
  const { uri } = params
  if (typeof uri !== 'string' || uri.length > MAX_URI) throw refuse('`uri` is no text, or too long')
  const found = offerOf(system).resource(uri)
  if (!found) throw noOperation()
  return { ...meta, uri, operation: found.operation, raw: found.input }
}

function resourceRead(system: System, params: Params): Invocation {
  const { uri, ...named } = readUri(system, params)
  const { operation } = named
  return {
    ...named,
    method: 'resources/read',
    params: () => ({ uri }),
    async result(release, { contents }) {
      const list: readonly JsonValue[] = Array.isArray(contents) ? contents : []
      if (Object.keys(withoutContent(operation)).length === 0) {
        const shown = await release.resources(list, uri)
        return { contents: shown.filter((one) => one !== undefined) }
      }
      // Declared as JSON: projected as such, and nothing else of it leaves.
      const [only] = list
      const text = isObject(only) ? only['text'] : undefined
      const value = await release.json(typeof text === 'string' ? jsonOf(text) : undefined)
      const mimeType = 'application/json'
      return { contents: [{ uri, mimeType, text: JSON.stringify(value ?? {}) }] }
    },
  }
}

function subscription(
  system: System,
  session: McpSession,
  method: 'resources/subscribe' | 'resources/unsubscribe',
  params: Params,
): Invocation {
  const { uri, ...named } = readUri(system, params)
  const { subscriptions } = session
  if (method === 'resources/subscribe' && subscriptions.size >= MAX_SUBSCRIPTIONS) {
    throw new Refusal('SP_OVERLOADED', 'the session has too many subscriptions', { status: 429 })
  }
  return {
    ...named,
    method,
    params: () => ({ uri }),
    result(_release, _given, now) {
      if (method === 'resources/subscribe') subscriptions.set(uri, kept(now))
      else subscriptions.delete(uri)
      return Promise.resolve({})
    },
  }
}

/** What is completed must be something that the caller may reach: a value that it suggests is one of its. */
function completion(system: System, operation: Operation, params: Params): Invocation {
  const meta = readMeta(params, ['ref', 'argument', 'context'])
  const { ref, argument } = params
  if (!isObject(ref) || !isObject(argument)) throw refuse('`ref` or `argument` is not an object')
  const { name, value } = argument
  const [key, of] = ref['type'] === 'ref/prompt' ? ['name', ref['name']] : ['uri', ref['uri']]
  if (typeof of !== 'string' || typeof name !== 'string' || typeof value !== 'string') {
    throw refuse('`ref` or `argument` names nothing')
  }
  const offer = offerOf(system)
  const prompt = key === 'name' ? offer.prompt(of) : undefined
  const about = prompt ?? (key === 'uri' ? offer.template(of) : undefined)
  if (!about || !Object.hasOwn(about.input.members, name)) throw noOperation()
  return {
    ...meta,
    operation,
    about,
    raw: { ref: about.name, argument: name, value },
    method: 'completion/complete',
    params: (input) => ({
      ref: { type: prompt ? 'ref/prompt' : 'ref/resource', [key]: of },
      argument: { name, value: input['value'] ?? '' },
    }),
    async result(release, { completion: given }) {
      const { values, total, hasMore } = isObject(given) ? given : {}
      const list = (Array.isArray(values) ? values : []).filter((one) => typeof one === 'string')
      const shown = await release.texts(list.slice(0, MAX_COMPLETIONS))
      return {
        completion: {
          values: shown.filter((one) => one !== undefined),
          ...(typeof total === 'number' ? { total } : {}),
          ...(typeof hasMore === 'boolean' ? { hasMore } : {}),
        },
      }
    },
  }
}

function setLevel(operation: Operation, session: McpSession, params: Params): Invocation {
  const meta = readMeta(params, ['level'])
  const { level } = params
  return {
    ...meta,
    operation,
    raw: { level },
    method: 'logging/setLevel',
    params: (input) => ({ level: input['level'] ?? '' }),
    result(_release, _given, now) {
      session.logging = {
        by: kept(now),
        level: typeof level === 'string' ? MCP_LOG_LEVELS.indexOf(level) : MCP_LOG_LEVELS.length,
      }
      return Promise.resolve({})
    },
  }
}
