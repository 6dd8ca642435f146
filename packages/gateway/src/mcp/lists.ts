import type { JsonValue } from '@sallyport/base'
import type { Operation, System } from '@sallyport/network'
import { isObject, RPC, rpcError, rpcResult } from '../adapters/jsonrpc.ts'
import type { RpcRequest } from '../adapters/jsonrpc.ts'
import type { ClientAbilities } from '../adapters/mcp-sessions.ts'
import type { Enforced } from '../state/bundles.ts'
import { offerOf } from './offer.ts'

/** What a client says that it can be asked (MCP 2025-11-25, `ClientCapabilities`). */
export function abilitiesOf(params: Readonly<Record<string, JsonValue>>): ClientAbilities {
  const { capabilities } = params
  const { sampling, elicitation } = isObject(capabilities) ? capabilities : {}
  const asks = isObject(elicitation)
  const url = asks && isObject(elicitation['url'])
  // An empty object means forms, as before there was anything else.
  return {
    sampling: isObject(sampling),
    url,
    form: asks && (!url || isObject(elicitation['form'])),
  }
}

type Reaches = (operation: Operation) => boolean

/** That some flow leads an agent to an operation: the rest of a system is not there for it. */
const reachesOf =
  ({ decider }: Enforced, agent: string, system: System): Reaches =>
  ({ name }) =>
    decider.index.findFlow(agent, system.name, name) !== undefined

/** The result of `initialize`: what the caller may reach, whatever the server can. */
export function hello(
  enforced: Enforced,
  agent: string,
  system: System,
  protocolVersion: string,
): unknown {
  const reaches = reachesOf(enforced, agent, system)
  const offer = offerOf(system)
  const has = (service: 'completion' | 'logging'): boolean => {
    const operation = offer.service(service)
    return operation !== undefined && reaches(operation)
  }
  return {
    protocolVersion,
    capabilities: {
      tools: {},
      ...(offer.resources.some(reaches) ? { resources: { subscribe: true } } : {}),
      ...(offer.prompts.some(reaches) ? { prompts: {} } : {}),
      ...(has('completion') ? { completions: {} } : {}),
      ...(has('logging') ? { logging: {} } : {}),
    },
    serverInfo: { name: `sallyport/${system.name}`, version: '0' },
  }
}

/** Answers `ping` and whatever lists what there is: as declared, as far as some flow leads the caller. */
export function lists(
  enforced: Enforced,
  agent: string,
  system: System,
  { id, method, params }: RpcRequest,
): string | undefined {
  if (method === 'ping') return rpcResult(id, {})
  const list = LISTS.get(method)
  const offer = offerOf(system)
  if (!list || (method.startsWith('resources/') && offer.resources.length === 0)) return undefined
  if (method.startsWith('prompts/') && offer.prompts.length === 0) return undefined
  if (params['cursor'] !== undefined) {
    return rpcError(id, RPC.invalidParams, 'there is no such page')
  }
  return rpcResult(id, list(system, reachesOf(enforced, agent, system)))
}

const titled = ({ title }: { readonly title?: string }): { title?: string } =>
  title === undefined ? {} : { title }

function resources(system: System, reaches: Reaches, template: boolean): unknown[] {
  return offerOf(system)
    .resources.filter((one) => one.binding.template === template && reaches(one))
    .map(({ binding, description }) => ({
      [template ? 'uriTemplate' : 'uri']: binding.uri,
      name: binding.name,
      ...titled(binding),
      description,
      ...(binding.mimeType === undefined ? {} : { mimeType: binding.mimeType }),
    }))
}

type List = (system: System, reaches: Reaches) => unknown

const LISTS: ReadonlyMap<string, List> = new Map<string, List>([
  [
    'tools/list',
    (system, reaches) => ({
      tools: offerOf(system)
        .tools.filter(reaches)
        .map(({ binding, description }) => ({
          name: binding.tool,
          ...titled(binding),
          description,
          inputSchema: binding.inputSchema,
        })),
    }),
  ],
  ['resources/list', (system, reaches) => ({ resources: resources(system, reaches, false) })],
  [
    'resources/templates/list',
    (system, reaches) => ({ resourceTemplates: resources(system, reaches, true) }),
  ],
  [
    'prompts/list',
    (system, reaches) => ({
      prompts: offerOf(system)
        .prompts.filter(reaches)
        .map(({ binding, description }) => ({
          name: binding.prompt,
          ...titled(binding),
          description,
          arguments: binding.arguments,
        })),
    }),
  ],
])
