import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

export type Line = Readonly<Record<string, JsonValue>>

export interface SupervisedOptions {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Lines of the process's stdout that are JSON objects. */
  readonly onLine?: (line: Line) => void
  /** Where its stderr goes, line by line. */
  readonly onError: (text: string) => void
  readonly onExit?: (code: number | null, signal: NodeJS.Signals | null) => void
}

/** A child process that reports as NDJSON on stdout. */
export interface Supervised {
  readonly name: string
  readonly child: ChildProcess
  /** The first line for which `match` holds; rejects when the process ends before. */
  line(match: (line: Line) => boolean, timeoutMs: number): Promise<Line>
  /** SIGTERM, and SIGKILL after the grace time. Resolves when the process has ended. */
  stop(graceMs?: number): Promise<void>
}

/** Parses a line as a JSON object; undefined where it is anything else. */
export function jsonLine(text: string): Line | undefined {
  if (!text.startsWith('{')) return undefined
  try {
    const value = parseJson(text)
    // A text that starts with `{` and parses is an object.
    return value as Line
  } catch {
    return undefined
  }
}

export function supervise(options: SupervisedOptions): Supervised {
  const [command = options.command, ...args] = [...orphanGuard(), options.command, ...options.args]
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  })
  const seen: Line[] = []
  const waiting = new Set<(line: Line) => void>()
  let ended = false
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = jsonLine(text)
    if (!line) {
      options.onError(text)
      return
    }
    if (seen.length < 64) seen.push(line)
    options.onLine?.(line)
    for (const look of waiting) look(line)
  })
  const lastErrors: string[] = []
  createInterface({ input: child.stderr }).on('line', (text) => {
    lastErrors.push(text)
    if (lastErrors.length > 20) lastErrors.shift()
    options.onError(text)
  })
  child.on('error', (error) => options.onError(error.message))
  child.on('exit', (code, signal) => {
    ended = true
    options.onExit?.(code, signal)
  })
  const gone = (): SallyportError =>
    new SallyportError('SP_CHILD_ENDED', `\`${options.name}\` ended before it was ready`, {
      detail: lastErrors.slice(-5).join('\n'),
      fix: 'read the lines above; `sallyport doctor` checks the machine',
    })
  return {
    name: options.name,
    child,
    line(match, timeoutMs) {
      const found = seen.find(match)
      if (found) return Promise.resolve(found)
      if (ended) return Promise.reject(gone())
      const { promise, resolve, reject } = Promise.withResolvers<Line>()
      const look = (line: Line): void => {
        if (match(line)) resolve(line)
      }
      waiting.add(look)
      const timer = setTimeout(() => {
        reject(
          new SallyportError('SP_CHILD_TIMEOUT', `\`${options.name}\` was not ready in time`, {
            detail: lastErrors.slice(-5).join('\n'),
            fix: 'read the lines above; a slow machine may need a second try',
          }),
        )
      }, timeoutMs)
      const onExit = (): void => reject(gone())
      child.once('exit', onExit)
      return promise.finally(() => {
        clearTimeout(timer)
        waiting.delete(look)
        child.off('exit', onExit)
      })
    },
    async stop(graceMs = 5000) {
      if (ended) return
      const exit = once(child, 'exit')
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), graceMs)
      await exit
      clearTimeout(timer)
    },
  }
}

/** Where the system can: a child is asked to stop when this process dies, however it dies. */
function orphanGuard(): readonly string[] {
  const guard = ['setpriv', '--pdeathsig', 'TERM', '--']
  guarded ??= spawnSync('setpriv', ['--pdeathsig', 'TERM', '--', 'true']).status === 0
  return guarded ? guard : []
}
let guarded: boolean | undefined

/** Resolves when this process is asked to stop. */
export function stopSignal(): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(signal))
  return promise
}

/** How this command line starts itself again as another process. */
export function selfCommand(...args: readonly string[]): { command: string; args: string[] } {
  return {
    command: process.execPath,
    args: [new URL('../bin/sallyport.ts', import.meta.url).pathname, ...args],
  }
}

/** As `selfCommand`, in a Node with flags of its own. */
export function selfWith(
  flags: readonly string[],
  ...args: readonly string[]
): ReturnType<typeof selfCommand> {
  const own = selfCommand(...args)
  return { ...own, args: [...flags, ...own.args] }
}
