import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '@sallyport/base'
import type { McpSession, McpSessions } from '../adapters/mcp-sessions.ts'
import type { FollowUps } from '../calls/follow.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import type { Standing } from '../calls/standing.ts'
import type { RequestContext } from '../serve/context.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Aside, McpUpstream } from '../upstream/mcp.ts'
import { mcpPath } from '../upstream/mcp-http.ts'
import { askOf } from './invoke.ts'
import type { Kept } from './kept.ts'
import type { Questions } from './questions.ts'
import type { ServerMessages } from './server-messages.ts'
import { ClientStream } from './session-stream.ts'
import { Underway } from './underway.ts'

export interface McpStreamsParts {
  readonly sessions: McpSessions
  readonly upstream: McpUpstream
  readonly questions: Questions
  readonly messages: ServerMessages
  readonly pipeline: Pipeline
  readonly followUps: FollowUps
  readonly standing: Pick<Standing, 'recheckLasting'>
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
  /** What lets the server be heard on it. */
  underway: Underway | undefined
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
      this.recheck()
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
      underway: undefined,
    }
    session.stream = open.stream
    this.#open.set(session, open)
    open.stream.begin()
    const deadline = setTimeout(() => {
      open.stream.end()
    }, this.#parts.settings.maxStreamMs).unref()
    void this.listenUpstream(session)
    await new Promise<void>((resolve) => {
      res.once('close', resolve)
    })
    clearTimeout(deadline)
    open.gone.abort()
    if (session.stream === open.stream) session.stream = undefined
    if (this.#open.get(session) === open) this.#open.delete(session)
  }

  /**
   * Hears the server of a session out, where its client listens and a call has opened the way, and that would be allowed to who listens
   * now. Resolves once it can be heard, or after a while.
   *
   * @param by that call
   */
  async listenUpstream(session: McpSession, by: Kept | undefined = session.last): Promise<void> {
    const { upstream, followUps } = this.#parts
    const open = this.#open.get(session)
    if (!open || !by || this.#listening.has(open)) return
    const { system } = by.typed
    if (!upstream.sessionOf({ session: session.id, system })) return
    this.#listening.add(open)
    const { promise: heard, resolve } = Promise.withResolvers<void>()
    const request = { method: 'GET', path: mcpPath(system), body: undefined }
    followUps
      .authorise(by, open.context.caller, () => request)
      .then((grant) => this.#listen(open, grant, resolve))
      // It was refused, and recorded so; or the server has no more to say.
      .catch(() => false)
      .then((wasSilent) => {
        // Whoever says nothing so is not asked with every call.
        if (!wasSilent) this.#listening.delete(open)
        resolve()
      })
      .catch(() => undefined)
    await Promise.race([heard, sleep(HEARD_MS, undefined, { ref: false })])
  }

  /** @returns whether the server could not be heard at all */
  async #listen(open: Open, grant: Grant, heard: () => void): Promise<boolean> {
    const { upstream, questions, messages, pipeline } = this.#parts
    const { session, stream } = open
    const { caller } = grant
    const underway = new Underway(pipeline, grant, stream)
    open.underway = underway
    const signal = AbortSignal.any([open.gone.signal, session.ended.signal, underway.stopped])
    const ask = askOf(questions, { enforced: grant.enforced, caller }, session, grant, signal)
    let told = Promise.resolve()
    const aside: Aside = (message) =>
      (told = told.then(async () => {
        // As it is decided and declared by now.
        const now = underway.check()
        if (!now || stream.gone) return
        const channel = {
          ...{ enforced: now.enforced, caller, system: now.typed.system, session },
          emit: (text: string) => stream.send(text),
          reply: (reply: Parameters<McpUpstream['send']>[1]) => upstream.send(ask, reply),
        }
        await messages.handle(channel, message)
      }))
    let wasHeard = false
    try {
      await upstream.listen(ask, aside, () => {
        wasHeard = true
        heard()
      })
      return !wasHeard
    } catch {
      // What a server has to say beside its answers is missed by nobody who did not ask.
      return !wasHeard && !signal.aborted
    } finally {
      if (open.underway === underway) open.underway = undefined
      const { stoppedBy } = underway
      pipeline.finish(grant, {
        ...{ status: stoppedBy?.status ?? 200, result: stoppedBy ? 'cut' : 'completed' },
        ...{ bytesOut: 0, released: {}, forwarded: true },
      })
    }
  }

  /** Ends the streams of whoever is not there any more, and hears no server whose client may not call it any more. */
  recheck(): void {
    const { standing, sessions } = this.#parts
    sessions.prune()
    for (const { context, stream, underway } of this.#open.values()) {
      try {
        standing.recheckLasting(context.caller)
        underway?.check()
      } catch {
        stream.cut()
      }
    }
  }
}
