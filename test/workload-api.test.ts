import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { initTrust, startControl } from '@sallyport/control'
import type { Control } from '@sallyport/control'
import { declarationWith } from '../packages/control/test/support/declaration.ts'

const BIN = fileURLToPath(new URL('../packages/cli/bin/sallyport.ts', import.meta.url))
const CLIENT = fileURLToPath(new URL('support/workload-client.mjs', import.meta.url))
const dataDir = mkdtempSync(join(tmpdir(), 'sp-wapi-'))
const uid = process.getuid?.() ?? 0
const base = declarationWith().network
const declaration = declarationWith({
  agents: base.agents.map((agent) =>
    agent.name === 'flagger' ? { ...agent, attest: { unix: { uid } } } : agent,
  ),
})
let control: Control
let address: string
const children: ChildProcess[] = []

before(async () => {
  await initTrust({ dataDir, declaration, rpId: 'localhost', origin: 'http://localhost:7400' })
  control = await startControl({
    dataDir,
    declaration,
    console: { port: 0 },
    plane: { host: '127.0.0.1', port: 0 },
  })
  address = `${control.planeAddress.host}:${control.planeAddress.port}`
})
after(async () => {
  for (const child of children) child.kill('SIGKILL')
  await control.close()
  rmSync(dataDir, { recursive: true, force: true })
})

/** A program whose lines, of both outputs, can be waited for. */
class Program {
  readonly child: ChildProcess
  readonly lines: string[] = []
  #wake: () => void = () => undefined
  ended = false

  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.child = spawn(process.execPath, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    children.push(this.child)
    for (const stream of [this.child.stdout, this.child.stderr]) {
      if (!stream) continue
      createInterface({ input: stream }).on('line', (line) => {
        this.lines.push(line)
        this.#wake()
      })
    }
    this.child.once('close', () => {
      this.ended = true
      this.#wake()
    })
  }

  async line(wanted: RegExp): Promise<string> {
    for (;;) {
      const found = this.lines.find((line) => wanted.test(line))
      if (found !== undefined) return found
      if (this.ended) throw new Error(`no ${String(wanted)} in ${this.lines.join('\n')}`)
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}

const AUDIENCE = Buffer.from('ledger')
/** `JWTSVIDRequest { audience: "ledger" }`. */
const JWT = Buffer.concat([Buffer.from([0x0a, AUDIENCE.length]), AUDIENCE]).toString('hex')

test(
  'run gives any program its identity at SPIFFE_ENDPOINT_SOCKET',
  { timeout: 120_000 },
  async () => {
    const run = (...client: readonly string[]): Program =>
      new Program([
        ...[BIN, 'run', '--as', 'analyst', '--data', dataDir, '--control', address],
        ...['--gateway', address, '--', process.execPath, CLIENT, ...client],
      ])
    const x509 = await run('FetchX509SVID').line(/^(id|status)/)
    assert.match(x509, /^id spiffe:\/\/bank\.test\/agent\/analyst\/[a-z0-9]+$/)
    const jwt = await run('FetchJWTSVID', JWT).line(/^(id|status)/)
    assert.match(jwt, /^id spiffe:\/\/bank\.test\/agent\/analyst\/[a-z0-9]+$/)
  },
)

test(
  'a shared Workload API gives a process the identity of its agent, until that is quarantined',
  { timeout: 120_000 },
  async () => {
    const socket = join(dataDir, 'shared.sock')
    const args = [BIN, 'workload-api', '--socket', socket, '--data', dataDir, '--control', address]
    const api = new Program(args)
    const told = await api.line(/^SPIFFE_ENDPOINT_SOCKET=/)
    assert.equal(told, `SPIFFE_ENDPOINT_SOCKET=unix://${socket}`)
    const env = { SPIFFE_ENDPOINT_SOCKET: `unix://${socket}` }
    const ask = (): Promise<string> => new Program([CLIENT], env).line(/^(id|status)/)
    const first = await ask()
    assert.match(first, /^id spiffe:\/\/bank\.test\/agent\/flagger\/[a-z0-9]+$/)
    // One instance for each agent of a machine, however many processes ask.
    assert.equal(await ask(), first)
    await control.context.quarantine.quarantine({
      subject: 'spiffe://bank.test/agent/flagger',
      reason: 'test',
      by: 'test',
    })
    await api.line(/flagger: quarantined/)
    assert.equal(await ask(), 'status 7')
  },
)
