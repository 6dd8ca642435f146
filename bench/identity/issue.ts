import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { bounded, median, percentile, stated } from '../row.ts'
import type { Row } from '../row.ts'
import { PACE } from './pace.ts'
import type { Issued } from './issuer.ts'

/**
 * Renewals of many instances at once, each decided under its instance's lock, signed and recorded durably: from the
 * verified peer and its request to the answer. The handshakes of the callers are not in it: see `the whole renewal`.
 */
export async function benchIssue(note: (text: string) => void): Promise<Row[]> {
  note('a control plane with its database, in a process of its own')
  const child = fork(join(import.meta.dirname, 'issuer.ts'), { stdio: ['ignore', 2, 2, 'ipc'] })
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`the issuer ended with ${code}`)
  })
  // The child sends exactly one message, of this type.
  const [issued] = (await Promise.race([once(child, 'message'), failed])) as [Issued]
  await failed.catch(() => undefined)
  const perCore = issued.count / issued.cpuSeconds
  return [
    bounded(
      'SVIDs issued and logged, a core of the control plane',
      perCore,
      'a second',
      '>=',
      2000,
    ),
    stated('the same, wall clock beside the database', issued.count / issued.seconds, 'a second'),
    bounded(`at ${PACE} a second, p99`, percentile(issued.latencies, 0.99), 'ms', '<=', 20),
    stated(`at ${PACE} a second, p50`, median(issued.latencies), 'ms'),
  ]
}
