/**
 * Places holds on the accounts of a ring: a small one at once, a large one on the account in the middle, for which
 * policy wants a person's approval. It sees neither names nor balances, so the amounts are fixed by score.
 */
import { failureCode } from '../events.ts'
import { object, objects, word, words } from './bank.ts'
import type { Bank, JsonObject } from './bank.ts'
import { runAgent } from './run.ts'

const SMALL = 500_000
const LARGE = 2_500_000
const MIN_LARGE_SCORE = 85

/** Holds on their way or waiting for a person; beyond it no further ring is begun. */
const MAX_PENDING = 64

let after: string | undefined
let pending = 0

async function hold(bank: Bank, account: string, amount: number, ring: JsonObject): Promise<void> {
  const facts = { account, amount, ring: word(ring, 'id') }
  const body = {
    amount,
    currency: 'EUR',
    reason: `${word(ring, 'pattern')}, score ${Number(ring['score'])}`,
    caseId: word(ring, 'caseId'),
  }
  bank.emit('hold-requested', facts)
  const placed = await bank.withApproval('hold', facts, (approval) =>
    bank.post(`/core-banking/v1/accounts/${account}/holds`, body, approval),
  )
  if (placed) bank.emit('hold-placed', { ...facts, hold: word(object(placed, 'hold'), 'id') })
}

await runAgent('account-flagger', async (bank) => {
  const page = await bank.tool('case-store', 'list_rings', after === undefined ? {} : { after })
  for (const ring of objects(page, 'rings')) {
    // Without a case no hold: the case manager opens one shortly.
    if (word(ring, 'caseId') === '' || pending >= MAX_PENDING) break
    after = word(ring, 'id')
    const [first, second] = words(ring, 'accounts')
    const score = Number(ring['score'])
    // Not awaited: a hold that waits for a person must not keep the others waiting.
    const place = (account: string | undefined, amount: number): void => {
      if (account === undefined) return
      pending++
      void hold(bank, account, amount, ring)
        .catch((error: unknown) =>
          bank.emit('hold-refused', { account, amount, code: failureCode(error) }),
        )
        .finally(() => pending--)
    }
    place(first, score >= MIN_LARGE_SCORE ? LARGE : SMALL)
    place(second, SMALL)
  }
  return 500
})
