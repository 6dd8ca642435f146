import type { JsonObject } from '../refused.ts'
import type { ToolOutcome } from './outcome.ts'
import { callOptions } from './tools.ts'
import type { AgentTool } from './tools.ts'

interface AiSdkTool<Schema> {
  readonly description: string
  readonly inputSchema: Schema
  execute(
    input: JsonObject,
    options: { readonly abortSignal?: AbortSignal | undefined },
  ): Promise<ToolOutcome>
}

/**
 * Tools for the Vercel AI SDK (`generateText`, `streamText`, `ToolLoopAgent`), by name. What a tool gives is a `ToolOutcome`: the model
 * reads a refusal, and so can `onStepFinish`.
 *
 * @param jsonSchema the function of that name of `ai`, of the caller's own version
 * @param options `traceparent`: the trace that every call of them is part of; they are made for one run, as `tools` of it
 */
export function aiSdkTools<Schema>(
  tools: readonly AgentTool[],
  jsonSchema: (schema: JsonObject) => Schema,
  options: { readonly traceparent?: string } = {},
): Record<string, AiSdkTool<Schema>> {
  return Object.fromEntries(
    tools.map((one): [string, AiSdkTool<Schema>] => [
      one.name,
      {
        description: one.description,
        inputSchema: jsonSchema(one.inputSchema),
        execute: (input, { abortSignal }) =>
          one.call(input, callOptions(abortSignal, options.traceparent)),
      },
    ]),
  )
}
