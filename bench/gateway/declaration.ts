import type { Declaration } from '@sallyport/network'
import { declared } from '../../packages/gateway/test/support/world.ts'
import { declareTools } from '../../test/support/mcp.ts'

/** As many as the figures are asked for at. */
const POLICIES = 1000

const TOOL = {
  name: 'work',
  description: 'Works.',
  inputSchema: { type: 'object', properties: { note: { type: 'string' } } },
}

/** The network of the gateway's tests with 1,000 policies, those that decide among them. */
export async function declaration(base?: Declaration): Promise<Declaration> {
  const { network, policies } = base ?? (await declared())
  const more = Array.from({ length: POLICIES - policies.length }, (_, i) => ({
    id: `bench.${i}`,
    source: `@id("bench.${i}")\npermit (principal in Agent::"reader", action == Action::"bank.watch", resource)\nwhen { context.risk == ${i % 100} && context.time.hour == ${i % 24} };`,
    file: `policies/bench${i}.cedar`,
    line: 1,
  }))
  return { network, policies: [...policies, ...more] }
}

/** The network of the gateway's tests with an MCP server beside. @param caPem of the server */
export const withTools = (caPem: string): Promise<Declaration> =>
  declareTools({
    upstream: '{ url: https://tools.example/mcp, serverName: tools.example, caFile: tools-ca.pem }',
    caPem,
    offer: { tools: [TOOL] },
    operations: '      work: { kind: write, content: tool-content }',
    flows: { teller: ['work'] },
    policies: `@id("tools.work")
permit (principal in Agent::"teller", action == Action::"tools.work", resource);
`,
  })
