/** Compares the people behind the accounts of each ring with the sanctions lists of an outside provider. */
import { object, objects, word, words } from './bank.ts'
import { runAgent } from './run.ts'

let after: string | undefined
const screened = new Set<string>()
const MAX_REMEMBERED = 10_000

await runAgent('sanctions-screener', async (bank) => {
  const page = await bank.tool('case-store', 'list_rings', after === undefined ? {} : { after })
  for (const ring of objects(page, 'rings')) {
    for (const account of words(ring, 'accounts').slice(0, 20)) {
      if (screened.has(account)) continue
      const answer = await bank.get(`/core-banking/v1/accounts/${account}`)
      const customerId = word(object(answer, 'account'), 'customerId')
      const found = await bank.get(`/pii-vault/v1/customers/${customerId}`)
      const name = word(object(found, 'customer'), 'name')
      const matches = objects(await bank.post('/watchlist/v1/screen', { name }), 'matches')
      if (screened.size < MAX_REMEMBERED) screened.add(account)
      bank.emit('screened', { account, matches: matches.length })
    }
    after = word(ring, 'id')
  }
  return 500
})
