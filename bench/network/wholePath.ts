import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readLabels } from '@sallyport/example-meridian'
import { adminClient } from '../../packages/cli/src/admin.ts'
import { startDemo } from '../../packages/cli/src/demo/run.ts'
import { list } from '../../packages/cli/src/shape.ts'
import { bounded, stated } from '../row.ts'
import type { Row } from '../row.ts'

const TRANSACTIONS = 120_558
const PAGE = 100
const WAIT_MS = 300_000
const QUIET_MS = 10_000

/** The AMLSim sample through the whole path: core banking → gateway → analyst → gateway → case store. */
export async function benchWholePath(note: (text: string) => void): Promise<Row[]> {
  const dir = join(process.env.SALLYPORT_DATA ?? '../shared/data', 'amlsim')
  if (!existsSync(dir)) {
    note(`no AMLSim sample at ${dir}: its rows are left out`)
    return []
  }
  note('the AMLSim sample through the whole path')
  const data = mkdtempSync(join(tmpdir(), 'sp-path-'))
  try {
    const started = performance.now()
    const demo = await startDemo({
      data: join(data, 'd'),
      headless: true,
      durationMs: 0,
      attack: 'none',
      transactions: join(dir, 'transactions.csv'),
      consolePort: 7400,
      isolate: 'auto',
      note: () => {},
    })
    const until = performance.now() + WAIT_MS
    while (demo.lines.count('stream-quiet') === 0 && performance.now() < until) await sleep(500)
    // What is still open is reported once the stream is quiet: done when no more rings come for a while.
    for (let before = -1, now = demo.lines.count('ring-reported'); now > before;) {
      await sleep(QUIET_MS)
      before = now
      now = demo.lines.count('ring-reported')
    }
    const seconds = (performance.now() - started - QUIET_MS) / 1000
    const quarantined = list(await adminClient(join(data, 'd')).get('/api/quarantine'))
    const report = await demo.finish()
    for (const code of demo.lines.failureCodes()) note(`failed call: ${code}`)
    const { putOff } = demo.lines.summary()
    const read = demo.lines.paymentsRead('pattern-analyst')
    const labels = await readLabels(join(dir, 'nodes.csv'))
    const fraudulent = new Set([...labels].filter(([, fraud]) => fraud).map(([id]) => id))
    const flagged = demo.lines.reportedAccounts()
    const right = flagged.intersection(fraudulent).size
    return [
      bounded(
        'whole path: transactions read by the analyst',
        read,
        'transactions',
        '=',
        TRANSACTIONS,
      ),
      bounded(
        'whole path: audited calls',
        report.calls,
        'calls',
        '>=',
        Math.ceil(TRANSACTIONS / PAGE),
      ),
      stated('whole path: time, start-up included', seconds, 's'),
      bounded('whole path: failed calls', report.failedCalls, 'calls', '=', 0),
      bounded('whole path: agents cut off', quarantined.length, 'agents', '=', 0),
      // Some hundred rings at once are more than a day's limits let pass: their agents wait, as they are told to.
      stated('whole path: calls that a limit put off', putOff.calls, 'calls'),
      stated('whole path: of these, made later', putOff.resumed, 'calls'),
      stated('whole path: of these, still waiting as told', putOff.waiting, 'calls'),
      bounded('whole path: audit log verifies', report.audit.verified ? 1 : 0, '', '=', 1),
      stated('whole path: precision by account', right / Math.max(1, flagged.size), ''),
      stated('whole path: recall by account', right / fraudulent.size, ''),
    ]
  } finally {
    rmSync(data, { recursive: true, force: true })
  }
}
