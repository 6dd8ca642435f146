/**
 * `mcp-client.ts SCENARIO URL`: what the conformance suite starts as a client. The official SDK's client, through a gateway of its
 * own, to the server at that address: what the server sees of a client is the gateway.
 */
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js'
import { connectSdk, TlsFront } from '../../test/support/mcp.ts'
import { worldWith } from './mcp-conformance.ts'

const TOOLS: Readonly<
  Record<string, { readonly name: string; readonly args: Record<string, unknown> }>
> = {
  tools_call: { name: 'add_numbers', args: { a: 2, b: 3 } },
  'elicitation-sep1034-client-defaults': { name: 'test_client_elicitation_defaults', args: {} },
  'sse-retry': { name: 'test_reconnection', args: {} },
}

const [scenario = '', address = ''] = process.argv.slice(2)
const url = new URL(address)
const front = new TlsFront(() => Number(url.port))
await front.listen()
const numbers = { a: { type: 'integer' }, b: { type: 'integer' } }
const tool = TOOLS[scenario] ?? { name: 'nothing', args: {} }
const offer = {
  tools: [
    {
      name: tool.name,
      description: 'Of the suite.',
      inputSchema: { type: 'object', properties: scenario === 'tools_call' ? numbers : {} },
    },
  ],
}
const world = await worldWith(
  front.port,
  front.caPem,
  offer,
  [
    `${tool.name}: { kind: read, content: tool-content }`,
    `person: { kind: read, from: 'mcp:elicitation', content: asked-text }`,
  ],
  url.pathname,
)
const one = await connectSdk(
  world.agent('reader'),
  { elicitation: { form: { applyDefaults: true } } },
  (client) => {
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: {} }))
  },
)
try {
  await one.client.listTools()
  // Its gateway goes to the server with the first call, and no sooner.
  await one.client.callTool({ name: tool.name, arguments: tool.args }).catch((error: unknown) => {
    if (scenario !== 'initialize') throw error
  })
} finally {
  await one.close()
  await world.close()
  front.close()
}
