import assert from 'node:assert/strict'
import { createDecider } from '@sallyport/decide'
import type { Declaration } from '@sallyport/network'
import type { CallFinding, DiffReport } from '../../src/index.ts'
import { diff } from './warm.ts'

/** Decides every counterexample anew: what is printed must be so. */
export async function confirmed(old: Declaration, next: Declaration): Promise<DiffReport> {
  const report = await diff({ old, new: next }).catch((error: unknown) => {
    // `SP_DIFF_UNCONFIRMED`: one is wrong.
    assert.fail(String(error))
  })
  const [a, b] = [
    await createDecider({ declaration: old }),
    await createDecider({ declaration: next }),
  ]
  const decisions = ({ counterexample: { call, session } }: CallFinding): string =>
    [a, b].map((decider) => decider.decide(call, session).decision === 'allow').join()
  for (const one of report.newlyAllowed) assert.equal(decisions(one), 'false,true')
  for (const one of report.newlyDenied) assert.equal(decisions(one), 'true,false')
  return report
}

export const inputOf = (finding: CallFinding | undefined): Readonly<Record<string, unknown>> =>
  finding?.counterexample.call.input ?? {}
