/**
 * Places holds on the accounts of a ring: a small one at once, a large one on the account in the middle, for which
 * policy wants a person's approval. It sees neither names nor balances, so the amounts are fixed by score.
 */
import { failureCode } from '../events.ts'
import { object, objects, word, words } from './bank.ts'
import type { Bank, JsonObject } from './bank.ts'
import { Lane } from './lane.ts'
import { runAgent } from './run.ts'

const SMALL = 500_000
const LARGE = 2_500_000
const MIN_LARGE_SCORE = 85

/** Questions to people that wait at once: fewer than the fifty at which the control plane takes no more of an instance. */
const QUESTIONS = 40
/** Small holds on their way at once. */
const AT_ONCE = 4
/** Holds that wait for their turn; beyond it no further ring is begun. */
const IN_LINE = 2000

interface Hold {
  readonly bank: Bank
  readonly account: string
  readonly amount: number
  readonly ring: JsonObject
}

let after: string | undefined
// Two lanes: a hold that waits for a person must not keep the others waiting.
const large = new Lane<Hold>(QUESTIONS, IN_LINE, (hold) => place(hold, 'large'))
const small = new Lane<Hold>(AT_ONCE, IN_LINE, (hold) => place(hold, 'small'))

async function place({ bank, account, amount, ring }: Hold, lane: string): Promise<void> {
  if (bank.stopping) return
  const facts = { account, amount, ring: word(ring, 'id') }
  const body = {
    amount,
    currency: 'EUR',
    reason: `${word(ring, 'pattern')}, score ${Number(ring['score'])}`,
    caseId: word(ring, 'caseId'),
  }
  bank.emit('hold-requested', facts)
  try {
    const placed = await bank.withApproval('hold', facts, (approval) =>
      bank.post(`/core-banking/v1/accounts/${account}/holds`, body, approval, lane),
    )
    if (placed) bank.emit('hold-placed', { ...facts, hold: word(object(placed, 'hold'), 'id') })
  } catch (error) {
    if (!bank.stopping) bank.emit('hold-refused', { account, amount, code: failureCode(error) })
  }
}

await runAgent('account-flagger', async (bank) => {
  const page = await bank.tool('case-store', 'list_rings', after === undefined ? {} : { after })
  for (const ring of objects(page, 'rings')) {
    // Without a case no hold: the case manager opens one shortly.
    if (word(ring, 'caseId') === '' || large.full || small.full) break
    after = word(ring, 'id')
    const [first, second] = words(ring, 'accounts')
    const score = Number(ring['score'])
    if (first !== undefined) {
      if (score >= MIN_LARGE_SCORE) large.put({ bank, account: first, amount: LARGE, ring })
      else small.put({ bank, account: first, amount: SMALL, ring })
    }
    if (second !== undefined) small.put({ bank, account: second, amount: SMALL, ring })
  }
  return 500
})
