/**
 * The official MCP conformance suite (`@modelcontextprotocol/conformance`), unchanged: its client calls our gateway as a server, with
 * a server of the official SDK behind; and the official client through the gateway calls the suite's own servers.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseJson } from '@sallyport/base'
import { IdentityHolder, mtlsConnect } from '@sallyport/transport'
import { startWorld } from '../../packages/gateway/test/support/world.ts'
import type { TestAgent, World } from '../../packages/gateway/test/support/world.ts'
import { declareTools, McpProcess } from '../../test/support/mcp.ts'
import type { Row } from '../row.ts'
import { OFFER } from './mcp-offer.ts'

const SUITE = fileURLToPath(import.meta.resolve('@modelcontextprotocol/conformance/dist/index.js'))
/** Scenarios of clients that are ours to pass: the rest is of an OAuth client, and the gateway is none. */
const CLIENT_SCENARIOS = [
  'initialize',
  'tools_call',
  'elicitation-sep1034-client-defaults',
  'sse-retry',
]
const SCENARIO_MS = 60_000

const OPERATIONS = [
  ...OFFER.tools.map(({ name }) => `${name}: { kind: read, content: tool-content }`),
  ...[
    ...OFFER.resources.map(({ uri }) => `resource:${uri}`),
    ...OFFER.resourceTemplates.map(({ uriTemplate }) => `template:${uriTemplate}`),
    ...OFFER.prompts.map(({ name }) => `prompt:${name}`),
    'mcp:completion',
  ].map((from, i) => `more_${i}: { kind: read, from: '${from}', content: tool-content }`),
  `logs: { kind: read, from: 'mcp:logging', content: tool-logs }`,
  `model: { kind: read, from: 'mcp:sampling', content: asked-text }`,
  `person: { kind: read, from: 'mcp:elicitation', content: asked-text }`,
]

interface Check {
  readonly id: string
  readonly status: string
  readonly errorMessage?: string
}

/** Each scenario, with what of it failed. */
export async function run(): Promise<readonly Row[]> {
  const note = (text: string): void => {
    process.stderr.write(`conformance: ${text}\n`)
  }
  return [...(await asServer(note)), ...(await asClient(note))]
}

async function asServer(note: (text: string) => void): Promise<Row[]> {
  const server = await new McpProcess(fileURLToPath(import.meta.resolve('./mcp-server.ts'))).ready()
  const world = await worldWith(server.front.port, server.front.caPem, OFFER, OPERATIONS)
  const bridge = new Bridge(world, world.agent('reader'))
  try {
    await bridge.listen()
    const url = `http://localhost:${bridge.port}/tools/mcp`
    const found = await suite(['server', '--url', url, '--suite', 'all'], note)
    return found.map(({ scenario, checks }) => row(`MCP, as server: ${scenario}`, checks))
  } finally {
    bridge.close()
    await world.close()
    await server.close()
  }
}

/** The suite starts a server for each scenario, and our client with its address. */
async function asClient(note: (text: string) => void): Promise<Row[]> {
  const rows: Row[] = []
  for (const scenario of CLIENT_SCENARIOS) {
    const client = `${process.execPath} ${fileURLToPath(import.meta.resolve('./mcp-client.ts'))} ${scenario}`
    const [found] = await suite(['client', '--scenario', scenario, '--command', client], note)
    rows.push(row(`MCP, as client: ${scenario}`, found?.checks ?? []))
  }
  return rows
}

/** A warning is no failure: it is about what a server or a client SHOULD do, or about what is not there. */
function row(what: string, checks: readonly Check[]): Row {
  const failed = checks.filter(({ status }) => status === 'FAILURE')
  return {
    what,
    value: `${checks.filter(({ status }) => status === 'SUCCESS').length} passed, ${failed.length} failed`,
    unit: failed.map(({ id, errorMessage }) => `${id}: ${errorMessage ?? ''}`).join('; '),
    asked: 'none fails',
    holds:
      checks.some(({ status }) => status === 'SUCCESS' || status === 'INFO') && failed.length === 0,
  }
}

async function suite(
  args: readonly string[],
  note: (text: string) => void,
): Promise<{ readonly scenario: string; readonly checks: readonly Check[] }[]> {
  const out = mkdtempSync(join(tmpdir(), 'sp-conformance-'))
  try {
    const child = spawn(
      process.execPath,
      [
        SUITE,
        ...args,
        '-o',
        out,
        ...(args[0] === 'client' ? ['--timeout', String(SCENARIO_MS)] : []),
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    child.stdout.on('data', () => undefined)
    let said = ''
    child.stderr.on('data', (bytes: Buffer) => {
      said = (said + bytes.toString()).slice(-2000)
    })
    const [code] = (await once(child, 'close')) as [number]
    if (code !== 0) note(`conformance ${args.join(' ')} ended with ${code}: ${said}`)
    return readdirSync(out, { withFileTypes: true, recursive: true })
      .filter((entry) => entry.name === 'checks.json')
      .map(({ parentPath }) => ({
        scenario: scenarioOf(parentPath),
        // The suite writes a list of checks.
        checks: parseJson(readFileSync(join(parentPath, 'checks.json')), {
          maxBytes: 16 << 20,
        }) as unknown as Check[],
      }))
  } finally {
    rmSync(out, { recursive: true, force: true })
  }
}

/** Folders are called `server-SCENARIO-TIME`, or `SCENARIO-TIME`. */
const scenarioOf = (path: string): string =>
  (path.split('/').at(-1) ?? '').replace(/^server-|-\d{4}-\d\d-\d\dT.*$/g, '')

/** A gateway with one MCP system called `tools`. */
export async function worldWith(
  port: number,
  caPem: string,
  offer: unknown,
  operations: readonly string[],
  path = '/mcp',
): Promise<World> {
  const names = operations.map((line) => line.slice(0, line.indexOf(':')))
  const declaration = await declareTools({
    upstream: `{ url: 'https://tools.example${path}', serverName: tools.example, caFile: tools-ca.pem }`,
    caPem,
    offer,
    operations: operations.map((line) => `      ${line}`).join('\n'),
    flows: { reader: names },
    policies: '',
  })
  const settings = { upstreamTimeoutMs: 60_000, maxCallsPerSecond: 1e6, maxCallBurst: 1e6 }
  const world = await startWorld({ settings }, undefined, () => declaration)
  const upstreams = { ...world.options.upstreams, tools: { host: '127.0.0.1', port } }
  await world.restart({ settings, upstreams })
  return world
}

/** A plain port of this machine on an agent's own connections to the gateway, byte for byte: what a sidecar is. */
class Bridge {
  port = 0
  readonly #server: Server

  constructor(world: World, agent: TestAgent) {
    this.#server = createServer((socket) => {
      socket.pause()
      const connected = mtlsConnect({
        identity: new IdentityHolder(agent.material),
        target: world.gateway.address,
        expect: () => true,
      })
      socket.on('error', () => undefined)
      connected
        .then((onward) => {
          onward.on('error', () => socket.destroy())
          onward.on('close', () => socket.destroy())
          socket.on('close', () => onward.destroy())
          socket.pipe(onward).pipe(socket)
        })
        .catch(() => socket.destroy())
    })
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    // Of a TCP listener.
    this.port = (this.#server.address() as AddressInfo).port
  }

  close(): void {
    this.#server.close()
  }
}
