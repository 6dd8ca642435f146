import type { Clock, JsonValue } from '@sallyport/base'
import type { ControlEvent, Events } from './events.ts'
import { once } from './serially.ts'

const REMEMBERED = 2000

export function createEvents(clock: Clock): Events {
  const recent: ControlEvent[] = []
  const listeners = new Set<(event: ControlEvent) => void>()
  // Starting at the time in microseconds keeps ids growing over restarts, and safe integers for two centuries.
  let last = clock.now() * 1000
  const start = last
  return {
    publish(type, data) {
      // Whoever publishes gives plain data; what JSON cannot hold is left out by the writers of events.
      const event: ControlEvent = { id: ++last, type, at: clock.now(), data: data as JsonValue }
      recent.push(event)
      if (recent.length > REMEMBERED) recent.shift()
      for (const listener of listeners) {
        try {
          listener(event)
        } catch {
          listeners.delete(listener)
        }
      }
    },
    subscribe(listener) {
      listeners.add(listener)
      return once(() => listeners.delete(listener))
    },
    since(id) {
      const oldest = recent[0]?.id ?? last + 1
      if (id < start || id < oldest - 1 || id > last) return undefined
      return recent.filter((event) => event.id > id)
    },
  }
}
