import { readUriTemplate } from '@sallyport/network'
import type {
  McpBinding,
  McpPromptBinding,
  McpResourceBinding,
  McpService,
  McpServiceBinding,
  Operation,
  System,
} from '@sallyport/network'

/** An operation that is bound in one way. */
type Bound<B> = Operation & { readonly binding: B }

/** What a system of MCP declares, by how it is asked for. */
export interface McpOffer {
  readonly tools: readonly Bound<McpBinding>[]
  readonly resources: readonly Bound<McpResourceBinding>[]
  readonly prompts: readonly Bound<McpPromptBinding>[]
  tool(name: string): Bound<McpBinding> | undefined
  prompt(name: string): Bound<McpPromptBinding> | undefined
  /** The one that a URI is of, and its input; undefined where there is none, or where two templates claim it. */
  resource(uri: string):
    | {
        readonly operation: Bound<McpResourceBinding>
        readonly input: Readonly<Record<string, string>>
      }
    | undefined
  /** By its template, as completion asks. */
  template(uriTemplate: string): Bound<McpResourceBinding> | undefined
  service(service: McpService): Bound<McpServiceBinding> | undefined
}

const offers = new WeakMap<System, McpOffer>()

export function offerOf(system: System): McpOffer {
  let offer = offers.get(system)
  if (!offer) offers.set(system, (offer = readOffer(system)))
  return offer
}

function readOffer({ operations }: System): McpOffer {
  const tools: Bound<McpBinding>[] = []
  const resources: Bound<McpResourceBinding>[] = []
  const prompts: Bound<McpPromptBinding>[] = []
  const services: Bound<McpServiceBinding>[] = []
  for (const operation of operations) {
    const { binding } = operation
    if (binding.kind === 'mcp') tools.push({ ...operation, binding })
    else if (binding.kind === 'mcp-resource') resources.push({ ...operation, binding })
    else if (binding.kind === 'mcp-prompt') prompts.push({ ...operation, binding })
    else if (binding.kind === 'mcp-service') services.push({ ...operation, binding })
  }
  const byTool = new Map(tools.map((one) => [one.binding.tool, one]))
  const byPrompt = new Map(prompts.map((one) => [one.binding.prompt, one]))
  const [templates, whole] = [true, false].map((template) =>
    resources.filter((one) => one.binding.template === template),
  )
  const byUri = new Map(whole?.map((one) => [one.binding.uri, one]))
  const matchers = (templates ?? []).map((operation) => ({
    operation,
    template: readUriTemplate(operation.binding.uri),
  }))
  return {
    tools,
    resources,
    prompts,
    tool: (name) => byTool.get(name),
    prompt: (name) => byPrompt.get(name),
    resource(uri) {
      const exact = byUri.get(uri)
      if (exact) return { operation: exact, input: { uri } }
      const fitting = matchers.flatMap(({ operation, template }) => {
        const values = template?.match(uri)
        return values ? [{ operation, input: { ...values, uri } }] : []
      })
      // Which of two the server would take, nobody here knows.
      return fitting.length === 1 ? fitting[0] : undefined
    },
    template: (uri) => templates?.find((one) => one.binding.uri === uri),
    service: (service) => services.find((one) => one.binding.service === service),
  }
}
