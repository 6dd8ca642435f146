import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '@sallyport/base'
import type { McpSession, McpSessions } from '../adapters/mcp-sessions.ts'
import type { RequestContext } from '../serve/context.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Bundles } from '../state/bundles.ts'
import type { Liveness } from '../state/liveness.ts'
import type { Aside, McpUpstream } from '../upstream/mcp.ts'
import { askOf } from './invoke.ts'
import type { Questions } from './questions.ts'
import type { ServerMessages } from './server-messages.ts'
import { ClientStream } from './session-stream.ts'

export interface McpStreamsParts {
  readonly sessions: McpSessions
  readonly upstream: McpUpstream
  readonly questions: Questions
  readonly messages: ServerMessages
  readonly bundles: Bundles
  readonly liveness: Liveness
  readonly settings: GatewaySettings
  readonly clock: Clock
}

/** How long a server may take to let itself be heard before a call goes on without. */
const HEARD_MS = 1000

interface Open {
  readonly session: McpSession
  readonly stream: ClientStream
  readonly context: RequestContext
  /** Aborts when it ends. */
  readonly gone: AbortController
}

/** Streams on which clients hear what belongs to none of their requests. */
export class McpStreams {
  readonly #parts: McpStreamsParts
  readonly #open = new Map<McpSession, Open>()
  readonly #listening = new WeakSet<Open>()
  readonly #timer: NodeJS.Timeout

  constructor(parts: McpStreamsParts) {
    this.#parts = parts
    this.#timer = setInterval(() => {
      this.#recheck()
    }, parts.settings.streamRecheckMs).unref()
  }

  close(): void {
    clearInterval(this.#timer)
    for (const { stream } of this.#open.values()) stream.cut()
  }

  /** Serves the stream of a session, to its end. The one before it gives way: its client has come again. */
  async serve(context: RequestContext, session: McpSession): Promise<void> {
    const { res } = context
    // Who has left will not leave again: it would hold its place for ever.
    if (context.signal.aborted || res.destroyed) return
    session.stream?.end()
    const open: Open = {
      session,
      context,
      stream: new ClientStream(res),
      gone: new AbortController(),
    }
    session.stream = open.stream
    this.#open.set(session, open)
    open.stream.begin()
    const deadline = setTimeout(() => {
      open.stream.end()
    }, this.#parts.settings.maxStreamMs).unref()
    void this.listenUpstream(context, session)
    await new Promise<void>((resolve) => {
      res.once('close', resolve)
    })
    clearTimeout(deadline)
    open.gone.abort()
    if (session.stream === open.stream) session.stream = undefined
    if (this.#open.get(session) === open) this.#open.delete(session)
  }

  /**
   * Hears the server of a session out, where its client listens and a call has opened the way. Resolves once it can be heard, or
   * after a while.
   */
  async listenUpstream({ caller }: RequestContext, session: McpSession): Promise<void> {
    const { upstream, questions, messages, bundles } = this.#parts
    const open = this.#open.get(session)
    const { last } = session
    if (!open || !last || this.#listening.has(open)) return
    const { enforced } = bundles
    const system = enforced?.decider.index.findSystem(session.system)
    if (!enforced || !system) return
    this.#listening.add(open)
    const signal = AbortSignal.any([open.gone.signal, session.ended.signal])
    const ask = askOf(questions, { enforced, caller }, session, last, signal)
    let told = Promise.resolve()
    const { promise: heard, resolve } = Promise.withResolvers<void>()
    const aside: Aside = (message) =>
      (told = told.then(async () => {
        // As it is declared by now.
        const now = bundles.enforced
        const declared = now?.decider.index.findSystem(session.system)
        if (!now || !declared || open.stream.gone) return
        const channel = {
          enforced: now,
          caller: open.context.caller,
          system: declared,
          session,
          emit: (text: string) => open.stream.send(text),
          reply: (reply: Parameters<McpUpstream['send']>[1]) => upstream.send(ask, reply),
        }
        await messages.handle(channel, message)
      }))
    let wasHeard = false
    const hears = (): void => {
      wasHeard = true
      resolve()
    }
    upstream
      .listen(ask, aside, hears)
      // What a server has to say beside its answers is missed by nobody who did not ask.
      .catch(() => undefined)
      .finally(() => {
        // Whoever says nothing so is not asked with every call.
        if (wasHeard) this.#listening.delete(open)
        resolve()
      })
    await Promise.race([heard, sleep(HEARD_MS, undefined, { ref: false })])
  }

  /** Ends the streams of whoever is not there any more. */
  #recheck(): void {
    const { liveness, bundles, clock, sessions } = this.#parts
    sessions.prune()
    for (const { context, stream } of this.#open.values()) {
      const { instance } = context.caller
      const alive = liveness.isLive(instance, clock.now(), (serial) => bundles.isRevoked(serial))
      if (!alive || bundles.isQuarantined(instance)) stream.cut()
    }
  }
}
