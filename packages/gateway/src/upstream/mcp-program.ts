import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { parseJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { isObject } from '../adapters/jsonrpc.ts'
import { Pace } from '../edge/pace.ts'
import { Refusal } from '../refusal.ts'
import { unusable } from './exchange.ts'
import type { Aside, McpAsk, McpCall, McpLink } from './mcp.ts'
import { Patience, tooLate } from './patience.ts'
import type { Programs } from './programs.ts'

type Message = { readonly [key: string]: JsonValue }

interface Waiting {
  readonly call: McpCall
  answer(message: Message): void
  fail(error: Refusal): void
  refresh(): void
}

const MAX_DEPTH = 64
/** Bytes that a program may leave unread, beside the message that it is written then. */
const MAX_UNREAD = 1024 * 1024
/** What a program may say that answers nothing; whatever says more is ended. */
const ASIDES = { perSecond: 100, burst: 4096 }
/** Of these, how many are handled at once before no more is read from it. */
const MAX_PENDING = 64

/** stdio (MCP 2025-11-25, basic/transports): one message a line, one program a session. */
export class McpProgramLink implements McpLink {
  readonly #programs: Programs
  readonly #waiting = new Map<string, Waiting>()
  #child: ChildProcessWithoutNullStreams | undefined
  readonly #pace: Pace
  #hasEnded = false
  #pending = 0
  #listener: Aside | undefined
  #line: Buffer[] = []
  #size = 0

  constructor(programs: Programs) {
    this.#programs = programs
    this.#pace = new Pace(ASIDES.perSecond, ASIDES.burst, programs.clock)
  }

  agree(): void {
    // A line has nowhere to say it.
  }

  async request(call: McpCall, id: string): Promise<Message | undefined> {
    if (this.#hasEnded) return undefined
    this.#child ??= await this.#start(call)
    if (call.signal.aborted) throw unusable('nobody waits for it')
    this.#demandRoom()
    const { body } = call.request
    const answer = this.#wait(call, id)
    this.#write(body ?? Buffer.alloc(0))
    return answer
  }

  // oxlint-disable-next-line typescript/require-await -- so that a refusal rejects, as it does where it goes over a network.
  async send(_ask: McpAsk, message: Message): Promise<void> {
    this.#demandRoom()
    this.#write(Buffer.from(JSON.stringify(message)))
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
    if (this.#child) this.#programs.kill(this.#child, false)
  }

  async #start({ system, caller }: McpCall): Promise<ChildProcessWithoutNullStreams> {
    const { upstream, name } = system
    if (upstream.kind !== 'program') throw unusable('it is no program')
    const child = await this.#programs.start(name, upstream, caller)
    if (this.#hasEnded) this.#programs.kill(child, false)
    child.stdout.on('data', (bytes: Buffer) => {
      if (this.#hasEnded) return
      try {
        this.#read(bytes)
      } catch (cause) {
        const refused = cause instanceof Refusal
        this.#break(refused ? cause : unusable('its program wrote what is no message', cause))
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
    if (this.#child) this.#programs.kill(this.#child, true)
    for (const waiting of this.#waiting.values()) waiting.fail(error)
  }

  /** @throws Refusal `SP_MCP_PROGRAM` where the program does not read what it was sent before */
  #demandRoom(): void {
    if ((this.#child?.stdin.writableLength ?? 0) <= MAX_UNREAD) return
    throw new Refusal('SP_MCP_PROGRAM', 'the program of the system takes no more', {
      status: 503,
      detail: 'it does not read what it was sent',
      retryAfterSeconds: 1,
    })
  }

  #write(body: Buffer): void {
    // Canonical JSON has no line ends but escaped ones.
    if (!this.#hasEnded) this.#child?.stdin.write(Buffer.concat([body, Buffer.from('\n')]))
  }

  #wait(call: McpCall, id: string): Promise<Message> {
    return new Promise<Message>((resolve, reject) => {
      const patience = new Patience(this.#programs.settings, call.isWaiting)
      const settle = (): void => {
        patience.stop()
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
      patience.start(() => {
        fail(tooLate())
      })
      call.signal.addEventListener('abort', gone)
      this.#waiting.set(id, {
        call,
        fail,
        answer: (message) => {
          settle()
          resolve(message)
        },
        refresh: () => {
          patience.refresh()
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
    const asked = method === undefined && typeof id === 'string' ? this.#waiting.get(id) : undefined
    if (asked) {
      asked.answer(message)
      return
    }
    if (!this.#pace.admits('')) throw unusable('its program says too much')
    if (method === undefined) return
    // Nothing says which request it belongs to but the token of progress: they are all of one session.
    const token = isObject(params) ? params['progressToken'] : undefined
    const own = typeof token === 'string' ? this.#waiting.get(token) : undefined
    const waiting = own ?? [...this.#waiting.values()].at(-1)
    // What may be of any call keeps none of several waiting.
    if (own || this.#waiting.size === 1) waiting?.refresh()
    const aside = waiting?.call.aside ?? this.#listener
    if (aside) this.#give(aside, message)
  }

  /** Has something handled, and reads on only while not too much of that is under way. */
  #give(aside: Aside, message: Message): void {
    const stdout = this.#child?.stdout
    if (++this.#pending >= MAX_PENDING) stdout?.pause()
    const done = (): void => {
      if (--this.#pending < MAX_PENDING) stdout?.resume()
    }
    aside(message)
      .catch(() => undefined)
      .finally(done)
  }
}
