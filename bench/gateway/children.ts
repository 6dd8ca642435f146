import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { GatewayOptions } from '@sallyport/gateway'
import { NODE_FLAGS } from '@sallyport/gateway/node-flags'
import type { Backend } from './backend.ts'
import type { GatewayState } from './gateway-process.ts'

export interface GatewayChild {
  readonly process: ChildProcess
  readonly message: GatewayState
}

export type Undo = (() => Promise<void> | void)[]

export async function startBackend(undo: Undo): Promise<Backend> {
  // Each process says first what its file says it does.
  return (await child('backend.ts', {}, undo)).message as Backend
}

/**
 * @param dataDir of this gateway alone
 * @param over what is not as with the others
 */
export async function startGatewayChild(
  backend: Backend,
  dataDir: string,
  undo: Undo,
  settings: GatewayOptions['settings'] = {},
  over: Partial<GatewayOptions> = {},
): Promise<GatewayChild> {
  const options: Partial<GatewayOptions> = {
    id: 'gw1',
    dataDir,
    control: at(backend.planePort),
    listen: at(0),
    trustPins: backend.pins,
    joinToken: 'join',
    secrets: {},
    upstreams: {
      bank: at(backend.upstreamPort),
      desk: at(backend.upstreamPort),
      tools: at(backend.toolsPort),
    },
    ...over,
    settings: {
      maxCallsPerSecond: 1e6,
      maxCallBurst: 1e6,
      keepAliveTimeoutMs: 600_000,
      ...settings,
    },
  }
  const env = { BENCH_GATEWAY: JSON.stringify(options) }
  const { process: running, message } = await child('gateway-process.ts', env, undo, NODE_FLAGS)
  // As above.
  return { process: running, message: message as GatewayState }
}

/** Processor time of processes and of their children since they started, in microseconds. */
export function cpuOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
    const below = children === '' ? 0 : cpuOf(children.split(' ').map(Number))
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    // utime and stime, in ticks of a hundredth of a second.
    return sum + below + (Number(fields[11]) + Number(fields[12])) * 10_000
  }, 0)
}

export const at = (port: number): { readonly host: string; readonly port: number } => ({
  host: '127.0.0.1',
  port,
})

/** Starts a process of the bench; resolves with the first thing it says. */
export async function child(
  file: string,
  env: Readonly<Record<string, string>>,
  undo: Undo,
  flags: readonly string[] = [],
): Promise<{ readonly process: ChildProcess; readonly message: unknown }> {
  const process_ = fork(join(import.meta.dirname, file), {
    env: { ...process.env, ...env },
    execArgv: [...process.execArgv, ...flags],
  })
  undo.push(async () => {
    if (process_.exitCode !== null) return
    const ended = new Promise((resolve) => {
      process_.once('exit', resolve)
    })
    process_.disconnect()
    await ended
  })
  const message = await new Promise<unknown>((resolve, reject) => {
    process_.once('message', resolve)
    process_.once('exit', (code) => {
      reject(new Error(`${file} ended with ${String(code)}`))
    })
  })
  return { process: process_, message }
}

/** @param what `held` to have what nobody holds collected first */
export function ask(
  gateway: ChildProcess,
  what: 'state' | 'held' = 'state',
): Promise<GatewayState> {
  return new Promise((resolve) => {
    gateway.once('message', (given) => {
      // The gateway's process answers every message with its state.
      resolve(given as GatewayState)
    })
    gateway.send(what)
  })
}
