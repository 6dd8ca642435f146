import { newId } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { Shares } from '../state/shares.ts'
import type { Kept } from '../mcp/kept.ts'
import type { Question } from '../mcp/questions.ts'
import type { ClientStream } from '../mcp/session-stream.ts'
import { Refusal } from '../refusal.ts'
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
  /** What it counts against: instances of another trust domain are named by it as it likes, and share one. */
  readonly holder: string
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
  /** The last call that went to the server, where little was said in it. */
  last: Kept | undefined
  /** Where the client listens to what belongs to none of its requests. */
  stream: ClientStream | undefined
  /** Aborts when it ends. */
  readonly ended: AbortController
}

export interface McpSessionOptions {
  readonly clock: Clock
  /** Of one holder. */
  readonly maxPerHolder: number
  readonly maxTotal: number
  readonly idleMs: number
  onEnd(session: McpSession): void
}

/** Sessions of MCP clients, bound to instance and system. Nobody's drive out another's. */
export class McpSessions {
  readonly #sessions = new Map<string, McpSession>()
  readonly #options: McpSessionOptions
  readonly #shares: Shares<McpSession>

  constructor(options: McpSessionOptions) {
    this.#options = options
    this.#shares = new Shares({ max: options.maxPerHolder, maxTotal: options.maxTotal })
  }

  get size(): number {
    return this.#sessions.size
  }

  /**
   * Opens a session. Whoever has too many loses the one that it used least recently; where there are too many in all, whoever has most
   * does.
   *
   * @throws Refusal `SP_OVERLOADED` where there are too many and nobody has more than one
   */
  open(
    owner: Pick<McpSession, 'instance' | 'holder' | 'system' | 'version' | 'subject' | 'client'>,
  ): McpSession {
    const { clock } = this.#options
    this.prune()
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
    for (const gone of this.#shares.set(session.holder, session.id, session)) this.#end(gone)
    if (session.ended.signal.aborted) {
      throw new Refusal('SP_OVERLOADED', 'too many sessions are open', { status: 429 })
    }
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
    this.#shares.set(session.holder, session.id, session)
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
    this.#shares.delete(session.holder, session.id)
    session.ended.abort()
    session.stream?.cut()
    for (const question of session.questions.values()) question.giveUp()
    this.#options.onEnd(session)
  }
}
