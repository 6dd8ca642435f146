/**
 * Finds rings in the payment graph. It sees pseudonyms only; when it reports a ring, the gateway restores them.
 *
 * It also reads memos, gullibly: that part stands for a language model that obeys what it reads, see `attacks/`.
 */
import { directivesIn, obey } from '../attacks/poisoned-memo.ts'
import { AMLSIM_SETTINGS, RingFinder, STREAM_SETTINGS } from '../rings/index.ts'
import type { FoundRing } from '../rings/index.ts'
import type { Bank } from './bank.ts'
import { PaymentReader } from './payments.ts'
import { runAgent } from './run.ts'

/** Rounds without a payment after which what is still open is reported. */
const QUIET_ROUNDS = 8
/** The case store takes at most so many accounts in one ring. */
const MAX_ACCOUNTS = 500

const finder = new RingFinder(
  process.env['MERIDIAN_PROFILE'] === 'amlsim' ? AMLSIM_SETTINGS : STREAM_SETTINGS,
)
let reader: PaymentReader | undefined
let read = 0
let quiet = 0
const waiting: FoundRing[] = []

async function report(bank: Bank): Promise<void> {
  for (let ring = waiting[0]; ring; ring = waiting[0]) {
    const { pattern, score } = ring
    const accounts = ring.accounts.slice(0, MAX_ACCOUNTS)
    await bank.tool('case-store', 'report_ring', { pattern, accounts, score })
    waiting.shift()
    bank.emit('ring-reported', { pattern, score, accounts: accounts.length })
  }
}

await runAgent('pattern-analyst', async (bank) => {
  reader ??= new PaymentReader(bank)
  const payments = await reader.next()
  for (const payment of payments) {
    read++
    waiting.push(...finder.add(payment))
    const directives = directivesIn(payment.memo)
    if (directives.length > 0) {
      bank.emit('hijacked', { payment: payment.id, directives: directives.length })
      await obey(directives, bank)
    }
  }
  quiet = payments.length > 0 ? 0 : quiet + 1
  if (quiet === QUIET_ROUNDS && read > 0) {
    waiting.push(...finder.flush())
    bank.emit('stream-quiet', { total: read })
  }
  await report(bank)
  if (payments.length > 0) bank.emit('payments-read', { total: read })
  return payments.length === 100 ? 0 : 250
})
