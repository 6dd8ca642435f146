import type { ServerResponse } from 'node:http'
import type { ControlEvent, Events } from '../domain/events.ts'

const HEARTBEAT_MS = 15_000
/** A reader this far behind is cut off; it comes back with its last id and catches up. */
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024

/**
 * Server-sent events (HTML Living Standard, section 9.2). A client that resumes gets what it missed, or `reset` where that is no longer
 * remembered: then it loads afresh.
 *
 * @param lifetimeMs after which the stream ends, so that whoever listens is authenticated again
 * @returns when the stream has ended
 */
export async function streamEvents(
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
