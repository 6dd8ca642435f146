import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import type { Clock } from '@sallyport/base'
import type { McpProgram as Declared } from '@sallyport/network'
import type { Audit } from '../audit/audit.ts'
import { Pace } from '../edge/pace.ts'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import { findApart, hiding } from './apart.ts'

export interface ProgramParts {
  readonly audit: Audit
  readonly clock: Clock
  readonly settings: GatewaySettings
  /** Folders and files that no program sees: keys lie in them, and a program may have the gateway's own user id. */
  readonly hide: readonly string[]
  /** Takes what programs write to standard error. */
  readonly log: (line: string) => void
}

/** What is known of the programs of a system that ended too soon, while none has shown that it stays. */
interface Failing {
  readonly times: number
  /** When the last of them ended. */
  readonly at: number
  /** When another may be started. */
  until: number
}

/** How a program is started apart. */
interface Before {
  readonly words: readonly string[]
  readonly network: boolean
}

/** A program that ends sooner is started again later and later. */
const STEADY_MS = 10_000
const FIRST_DELAY_MS = 250
const MAX_DELAY_MS = 30_000
const MAX_LOG_LINE = 2000
const LOG_LINES = { perSecond: 20, burst: 200 }
/** Of one system for one caller, however they end. */
const STARTS = { perSecond: 1, burst: 32 }

/** When programs of a system may be started again, and how many run. */
export class Programs {
  readonly #parts: ProgramParts
  readonly #failing = new Map<string, Failing>()
  readonly #logPace: Pace
  readonly #startPace: Pace
  readonly #running = new Set<ChildProcessWithoutNullStreams>()
  /** Ended by the gateway through no fault of theirs. */
  readonly #unneeded = new WeakSet<ChildProcessWithoutNullStreams>()
  #starting = 0

  constructor(parts: ProgramParts) {
    this.#parts = parts
    this.#logPace = new Pace(LOG_LINES.perSecond, LOG_LINES.burst, parts.clock)
    this.#startPace = new Pace(STARTS.perSecond, STARTS.burst, parts.clock)
  }

  get settings(): GatewaySettings {
    return this.#parts.settings
  }

  get clock(): Clock {
    return this.#parts.clock
  }

  get size(): number {
    return this.#running.size
  }

  /**
   * @param name of the system
   * @param caller for whom
   * @throws Refusal `SP_MCP_PROGRAM` where none may be started
   */
  async start(
    name: string,
    declared: Declared,
    caller: string,
  ): Promise<ChildProcessWithoutNullStreams> {
    const { clock, settings } = this.#parts
    const now = clock.monotonic()
    const failing = this.#failing.get(name)
    const wait = failing === undefined ? 0 : failing.until - now
    if (wait > 0) throw notNow('its program keeps ending', wait)
    if (this.#running.size + this.#starting >= settings.maxMcpPrograms) {
      throw notNow('too many programs run', FIRST_DELAY_MS)
    }
    if (!this.#startPace.admits(`${name} ${caller}`)) {
      throw notNow('it was started too often', 1000 / STARTS.perSecond)
    }
    // Those that waited do not all come at once: it is one at a time, until one has shown that it stays.
    if (failing) failing.until = now + delayOf(failing.times)
    this.#starting++
    let before: Before
    try {
      before = await this.#before(name)
    } finally {
      this.#starting--
    }
    // INVARIANT: no await from here until it is counted among those that run.
    return this.#spawn(name, declared, before)
  }

  /** Ends a program and what it started. @param failed whether it gave cause to */
  kill(child: ChildProcessWithoutNullStreams, failed: boolean): void {
    if (!failed) this.#unneeded.add(child)
    child.kill('SIGKILL')
    // It leads a group of its own, so that what it started goes with it.
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, 'SIGKILL')
    } catch {
      // It is gone already.
    }
  }

  close(): void {
    for (const child of this.#running) this.kill(child, false)
  }

  async #before(name: string): Promise<Before> {
    const hide = hiding(this.#parts.hide)
    if (!hide) throw notNow('what it must not see is not where it was')
    const apart = await findApart(hide)
    if (!apart) throw notNow('this machine cannot start it apart from the keys of the gateway')
    return { words: apart.words(name, hide), network: apart.network }
  }

  #spawn(name: string, declared: Declared, before: Before): ChildProcessWithoutNullStreams {
    const [command = '', ...words] = before.words
    const { clock, audit } = this.#parts
    const startedAt = clock.monotonic()
    let child: ChildProcessWithoutNullStreams
    try {
      child = spawn(command, [...words, declared.command, ...declared.args], {
        cwd: '/',
        env: { ...declared.env },
        stdio: 'pipe',
        shell: false,
        detached: true,
      })
    } catch (cause) {
      this.#failed(name, startedAt)
      throw notNow('this machine cannot start it', undefined, cause)
    }
    child.on('error', () => undefined)
    // Where no file could be opened for it, it has no pipes either, and nothing ever tells that it is closed.
    if (child.pid === undefined) {
      this.#failed(name, startedAt)
      throw notNow('this machine cannot start it', FIRST_DELAY_MS)
    }
    this.#running.add(child)
    child.stdin.on('error', () => undefined)
    audit.event('mcp-program-started', {
      facts: { system: name, network: before.network ? 'none' : 'not enforced' },
    })
    const steady = setTimeout(() => {
      this.#failing.delete(name)
    }, STEADY_MS).unref()
    child.once('close', () => {
      clearTimeout(steady)
      this.#running.delete(child)
      if (clock.monotonic() - startedAt >= STEADY_MS) this.#failing.delete(name)
      else if (!this.#unneeded.has(child)) this.#failed(name, startedAt)
    })
    this.#follow(name, child)
    return child
  }

  #failed(name: string, startedAt: number): void {
    const { clock, audit } = this.#parts
    const known = this.#failing.get(name)
    // Those that ran when the last one ended fell with it: together they count once.
    if (known && startedAt < known.at) return
    const times = (known?.times ?? 0) + 1
    const at = clock.monotonic()
    this.#failing.set(name, { times, at, until: at + delayOf(times) })
    audit.boundedEvent('mcp-program-ended', { facts: { system: name, times } })
  }

  /** Standard error, line by line: no line is long, and there are not many. */
  #follow(name: string, { stderr }: ChildProcessWithoutNullStreams): void {
    let line = ''
    stderr.setEncoding('utf8')
    stderr.on('data', (text: string) => {
      const lines = (line + text).split('\n')
      line = (lines.pop() ?? '').slice(0, MAX_LOG_LINE)
      for (const one of lines) {
        if (!this.#logPace.admits(name)) continue
        this.#parts.log(`${name}: ${one.slice(0, MAX_LOG_LINE).replaceAll(/\p{Cc}/gu, ' ')}`)
      }
    })
  }
}

const delayOf = (times: number): number =>
  Math.min(FIRST_DELAY_MS * 2 ** Math.min(times - 1, 16), MAX_DELAY_MS)

const notNow = (detail: string, waitMs?: number, cause?: unknown): Refusal =>
  new Refusal('SP_MCP_PROGRAM', 'the program of the system cannot be started', {
    status: 503,
    detail,
    ...(waitMs === undefined ? {} : { retryAfterSeconds: waitMs / 1000 }),
    ...(cause === undefined ? {} : { cause }),
  })
