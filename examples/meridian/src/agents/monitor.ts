/** Watches every payment as it is booked and looks up the payer of unusually large ones. */
import { object, word } from './bank.ts'
import { PaymentReader } from './payments.ts'
import { runAgent } from './run.ts'

/** 10,000.00: what many countries make a bank look at. */
const LARGE = 1_000_000
const MAX_LOOKUPS = 200

let reader: PaymentReader | undefined
let read = 0
const looked = new Set<string>()

await runAgent('monitor', async (bank) => {
  reader ??= new PaymentReader(bank)
  const payments = await reader.next()
  read += payments.length
  for (const payment of payments) {
    if (payment.amount < LARGE || looked.has(payment.from) || looked.size >= MAX_LOOKUPS) continue
    looked.add(payment.from)
    const answer = await bank.get(`/core-banking/v1/accounts/${payment.from}`)
    bank.emit('large-payment', {
      payment: payment.id,
      status: word(object(answer, 'account'), 'status'),
    })
  }
  if (payments.length > 0) bank.emit('payments-read', { total: read })
  return payments.length === 100 ? 0 : 250
})
