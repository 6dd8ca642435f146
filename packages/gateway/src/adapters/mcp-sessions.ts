import { newId } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Asker, Kept } from '../mcp/kept.ts'
import type { Question } from '../mcp/questions.ts'
import type { ClientStream } from '../mcp/session-stream.ts'
import type { RpcId } from './jsonrpc.ts'

/** What the client of a session can be asked. */
export interface ClientAbilities {
  readonly sampling: boolean
  /** Elicitation by form, and by a page to go to. */
  readonly form: boolean
  readonly url: boolean
}

/** An MCP session that this gateway opened. Its id authenticates nobody: it is good on its owner's connections only. */
export interface McpSession {
  readonly id: string
  readonly instance: string
  readonly system: string
  readonly version: string
  /** For whom the client acted when it opened it; another’s calls do not belong to it. */
  readonly subject: string | undefined
  readonly client: ClientAbilities
  lastUsed: number
  /** Requests that are being answered → what gives them up. */
  readonly open: Map<RpcId, () => void>
  /** What the server asked the client, and the client has not answered. */
  readonly questions: Map<RpcId, Question>
  /** URI → what let the client subscribe to it. */
  readonly subscriptions: Map<string, Kept>
  /** What lets the client read the server's log, from a level on. */
  logging: { readonly by: Kept; readonly level: number } | undefined
  /** The last call that went to the server. */
  last: Asker | undefined
  /** Where the client listens to what belongs to none of its requests. */
  stream: ClientStream | undefined
  /** Aborts when it ends. */
  readonly ended: AbortController
}

export interface McpSessionOptions {
  readonly clock: Clock
  readonly maxPerInstance: number
  readonly idleMs: number
  onEnd(session: McpSession): void
}

/** Sessions of MCP clients, bound to instance and system. */
export class McpSessions {
  readonly #sessions = new Map<string, McpSession>()
  readonly #options: McpSessionOptions

  constructor(options: McpSessionOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#sessions.size
  }

  /** Opens a session; the owner's least recently used one goes where it has too many. */
  open(
    owner: Pick<McpSession, 'instance' | 'system' | 'version' | 'subject' | 'client'>,
  ): McpSession {
    const { clock, maxPerInstance } = this.#options
    this.prune()
    const own = [...this.#sessions.values()].filter(({ instance }) => instance === owner.instance)
    if (own.length >= maxPerInstance) {
      this.#end(own.reduce((a, b) => (a.lastUsed <= b.lastUsed ? a : b)))
    }
    const session: McpSession = {
      ...owner,
      id: newId('mcp'),
      lastUsed: clock.monotonic(),
      open: new Map(),
      questions: new Map(),
      subscriptions: new Map(),
      logging: undefined,
      last: undefined,
      stream: undefined,
      ended: new AbortController(),
    }
    this.#sessions.set(session.id, session)
    return session
  }

  /** The session of that id, if it is this instance's with this system, for this subject: another's is as unknown as none. */
  find(id: string, instance: string, system: string, subject?: string): McpSession | undefined {
    const session = this.#sessions.get(id)
    if (session?.instance !== instance || session.system !== system) return undefined
    if (session.subject !== subject) return undefined
    if (this.#isIdle(session)) {
      this.#end(session)
      return undefined
    }
    session.lastUsed = this.#options.clock.monotonic()
    return session
  }

  close(id: string): void {
    const session = this.#sessions.get(id)
    if (session) this.#end(session)
  }

  /** Ends those that nobody used for too long. */
  prune(): void {
    for (const session of this.#sessions.values()) if (this.#isIdle(session)) this.#end(session)
  }

  /** Ends every session of an instance, or of all instances below a subject. */
  cut(subject: string): void {
    for (const session of this.#sessions.values()) {
      const { instance } = session
      if (instance === subject || instance.startsWith(`${subject}/`)) this.#end(session)
    }
  }

  /** Whoever listens, or waits for an answer, uses it. */
  #isIdle({ lastUsed, stream, open }: McpSession): boolean {
    if (open.size > 0 || (stream !== undefined && !stream.gone)) return false
    return this.#options.clock.monotonic() - lastUsed > this.#options.idleMs
  }

  #end(session: McpSession): void {
    this.#sessions.delete(session.id)
    session.ended.abort()
    session.stream?.cut()
    for (const question of session.questions.values()) question.giveUp()
    this.#options.onEnd(session)
  }
}
