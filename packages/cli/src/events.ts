import { request } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { members } from './shape.ts'
import type { Members } from './shape.ts'
import { jsonLine } from './supervise.ts'

/** Follows the control plane's events over the admin socket (SSE) until `stop` is called; reconnects by itself. */
export function followEvents(
  dataDir: string,
  onEvent: (event: string, data: Members) => void,
): { stop(): void } {
  let stopped = false
  let current: ReturnType<typeof request> | undefined
  let lastId: string | undefined
  const connect = (): void => {
    if (stopped) return
    const again = (): void => {
      if (!stopped) setTimeout(connect, 250).unref()
    }
    current = request(
      {
        socketPath: join(dataDir, 'run', 'admin.sock'),
        path: '/api/events',
        headers: { host: 'localhost', ...(lastId ? { 'last-event-id': lastId } : {}) },
      },
      (res) => {
        let event = 'message'
        const lines = createInterface({ input: res })
        // The end of the connection, however it ends, is met below.
        lines.on('error', () => undefined)
        lines.on('line', (line) => {
          if (line.startsWith('id:')) lastId = line.slice(3).trim()
          else if (line.startsWith('event:')) event = line.slice(6).trim()
          else if (line.startsWith('data:')) {
            const data = jsonLine(line.slice(5).trim())
            if (data) onEvent(event, members(data))
          } else if (line === '') event = 'message'
        })
        res.on('close', again)
      },
    )
    current.on('error', again)
    current.end()
  }
  connect()
  return {
    stop() {
      stopped = true
      current?.destroy()
    },
  }
}
