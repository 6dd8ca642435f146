import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { parseJson } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import type { McpProgram as Declared } from '@sallyport/network'
import { isObject } from '../adapters/jsonrpc.ts'
import type { Audit } from '../audit/audit.ts'
import { Pace } from '../edge/pace.ts'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import { findApart, hiding } from './apart.ts'
import { unusable } from './exchange.ts'
import type { Aside, McpAsk, McpCall, McpLink } from './mcp.ts'

type Message = { readonly [key: string]: JsonValue }

export interface ProgramParts {
  readonly audit: Audit
  readonly clock: Clock
  readonly settings: GatewaySettings
  /** Folders and files that no program sees: keys lie in them, and a program may have the gateway's own user id. */
  readonly hide: readonly string[]
  /** Takes what programs write to standard error. */
  readonly log: (line: string) => void
}

interface Waiting {
  readonly call: McpCall
  answer(message: Message): void
  fail(error: Refusal): void
  refresh(): void
}

/** All programs of one gateway at once. */
const MAX_PROGRAMS = 256
/** A program that ends sooner is started again later and later. */
const STEADY_MS = 10_000
const FIRST_DELAY_MS = 250
const MAX_DELAY_MS = 30_000
const MAX_LOG_LINE = 2000
const LOG_LINES = { perSecond: 20, burst: 200 }
const MAX_DEPTH = 64

/** When programs of a system may be started again, and how many run. */
export class Programs {
  readonly #parts: ProgramParts
  readonly #failures = new Map<string, { readonly times: number; readonly until: number }>()
  readonly #pace: Pace
  readonly #running = new Set<ChildProcessWithoutNullStreams>()

  constructor(parts: ProgramParts) {
    this.#parts = parts
    this.#pace = new Pace(LOG_LINES.perSecond, LOG_LINES.burst, parts.clock)
  }

  get settings(): GatewaySettings {
    return this.#parts.settings
  }

  get size(): number {
    return this.#running.size
  }

  /** @throws Refusal `SP_MCP_PROGRAM` where none may be started */
  async start(name: string, declared: Declared): Promise<ChildProcessWithoutNullStreams> {
    const { clock, audit } = this.#parts
    const failed = this.#failures.get(name)
    const wait = failed === undefined ? 0 : failed.until - clock.monotonic()
    if (wait > 0) throw notNow('its program keeps ending', wait)
    if (this.#running.size >= MAX_PROGRAMS) throw notNow('too many programs run', FIRST_DELAY_MS)
    const hide = hiding(this.#parts.hide)
    if (!hide) throw notNow('what it must not see is not where it was')
    const apart = await findApart(hide)
    if (!apart) throw notNow('this machine cannot start it apart from the keys of the gateway')
    const [command = '', ...words] = apart.words(name, hide)
    const child = spawn(command, [...words, declared.command, ...declared.args], {
      cwd: '/',
      env: { ...declared.env },
      stdio: 'pipe',
      shell: false,
      detached: true,
    })
    this.#running.add(child)
    const startedAt = clock.monotonic()
    audit.event('mcp-program-started', {
      facts: { system: name, network: apart.network ? 'none' : 'not enforced' },
    })
    child.on('error', () => undefined)
    child.stdin.on('error', () => undefined)
    child.once('close', () => {
      this.#running.delete(child)
      const isSteady = clock.monotonic() - startedAt >= STEADY_MS
      if (isSteady || child.killed) this.#failures.delete(name)
      else this.#failed(name)
    })
    this.#follow(name, child)
    return child
  }

  kill(child: ChildProcessWithoutNullStreams): void {
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
    for (const child of this.#running) this.kill(child)
  }

  #failed(name: string): void {
    const times = (this.#failures.get(name)?.times ?? 0) + 1
    const delay = Math.min(FIRST_DELAY_MS * 2 ** Math.min(times - 1, 16), MAX_DELAY_MS)
    this.#failures.set(name, { times, until: this.#parts.clock.monotonic() + delay })
    this.#parts.audit.boundedEvent('mcp-program-ended', { facts: { system: name, times } })
  }

  /** Standard error, line by line: no line is long, and there are not many. */
  #follow(name: string, { stderr }: ChildProcessWithoutNullStreams): void {
    let line = ''
    stderr.setEncoding('utf8')
    stderr.on('data', (text: string) => {
      const lines = (line + text).split('\n')
      line = (lines.pop() ?? '').slice(0, MAX_LOG_LINE)
      for (const one of lines) {
        if (!this.#pace.admits(name)) continue
        this.#parts.log(`${name}: ${one.slice(0, MAX_LOG_LINE).replaceAll(/\p{Cc}/gu, ' ')}`)
      }
    })
  }
}

/** stdio (MCP 2025-11-25, basic/transports): one message a line, one program a session. */
export class McpProgramLink implements McpLink {
  readonly #programs: Programs
  readonly #waiting = new Map<string, Waiting>()
  #child: ChildProcessWithoutNullStreams | undefined
  #hasEnded = false
  #listener: Aside | undefined
  #line: Buffer[] = []
  #size = 0

  constructor(programs: Programs) {
    this.#programs = programs
  }

  agree(): void {
    // A line has nowhere to say it.
  }

  async request(call: McpCall, id: string): Promise<Message | undefined> {
    if (this.#hasEnded) return undefined
    this.#child ??= await this.#start(call)
    if (call.signal.aborted) throw unusable('nobody waits for it')
    const { body } = call.request
    const answer = this.#wait(call, id)
    this.#write(body ?? Buffer.alloc(0))
    return answer
  }

  send(_ask: McpAsk, message: Message): Promise<void> {
    this.#write(Buffer.from(JSON.stringify(message)))
    return Promise.resolve()
  }

  async listen(ask: McpAsk, aside: Aside, heard: () => void): Promise<void> {
    this.#listener = aside
    heard()
    if (!ask.signal.aborted) {
      await new Promise<void>((resolve) => {
        ask.signal.addEventListener('abort', () => {
          resolve()
        })
      })
    }
    if (this.#listener === aside) this.#listener = undefined
  }

  end(): void {
    this.#hasEnded = true
    if (this.#child) this.#programs.kill(this.#child)
  }

  async #start({ system }: McpCall): Promise<ChildProcessWithoutNullStreams> {
    const { upstream, name } = system
    if (upstream.kind !== 'program') throw unusable('it is no program')
    const child = await this.#programs.start(name, upstream)
    if (this.#hasEnded) this.#programs.kill(child)
    child.stdout.on('data', (bytes: Buffer) => {
      try {
        this.#read(bytes)
      } catch {
        this.#break(unusable('its program wrote what is no message'))
      }
    })
    child.once('close', () => {
      this.#break(
        new Refusal('SP_UPSTREAM_FAILED', 'the system could not be reached', {
          status: 502,
          detail: 'its program ended',
        }),
      )
    })
    return child
  }

  /** Nothing more comes of this program. */
  #break(error: Refusal): void {
    this.#hasEnded = true
    if (this.#child) this.#programs.kill(this.#child)
    for (const waiting of this.#waiting.values()) waiting.fail(error)
  }

  #write(body: Buffer): void {
    // Canonical JSON has no line ends but escaped ones.
    if (!this.#hasEnded) this.#child?.stdin.write(Buffer.concat([body, Buffer.from('\n')]))
  }

  #wait(call: McpCall, id: string): Promise<Message> {
    const { upstreamTimeoutMs } = this.#programs.settings
    return new Promise<Message>((resolve, reject) => {
      const settle = (): void => {
        clearInterval(timer)
        call.signal.removeEventListener('abort', gone)
        this.#waiting.delete(id)
      }
      const fail = (error: Refusal): void => {
        settle()
        reject(error)
      }
      const gone = (): void => {
        fail(unusable('nobody waits for it'))
      }
      const timer = setInterval(() => {
        if (call.isWaiting()) return
        fail(
          new Refusal('SP_UPSTREAM_TIMEOUT', 'the system did not answer in time', { status: 504 }),
        )
      }, upstreamTimeoutMs)
      call.signal.addEventListener('abort', gone)
      this.#waiting.set(id, {
        call,
        fail,
        answer: (message) => {
          settle()
          resolve(message)
        },
        refresh: () => {
          timer.refresh()
        },
      })
      if (call.signal.aborted) gone()
    })
  }

  #read(bytes: Buffer): void {
    const { maxResponseBytes } = this.#programs.settings
    let rest = bytes
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      this.#line.push(rest.subarray(0, end))
      const line = Buffer.concat(this.#line)
      this.#line = []
      this.#size = 0
      rest = rest.subarray(end + 1)
      if (line.length > maxResponseBytes) throw unusable('it is too large')
      if (line.length > 0)
        this.#take(parseJson(line, { maxBytes: maxResponseBytes, maxDepth: MAX_DEPTH }))
    }
    this.#line.push(rest)
    this.#size += rest.length
    if (this.#size > maxResponseBytes) throw unusable('it is too large')
  }

  #take(message: JsonValue): void {
    if (!isObject(message)) throw unusable('it is no JSON-RPC message')
    const { id, method, params } = message
    if (method === undefined) {
      if (typeof id === 'string') this.#waiting.get(id)?.answer(message)
      return
    }
    // Nothing says which request it belongs to but the token of progress: they are all of one session.
    const token = isObject(params) ? params['progressToken'] : undefined
    const own = typeof token === 'string' ? this.#waiting.get(token) : undefined
    const waiting = own ?? [...this.#waiting.values()].at(-1)
    waiting?.refresh()
    const aside = waiting?.call.aside ?? this.#listener
    aside?.(message)
  }
}

const notNow = (detail: string, waitMs?: number): Refusal =>
  new Refusal('SP_MCP_PROGRAM', 'the program of the system cannot be started', {
    status: 503,
    detail,
    ...(waitMs === undefined ? {} : { retryAfterSeconds: waitMs / 1000 }),
  })
