import { parseJson, SallyportError } from '@sallyport/base'
import { inputRecordFrom, isObject } from './input-type.ts'
import { Halt } from './problem.ts'
import type { InputSchema, McpBinding } from './types.ts'

/** The tools of an MCP server, as its `tools/list` result states them. */
export interface McpTools {
  readonly names: readonly string[]
  /** @throws Halt when the tool cannot be imported */
  tool(name: string): {
    readonly description: string
    readonly binding: McpBinding
    readonly input: InputSchema
  }
}

/**
 * Reads `{"tools": [{name, title?, description?, inputSchema}]}` (MCP 2025-06-18, server/tools). The copy in the
 * declaration is what callers are shown and held to, whatever the server says later.
 *
 * @throws Halt `SP_NETWORK_MCP`
 */
export function mcpToolsFrom(text: string): McpTools {
  let root: unknown
  try {
    root = parseJson(text, { maxDepth: 32 })
  } catch (error) {
    const message = error instanceof SallyportError ? error.message : 'the file is unreadable'
    throw refuse(message, 'save the `tools/list` result of the server as JSON')
  }
  const list = isObject(root) ? root['tools'] : undefined
  if (!Array.isArray(list)) {
    throw refuse('the file has no `tools` list', 'save the `tools/list` result of the server')
  }
  const tools = new Map<string, Readonly<Record<string, unknown>>>()
  for (const tool of list) {
    const name = isObject(tool) ? tool['name'] : undefined
    if (!isObject(tool) || typeof name !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(name)) {
      throw refuse('a tool has no usable name', 'use 1 to 128 visible ASCII characters')
    }
    if (tools.has(name)) throw refuse(`the tool \`${name}\` stands twice`, 'keep one')
    tools.set(name, tool)
  }
  return {
    names: [...tools.keys()],
    tool(name) {
      const tool = tools.get(name)
      if (!tool) throw refuse(`there is no tool \`${name}\``, 'correct the name')
      const schema = tool['inputSchema']
      const input = inputRecordFrom(schema, `the input of \`${name}\``, (ref) => {
        if (!ref.startsWith('#/$defs/') || !isObject(schema) || !isObject(schema['$defs'])) {
          throw refuse(`the reference \`${ref.slice(0, 120)}\` leaves the tool`, 'use `#/$defs/…`')
        }
        const key = ref.slice('#/$defs/'.length)
        return Object.hasOwn(schema['$defs'], key) ? schema['$defs'][key] : undefined
      })
      const { title, description } = tool
      return {
        description: typeof description === 'string' ? description : '',
        binding: {
          kind: 'mcp',
          tool: name,
          ...(typeof title === 'string' && { title }),
          inputSchema: withoutOurKeys(schema),
        },
        input,
      }
    },
  }
}

/** Callers see the schema without our `x-sallyport-` notes: what is tokenised is none of their business. */
function withoutOurKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutOurKeys)
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => !key.startsWith('x-sallyport-'))
      .map(([key, member]) => [key, withoutOurKeys(member)]),
  )
}

function refuse(message: string, fix: string): Halt {
  return new Halt(
    'SP_NETWORK_MCP',
    message,
    'a tool is governed by the description that was reviewed, not by what a server claims at run time',
    fix,
  )
}
