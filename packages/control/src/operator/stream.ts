import type { ServerResponse } from 'node:http'
import type { ControlContext } from '../domain/context.ts'
import type { ControlEvent, Events } from '../domain/events.ts'
import type { ApiCall } from './route.ts'

const HEARTBEAT_MS = 15_000
const NO_SESSION_LIFETIME_MS = 60 * 60_000
/** A reader this far behind is cut off; it comes back with its last id and catches up. */
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024

/**
 * Server-sent events (HTML Living Standard, section 9.2). A client that resumes gets what it missed, or `reset` where that is no longer
 * remembered: then it loads afresh.
 *
 * @param lifetimeMs after which the stream ends, so that whoever listens is authenticated again
 * @returns when the stream has ended
 */
async function streamEvents(
  events: Events,
  response: ServerResponse,
  lastEventId: string | undefined,
  options: { readonly lifetimeMs: number; readonly closers: Set<() => void> },
): Promise<void> {
  response.statusCode = 200
  response.setHeader('content-type', 'text/event-stream; charset=utf-8')
  response.setHeader('x-accel-buffering', 'no')
  response.write('retry: 1000\n\n')

  const ended = Promise.withResolvers<void>()
  const end = (): void => {
    response.end()
    ended.resolve()
  }
  const send = (event: ControlEvent): void => {
    // What ended it may be told as an event too.
    if (response.writableEnded) return
    response.write(`id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event.data)}\n\n`)
    if (response.writableLength > MAX_BUFFERED_BYTES) response.destroy()
  }
  // Nothing is awaited from here to the subscription, so no event falls between or comes twice.
  if (lastEventId !== undefined) {
    const id = Number(lastEventId)
    const missed = Number.isSafeInteger(id) ? events.since(id) : undefined
    if (missed) missed.forEach(send)
    else response.write('event: reset\ndata: {}\n\n')
  }
  const unsubscribe = events.subscribe(send)

  const heartbeat = setInterval(() => response.write(': alive\n\n'), HEARTBEAT_MS)
  const lifetime = setTimeout(end, Math.min(options.lifetimeMs, 2 ** 31 - 1))
  options.closers.add(end)
  response.on('close', ended.resolve)
  await ended.promise
  unsubscribe()
  clearInterval(heartbeat)
  clearTimeout(lifetime)
  options.closers.delete(end)
}

/** Open event streams, by the session that opened them: they end with it. */
export class Streams {
  readonly #context: ControlContext
  readonly #bySession = new Map<string, Set<() => void>>()
  readonly #stopWatching: readonly (() => void)[]

  constructor(context: ControlContext) {
    this.#context = context
    const recheck = (): void => {
      // Without the database nothing new is told anyway.
      this.#recheck().catch(() => undefined)
    }
    this.#stopWatching = [
      context.sessions.onEnded((id) => (id === undefined ? recheck() : this.#end(id))),
      // An operator who is removed, or loses a key, loses the streams too.
      context.events.subscribe(({ type }) => {
        if (type === 'revision') recheck()
      }),
    ]
  }

  async open({ principal, lastEventId }: ApiCall, response: ServerResponse): Promise<void> {
    const view = principal.kind === 'operator' ? principal.view : undefined
    const key = view?.id ?? ''
    const closers = this.#bySession.get(key) ?? new Set()
    this.#bySession.set(key, closers)
    const until = view ? Math.min(view.expiresAt, view.idleAt) : Infinity
    const lifetimeMs = Math.min(
      NO_SESSION_LIFETIME_MS,
      Math.max(0, until - this.#context.clock.now()),
    )
    const streamed = streamEvents(this.#context.events, response, lastEventId, {
      lifetimeMs,
      closers,
    })
    // It may have ended between the look at it and the entry above.
    if (view && !(await this.#context.sessions.living([key])).has(key)) this.#end(key)
    await streamed
    if (closers.size === 0) this.#bySession.delete(key)
  }

  close(): void {
    for (const stop of this.#stopWatching) stop()
    for (const id of this.#bySession.keys()) this.#end(id)
  }

  #end(id: string): void {
    for (const close of this.#bySession.get(id) ?? []) close()
  }

  async #recheck(): Promise<void> {
    const ids = [...this.#bySession.keys()].filter((id) => id !== '')
    const living = await this.#context.sessions.living(ids)
    for (const id of ids) if (!living.has(id)) this.#end(id)
  }
}
