import type { LlmModel } from '@sallyport/network'

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
