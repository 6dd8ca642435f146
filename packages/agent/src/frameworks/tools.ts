import type { JsonValue } from '@sallyport/base'
import type { CallRequest } from '../call.ts'
import type { AgentClient } from '../client.ts'
import type { McpToolResult } from '../mcp.ts'
import type { Patience } from '../patience.ts'
import { isObject, RefusedError } from '../refused.ts'
import type { JsonObject } from '../refused.ts'
import { refusedOf } from './outcome.ts'
import type { ToolOutcome } from './outcome.ts'

/** A tool as every framework takes one; the adapters beside this file put it in the form of each. */
export interface AgentTool {
  readonly name: string
  readonly description: string
  /** JSON Schema of an object. */
  readonly inputSchema: JsonObject
  /**
   * Calls it.
   *
   * @throws whatever is no refusal of the gateway's: a broken connection, an error of the system itself
   */
  call(input: JsonObject, how?: CallOptions): Promise<ToolOutcome>
}

export interface CallOptions {
  readonly signal?: AbortSignal
  /** Of an approval that this very call was given. */
  readonly approval?: string
}

export interface ToolOptions {
  /**
   * Where a call needs approval, how long it waits for one and is then made again, in milliseconds. Where unsaid, the call comes
   * back refused, with the id of the approval that was asked for.
   */
  readonly awaitApprovalMs?: number
  /** Waits out limits; where unsaid, a call that a limit refuses comes back refused, with the time to wait. */
  readonly patience?: Patience
  /** The mandate that all calls are made under: its id, or the whole chain as a token. */
  readonly mandate?: string
}

/** The tools of an MCP system that this agent may call now; others are not listed by the gateway. */
export async function mcpTools(
  client: AgentClient,
  system: string,
  options: ToolOptions = {},
): Promise<readonly AgentTool[]> {
  const mcp = client.mcp(system)
  const listed = await mcp.listTools()
  return listed.map(({ name, description = name, inputSchema }) =>
    toolOf({ name, description, inputSchema }, `${system}.${name}`, client, options, (input, how) =>
      mcp.callTool(name, input, how).then(valueOf),
    ),
  )
}

export interface HttpToolOptions extends ToolOptions {
  readonly name: string
  readonly description: string
  /** JSON Schema of an object. */
  readonly inputSchema: JsonObject
  /** The call that an input means. */
  readonly request: (input: JsonObject) => CallRequest
}

/** One operation of an HTTP system as a tool. */
export function httpTool(client: AgentClient, options: HttpToolOptions): AgentTool {
  const { name, request } = options
  return toolOf(options, name, client, options, async (input, how) => {
    const { status, body } = await client.request({ ...request(input), ...how })
    // What the system itself answers is an answer: a model can read that there is no such account.
    return status < 400 ? body : { status, body }
  })
}

type Call = (
  input: JsonObject,
  how: CallOptions & Pick<ToolOptions, 'mandate'>,
) => Promise<JsonValue>

function toolOf(
  shown: Readonly<{ name: string; description: string; inputSchema: JsonValue }>,
  limited: string,
  client: AgentClient,
  options: ToolOptions,
  call: Call,
): AgentTool {
  const { name, description, inputSchema } = shown
  const { patience, awaitApprovalMs, mandate } = options
  const always = mandate === undefined ? {} : { mandate }
  const once = async (input: JsonObject, how: CallOptions): Promise<ToolOutcome> => {
    try {
      const made = (): Promise<JsonValue> => call(input, { ...always, ...how })
      return { status: 'done', value: await (patience ? patience.run(limited, made) : made()) }
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error
      return { status: 'refused', refused: refusedOf(error) }
    }
  }
  return {
    ...{ name, description },
    inputSchema: isObject(inputSchema) ? inputSchema : { type: 'object' },
    async call(input, how = {}) {
      const first = await once(input, how)
      const approval = approvalOf(first)
      if (awaitApprovalMs === undefined || approval === undefined) return first
      const { signal } = how
      const status = await client.awaitApproval(approval, {
        timeoutMs: awaitApprovalMs,
        ...(signal ? { signal } : {}),
      })
      return status === 'approved' ? once(input, { ...how, approval }) : first
    },
  }
}

/** The approval that a refused call asked for. */
export function approvalOf(outcome: ToolOutcome): string | undefined {
  if (outcome.status === 'done') return undefined
  return outcome.refused.needs?.find(({ approval }) => approval !== undefined)?.approval
}

function valueOf({ content, structuredContent, isError }: McpToolResult): JsonValue {
  if (isError) return { isError, content }
  if (structuredContent !== undefined) return structuredContent
  const [only] = content
  const text = content.length === 1 && isObject(only) && only['type'] === 'text' && only['text']
  return typeof text === 'string' ? text : content
}
