import { execFile, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { coverWords } from './cover.ts'
import type { Covers } from './cover.ts'

/** How to start a program so that it has no network but Unix sockets. */
export interface Isolation {
  /** Words that go before the program; what `covers` says is hidden from it. */
  prefix(covers?: Covers): readonly string[]
}

const PROBE_TIMEOUT_MS = 10_000

/** Dies with its parent; used whether isolated or not. Empty where the machine lacks `setpriv`. */
export function parentDeath(): readonly string[] {
  return works('setpriv', ['--pdeathsig', 'KILL', 'true'])
    ? ['setpriv', '--pdeathsig', 'KILL', '--']
    : []
}

/**
 * Finds a way to start programs in a network namespace of their own and proves, by a real program started in that very
 * way, that nothing gets out. Every capability is dropped inside: with them, root could walk back out.
 *
 * @returns the way, or why there is none
 */
export function findIsolation(): Promise<Isolation | { readonly reason: string }> {
  found ??= search()
  return found
}

/** What this machine permits does not change while a launcher runs. */
let found: ReturnType<typeof search> | undefined

async function search(): Promise<Isolation | { readonly reason: string }> {
  const drop = [
    'setpriv',
    '--pdeathsig',
    'KILL',
    '--no-new-privs',
    '--inh-caps=-all',
    '--bounding-set=-all',
    '--',
  ]
  const root = process.getuid?.() === 0
  // A mount namespace too: sockets and keys in files are a way out for a program of the same user.
  const prefix = (covers?: Covers): readonly string[] => [
    'unshare',
    root ? '-nm' : '-Urnm',
    '--',
    ...(covers === undefined ? [] : coverWords(covers)),
    ...drop,
  ]
  const [command = '', ...args] = prefix()
  if (!works(command, [...args, 'true'])) {
    return { reason: 'network namespaces are not available to this user' }
  }
  const leak = await probe(prefix)
  return leak === undefined ? { prefix } : { reason: leak }
}

function works(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore', timeout: PROBE_TIMEOUT_MS }).status === 0
}

/** Runs inside: reports its namespace, capabilities, routes and interfaces, and dials a listener that is open outside. */
const INSIDE = `
const { readFileSync, readlinkSync } = require('node:fs')
const net = require('node:net')
const read = (file) => { try { return readFileSync(file, 'utf8') } catch { return '' } }
const facts = {
  namespace: readlinkSync('/proc/self/ns/net'),
  capabilities: /^CapEff:\\s*(\\w+)/m.exec(read('/proc/self/status'))?.[1],
  routes: read('/proc/net/route').trim().split('\\n').length - 1,
  gateways: read('/proc/net/ipv6_route').trim().split('\\n').filter((line) => line && !/\\slo$/.test(line)).length,
  addresses: Object.values(require('node:os').networkInterfaces()).flat().filter((one) => !one.internal).length,
  hidden: read(process.argv[2] + '/hidden'),
  shown: read(process.argv[2] + '/sub/shown'),
}
const tell = (dial) => { console.log(JSON.stringify({ ...facts, dial })); process.exit() }
const socket = net.connect({ host: '127.0.0.1', port: Number(process.argv[1]) })
socket.on('connect', () => tell('connected'))
socket.on('error', (error) => tell(error.code))
setTimeout(() => tell('timeout'), 2000)
`

/** What the probe found open; undefined where everything is shut. */
async function probe(prefix: Isolation['prefix']): Promise<string | undefined> {
  let arrived = 0
  const dir = mkdtempSync(join(tmpdir(), 'sp-probe-'))
  mkdirSync(join(dir, 'sub'))
  for (const name of ['hidden', 'sub/shown']) writeFileSync(join(dir, name), name)
  const listener = createServer((socket) => {
    arrived++
    socket.destroy()
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  // A TCP listener always has an AddressInfo.
  const { port } = listener.address() as AddressInfo
  const covers = { hide: [dir], keep: [], show: [join(dir, 'sub', 'shown')] }
  const program = [process.execPath, '-e', INSIDE, String(port), dir]
  const [command = '', ...args] = [...prefix(covers), ...program]
  try {
    const { stdout } = await promisify(execFile)(command, args, { timeout: PROBE_TIMEOUT_MS })
    const found: unknown = JSON.parse(stdout)
    const facts: Partial<Record<string, unknown>> = Object(found)
    if (facts['namespace'] === readlinkSync('/proc/self/ns/net')) return 'the namespace is the same'
    if (!/^0+$/.test(String(facts['capabilities']))) return 'capabilities remain inside'
    if (facts['routes'] !== 0 || facts['gateways'] !== 0) return 'a route remains inside'
    if (facts['addresses'] !== 0) return 'an address remains inside'
    if (facts['dial'] === 'connected' || arrived > 0) return 'a listener outside was reached'
    if (facts['hidden'] !== '' || facts['shown'] !== 'sub/shown') return 'files cannot be hidden'
    return undefined
  } catch (error) {
    return `the probe failed: ${error instanceof Error ? error.message : String(error)}`
  } finally {
    listener.close()
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Whether a running process is in another network namespace than this one; undefined where nobody can tell. */
export function elsewhere(pid: number): boolean | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`) !== readlinkSync('/proc/self/ns/net')
  } catch {
    return undefined
  }
}
