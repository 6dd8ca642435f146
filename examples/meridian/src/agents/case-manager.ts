/** Opens a case for every reported ring. */
import { object, objects, word, words } from './bank.ts'
import { runAgent } from './run.ts'

/** Below this score the bank asks the customers before it suspects them. */
const SUSPICION = 85
let after: string | undefined

await runAgent('case-manager', async (bank) => {
  const page = await bank.tool('case-store', 'list_rings', after === undefined ? {} : { after })
  for (const ring of objects(page, 'rings')) {
    const accounts = words(ring, 'accounts')
    const pattern = word(ring, 'pattern')
    const score = Number(ring['score'])
    // Real account numbers: the analyst reported pseudonyms, the gateway restored them.
    bank.emit('ring', { ring: word(ring, 'id'), pattern, score, accounts })
    const opened = await bank.tool('case-store', 'open_case', {
      kind: score >= SUSPICION ? 'suspicion' : 'enquiry',
      accounts,
      pattern,
      summary: `${pattern} between ${accounts.length} accounts, score ${score}`,
    })
    const caseId = word(object(opened, 'case'), 'id')
    await bank.tool('case-store', 'add_note', {
      caseId,
      text: `opened for ring ${word(ring, 'id')}`,
    })
    bank.emit('case-opened', { caseId, pattern })
    after = word(ring, 'id')
  }
  return 500
})
