import { sql } from 'kysely'
import { newId, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { sumScale } from '@sallyport/network'
import type { Store } from '../store/store.ts'
import type { Limits } from './limits.ts'
import type { Publisher } from './publisher.ts'

/** Finer buckets follow the exact window more closely and cost more rows. */
const BUCKETS = 60

export interface LimitKeeper extends Limits {
  /** Forgets what left every window. */
  sweep(): Promise<void>
}

/** @see Limits */
export function createLimits(deps: {
  readonly store: Store
  readonly clock: Clock
  readonly publisher: Publisher
}): LimitKeeper {
  const { store, clock, publisher } = deps
  return {
    async reserve(input) {
      const index = publisher.index()
      const { network } = index
      const limit = network.limits.find(({ id }) => id === input.limitId)
      if (!limit || !limit.agents.includes(input.agent)) {
        throw new SallyportError('SP_LIMIT_UNKNOWN', 'no such limit applies to this agent')
      }
      if (!Number.isSafeInteger(input.amount) || input.amount < 0) {
        throw new SallyportError('SP_LIMIT_REQUEST', 'an amount is an integer from 0')
      }
      if (!index.isInstanceOf(input.instance, input.agent)) {
        throw new SallyportError('SP_LIMIT_REQUEST', 'the instance is not of this agent')
      }
      const now = clock.now()
      const window = limit.windowSeconds * 1000
      const { rows } = await store.run((db) =>
        sql<{ granted: boolean; reservation: string | null; retry_at: number | null }>`
          SELECT granted, reservation, retry_at FROM reserve_limit(
            ${newId('res', now)}, ${limit.id}, ${input.agent}, ${input.instance},
            ${input.decisionId}, ${input.amount}, ${limit.maxCalls ?? null},
            ${limit.maxSum ? limit.maxSum.max * sumScale(index, limit) : null}, ${window}, ${Math.ceil(window / BUCKETS)}, ${now})
        `.execute(db),
      )
      const row = rows[0]
      if (row?.granted === true && row.reservation !== null) {
        return { granted: true, reservationId: row.reservation }
      }
      const retryAt = row?.retry_at ?? null
      return {
        granted: false,
        ...(retryAt === null
          ? {}
          : { retryAfterSeconds: Math.max(1, Math.ceil((retryAt - now) / 1000)) }),
      }
    },
    async settle({ reservationId, commit, amount }) {
      if (amount !== undefined && (!Number.isSafeInteger(amount) || amount < 0)) {
        throw new SallyportError('SP_LIMIT_REQUEST', 'an amount is an integer from 0')
      }
      const { rows } = await store.run((db) =>
        sql<{ state: string }>`
          SELECT settle_limit(${reservationId}, ${commit}, ${amount ?? null}) AS state
        `.execute(db),
      )
      if (rows[0]?.state !== (commit ? 'committed' : 'released')) {
        throw new SallyportError('SP_LIMIT_RESERVATION', 'there is no such open reservation')
      }
    },
    async sweep() {
      const windows = publisher.index().network.limits.map(({ windowSeconds }) => windowSeconds)
      const before = clock.now() - 2000 * Math.max(3600, ...windows)
      await store.run(async (db) => {
        await db.deleteFrom('reservations').where('at', '<', before).execute()
        await sql`DELETE FROM limit_buckets WHERE (bucket + 1) * width < ${before}`.execute(db)
      })
    },
  }
}
