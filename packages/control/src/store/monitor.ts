import type pg from 'pg'
import { setTimeout as delay } from 'node:timers/promises'
import type { Store } from './store.ts'

const PING_MS = 500
const RETRY_MS = 100
/** Longer than this without an answer counts as away. */
const ANSWER_MS = 1500

export interface Monitor {
  /** Whether the database answered lately: what heartbeats to gateways vouch for. */
  alive(): boolean
  stop(): Promise<void>
}

/**
 * Watches the database over a connection of its own: asks it twice a second, and hears at once of revisions that other
 * control planes published.
 *
 * @param onNews called after every notification and every reconnection; a failure counts as the database being away
 */
export function watchStore(store: Store, channel: string, onNews: () => Promise<void>): Monitor {
  let answered = performance.now()
  const stopping = new AbortController()
  const done = follow()

  async function follow(): Promise<void> {
    while (!stopping.signal.aborted) {
      let client: pg.Client | undefined
      try {
        client = await store.connect()
        await session(client)
      } catch {
        // Away. Calls say so by themselves; here only the heartbeats have to stop.
        answered = -Infinity
        await pause(RETRY_MS)
      } finally {
        await client?.end().catch(() => undefined)
      }
    }
  }

  async function session(client: pg.Client): Promise<void> {
    let broken: Error | undefined
    const gone = (error: Error): void => {
      broken ??= error
      wake?.()
    }
    client.on('error', gone)
    client.on('end', () => gone(new Error('the connection ended')))
    let news = true
    client.on('notification', () => {
      news = true
      wake?.()
    })
    await client.query(`LISTEN ${client.escapeIdentifier(channel)}`)
    while (!stopping.signal.aborted) {
      if (broken) throw broken
      await client.query('SELECT 1')
      answered = performance.now()
      if (news) {
        news = false
        await onNews()
      }
      if (!news) await pause(PING_MS)
    }
  }

  let wake: (() => void) | undefined
  async function pause(ms: number): Promise<void> {
    const woken = Promise.withResolvers<void>()
    wake = woken.resolve
    const timer = delay(ms, undefined, { signal: stopping.signal }).catch(() => undefined)
    await Promise.race([woken.promise, timer])
  }

  return {
    alive: () => performance.now() - answered < PING_MS + ANSWER_MS,
    async stop() {
      stopping.abort()
      await done
    },
  }
}
