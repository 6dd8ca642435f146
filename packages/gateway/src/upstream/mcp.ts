import type { JsonValue } from '@sallyport/base'
import type { System } from '@sallyport/network'
import { isObject } from '../adapters/jsonrpc.ts'
import type { Going, UpstreamRequest } from '../calls/types.ts'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import { unusable } from './exchange.ts'
import type { Exchange, ExchangeRequest } from './exchange.ts'
import { McpHttp, mcpPath } from './mcp-http.ts'
import { McpProgramLink } from './mcp-program.ts'
import type { Programs } from './programs.ts'

/** The revision of MCP that this gateway speaks to servers. */
const VERSION = '2025-11-25'
const KNOWN: ReadonlySet<string> = new Set([VERSION, '2025-06-18', '2025-03-26', '2024-11-05'])
const MAX_SESSIONS = 4096
const MAX_PAGES = 100

type Message = { readonly [key: string]: JsonValue }

/** Takes what a server sends beside the answer to a request. Resolves once that was handled; never rejects. */
export type Aside = (message: Message) => Promise<void>

/** One message to a server, on behalf of a session of a caller. */
export interface McpAsk {
  /** Of the client whose session it is: no two of them share one with a server. */
  readonly session: string
  readonly caller: string
  readonly delegation: ExchangeRequest['delegation']
  readonly system: System
  readonly decision: string
  readonly operation: string
  readonly trace: ExchangeRequest['trace']
  /** What the client can be asked, as the server is told. */
  readonly abilities: Readonly<Record<string, JsonValue>>
  readonly signal: AbortSignal
}

/** On whose behalf something is said later. */
export type McpAsker = Omit<McpAsk, 'signal'>

export interface McpCall extends McpAsk {
  /** Its body is the message; its id is the decision's. */
  readonly request: UpstreamRequest
  readonly repeatable: boolean
  /** Whether the server waits for the client: its own time does not run. */
  readonly isWaiting: () => boolean
  readonly aside: Aside
  /** What was looked at in a session with the server before the call goes there, and is looked at again where that is another by now. */
  readonly checked?: { readonly on: object | undefined; again(): Promise<void> }
}

/** A session with a server, over whatever leads there. */
export interface McpLink {
  /**
   * Sends a request.
   *
   * @returns the response message; undefined where the server knows nothing of the session any more
   * @throws Refusal `SP_UPSTREAM_*`
   */
  request(call: McpCall, id: string): Promise<Message | undefined>
  /** Sends what nobody answers. @throws Refusal `SP_UPSTREAM_*` */
  send(ask: McpAsk, message: Message): Promise<void>
  /**
   * Hears what belongs to no request, until the signal. Resolves where the server has no more to say, or says nothing so.
   *
   * @param heard is called once the server can be heard
   */
  listen(ask: McpAsk, aside: Aside, heard: () => void): Promise<void>
  /** Takes what `initialize` agreed on. */
  agree(version: string): void
  end(by: McpAsker | undefined): void
}

interface Open {
  readonly link: McpLink
  readonly ready: Promise<void>
  readonly by: McpAsker
  /** Whether the server was told that it ended. */
  isTold: boolean
}

/**
 * A client of MCP servers. Sessions are opened and kept by the gateway, one for each session of a client: no caller ever
 * learns a server's session id, or reaches another's session.
 */
export class McpUpstream {
  readonly #exchange: Exchange
  readonly #settings: GatewaySettings
  readonly #sessions = new Map<string, Open>()

  readonly #programs: Programs
  #isClosed = false

  /** @param programs where servers run that are programs of the gateway's own */
  constructor(exchange: Exchange, settings: GatewaySettings, programs: Programs) {
    this.#exchange = exchange
    this.#settings = settings
    this.#programs = programs
  }

  /**
   * @returns the result as the server gave it: not yet fit for anyone's eyes
   * @throws Refusal `SP_UPSTREAM_*`
   */
  call(call: McpCall): Promise<Message> {
    return this.#request(call, call.decision)
  }

  /** As `Exchange.prepare`. */
  prepare(going: Going): void {
    this.#exchange.prepare(going)
  }

  /** Opens the session of a call where there is none. @throws Refusal `SP_UPSTREAM_*` */
  async open(call: Omit<McpCall, 'aside'>): Promise<void> {
    await this.#session({ ...call, aside: () => Promise.resolve() })
  }

  async #request(call: McpCall, id: string): Promise<Message> {
    const on = async (anew: boolean): Promise<Message | undefined> => {
      const open = await this.#session(call, anew)
      if (call.checked && call.checked.on !== open) await call.checked.again()
      return this.#ask(open, call, id)
    }
    // The server forgot the session (MCP, session management, rule 3): open another, once.
    const message = (await on(false)) ?? (await on(true))
    if (!message) throw unusable('it knows no session that it has just opened')
    return resultOf(message)
  }

  /** Where nobody waits any more, the server is told, whoever cut it off (MCP 2025-11-25, basic/utilities/cancellation). */
  async #ask(open: Open, call: McpCall, requestId: string): Promise<Message | undefined> {
    const { link } = open
    try {
      return await link.request(call, requestId)
    } catch (error) {
      if (call.signal.aborted && !open.isTold && !this.#isClosed) {
        const own = { ...call, signal: AbortSignal.timeout(this.#settings.upstreamTimeoutMs) }
        link
          .send(own, { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId } })
          // It is over for us in any case.
          .catch(() => undefined)
      }
      throw error
    }
  }

  /**
   * Goes through all that a server lists by one method, page by page. All pages together are no larger than one answer may be.
   *
   * @throws Refusal `SP_UPSTREAM_*`
   */
  async list(
    ask: McpAsk,
    method: string,
    member: string,
    take: (entry: Message) => void,
  ): Promise<void> {
    let cursor: JsonValue | undefined
    let size = 0
    for (let page = 0; page < MAX_PAGES; page++) {
      const id = `${ask.decision}.${page}`
      const params = cursor === undefined ? {} : { cursor }
      const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id, method, params }))
      const result = await this.#request(
        {
          ...ask,
          request: { method: 'POST', path: mcpPath(ask.system), body },
          repeatable: true,
          isWaiting: () => false,
          aside: () => Promise.resolve(),
        },
        id,
      )
      size += JSON.stringify(result).length
      if (size > this.#settings.maxResponseBytes) throw unusable('it lists too much')
      const listed = result[member]
      if (!Array.isArray(listed)) throw unusable('it lists nothing')
      // `Array.isArray` makes of it a list of anything.
      for (const entry of listed as readonly JsonValue[]) if (isObject(entry)) take(entry)
      cursor = result['nextCursor']
      if (typeof cursor !== 'string') return
    }
    throw unusable('it lists without end')
  }

  /** Sends what nobody answers, where there is a session. */
  async send(ask: McpAsk, message: Message): Promise<void> {
    const open = this.#sessions.get(keyOf(ask))
    if (!open) return
    await open.ready
    await open.link.send(ask, message)
  }

  /** Hears what belongs to no request, where there is a session. */
  async listen(ask: McpAsk, aside: Aside, heard: () => void): Promise<void> {
    const open = this.#sessions.get(keyOf(ask))
    if (!open) return
    await open.ready
    await open.link.listen(ask, aside, heard)
  }

  /** What stands for the session with the server that an ask would go to, and for no other before or after it. */
  sessionOf(ask: Pick<McpAsk, 'session' | 'system'>): object | undefined {
    return this.#sessions.get(keyOf(ask))
  }

  /** Ends what was opened for a session of a client. */
  end(session: string): void {
    for (const [key, open] of this.#sessions) {
      if (open.by.session === session) this.#end(key, open, true)
    }
  }

  /** Forgets the sessions of an instance, or of every instance below a subject. */
  cut(subject: string): void {
    for (const [key, open] of this.#sessions) {
      const { caller } = open.by
      if (caller === subject || caller.startsWith(`${subject}/`)) this.#end(key, open, false)
    }
  }

  close(): void {
    this.#isClosed = true
    for (const [key, open] of this.#sessions) this.#end(key, open, false)
    this.#programs.close()
  }

  #end(key: string, open: Open, tell: boolean): void {
    this.#sessions.delete(key)
    open.isTold = tell
    open.link.end(tell ? open.by : undefined)
  }

  async #session(call: McpCall, anew = false): Promise<Open> {
    // Whose session ended meanwhile has nothing opened again: nobody would be there to end it.
    if (call.signal.aborted) throw unusable('nobody waits for it')
    const key = keyOf(call)
    let open = this.#sessions.get(key)
    if (open && anew) this.#end(key, open, false)
    if (!open || anew) {
      const oldest = this.#sessions.entries().next().value
      if (oldest && this.#sessions.size >= MAX_SESSIONS) this.#end(oldest[0], oldest[1], true)
      const link =
        call.system.upstream.kind === 'program'
          ? new McpProgramLink(this.#programs)
          : new McpHttp(this.#exchange, this.#settings)
      const opened: Open = {
        link,
        by: asker(call),
        ready: this.#initialize(link, call),
        isTold: false,
      }
      open = opened
      this.#sessions.set(key, open)
      open.ready.catch(() => {
        if (this.#sessions.get(key) === opened) this.#end(key, opened, false)
      })
    }
    await open.ready
    if (call.signal.aborted) throw unusable('nobody waits for it')
    return open
  }

  async #initialize(link: McpLink, call: McpCall): Promise<void> {
    const params = {
      protocolVersion: VERSION,
      capabilities: call.abilities,
      clientInfo: { name: 'sallyport-gateway', version: '0' },
    }
    const message = { jsonrpc: '2.0', id: 'init', method: 'initialize', params }
    // Not bound to the first call's patience: others may wait for the same session.
    const own: McpCall = {
      ...call,
      request: { ...call.request, body: Buffer.from(JSON.stringify(message)) },
      signal: AbortSignal.timeout(this.#settings.upstreamTimeoutMs),
      isWaiting: () => false,
      aside: () => Promise.resolve(),
    }
    const answer = await link.request(own, 'init')
    const version = answer && resultOf(answer)['protocolVersion']
    if (typeof version !== 'string' || !KNOWN.has(version)) {
      throw unusable('it names no protocol version that is known here')
    }
    link.agree(version)
    await link.send(own, { jsonrpc: '2.0', method: 'notifications/initialized' })
  }
}

/** Of a call, whom it is for: a session outlives what it was opened for. */
function asker(call: McpAsk): McpAsker {
  const { session, caller, delegation, system, decision, operation, abilities } = call
  return {
    ...{ session, caller, delegation, system, decision, operation, abilities },
    // That is of the one call.
    trace: undefined,
  }
}

/** One for each session of a client, and with what the declaration says of the server now. */
function keyOf({ session, system }: Pick<McpAsk, 'session' | 'system'>): string {
  let key = keys.get(system)
  if (key === undefined) keys.set(system, (key = JSON.stringify([system.name, system.upstream])))
  return `${session} ${key}`
}

/** Of systems as declarations have them, which nobody changes. */
const keys = new WeakMap<System, string>()

function resultOf({ result, error }: Message): Message {
  if (isObject(error)) {
    throw new Refusal('SP_UPSTREAM_REFUSED', 'the system refused the request', {
      status: 422,
      detail: `JSON-RPC error ${JSON.stringify(error['code'])}`,
    })
  }
  if (!isObject(result)) throw unusable('it has no result')
  return result
}
