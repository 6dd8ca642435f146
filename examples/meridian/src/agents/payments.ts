import { setTimeout as sleep } from 'node:timers/promises'
import { count } from '../env.ts'
import { objects, word } from './bank.ts'
import type { Bank, JsonObject } from './bank.ts'

/** A payment as an agent sees it: accounts may be pseudonyms. */
export interface SeenPayment {
  readonly id: string
  /** Seconds since the epoch. */
  readonly time: number
  readonly from: string
  readonly to: string
  readonly amount: number
  readonly memo: string
}

/** Reads the stream page by page, at most so many calls a second that nobody mistakes it for a flood. */
export class PaymentReader {
  readonly #bank: Bank
  readonly #gapMs: number
  #after: string | undefined
  #lastAt = 0

  constructor(bank: Bank) {
    this.#bank = bank
    this.#gapMs = 1000 / Math.max(1, count('MERIDIAN_CALLS_PER_SECOND', 25))
  }

  /** The next payments, at most 100; empty when there are none yet. */
  async next(): Promise<SeenPayment[]> {
    const wait = this.#lastAt + this.#gapMs - performance.now()
    if (wait > 0) await sleep(wait)
    this.#lastAt = performance.now()
    const page = await this.#bank.get('/core-banking/v1/transactions', {
      after: this.#after,
      limit: '100',
    })
    const payments = objects(page, 'transactions').map(seen)
    const next = word(page, 'next')
    if (next !== '') this.#after = next
    return payments
  }
}

function seen(row: JsonObject): SeenPayment {
  const amount = row['amount']
  const time = Date.parse(word(row, 'time'))
  if (typeof amount !== 'number' || Number.isNaN(time) || word(row, 'from') === '') {
    throw new TypeError('a payment lacks what this agent may see')
  }
  return {
    id: word(row, 'id'),
    time: time / 1000,
    from: word(row, 'from'),
    to: word(row, 'to'),
    amount,
    memo: word(row, 'memo'),
  }
}
