import { setTimeout as sleep } from 'node:timers/promises'
import { bounded, stated } from '../row.ts'
import type { Row } from '../row.ts'
import type { Caller, Harness } from './harness.ts'

const CALLERS = 4
const STREAMS_EACH = 5
const PER_SECOND = 600
const SECONDS = 120

/** SVIDs that live 20 s, under load and open streams. */
export async function benchRotation(
  harness: Harness,
  note: (text: string) => void,
): Promise<Row[]> {
  note(`${SECONDS} s of ${PER_SECOND} requests/s and ${CALLERS * STREAMS_EACH} streams`)
  const callers = await Promise.all(Array.from({ length: CALLERS }, () => harness.caller()))
  const failures: string[] = []
  let done = 0
  let open = 0
  let ending = false
  let events = 0
  const listen = async (caller: Caller): Promise<void> => {
    open++
    try {
      for await (const chunk of caller.client.stream({ method: 'GET', path: '/store/v1/stream' })) {
        events += chunk.length > 0 ? 1 : 0
      }
      if (!ending) failures.push('a stream ended')
    } catch (error) {
      if (!ending) failures.push(`stream: ${String(error)}`)
    } finally {
      open--
    }
  }
  const streams = callers.flatMap((caller) =>
    Array.from({ length: STREAMS_EACH }, () => listen(caller)),
  )
  const started = performance.now()
  const drive = async (caller: Caller, lane: number): Promise<void> => {
    const every = (1000 * CALLERS * 4) / PER_SECOND
    for (let i = 0; performance.now() - started < SECONDS * 1000; i++) {
      const due = started + i * every + lane
      const wait = due - performance.now()
      if (wait > 0) await sleep(wait)
      try {
        const { status } = await caller.client.request({ method: 'GET', path: '/store/v1/items/1' })
        if (status !== 200) failures.push(`status ${status}`)
        done++
      } catch (error) {
        failures.push(String(error))
      }
    }
  }
  await Promise.all(callers.flatMap((caller) => [0, 1, 2, 3].map((lane) => drive(caller, lane))))
  const seconds = (performance.now() - started) / 1000
  const stillOpen = open
  ending = true
  const rotations = callers.reduce((sum, caller) => sum + caller.rotations(), 0)
  await Promise.all(callers.map((caller) => caller.close()))
  await Promise.all(streams)
  for (const failure of new Set(failures)) note(`failure: ${failure}`)
  return [
    bounded('rotation: requests a second', done / seconds, 'requests/s', '>=', 500),
    bounded('rotation: streams open throughout', stillOpen, 'of 20', '=', CALLERS * STREAMS_EACH),
    bounded('rotation: rotations of 20 s SVIDs', rotations, 'rotations', '>=', CALLERS * 8),
    stated('rotation: events received on the streams', events, 'events'),
    bounded('rotation: failed calls', failures.length, 'calls', '=', 0),
  ]
}
