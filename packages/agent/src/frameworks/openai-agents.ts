import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { isObject } from '../refused.ts'
import type { JsonObject } from '../refused.ts'
import { textOfOutcome } from './outcome.ts'
import { callOptions } from './tools.ts'
import type { AgentTool } from './tools.ts'

/** A JSON Schema in the form that the SDK's tools without `strict` take. */
interface Parameters {
  readonly type: 'object'
  readonly properties: Record<string, JsonObject>
  readonly required: string[]
  readonly additionalProperties: true
}
interface Fields {
  readonly name: string
  readonly description: string
  readonly parameters: Parameters
  readonly strict: false
  readonly execute: (
    input: unknown,
    run?: { readonly context: unknown },
    details?: { readonly signal?: AbortSignal | undefined },
  ) => Promise<string>
}

/**
 * Tools for the OpenAI Agents SDK. Arguments that the schema does not know are the gateway's to refuse. The member `traceparent` of a
 * run's `context` is the trace that its calls are part of.
 *
 * @param tool the function of that name of `@openai/agents`, of the caller's own version
 */
export function openaiAgentsTools<T>(
  tools: readonly AgentTool[],
  tool: (fields: Fields) => T,
): T[] {
  return tools.map((one) =>
    tool({
      name: one.name,
      description: one.description,
      parameters: parametersOf(one.inputSchema),
      strict: false,
      async execute(input, run, { signal } = {}) {
        const how = callOptions(signal, traceparentIn(run?.context))
        return textOfOutcome(await one.call(argumentsOf(input), how))
      },
    }),
  )
}

/** A run's context is whatever the agent's program made it. */
function traceparentIn(context: unknown): unknown {
  return typeof context === 'object' && context !== null && 'traceparent' in context
    ? context.traceparent
    : undefined
}

function argumentsOf(input: unknown): JsonObject {
  if (isObject(input)) return input
  throw new SallyportError('SP_INPUT_TYPE', 'the arguments of a tool are no object')
}

function parametersOf({ properties = {}, required = [] }: JsonObject): Parameters {
  const entries = isObject(properties) ? Object.entries(properties) : []
  return {
    type: 'object',
    properties: Object.fromEntries(entries.filter(isMember)),
    required: Array.isArray(required) ? required.filter((name) => typeof name === 'string') : [],
    additionalProperties: true,
  }
}

const isMember = (entry: [string, JsonValue]): entry is [string, JsonObject] => isObject(entry[1])
