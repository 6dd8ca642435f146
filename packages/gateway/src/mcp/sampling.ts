import type { JsonValue } from '@sallyport/base'
import { isObject } from '../adapters/jsonrpc.ts'
import { Refusal } from '../refusal.ts'
import type { JsonObject } from './content.ts'
import type { Asked } from './questions.ts'

const MAX_MESSAGES = 256
const MAX_STOPS = 16
const MAX_STOP = 128
const MAX_HINTS = 8

const refuse = (what: string): Refusal =>
  new Refusal('SP_MCP_QUESTION', `the system asks a model what cannot be asked: ${what}`, {
    status: 403,
    outcome: 'forbidden',
  })

/**
 * Reads `sampling/createMessage` (MCP 2025-11-25, client/sampling). Tools are not passed on: what a model calls there no policy
 * has seen. Nor is the context of other servers.
 *
 * @throws Refusal `SP_MCP_QUESTION`
 */
export function readSampling(params: JsonValue | undefined): Asked {
  if (!isObject(params)) throw refuse('it has no parameters')
  const { messages, systemPrompt, maxTokens, temperature, stopSequences, tools, toolChoice } =
    params
  if (tools !== undefined || toolChoice !== undefined) throw refuse('with tools')
  if (!Array.isArray(messages) || messages.length === 0 || messages.length > MAX_MESSAGES) {
    throw refuse('no messages, or too many')
  }
  if (typeof maxTokens !== 'number' || !Number.isSafeInteger(maxTokens) || maxTokens < 1) {
    throw refuse('`maxTokens` is no number of tokens')
  }
  if (systemPrompt !== undefined && typeof systemPrompt !== 'string') {
    throw refuse('`systemPrompt` is no text')
  }
  // `Array.isArray` makes of it a list of anything.
  const read = (messages as readonly JsonValue[]).map(readMessage)
  const stops = readStops(stopSequences)
  const { hints, ...priorities } = readPreferences(params['modelPreferences'])
  return {
    input: { maxTokens: Math.min(maxTokens, 1_000_000) },
    async shown(release) {
      const [system] = systemPrompt === undefined ? [] : await release.texts([systemPrompt])
      const shown: JsonObject[] = []
      for (const { role, content } of read) {
        const kept = (await release.blocks(content)).filter((block) => block !== undefined)
        if (kept[0]) shown.push({ role, content: kept.length === 1 ? kept[0] : kept })
      }
      // With other ends, the model would be asked something else.
      const ends = await release.texts(stops)
      if (shown.length === 0 || ends.some((stop, i) => stop !== stops[i])) return undefined
      const left = await release.texts(hints)
      const named = hints.filter((hint, i) => left[i] === hint).map((name) => ({ name }))
      const modelPreferences = { ...priorities, ...(named.length === 0 ? {} : { hints: named }) }
      return {
        messages: shown,
        maxTokens,
        ...(system === undefined ? {} : { systemPrompt: system }),
        ...(typeof temperature === 'number' ? { temperature } : {}),
        ...(stops.length === 0 ? {} : { stopSequences: stops }),
        ...(Object.keys(modelPreferences).length === 0 ? {} : { modelPreferences }),
      }
    },
    told: readResult,
  }
}

function readMessage(message: JsonValue): { role: string; content: readonly JsonValue[] } {
  const role = isObject(message) ? message['role'] : undefined
  if (!isObject(message) || (role !== 'user' && role !== 'assistant')) {
    throw refuse('a message has no role')
  }
  const { content } = message
  if (Array.isArray(content)) return { role, content }
  if (!isObject(content)) throw refuse('a message has no content')
  return { role, content: [content] }
}

function readStops(stops: JsonValue | undefined): readonly string[] {
  if (stops === undefined) return []
  const isStop = (stop: unknown): stop is string =>
    typeof stop === 'string' && stop.length <= MAX_STOP
  if (!Array.isArray(stops) || stops.length > MAX_STOPS || !stops.every(isStop)) {
    throw refuse('`stopSequences` are no short texts, or too many')
  }
  return stops
}

/** Numbers, and names of models, which are no more than advice. */
function readPreferences(given: JsonValue | undefined): {
  readonly [priority: string]: number | readonly string[]
  readonly hints: readonly string[]
} {
  const kept: Record<string, number> = {}
  if (!isObject(given)) return { hints: [] }
  for (const name of ['costPriority', 'speedPriority', 'intelligencePriority']) {
    const value = given[name]
    if (typeof value === 'number') kept[name] = value
  }
  const { hints } = given
  // `Array.isArray` makes of it a list of anything.
  const list = Array.isArray(hints) ? (hints as readonly JsonValue[]) : []
  const names = list.slice(0, MAX_HINTS).flatMap((hint) => {
    const name = isObject(hint) ? hint['name'] : undefined
    return typeof name === 'string' && /^[\w.:/-]{1,128}$/.test(name) ? [name] : []
  })
  return { ...kept, hints: names }
}

/** What the client's model said: text, pictures and sound, and nothing beside. */
function readResult({ role, content, model, stopReason }: JsonObject): JsonObject | undefined {
  if (role !== 'assistant' || typeof model !== 'string') return undefined
  const blocks: readonly JsonValue[] = Array.isArray(content) ? content : [content ?? null]
  const said = blocks.map((block) => {
    if (!isObject(block)) return undefined
    const { type, text, data, mimeType } = block
    if (type === 'text' && typeof text === 'string') return { type, text }
    const media = (type === 'image' || type === 'audio') && typeof data === 'string'
    return media && typeof mimeType === 'string' ? { type, data, mimeType } : undefined
  })
  const whole = said.filter((block) => block !== undefined)
  const [only] = whole
  if (!only || whole.length !== said.length) return undefined
  return {
    role,
    model: model.slice(0, 256),
    content: whole.length === 1 ? only : whole,
    ...(typeof stopReason === 'string' ? { stopReason: stopReason.slice(0, 64) } : {}),
  }
}
