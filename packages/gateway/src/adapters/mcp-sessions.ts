import { newId } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { RpcId } from './jsonrpc.ts'

/** An MCP session that this gateway opened. Its id authenticates nobody: it is good on its owner's connections only. */
export interface McpSession {
  readonly id: string
  readonly instance: string
  readonly system: string
  readonly version: string
  /** For whom the client acted when it opened it; another’s calls do not belong to it. */
  readonly subject: string | undefined
  lastUsed: number
  /** Ids of requests that are being answered. */
  readonly open: Set<RpcId>
}

export interface McpSessionOptions {
  readonly clock: Clock
  readonly maxPerInstance: number
  readonly idleMs: number
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
  open(instance: string, system: string, version: string, subject?: string): McpSession {
    const { clock, maxPerInstance, idleMs } = this.#options
    const own: McpSession[] = []
    for (const session of this.#sessions.values()) {
      if (clock.monotonic() - session.lastUsed > idleMs) this.#sessions.delete(session.id)
      else if (session.instance === instance) own.push(session)
    }
    if (own.length >= maxPerInstance) {
      const oldest = own.reduce((a, b) => (a.lastUsed <= b.lastUsed ? a : b))
      this.#sessions.delete(oldest.id)
    }
    const session: McpSession = {
      id: newId('mcp'),
      instance,
      system,
      version,
      subject,
      lastUsed: clock.monotonic(),
      open: new Set(),
    }
    this.#sessions.set(session.id, session)
    return session
  }

  /** The session of that id, if it is this instance's with this system, for this subject: another's is as unknown as none. */
  find(id: string, instance: string, system: string, subject?: string): McpSession | undefined {
    const session = this.#sessions.get(id)
    if (session?.instance !== instance || session.system !== system) return undefined
    if (session.subject !== subject) return undefined
    const now = this.#options.clock.monotonic()
    if (now - session.lastUsed > this.#options.idleMs) {
      this.#sessions.delete(id)
      return undefined
    }
    session.lastUsed = now
    return session
  }

  close(id: string): void {
    this.#sessions.delete(id)
  }

  /** Ends every session of an instance, or of all instances below a subject. */
  cut(subject: string): void {
    for (const { id, instance } of this.#sessions.values()) {
      if (instance === subject || instance.startsWith(`${subject}/`)) this.#sessions.delete(id)
    }
  }
}
