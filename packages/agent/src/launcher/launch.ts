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

import { elsewhere, findIsolation, parentDeath } from './isolate.ts'
import { startRelay } from './relay.ts'
import type { Relay } from './relay.ts'

export interface LaunchOptions {
  /** The agent's name; for messages only. */
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** All that the program gets beside a few harmless variables (`PATH`, `HOME`, …) and its two sockets. */
  readonly env: Readonly<Record<string, string>>
  /** Made where absent, 0700; holds the two sockets while the agent runs. */
  readonly runDir: string
  readonly gateway: Target
  readonly control: Target
  /** `require` fails where the machine cannot isolate, `auto` goes on and says so, `off` does not try. */
  readonly isolate: 'auto' | 'require' | 'off'
  /**
   * Folders that an isolated program must not see, whatever their modes say: it runs as the launcher's own user. Of what is
   * below them there stay its sockets, and copies of the files of `show`.
   */
  readonly hide?: readonly string[]
  /** At most six. */
  readonly show?: readonly string[]
  readonly cwd?: string
  /** `inherit` hands the launcher's own to the program; otherwise its output goes line by line to the two functions. */
  readonly stdio?: 'inherit' | 'lines'
  onStdout?(line: string): void
  onStderr?(line: string): void
  onExit(code: number | null, signal: NodeJS.Signals | null): void
}

export interface Launched {
  readonly pid: number
  /** `enforced` only where a probe and the running process itself showed that there is no other way out. */
  readonly network: 'enforced' | 'not enforced'
  /** Why not, where it is not. */
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
const NAMESPACE_WAIT_MS = 3000

/**
 * Starts an agent with two Unix sockets as its only ways out: one relayed to the gateway, one to the control plane.
 *
 * @throws SallyportError `SP_LAUNCH_FAILED`, `SP_LAUNCH_NOT_ISOLATED`
 */
export async function launchAgent(options: LaunchOptions): Promise<Launched> {
  const isolation = options.isolate === 'off' ? { reason: 'not asked for' } : await findIsolation()
  if (options.isolate === 'require' && 'reason' in isolation) throw notIsolated(isolation.reason)
  const dir = socketDir(options.runDir)
  const relays: Relay[] = []
  const cut = (): void => {
    for (const relay of relays) relay.cut()
    if (dir.temporary) rmSync(dir.path, { recursive: true, force: true })
  }
  try {
    const gatewayPath = join(dir.path, 'gateway.sock')
    const planePath = join(dir.path, 'plane.sock')
    for (const path of [gatewayPath, planePath]) rmSync(path, { force: true })
    relays.push(await startRelay(gatewayPath, options.gateway))
    relays.push(await startRelay(planePath, options.control))
    const { hide = [], show = [] } = options
    const prefix =
      'prefix' in isolation
        ? isolation.prefix(hide.length === 0 ? undefined : { hide, keep: [dir.path], show })
        : parentDeath()
    const child = await start(options, prefix, {
      SALLYPORT_GATEWAY: `unix:${gatewayPath}`,
      SALLYPORT_PLANE: `unix:${planePath}`,
    })
    // Nobody else is to use the sockets of a program that is gone.
    child.once('exit', cut)
    const stop = stopper(child, cut)
    const left = 'prefix' in isolation ? await shown(child) : isolation.reason
    if (left !== undefined && options.isolate === 'require') {
      await stop()
      throw notIsolated(left)
    }
    return {
      pid: child.pid ?? 0,
      network: left === undefined ? 'enforced' : 'not enforced',
      ...(left === undefined ? {} : { reason: left }),
      cut,
      stop,
    }
  } catch (error) {
    cut()
    throw error
  }
}

function socketDir(runDir: string): { path: string; temporary: boolean } {
  mkdirSync(runDir, { recursive: true, mode: 0o700 })
  chmodSync(runDir, 0o700)
  if (Buffer.byteLength(join(runDir, 'gateway.sock')) < MAX_SOCKET_PATH) {
    return { path: runDir, temporary: false }
  }
  // `mkdtemp` makes 0700 directories.
  return { path: mkdtempSync(join(tmpdir(), 'sp-')), temporary: true }
}

async function start(
  options: LaunchOptions,
  prefix: readonly string[],
  sockets: Readonly<Record<string, string>>,
): Promise<ChildProcess> {
  const inherited = HARMLESS.flatMap((name) => {
    const value = process.env[name]
    return value === undefined ? [] : [[name, value] as const]
  })
  const [command = options.command, ...args] = [...prefix, options.command, ...options.args]
  const child = spawn(command, args, {
    env: { ...Object.fromEntries(inherited), ...options.env, ...sockets },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    // A process group of its own, so that `stop` reaches what the program starts.
    detached: true,
    stdio: options.stdio === 'inherit' ? 'inherit' : ['ignore', 'pipe', 'pipe'],
  })
  lines(child.stdout, options.onStdout?.bind(options))
  lines(child.stderr, options.onStderr?.bind(options))
  child.once('exit', (code, signal) => {
    options.onExit(code, signal)
  })
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (cause) => {
      reject(
        new SallyportError('SP_LAUNCH_FAILED', `the agent \`${options.name}\` cannot be started`, {
          detail: cause.message,
          cause,
        }),
      )
    })
  })
  return child
}

function lines(stream: Readable | null, tell: ((line: string) => void) | undefined): void {
  if (!stream) return
  const reader = createInterface({ input: stream, crlfDelay: Infinity })
  reader.on('line', (line) => tell?.(line))
}

/** Waits until the running process itself is seen in a namespace of its own; what is wrong where it never is. */
async function shown(child: ChildProcess): Promise<string | undefined> {
  const until = Date.now() + NAMESPACE_WAIT_MS
  while (Date.now() < until) {
    // The prefix only ever runs the program inside, so one that ended already was inside too.
    if (child.exitCode !== null || child.signalCode !== null) return undefined
    if (child.pid !== undefined && elsewhere(child.pid)) return undefined
    await sleep(10)
  }
  return 'the process was not seen in a namespace of its own'
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
      fix: 'permit network namespaces (`unshare -n`) and install `setpriv`, or launch with `isolate: auto`',
    },
  )
}
