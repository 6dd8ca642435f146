import { setTimeout as sleep } from 'node:timers/promises'
import { bounded, percentile, stated } from '../row.ts'
import type { Row } from '../row.ts'
import type { Harness } from './harness.ts'

const TRIALS = 50

/** From the action to the last byte on any live connection, and calls that succeed after it. */
export async function benchQuarantine(
  harness: Harness,
  note: (text: string) => void,
): Promise<Row[]> {
  note(`${TRIALS} quarantines`)
  const lastBytes: number[] = []
  let callsAfter = 0
  let bytesBefore = 0
  for (let trial = 0; trial < TRIALS; trial++) {
    const caller = await harness.caller()
    let lastByte = 0
    let received = 0
    const over = new AbortController()
    // Two live connections: one that streams an event every 20 ms, one that calls without pause.
    const stream = (async () => {
      for await (const chunk of caller.client.stream({ method: 'GET', path: '/store/v1/stream' })) {
        received += chunk.length
        lastByte = performance.now()
      }
    })().catch(() => undefined)
    let applied = Number.POSITIVE_INFINITY
    const calls = (async () => {
      while (!over.signal.aborted) {
        const startedAt = performance.now()
        try {
          await caller.client.request({ method: 'GET', path: '/store/v1/items/1' })
          received++
          lastByte = performance.now()
          if (startedAt > applied) callsAfter++
        } catch {
          if (performance.now() > applied) await sleep(5)
        }
      }
    })()
    await sleep(150)
    if (received > 0) bytesBefore++
    const acted = performance.now()
    await harness.admin.post('/api/quarantine', { subject: caller.spiffeId, reason: 'bench' })
    applied = performance.now()
    await sleep(250)
    over.abort()
    lastBytes.push(Math.max(0, lastByte - acted))
    await caller.close()
    await Promise.all([calls, stream])
  }
  return [
    bounded('quarantine: trials with live traffic', bytesBefore, 'of 50', '=', TRIALS),
    bounded(
      'quarantine: action to last byte on any live connection, p95',
      percentile(lastBytes, 0.95),
      'ms',
      '<=',
      100,
    ),
    stated('quarantine: action to last byte, p50', percentile(lastBytes, 0.5), 'ms'),
    bounded('quarantine: calls that succeed after it', callsAfter, 'calls', '=', 0),
  ]
}
