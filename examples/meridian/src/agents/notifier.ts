/** Asks customers for information in cases of enquiry; of suspicion and reports it must never learn. */
import { object, objects, word, words } from './bank.ts'
import { runAgent } from './run.ts'

const written = new Set<string>()

await runAgent('notifier', async (bank) => {
  const open = objects(await bank.tool('case-store', 'list_cases', { status: 'open' }), 'cases')
  for (const item of open.toReversed()) {
    const caseId = word(item, 'id')
    if (word(item, 'kind') !== 'enquiry' || written.has(caseId)) continue
    const [account] = words(item, 'accounts')
    if (account === undefined) continue
    const answer = await bank.get(`/core-banking/v1/accounts/${account}`)
    const customerId = word(object(answer, 'account'), 'customerId')
    const contact = object(
      await bank.get(`/pii-vault/v1/customers/${customerId}/contact`),
      'contact',
    )
    await bank.post('/messages/v1/messages', {
      to: word(contact, 'email'),
      template: 'enquiry',
      caseId,
    })
    written.add(caseId)
    bank.emit('message-sent', { caseId })
  }
  return 1000
})
