import type { JsonValue } from '@sallyport/base'
import type { LlmModel } from '@sallyport/network'
import { unusable } from '../upstream/exchange.ts'
import type { JsonObject, Surface } from './surfaces.ts'

/** What a vendor says that a call took. */
export interface Usage {
  readonly input: number
  readonly output: number
}

/** Members of a call's typed input that limits may sum. */
export interface Spending {
  readonly inputTokens: number
  readonly maxOutputTokens: number
  readonly tokens: number
  /** Millionths of the currency's minor unit. */
  readonly cost: number
}

/** Bytes of UTF-8 for a token: English prose has about four, other scripts and figures fewer. */
const BYTES_PER_TOKEN = 3

/** About how many tokens a text of so many bytes has; rather more than fewer. */
export const estimatedTokens = (bytes: number): number => Math.ceil(bytes / BYTES_PER_TOKEN)

/** What a call may take at most, or took. */
export function spending({ price }: LlmModel, { input, output }: Usage): Spending {
  const cost = input * (price?.input ?? 0) + output * (price?.output ?? 0)
  return { inputTokens: input, maxOutputTokens: output, tokens: input + output, cost }
}

/**
 * Usage as OpenAI's and Anthropic's APIs state it; undefined where it is not there, or no count: then what was reserved counts.
 *
 * @param part whether one of both is enough, as for an embedding, which has no output
 */
export function usageOf(value: unknown, part: boolean): Usage | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  // Members are checked one by one.
  const usage = value as Readonly<Record<string, unknown>>
  let sound = true
  const count = (...names: string[]): number | undefined => {
    const found = names.map((name) => usage[name]).find((one) => one !== undefined && one !== null)
    if (typeof found === 'number' && Number.isSafeInteger(found) && found >= 0) return found
    if (found !== undefined) sound = false
    return undefined
  }
  const input = count('prompt_tokens', 'input_tokens')
  const output = count('completion_tokens', 'output_tokens')
  const missing = [input, output].filter((one) => one === undefined).length
  if (missing > (part ? 1 : 0)) return undefined
  const cached =
    (count('cache_creation_input_tokens') ?? 0) + (count('cache_read_input_tokens') ?? 0)
  return sound ? { input: (input ?? 0) + cached, output: output ?? 0 } : undefined
}

/** Characters of text for a token, about. */
const CHARACTERS_PER_TOKEN = 4
/** No model's tokens have more on average, even where they are runs of one sign. */
const MOST_PER_TOKEN = 32
const SLACK = 4096

/**
 * What a call took that says nothing of it: no less than was reserved, which is undefined here, and more where its text is longer
 * than that, for some servers do not know a limit by the name that they were told it by.
 */
export function beyond(most: Usage, characters: number): Usage | undefined {
  const output = Math.ceil(characters / CHARACTERS_PER_TOKEN)
  return most.output > 0 && output > most.output ? { input: most.input, output } : undefined
}

/** @throws Refusal `SP_UPSTREAM_RESPONSE` for an answer that keeps to no limit */
export function demandLimit({ output }: Usage, characters: number): void {
  if (characters > output * MOST_PER_TOKEN + SLACK) {
    throw unusable('it is longer than was asked for')
  }
}

/** How long the texts of a whole answer are. */
export function charactersOf({ name }: Surface, body: JsonObject): number {
  const inside = (value: JsonValue | undefined): number => {
    if (typeof value === 'string') return value.length
    if (typeof value !== 'object' || value === null) return 0
    return Object.values(value).reduce<number>((sum, one: JsonValue) => sum + inside(one), 0)
  }
  return inside(body[name === 'chat' ? 'choices' : name === 'responses' ? 'output' : 'content'])
}
