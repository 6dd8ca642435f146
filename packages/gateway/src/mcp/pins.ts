import type { Clock } from '@sallyport/base'
import { mcpPin } from '@sallyport/network'
import type { Operation } from '@sallyport/network'
import type { McpSession } from '../adapters/mcp-sessions.ts'
import type { Audit } from '../audit/audit.ts'
import { Refusal } from '../refusal.ts'
import type { McpAsk, McpUpstream } from '../upstream/mcp.ts'

export interface McpPinsParts {
  readonly upstream: McpUpstream
  readonly audit: Audit
  readonly clock: Clock
}

/** What a server lists, by name → the pin of its definition. */
interface Listed {
  readonly at: number
  /** The session with the server in which it did: in another it may be another server. */
  readonly on: object | undefined
  readonly pins: Promise<ReadonlyMap<string, string>>
}

type List = 'tools' | 'prompts' | 'resources' | 'resourceTemplates'

const METHODS: Readonly<Record<List, { readonly method: string; readonly key: string }>> = {
  tools: { method: 'tools/list', key: 'name' },
  prompts: { method: 'prompts/list', key: 'name' },
  resources: { method: 'resources/list', key: 'uri' },
  resourceTemplates: { method: 'resources/templates/list', key: 'uriTemplate' },
}

/** How long what a server listed is believed. */
const BELIEVED_MS = 60_000

/**
 * Compares what servers list with what was accepted: a tool whose description, schema or annotations changed since is another
 * tool, and nobody has looked at it.
 */
export class McpPins {
  readonly #parts: McpPinsParts
  readonly #listed = new WeakMap<McpSession, Map<List, Listed>>()

  constructor(parts: McpPinsParts) {
    this.#parts = parts
  }

  /**
   * Lets a call of an operation go on that is what was accepted, or that nobody pinned.
   *
   * @throws Refusal `SP_MCP_CHANGED`, `SP_UPSTREAM_*`
   */
  async demand(ask: McpAsk, session: McpSession, operation: Operation): Promise<void> {
    const wanted = pinned(operation)
    if (!wanted) return
    const { list, name, pin } = wanted
    const found = (await this.#of(ask, session, list)).get(name)
    if (found === pin) return
    // It may be mended by now: whoever calls again has it looked up again.
    this.forget(session)
    const { system } = ask
    this.#parts.audit.boundedEvent('mcp-definition-changed', {
      code: 'SP_MCP_CHANGED',
      facts: { system: system.name, operation: operation.name, pin, found: found ?? 'none' },
    })
    throw new Refusal('SP_MCP_CHANGED', 'the system defines this otherwise than was accepted', {
      status: 403,
      outcome: 'forbidden',
      detail: `pinned ${pin}, found ${found ?? 'none'}`,
    })
  }

  /** A server says that it lists something else. */
  forget(session: McpSession): void {
    this.#listed.delete(session)
  }

  #of(ask: McpAsk, session: McpSession, list: List): Promise<ReadonlyMap<string, string>> {
    const now = this.#parts.clock.monotonic()
    let lists = this.#listed.get(session)
    if (!lists) this.#listed.set(session, (lists = new Map<List, Listed>()))
    const known = lists.get(list)
    const on = this.#parts.upstream.sessionOf(ask)
    if (known && known.on === on && now - known.at < BELIEVED_MS) return known.pins
    const pins = this.#fetch(ask, list)
    const listed = { at: now, on, pins }
    lists.set(list, listed)
    pins.catch(() => {
      if (lists.get(list) === listed) lists.delete(list)
    })
    return pins
  }

  async #fetch(ask: McpAsk, list: List): Promise<ReadonlyMap<string, string>> {
    const { method, key } = METHODS[list]
    const found = new Map<string, string>()
    await this.#parts.upstream.list(ask, method, list, (entry) => {
      const name = entry[key]
      // Of two with one name, nobody knows which would be called.
      if (typeof name === 'string') found.set(name, found.has(name) ? 'twice' : mcpPin(entry))
    })
    return found
  }
}

function pinned({
  binding,
}: Operation): { readonly list: List; readonly name: string; readonly pin: string } | undefined {
  switch (binding.kind) {
    case 'mcp':
      return binding.pin === undefined
        ? undefined
        : { list: 'tools', name: binding.tool, pin: binding.pin }
    case 'mcp-prompt':
      return binding.pin === undefined
        ? undefined
        : { list: 'prompts', name: binding.prompt, pin: binding.pin }
    case 'mcp-resource':
      return binding.pin === undefined
        ? undefined
        : {
            list: binding.template ? 'resourceTemplates' : 'resources',
            name: binding.uri,
            pin: binding.pin,
          }
    default:
      return undefined
  }
}
