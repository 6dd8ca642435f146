import { canonicalJson, parseJson, SallyportError, sha256Hex } from '@sallyport/base'
import { inputRecordFrom, isObject } from './input-type.ts'
import { mcpPrompt, mcpResource, mcpService } from './mcp-features.ts'
import type { McpFeatureBinding } from './mcp-types.ts'
import { Halt } from './problem.ts'
import type { InputSchema, McpBinding } from './types.ts'

/** What an MCP server offers, as the results of its list methods state it. */
export interface McpOffer {
  /** Names of tools; of the rest `resource:URI`, `template:URI`, `prompt:NAME` and `mcp:SERVICE`. */
  readonly names: readonly string[]
  /** Where in the file one stands; undefined for what stands in no file. */
  pointer(name: string): string | undefined
  /** @throws Halt where it cannot be imported */
  import(name: string): {
    readonly description: string
    readonly binding: McpBinding | McpFeatureBinding
    readonly input: InputSchema
  }
}

type Listed = Readonly<Record<string, unknown>>

const LISTS = [
  { list: 'tools', key: 'name', prefix: '', form: /^[\x21-\x7e]{1,128}$/ },
  { list: 'resources', key: 'uri', prefix: 'resource:', form: /^[\x21-\x7e]{1,480}$/ },
  {
    list: 'resourceTemplates',
    key: 'uriTemplate',
    prefix: 'template:',
    form: /^[\x21-\x7e]{1,480}$/,
  },
  { list: 'prompts', key: 'name', prefix: 'prompt:', form: /^[\x20-\x7e]{1,128}$/ },
] as const
const PREFIXED = /^(?:resource|template|prompt|mcp):/

/**
 * Reads `{"tools": [{name, title?, description?, inputSchema}], "resources"?, "resourceTemplates"?, "prompts"?}` (MCP
 * 2025-11-25, server features). The copy in the declaration is what callers are shown and held to, whatever the server says
 * later.
 *
 * @param pinned the same lists as the server gave them when they were accepted; absent means that nobody compares
 * @throws Halt `SP_NETWORK_MCP`
 */
export function mcpOfferFrom(text: string, pinned?: string): McpOffer {
  const offered = listsOf(text)
  const pins = pinned === undefined ? undefined : listsOf(pinned)
  const pinOf = (name: string): { readonly pin?: string } => {
    if (!pins) return {}
    const found = pins.get(name)
    if (!found) {
      throw refuse(
        `\`${name.slice(0, 120)}\` is not among the pins`,
        'save what the server lists of it to the file of pins, or take it out of the operations',
      )
    }
    return { pin: mcpPin(found.entry) }
  }
  return {
    names: [...offered.keys(), ...mcpService.names],
    pointer: (name) => offered.get(name)?.pointer,
    import(name) {
      const service = mcpService.find(name)
      if (service) return service
      const found = offered.get(name)
      if (!found) throw refuse(`there is no \`${name.slice(0, 120)}\``, 'correct the name')
      const { entry } = found
      if (name.startsWith('prompt:')) return mcpPrompt(entry, pinOf(name))
      if (PREFIXED.test(name)) return mcpResource(entry, pinOf(name))
      return tool(name, entry, pinOf(name))
    },
  }
}

/** What stands for the definition of a tool, a prompt or a resource: all of it but its `_meta`. */
export function mcpPin({ _meta, ...definition }: Listed): string {
  return sha256Hex(canonicalJson(definition))
}

function listsOf(text: string): Map<string, { readonly entry: Listed; readonly pointer: string }> {
  let root: unknown
  try {
    root = parseJson(text, { maxDepth: 32 })
  } catch (error) {
    const message = error instanceof SallyportError ? error.message : 'the file is unreadable'
    throw refuse(message, 'save the `tools/list` result of the server as JSON')
  }
  if (!isObject(root) || !LISTS.some(({ list }) => Array.isArray(isObject(root) && root[list]))) {
    throw refuse('the file has no `tools` list', 'save the `tools/list` result of the server')
  }
  const found = new Map<string, { readonly entry: Listed; readonly pointer: string }>()
  for (const { list, key, prefix, form } of LISTS) {
    const entries = root[list] ?? []
    if (!Array.isArray(entries)) throw refuse(`\`${list}\` is not a list`, 'correct the file')
    const what = list === 'tools' ? 'tool' : list === 'prompts' ? 'prompt' : 'resource'
    for (const [i, entry] of entries.entries()) {
      const given: unknown = isObject(entry) ? entry[key] : undefined
      const usable = isObject(entry) && typeof given === 'string' && form.test(given)
      if (!usable || (prefix === '' && PREFIXED.test(given))) {
        const most = what === 'resource' ? 480 : 128
        throw refuse(`a ${what} has no usable name`, `use 1 to ${most} visible ASCII characters`)
      }
      const name = prefix + given
      if (found.has(name)) throw refuse(`the ${what} \`${given}\` stands twice`, 'keep one')
      found.set(name, { entry, pointer: `/${list}/${i}/${key}` })
    }
  }
  return found
}

function tool(
  name: string,
  { inputSchema: schema, title, description }: Listed,
  pin: { readonly pin?: string },
): ReturnType<McpOffer['import']> {
  const input = inputRecordFrom(schema, `the input of \`${name}\``, (ref) => {
    if (!ref.startsWith('#/$defs/') || !isObject(schema) || !isObject(schema['$defs'])) {
      throw refuse(`the reference \`${ref.slice(0, 120)}\` leaves the tool`, 'use `#/$defs/…`')
    }
    const key = ref.slice('#/$defs/'.length)
    return Object.hasOwn(schema['$defs'], key) ? schema['$defs'][key] : undefined
  })
  return {
    description: typeof description === 'string' ? description : '',
    binding: {
      kind: 'mcp',
      tool: name,
      ...(typeof title === 'string' && { title }),
      inputSchema: withoutOurKeys(schema),
      ...pin,
    },
    input,
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
