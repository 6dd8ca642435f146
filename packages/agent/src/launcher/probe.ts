import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { enclosed, ownPlaces, tool } from './enclose.ts'
import type { Way } from './enclose.ts'
import type { Mount } from './mounts.ts'
import { parseMounts, uncovered, within } from './mounts.ts'

/** What was shown to hold of a program started in some way; each with why not. */
export interface Findings {
  readonly network?: string
  readonly files?: string
  readonly processes?: string
}

const TIMEOUT_MS = 10_000
const MAX_SOCKET_PATH = 100

/** Runs inside, with everything that an attacker of the same user would try first, and tells what came of it. */
const INSIDE = `
const { accessSync, readFileSync, readlinkSync, readdirSync, statSync } = require('node:fs')
const { spawnSync } = require('node:child_process')
const net = require('node:net')
const [port, dir, marker, unshare] = process.argv.slice(1)
const read = (file) => { try { return readFileSync(file, 'utf8') } catch { return '' } }
const attempt = (act, otherwise) => { try { return act() } catch { return otherwise } }
const status = read('/proc/self/status')
const mounts = read('/proc/self/mountinfo')
const path = (line) => (line.split(' ')[4] ?? '').replace(/\\\\([0-7]{3})/g, (_, code) => String.fromCharCode(parseInt(code, 8)))
const dial = (to) => new Promise((resolve) => {
  const socket = net.connect(to)
  socket.on('connect', () => resolve('connected'))
  socket.on('error', (error) => resolve(error.code))
  setTimeout(() => resolve('timeout'), 2000).unref()
})
const run = async () => console.log(JSON.stringify({
  namespaces: Object.fromEntries(['net', 'mnt', 'pid', 'ipc', 'uts'].map((kind) => [kind, attempt(() => readlinkSync('/proc/self/ns/' + kind), '')])),
  capabilities: ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'].map((set) => new RegExp('^Cap' + set + ':\\\\s*(\\\\w+)', 'm').exec(status)?.[1]),
  noNewPrivileges: /^NoNewPrivs:\\s*1$/m.test(status),
  routes: read('/proc/net/route').trim().split('\\n').length - 1,
  gateways: read('/proc/net/ipv6_route').trim().split('\\n').filter((line) => line && !/\\slo$/.test(line)).length,
  addresses: Object.values(require('node:os').networkInterfaces()).flat().filter((one) => !one.internal).length,
  listener: await dial({ host: '127.0.0.1', port: Number(port) }),
  canary: read(dir + '/canary') + read('canary'),
  exposed: read(dir + '/exposed'),
  socket: await dial({ path: dir + '/socket' }),
  disks: attempt(() => readdirSync('/dev'), []).filter((name) => attempt(() => statSync('/dev/' + name).isBlockDevice(), false)),
  mounts,
  reached: mounts.split('\\n').filter(Boolean).map(path).filter((at) => attempt(() => { accessSync(at); return true }, false)),
  foreign: readdirSync('/proc').filter((name) => /^\\d+$/.test(name) && !read('/proc/' + name + '/cmdline').includes(marker)).length,
  nested: spawnSync(unshare, ['-U', 'true']).status === 0,
}))
run().then(() => process.exit())
`

/**
 * Starts a real program in some way and looks from inside. Everything it must not reach is first shown to be reachable
 * from here, so that nothing is called shut for want of a door.
 *
 * @param near a folder to make the canary in; where the agents' hidden files are, if it can be written
 */
export async function probe(way: Way, near: string | undefined): Promise<Findings> {
  const dir = canaryDir(near)
  const marker = randomBytes(12).toString('hex')
  let arrived = 0
  const server = (seen: () => void): Server =>
    createServer((socket) => {
      seen()
      socket.on('error', () => undefined)
      socket.destroy()
    })
  const listener = server(() => undefined)
  const named = server(() => arrived++)
  try {
    writeFileSync(join(dir, 'canary'), marker, { mode: 0o600 })
    writeFileSync(join(dir, 'exposed'), marker, { mode: 0o600 })
    const port = await listening(listener, { host: '127.0.0.1', port: 0 })
    await listening(named, { path: join(dir, 'socket') })
    for (const to of [{ port, host: '127.0.0.1' }, { path: join(dir, 'socket') }]) {
      const socket = connect(to)
      await once(socket, 'connect')
      await once(socket.resume(), 'close')
    }
    arrived = 0
    const program = [process.execPath, '-e', INSIDE, String(port), dir, marker]
    const view = { hide: [dir], expose: [join(dir, 'exposed')], cwd: dir }
    const words = enclosed(way, view, [...program, tool('unshare') ?? 'unshare'])
    const facts: unknown = JSON.parse(await output(words, dir))
    return judge(Object(facts), { marker, arrived: () => arrived })
  } catch (error) {
    return nothing(`the probe failed: ${error instanceof Error ? error.message : String(error)}`)
  } finally {
    listener.close()
    named.close()
    rmSync(dir, { recursive: true, force: true })
  }
}

const nothing = (reason: string): Findings => ({
  network: reason,
  files: reason,
  processes: reason,
})

function canaryDir(near: string | undefined): string {
  if (near !== undefined && Buffer.byteLength(near) < MAX_SOCKET_PATH - 30) {
    try {
      return mkdtempSync(join(near, '.probe-'))
    } catch {
      // Not there yet, or not this user's.
    }
  }
  return mkdtempSync(join(tmpdir(), 'sp-probe-'))
}

async function listening(
  server: Server,
  at: { host: string; port: number } | { path: string },
): Promise<number> {
  server.listen(at)
  await once(server, 'listening')
  // A TCP listener has an AddressInfo, one with a path its path.
  const address = server.address() as AddressInfo | string
  return typeof address === 'string' ? 0 : address.port
}

async function output(words: readonly string[], cwd: string): Promise<string> {
  const [command = '', ...args] = words
  const child = spawn(command, args, {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  })
  // Nothing has to be done first: it starts as soon as it is ready.
  const go = child.stdio[3]
  if (go && 'end' in go) go.end()
  let out = ''
  let wrong = ''
  child.stdout?.on('data', (chunk: Buffer) => (out += String(chunk)))
  for (const stream of [child.stderr, child.stdio[3]]) {
    stream?.on('data', (chunk: Buffer) => (wrong += String(chunk)))
  }
  const [code]: unknown[] = await once(child, 'close')
  if (code !== 0) throw new Error(wrong.replace(/^ready\n/, '').trim() || `code ${String(code)}`)
  return out
}

function judge(
  facts: Partial<Record<string, unknown>>,
  sent: { readonly marker: string; arrived(): number },
): Findings {
  const capabilities = facts['capabilities']
  if (!Array.isArray(capabilities) || capabilities.length !== 5) return nothing('no answer')
  if (capabilities.some((set) => !/^0+$/.test(String(set)))) return nothing('capabilities remain')
  if (facts['noNewPrivileges'] !== true) return nothing('new privileges can be gained')
  const namespaces: Partial<Record<string, unknown>> = Object(facts['namespaces'])
  const same = ['net', 'mnt', 'pid', 'ipc', 'uts'].filter(
    (kind) => (namespaces[kind] || undefined) === own(kind),
  )
  const first = (...reasons: readonly (string | false)[]): string | undefined =>
    reasons.find((reason) => reason !== false)
  const shared = (kind: string): string | false =>
    (same.includes(kind) || namespaces[kind] === '') && `the ${kind} namespace is the same`
  const network = first(
    shared('net'),
    (facts['routes'] !== 0 || facts['gateways'] !== 0) && 'a route remains inside',
    facts['addresses'] !== 0 && 'an address remains inside',
    facts['listener'] === 'connected' && 'a listener outside was reached',
  )
  const seen = uncovered(parseMounts(String(facts['mounts'])))
  const reached: unknown[] = Array.isArray(facts['reached']) ? facts['reached'] : []
  const writable = seen.filter((mount) => takesWriting(mount) && reached.includes(mount.path))
  const common = ownPlaces().filter(
    (place) => !seen.some(({ path, source }) => source === 'sallyport' && within(place, path)),
  )
  const files = first(
    shared('mnt'),
    facts['canary'] !== '' && 'a hidden file was read',
    (facts['socket'] === 'connected' || sent.arrived() > 0) && 'a hidden socket was reached',
    facts['exposed'] !== sent.marker && 'an exposed file was not there',
    !(Array.isArray(facts['disks']) && facts['disks'].length === 0) && 'disks can be opened',
    writable.length > 0 && `${writable.map(({ path }) => path).join(', ')} can be written`,
    common.length > 0 && `${common.join(', ')} is shared with others`,
  )
  const processes = first(
    shared('pid'),
    shared('ipc'),
    shared('uts'),
    facts['foreign'] !== 0 && 'other processes are seen',
    facts['nested'] !== false && 'further namespaces can be made inside',
  )
  return {
    ...(network === undefined ? {} : { network }),
    ...(files === undefined ? {} : { files }),
    ...(processes === undefined ? {} : { processes }),
  }
}

function own(kind: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/ns/${kind}`)
  } catch {
    // A kernel without this kind: the program has none either, and its empty answer counts as shared.
    return undefined
  }
}

/** Whether a file system takes writing, but for those made for this program alone and single harmless devices. */
const takesWriting = ({ path, flags, source, type }: Mount): boolean =>
  flags.includes('rw') && source !== 'sallyport' && type !== 'devpts' && !path.startsWith('/dev/')
