import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

import { SallyportError } from '@sallyport/base'
import type { Target } from '@sallyport/transport'

import { databaseVariables, startDatabaseRelay } from './database.ts'
import type { DatabaseDoor } from './database.ts'
import { withoutStrays } from './descriptors.ts'
import { enclosed, mustSee } from './enclose.ts'
import type { Way } from './enclose.ts'
import { listenInside } from './inside.ts'
import { opaqueSocket, opaqueVariables, startOpaqueRelay } from './opaque.ts'
import type { OpaqueDoors, OpaqueRelay } from './opaque.ts'
import { elsewhere, findIsolation, parentDeath } from './isolate.ts'
import type { Found, Isolation } from './isolate.ts'
import { startRelay } from './relay.ts'
import type { Relay } from './relay.ts'
import { serveWorkloadApi } from '../workload/serve.ts'
import type { WorkloadApi } from '../workload/serve.ts'
import type { LazyWorkload } from '../workload/lazy.ts'
import type { Sidecar } from '../sidecar.ts'

export interface LaunchOptions {
  /** The agent's name: for messages, and whom databases know it by. */
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** All that the program gets beside a few harmless variables (`PATH`, `HOME`, …) and its sockets. */
  readonly env: Readonly<Record<string, string>>
  /** Made where absent, 0700; holds the sockets while the agent runs. */
  readonly runDir: string
  readonly gateway: Target
  readonly control: Target
  /** Whom the SPIFFE Workload API on the third socket speaks for; absent means that there is none. */
  readonly workload?: LazyWorkload
  /**
   * What speaks for programs that know nothing of SVIDs: on a fourth socket, and, where the program has a network of its own, on
   * loopback in there. The launcher ends it.
   */
  readonly sidecar?: Sidecar
  /** Databases behind the gateway, for any client of PostgreSQL; under the identity of `workload`, which it needs. */
  readonly databases?: DatabaseDoor
  /** Systems whose protocol is not read, in plain TCP for the program; under the identity of `workload`, which they need. */
  readonly opaque?: OpaqueDoors
  /** Variables that name a path of the gateway (`/models/v1`), given as addresses of the sidecar on loopback. */
  readonly addresses?: Readonly<Record<string, string>>
  /** Told of each connection to it that got nothing. */
  readonly onWorkloadRefused?: (error: unknown) => void
  /** `require` fails where the machine cannot isolate, `auto` goes on and says so, `off` does not try. */
  readonly isolate: 'auto' | 'require' | 'off'
  /**
   * Folders that an isolated program must not see, whatever their modes say: it runs as the launcher's own user. `/run`,
   * `/tmp`, `/var/tmp` and `/dev` are always its own.
   */
  readonly hide?: readonly string[]
  /** Files and folders below hidden ones (or `/tmp`, …) that it sees nevertheless, read-only; its sockets always. */
  readonly expose?: readonly string[]
  readonly cwd?: string
  /** `inherit` hands the launcher's own to the program; otherwise its output goes line by line to the two functions. */
  readonly stdio?: 'inherit' | 'lines'
  onStdout?(line: string): void
  onStderr?(line: string): void
  /** A program in a process namespace of its own that signal n ended has the code 128 + n, as in a shell. */
  onExit(code: number | null, signal: NodeJS.Signals | null): void
}

export interface Launched {
  /** The process that everything else of this agent ends with. */
  readonly pid: number
  /** `enforced` only where a probe and the running process itself showed that there is no other way out. */
  readonly network: 'enforced' | 'not enforced'
  /** The same of the network, and of files and processes. Only where all three hold are the doors the only way. */
  readonly isolation: Isolation
  /** Why not, where one of them does not hold. */
  readonly reason?: string
  /** The segment layer of a quarantine: both relays closed and their connections reset, at once and for good. */
  cut(): void
  /** Ends the program and everything it started (SIGTERM, SIGKILL after 3 s), and the relays. */
  stop(): Promise<void>
}

const HARMLESS = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'TERM', 'USER', 'NO_COLOR']
/** Linux holds 107; some systems 103. */
const MAX_SOCKET_PATH = 100
const GRACE_MS = 3000
/** In a network of the program's own, where nobody else listens. */
const SIDECAR_PORT = 7480
const NAMESPACE_WAIT_MS = 3000

/**
 * Starts an agent with two Unix sockets as its only ways out: one relayed to the gateway, one to the control plane; on a
 * third, any SPIFFE client finds its identity. Where the machine permits it, the agent sees neither hidden files nor other processes.
 *
 * @throws SallyportError `SP_LAUNCH_FAILED`, `SP_LAUNCH_NOT_ISOLATED`
 */
export async function launchAgent(options: LaunchOptions): Promise<Launched> {
  const { hide = [], expose = [] } = options
  const found = options.isolate === 'off' ? NOT_ASKED : await findIsolation(hide[0])
  if (options.isolate === 'require' && found.reason !== undefined) throw notIsolated(found.reason)
  const dir = socketDir(options.runDir, Object.keys(options.opaque?.systems ?? {}))
  const relays: Relay[] = []
  let api: WorkloadApi | undefined
  const cut = (): void => {
    for (const relay of relays) relay.cut()
    options.workload?.withdraw('its ways out are closed')
    options.sidecar?.cut()
    api?.close()
    if (dir.temporary) rmSync(dir.path, { recursive: true, force: true })
  }
  try {
    const gatewayPath = join(dir.path, 'gateway.sock')
    const planePath = join(dir.path, 'plane.sock')
    for (const path of [gatewayPath, planePath]) rmSync(path, { force: true })
    relays.push(await startRelay(gatewayPath, options.gateway))
    relays.push(await startRelay(planePath, options.control))
    if (options.workload) {
      const { workload, onWorkloadRefused } = options
      api = await serveWorkloadApi({
        path: join(dir.path, 'workload.sock'),
        // Nobody else reaches a socket of this user in a folder of this user.
        admit: async () => ({ source: await workload.source(), recheck: () => undefined }),
        ...(onWorkloadRefused ? { onRefused: onWorkloadRefused } : {}),
      })
    }
    const { databases, workload: own } = options
    if (databases && own) relays.push(await startDatabaseRelay(dir.path, databases, own))
    const { way } = found
    const { sidecar, addresses = {}, opaque = { systems: {} } } = options
    const sidecarPath = join(dir.path, 'sidecar.sock')
    await sidecar?.listen(sidecarPath)
    // Elsewhere loopback is everybody's, and whoever reaches a sidecar is the agent.
    const hasOwn = way?.full === true && found.isolation.network
    const inside = sidecar !== undefined && hasOwn
    const ports = Object.entries(opaque.systems).flatMap(([system, { port }]) =>
      port === undefined ? [] : [{ system, port }],
    )
    const wanted = [
      ...(inside ? [] : Object.keys(addresses)),
      ...(hasOwn ? [] : ports.map(({ system }) => system)),
    ]
    if (wanted.length > 0) {
      throw notIsolated(
        `it has no loopback of its own for \`${wanted.join('`, `')}\`: ${found.reason ?? 'no sidecar'}`,
      )
    }
    const doors = new Map<string, OpaqueRelay>()
    for (const [system, { target }] of Object.entries(opaque.systems)) {
      if (!own) break
      const path = opaqueSocket(dir.path, system)
      const refused = (error: unknown): void => opaque.onRefused?.(system, error)
      const door = await startOpaqueRelay(path, target, own, refused)
      doors.set(system, door)
      relays.push(door)
    }
    const program = [options.command, ...options.args]
    const view = { hide, expose: [dir.path, ...expose], cwd: options.cwd ?? process.cwd() }
    if (way?.full) {
      mustSee(options.command, view, options.env?.['PATH'] ?? process.env['PATH'] ?? '')
    }
    const child = await start(
      options,
      way ? enclosed(way, view, program) : [...parentDeath(), ...program],
      {
        ...(way?.full ? { TMPDIR: '/tmp' } : {}),
        ...options.env,
        SALLYPORT_GATEWAY: `unix:${gatewayPath}`,
        SALLYPORT_PLANE: `unix:${planePath}`,
        ...(api ? { SPIFFE_ENDPOINT_SOCKET: api.endpoint } : {}),
        ...(databases && own ? databaseVariables(dir.path, options.name, databases) : {}),
        ...(sidecar ? { SALLYPORT_SIDECAR_SOCKET: sidecarPath } : {}),
        ...(own ? opaqueVariables(dir.path, opaque) : {}),
        ...(inside ? addressesOf(addresses) : {}),
      },
      way,
      async (pid) => {
        if (!way) return
        if (inside) sidecar.accept(await listenInside(pid, way.user, SIDECAR_PORT))
        for (const { system, port } of ports) {
          doors.get(system)?.accept(await listenInside(pid, way.user, port))
        }
      },
    )
    // Nobody else is to use the sockets of a program that is gone.
    child.once('exit', cut)
    const stop = stopper(child, cut)
    const left = await shown(child, found)
    if (options.isolate === 'require' && left.reason !== undefined) {
      await stop()
      throw notIsolated(left.reason)
    }
    return {
      pid: child.pid ?? 0,
      network: left.isolation.network ? 'enforced' : 'not enforced',
      isolation: left.isolation,
      ...(left.reason === undefined ? {} : { reason: left.reason }),
      cut,
      stop,
    }
  } catch (error) {
    cut()
    throw error
  }
}

function addressesOf(addresses: Readonly<Record<string, string>>): Record<string, string> {
  const base = `http://127.0.0.1:${SIDECAR_PORT}`
  const named = Object.entries(addresses).map(([name, path]) => [name, base + path] as const)
  return { SALLYPORT_SIDECAR: base, ...Object.fromEntries(named) }
}

const NOT_ASKED: Found = {
  isolation: { network: false, files: false, processes: false },
  reason: 'not asked for',
}

function socketDir(
  runDir: string,
  systems: readonly string[],
): { path: string; temporary: boolean } {
  mkdirSync(runDir, { recursive: true, mode: 0o700 })
  chmodSync(runDir, 0o700)
  const paths = [join(runDir, 'workload.sock'), ...systems.map((one) => opaqueSocket(runDir, one))]
  if (paths.every((path) => Buffer.byteLength(path) < MAX_SOCKET_PATH)) {
    return { path: runDir, temporary: false }
  }
  // `mkdtemp` makes 0700 directories.
  return { path: mkdtempSync(join(tmpdir(), 'sp-')), temporary: true }
}

async function start(
  options: LaunchOptions,
  words: readonly string[],
  env: Readonly<Record<string, string>>,
  way: Way | undefined,
  /** Done once everything else is in place, before the program itself starts. */
  prepare: (pid: number) => Promise<void>,
): Promise<ChildProcess> {
  const inherited = HARMLESS.flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  const [command = options.command, ...args] = words
  const usual =
    options.stdio === 'inherit'
      ? (['inherit', 'inherit', 'inherit'] as const)
      : (['ignore', 'pipe', 'pipe'] as const)
  const child = withoutStrays([...usual, ...(way?.full ? (['pipe'] as const) : [])], (stdio) =>
    spawn(command, args, {
      env: { ...Object.fromEntries(inherited), ...env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      // A process group of its own, so that `stop` reaches what the program starts.
      detached: true,
      stdio,
    }),
  )
  lines(child.stdout, options.onStdout?.bind(options))
  lines(child.stderr, options.onStderr?.bind(options))
  const ready = way?.full ? set(child, prepare) : undefined
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (cause) => {
      reject(failed(options.name, cause.message, cause))
    })
  })
  const problem = await ready
  if (problem !== undefined) throw failed(options.name, problem)
  const tell = (): void => {
    options.onExit(child.exitCode, child.signalCode)
  }
  if (child.exitCode === null && child.signalCode === null) child.once('exit', tell)
  else tell()
  return child
}

/** What went wrong before the program was started, said on descriptor 3; undefined once everything is in place. */
async function set(
  child: ChildProcess,
  prepare: (pid: number) => Promise<void>,
): Promise<string | undefined> {
  const pipe = child.stdio[3]
  let said = ''
  await new Promise<void>((resolve) => {
    pipe?.on('data', (chunk: Buffer) => {
      said += String(chunk)
      // The process that stays outside holds the pipe open for as long as the program runs.
      if (said.includes('\n')) resolve()
    })
    pipe?.once('close', resolve).once('error', resolve)
    child.once('error', resolve)
  })
  const ready = said === 'ready\n'
  try {
    if (ready) await prepare(child.pid ?? 0)
  } catch (error) {
    // It has not started, and must not.
    child.kill('SIGKILL')
    throw error
  } finally {
    pipe?.destroy()
  }
  return ready ? undefined : said.trim() || 'it ended while it was enclosed'
}

function failed(name: string, detail: string, cause?: Error): SallyportError {
  return new SallyportError('SP_LAUNCH_FAILED', `the agent \`${name}\` cannot be started`, {
    detail,
    ...(cause === undefined ? {} : { cause }),
  })
}

function lines(stream: Readable | null, tell: ((line: string) => void) | undefined): void {
  if (!stream) return
  const reader = createInterface({ input: stream, crlfDelay: Infinity })
  reader.on('line', (line) => tell?.(line))
}

/** What holds of the running process: of what the probe found, that which it is itself seen to be in. */
async function shown(
  child: ChildProcess,
  found: Found,
): Promise<Pick<Found, 'isolation' | 'reason'>> {
  const parts = (['network', 'files', 'processes'] as const).filter((part) => found.isolation[part])
  const until = Date.now() + NAMESPACE_WAIT_MS
  let left: readonly (keyof Isolation)[] = parts
  while (left.length > 0) {
    // The prefix only ever runs the program inside, so one that ended already was inside too.
    if (child.exitCode !== null || child.signalCode !== null) left = []
    const { pid } = child
    if (pid !== undefined) left = left.filter((part) => !elsewhere(pid, part))
    if (left.length === 0 || Date.now() > until) break
    await sleep(10)
  }
  if (left.length === 0) return found
  const { network, files, processes } = found.isolation
  return {
    isolation: {
      network: network && !left.includes('network'),
      files: files && !left.includes('files'),
      processes: processes && !left.includes('processes'),
    },
    reason: `the process was not seen in namespaces of its own: ${left.join(', ')}`,
  }
}

function stopper(child: ChildProcess, cut: () => void): () => Promise<void> {
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve()
    })
  })
  const signal = (name: NodeJS.Signals): void => {
    try {
      // The whole group: with `detached`, its id is the child's.
      if (child.pid !== undefined) process.kill(-child.pid, name)
    } catch {
      // Nobody of the group is left.
    }
  }
  const run = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      signal('SIGTERM')
      await Promise.race([ended, sleep(GRACE_MS, undefined, { ref: false })])
    }
    // What the program left behind goes too.
    signal('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await ended
    cut()
  }
  let stopped: Promise<void> | undefined
  return () => (stopped ??= run())
}

function notIsolated(detail: string): SallyportError {
  return new SallyportError(
    'SP_LAUNCH_NOT_ISOLATED',
    'the agent cannot be isolated on this machine',
    {
      detail,
      fix: 'permit user namespaces (`unshare -Ur`) and install util-linux, or launch with `isolate: auto`',
    },
  )
}
