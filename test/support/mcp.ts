import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { createServer } from 'node:tls'
import { fileURLToPath } from 'node:url'
import type { Server } from 'node:tls'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { FetchLike } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { ClientCapabilities } from '@modelcontextprotocol/sdk/types.js'
import { loadDeclaration } from '@sallyport/network'
import type { Declaration } from '@sallyport/network'
import { createIssuer, createRoot } from '@sallyport/spiffe'
import { fetch as undiciFetch } from 'undici'
import type { TestAgent } from '../../packages/gateway/test/support/world.ts'

const HERE = import.meta.dirname
export const EVERYTHING: string = dirname(
  fileURLToPath(
    import.meta.resolve('@modelcontextprotocol/server-everything/dist/transports/stdio.js'),
  ),
)
const FIXTURE = join(HERE, '../../packages/gateway/test/fixtures/net')

/** TLS in front of a plain port of this machine, byte for byte: what a gateway reaches outside is TLS. */
export class TlsFront {
  readonly caPem: string
  port = 0
  readonly #server: Server

  constructor(target: () => number) {
    const root = createRoot({ trustDomain: 'tools.example', ttlSeconds: 3600 })
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const leaf = createIssuer({
      certificatePem: root.certificatePem,
      privateKey: root.privateKeyPem,
    }).issue({
      spiffeId: 'spiffe://tools.example/server',
      publicKeySpki: pair.publicKey.export({ type: 'spki', format: 'der' }),
      ttlSeconds: 3600,
      dnsNames: ['tools.example'],
    })
    this.caPem = root.certificatePem
    const key = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    this.#server = createServer({ cert: leaf.chainPem, key }, (socket) => {
      const onward = connect({ host: '127.0.0.1', port: target() })
      socket.pipe(onward).pipe(socket)
      socket.on('error', () => onward.destroy())
      onward.on('error', () => socket.destroy())
      socket.on('close', () => onward.destroy())
      onward.on('close', () => socket.destroy())
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

/** A program that serves MCP over HTTP, as a process of its own. */
export class McpProcess {
  port = 0
  readonly front: TlsFront = new TlsFront(() => this.port)
  readonly #child: ChildProcess

  constructor(program: string, args: readonly string[] = []) {
    this.#child = spawn(
      process.execPath,
      ['--import', fileURLToPath(import.meta.resolve('./print-port.ts')), program, ...args],
      { env: { PORT: '0', PATH: process.env['PATH'] }, stdio: ['ignore', 'ignore', 'pipe'] },
    )
  }

  async ready(): Promise<this> {
    const { stderr } = this.#child
    if (!stderr) throw new Error('no standard error')
    const said: string[] = []
    for await (const line of createInterface({ input: stderr })) {
      said.push(line)
      const [, port] = /^listening at port (\d+)$/.exec(line) ?? []
      if (port === undefined) continue
      this.port = Number(port)
      stderr.resume()
      await this.front.listen()
      return this
    }
    throw new Error(`the server ended: ${said.join('\n')}`)
  }

  async close(): Promise<void> {
    this.front.close()
    if (this.#child.exitCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}

export interface McpDeclared {
  /** Of the system, which is called `tools`. */
  readonly upstream: string
  readonly offer: unknown
  readonly pins?: unknown
  readonly caPem?: string
  /** YAML of operations, each line indented by six. */
  readonly operations: string
  /** Agent → operations. */
  readonly flows: Readonly<Record<string, readonly string[]>>
  readonly policies: string
}

/** The declaration that the gateway's tests go by, with an MCP system called `tools` beside. */
export async function declareTools(given: McpDeclared): Promise<Declaration> {
  const folder = mkdtempSync(join(tmpdir(), 'sp-mcp-'))
  try {
    cpSync(FIXTURE, folder, { recursive: true })
    const file = join(folder, 'network.yaml')
    writeFileSync(join(folder, 'tools.json'), JSON.stringify(given.offer))
    if (given.pins !== undefined)
      writeFileSync(join(folder, 'pins.json'), JSON.stringify(given.pins))
    if (given.caPem !== undefined) writeFileSync(join(folder, 'tools-ca.pem'), given.caPem)
    writeFileSync(join(folder, 'policies/tools.cedar'), given.policies)
    const system = `systems:
  tools:
    description: Tools of somebody else's.
    owner: tests
    segment: zone
    criticality: low
    protocol: mcp
    tools: tools.json
${given.pins === undefined ? '' : '    pins: pins.json\n'}    upstream: ${given.upstream}
    operations:
${given.operations}
`
    const flows = Object.entries(given.flows).map(
      ([agent, operations]) =>
        `  - { from: ${agent}, to: tools, operations: [${operations.join(', ')}], purpose: working }\n`,
    )
    const text = readFileSync(file, 'utf8')
      .replace('systems:\n', () => system)
      .replace('datasets:\n', () => `datasets:\n${DATASETS}`)
      .replace('flows:\n', () => `flows:\n${flows.join('')}`)
    writeFileSync(file, text)
    return await loadDeclaration({ networkFile: file })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const DATASETS = `  tool-content:
    description: What tools say.
    system: tools
    owner: tests
    fields:
      text: { class: internal, tags: [untrusted] }
      data: { class: internal, tags: [picture] }
      blob: { class: internal, tags: [untrusted] }
      uri: internal
      name: internal
      title: internal
      description: { class: restricted, tags: [pii] }
  tool-logs:
    description: What servers log.
    system: tools
    owner: tests
    fields:
      text: { class: internal, tags: [log] }
  asked-text:
    description: What servers ask of models and people.
    system: tools
    owner: tests
    fields:
      text: { class: internal, tags: [asked], mask: first1 }
      data: { class: internal, tags: [asked] }
      uri: { class: internal, tags: [asked] }
`

export interface Connected {
  readonly client: Client
  readonly transport: StreamableHTTPClientTransport
  close(): Promise<void>
}

/** The official SDK's client on an agent's own connections to a gateway, with nothing of ours inside it. */
export async function connectSdk(
  agent: TestAgent,
  capabilities: ClientCapabilities = {},
  prepare: (client: Client) => void = () => undefined,
): Promise<Connected> {
  const client = new Client({ name: 'test', version: '1' }, { capabilities })
  prepare(client)
  const transport = new StreamableHTTPClientTransport(
    new URL('https://gateway.invalid/tools/mcp'),
    { fetch: fetchOf(agent) },
  )
  await client.connect(transport)
  return { client, transport, close: () => client.close() }
}

/** `fetch` on an agent's own connections. */
export const fetchOf =
  (agent: TestAgent): FetchLike =>
  async (url, init) => {
    // The types of two copies of one standard.
    const answer = await undiciFetch(url, { ...init, dispatcher: agent.pool } as never)
    return answer
  }
