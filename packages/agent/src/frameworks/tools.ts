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
  /** The trace that the call is part of (W3C Trace Context), before what `ToolOptions` say. What is none is left out. */
  readonly traceparent?: string
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
  /**
   * Asked with each call for the trace that it is part of (W3C Trace Context), where the framework runs the tool: what is kept in an
   * `AsyncLocalStorage`, the active span of OpenTelemetry say, is the call's own. What gives none, or throws, breaks no call.
   */
  readonly traceparent?: () => string | undefined
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
  return toolOf(options, name, client, options, async (input, { traceparent, ...how }) => {
    const asked = request(input)
    const headers = traceparent === undefined ? {} : traced(asked.headers, traceparent)
    const { status, body } = await client.request({ ...asked, ...how, ...headers })
    // What the system itself answers is an answer: a model can read that there is no such account.
    return status < 400 ? body : { status, body }
  })
}

/** With one `traceparent`: of two, a gateway takes none. */
function traced(
  headers: CallRequest['headers'] = {},
  traceparent: string,
): Pick<CallRequest, 'headers'> {
  const others = Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'traceparent')
  return { headers: { ...Object.fromEntries(others), traceparent } }
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
  const { patience, awaitApprovalMs, mandate, traceparent: current } = options
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
    async call(input, { traceparent: given, ...rest } = {}) {
      // Once for all attempts: they are one call of the agent's.
      const traceparent = traceOf(given) ?? traceOf(current)
      const how = traceparent === undefined ? rest : { ...rest, traceparent }
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

/** Something in the form of a `traceparent`; whether it is one is the gateway's to say, but no header may be made of anything else. */
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x21-\x7e]{0,200})?$/

function traceOf(from: unknown): string | undefined {
  let text = from
  if (typeof from === 'function') {
    try {
      text = from()
    } catch {
      // Telemetry that fails must not keep a call from being made: it goes without.
      return undefined
    }
  }
  return typeof text === 'string' && TRACEPARENT.test(text) ? text : undefined
}

/** The options of a call, of what a framework hands to a tool. */
export function callOptions(signal: AbortSignal | undefined, traceparent: unknown): CallOptions {
  return {
    ...(signal ? { signal } : {}),
    ...(typeof traceparent === 'string' ? { traceparent } : {}),
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
