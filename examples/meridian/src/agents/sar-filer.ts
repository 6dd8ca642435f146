/** Files a drafted report with the authority once an officer has approved exactly that. */
import { failureCode } from '../events.ts'
import { object, objects, word } from './bank.ts'
import type { Bank } from './bank.ts'
import { Lane } from './lane.ts'
import { runAgent } from './run.ts'

/** Questions to people that wait at once: fewer than the fifty at which the control plane takes no more of an instance. */
const QUESTIONS = 40
const IN_LINE = 2000

const asked = new Set<string>()
const drafts = new Lane<{ readonly bank: Bank; readonly sarId: string }>(
  QUESTIONS,
  IN_LINE,
  async ({ bank, sarId }) => {
    if (bank.stopping) return
    try {
      await file(bank, sarId)
    } catch (error) {
      asked.delete(sarId)
      if (!bank.stopping) bank.emit('sar-refused', { sar: sarId, code: failureCode(error) })
    }
  },
)

async function file(bank: Bank, sarId: string): Promise<void> {
  const draft = object(await bank.tool('case-store', 'get_sar', { sarId }), 'sar')
  if (word(draft, 'narrative') === '') return
  const filed = await bank.withApproval('sar', { sar: sarId }, (approval) =>
    bank.tool('case-store', 'file_sar', { sarId }, approval),
  )
  if (filed) bank.emit('sar-filed', { sar: sarId })
}

await runAgent('sar-filer', async (bank) => {
  const open = objects(await bank.tool('case-store', 'list_cases', { status: 'open' }), 'cases')
  for (const item of open.toReversed()) {
    const sarId = word(item, 'sarId')
    if (word(item, 'sarStatus') !== 'draft' || asked.has(sarId) || drafts.full) continue
    asked.add(sarId)
    drafts.put({ bank, sarId })
  }
  // Cases are restricted: reading all of them every second would be bulk reading, and look like it.
  return 2500
})
