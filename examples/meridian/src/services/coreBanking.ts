import { sha256Hex } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { integer, Refusal, router, text } from './http.ts'
import type { Handler } from './http.ts'
import type { TransactionStream } from './stream.ts'

/** Day 0 of every stream. */
const EPOCH = Date.UTC(2026, 0, 1)

const bookedAt = (seconds: number): string => new Date(EPOCH + seconds * 1000).toISOString()

const ACCOUNT = /^acc_[A-Za-z0-9_-]{1,60}$/

/** A number that depends on the id alone, so that an account looks the same on every run. */
const derived = (id: string, salt: string, range: number): number =>
  Number.parseInt(sha256Hex(`${salt}/${id}`).slice(0, 12), 16) % range

/** The customer who holds an account. */
export function customerOf(accountId: string): string {
  return accountId.replace(/^acc_/, 'cus_')
}

/** Core banking: transactions as they come in, accounts, holds. Amounts are minor units. */
export function coreBanking(stream: TransactionStream): Handler {
  const holds: { [key: string]: JsonValue }[] = []
  return router([
    {
      method: 'GET',
      path: '/v1/transactions',
      answer: ({ query }) => {
        const limit = Number(query.get('limit') ?? '100')
        if (!Number.isInteger(limit) || limit < 1 || limit > 100) {
          throw new Refusal(400, '`limit` must be an integer from 1 to 100')
        }
        const after = query.get('after') ?? '0'
        if (!/^\d{1,9}$/.test(after)) throw new Refusal(400, '`after` must be the `next` of a page')
        const start = Number(after)
        const end = Math.min(stream.released(), start + limit)
        const transactions: JsonValue[] = []
        for (let index = start; index < end; index++) {
          const row = stream.at(index)
          if (row) transactions.push({ ...row, time: bookedAt(row.time) })
        }
        return { transactions, next: String(Math.max(start, end)) }
      },
    },
    {
      method: 'GET',
      path: '/v1/accounts/{accountId}',
      answer: ({ param }) => {
        const id = accountId(param('accountId'))
        return {
          account: {
            id,
            customerId: customerOf(id),
            openedAt: `20${10 + derived(id, 'year', 15)}-0${1 + derived(id, 'month', 9)}-15T00:00:00.000Z`,
            balance: 20_000 + derived(id, 'balance', 2_400_000),
            currency: 'EUR',
            status: holds.some((hold) => hold['accountId'] === id) ? 'held' : 'open',
          },
        }
      },
    },
    {
      method: 'POST',
      path: '/v1/accounts/{accountId}/holds',
      status: 201,
      answer: ({ param, body }) => {
        const hold = {
          id: `hold_${String(holds.length + 1).padStart(6, '0')}`,
          accountId: accountId(param('accountId')),
          amount: integer(body, 'amount', 1, 1_000_000_000_000),
          currency: currency(text(body, 'currency', 3)),
          status: 'active',
        }
        text(body, 'reason', 500)
        text(body, 'caseId', 64)
        holds.push(hold)
        return { hold }
      },
    },
    { method: 'GET', path: '/v1/holds', answer: () => ({ holds: holds.slice(-100) }) },
  ])
}

function accountId(id: string): string {
  if (!ACCOUNT.test(id)) throw new Refusal(404, 'no such account')
  return id
}

function currency(code: string): string {
  if (!/^[A-Z]{3}$/.test(code)) throw new Refusal(400, '`currency` must be an ISO 4217 code')
  return code
}
