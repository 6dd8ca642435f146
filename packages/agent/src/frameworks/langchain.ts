import { RefusedError } from '../refused.ts'
import type { JsonObject } from '../refused.ts'
import { refusedOf, textOfOutcome } from './outcome.ts'
import type { ToolOutcome } from './outcome.ts'
import { callOptions } from './tools.ts'
import type { AgentTool } from './tools.ts'

interface Fields {
  readonly name: string
  readonly description: string
  readonly schema: JsonObject
  readonly responseFormat: 'content_and_artifact'
}
type Run = (
  input: JsonObject,
  runtime?: {
    readonly signal?: AbortSignal
    readonly configurable?: Readonly<Record<string, unknown>>
  },
) => Promise<[content: string, artifact: ToolOutcome]>

/**
 * Tools for LangChain and LangGraph (`createAgent`, `ToolNode`). A refusal is a tool message like any other: the model reads it, and
 * `artifact` has it as data. A run's `configurable.traceparent` is the trace that its calls are part of.
 *
 * @param tool the function of that name of `langchain` (or `@langchain/core/tools`), of the caller's own version
 */
export function langchainTools<T>(
  tools: readonly AgentTool[],
  tool: (run: Run, fields: Fields) => T,
): T[] {
  return tools.map((one) => {
    const { name, description, inputSchema: schema } = one
    const run: Run = async (input, { signal, configurable } = {}) => {
      const outcome = await one.call(input, callOptions(signal, configurable?.['traceparent']))
      return [textOfOutcome(outcome), outcome]
    }
    return tool(run, { name, description, schema, responseFormat: 'content_and_artifact' })
  })
}

interface ToolCallRequest {
  readonly toolCall: { readonly id?: string | undefined; readonly name: string }
}

/** What `refusals` needs of `langchain`. */
export interface LangChain<Middleware, Message> {
  readonly createMiddleware: (config: {
    readonly name: string
    readonly wrapToolCall: <Request extends ToolCallRequest, Result>(
      request: Request,
      handler: (request: Request) => Result | Promise<Result>,
    ) => Promise<Result | Message>
  }) => Middleware
  readonly ToolMessage: new (fields: {
    content: string
    name: string
    tool_call_id: string
    status: 'error'
    artifact: ToolOutcome
  }) => Message
}

/**
 * Middleware for `createAgent`: what any tool throws as a refusal of the gateway becomes a tool message that the model can act on. For
 * tools that call the gateway themselves; those of `langchainTools` throw none.
 */
export function refusals<Middleware, Message>({
  createMiddleware,
  ToolMessage,
}: LangChain<Middleware, Message>): Middleware {
  return createMiddleware({
    name: 'SallyportRefusals',
    wrapToolCall: async (request, handler) => {
      try {
        return await handler(request)
      } catch (error) {
        const refused = refusalIn(error)
        if (!refused) throw error
        const outcome: ToolOutcome = { status: 'refused', refused: refusedOf(refused) }
        const { id = '', name } = request.toolCall
        return new ToolMessage({
          content: textOfOutcome(outcome),
          ...{ name, tool_call_id: id, status: 'error', artifact: outcome },
        })
      }
    },
  })
}

/** Frameworks wrap what a tool threw; it is the cause somewhere. */
function refusalIn(error: unknown): RefusedError | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    if (at instanceof RefusedError) return at
  }
  return undefined
}
