/** Holds the JSON report of a headless run to what the README promises of it. */
import { readFileSync } from 'node:fs'

interface Report {
  readonly agents: number
  readonly calls: number
  readonly decisions: { readonly allow: number; readonly deny: number; readonly needs: number }
  readonly rings: { readonly present: number; readonly found: number }
  readonly holds: { readonly requested: number; readonly approved: number }
  readonly rotations: number
  readonly failedCalls: number
  readonly attack: {
    readonly attempts: number
    readonly refused: number
    readonly recordsExposed: number
    readonly timeToFlagMs: number | null
    readonly timeToContainMs: number | null
    readonly callsAfterContainment: number
  }
  readonly audit: { readonly records: number; readonly verified: boolean }
  readonly network: string
  readonly simulatedOperator: boolean
}

const text = readFileSync(process.argv[2] ?? '/dev/stdin', 'utf8')
// The whole of stdout must be one JSON document: a banner in it fails here.
const report = JSON.parse(text) as Report
const { attack, audit, decisions, holds, rings } = report
const promises: readonly (readonly [string, boolean])[] = [
  ['eight agents ran', report.agents === 8],
  [
    'calls were decided',
    report.calls > 50 && decisions.allow > 0 && decisions.deny > 0 && decisions.needs > 0,
  ],
  ['rings were found', rings.present > 0 && rings.found > 0],
  ['a hold was requested, and approved by the operator', holds.requested > 0 && holds.approved > 0],
  ['identities rotated', report.rotations > 0],
  ['no call failed', report.failedCalls === 0],
  ['the attack was tried and refused', attack.attempts > 5 && attack.refused > 0],
  ['no sensitive record was exposed', attack.recordsExposed === 0],
  ['it was flagged', attack.timeToFlagMs !== null],
  ['it was contained', attack.timeToContainMs !== null],
  ['no call after containment', attack.callsAfterContainment === 0],
  ['the audit log verifies', audit.verified && audit.records > 0],
  [
    'the report says how the network was enforced',
    ['enforced', 'not enforced'].includes(report.network),
  ],
  ['the report says that the operator was simulated', report.simulatedOperator],
]
for (const [promise, kept] of promises) console.log(`${kept ? 'kept  ' : 'BROKEN'}  ${promise}`)
if (promises.some(([, kept]) => !kept)) {
  console.error(text)
  process.exitCode = 1
}
