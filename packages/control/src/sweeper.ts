import type { Clock } from '@sallyport/base'
import { errorCode } from '@sallyport/base'
import { MAX_LIFETIME } from '@sallyport/oauth'
import type { ApprovalKeeper } from './domain/asking.ts'
import type { LimitKeeper } from './domain/counting.ts'
import type { Mandates } from './domain/mandates.ts'
import type { Store } from './store/store.ts'

const APPROVALS_MS = 1000
const REST_MS = 60_000
const DAY_MS = 86_400_000
/** A year. */
const ALARMS_MS = 366 * DAY_MS
/** What nobody asked for since is no drift any more. */
const DRIFT_MS = 90 * DAY_MS

/** Marks what ran out, and deletes what nothing reads any more. Nothing relies on it: every reader judges by time itself. */
export function startSweeper(deps: {
  readonly store: Store
  readonly clock: Clock
  readonly approvals: Pick<ApprovalKeeper, 'expire'>
  readonly limits: Pick<LimitKeeper, 'sweep'>
  readonly mandates: Pick<Mandates, 'sweep'>
  readonly onError: (error: unknown) => void
}): () => void {
  const { store, clock, approvals, limits, mandates } = deps
  const quietly = (act: () => Promise<unknown>): void => {
    act().catch((error: unknown) => {
      // While the database is away there is nothing to sweep.
      if (errorCode(error) !== 'SP_STORE_UNAVAILABLE') deps.onError(error)
    })
  }
  const sweep = async (): Promise<void> => {
    const now = clock.now()
    await store.run(async (db) => {
      await db.deleteFrom('challenges').where('expires_at', '<=', now).execute()
      await db.deleteFrom('oauth_artefacts').where('expires_at', '<=', now).execute()
      // Its last token outlives a grant: signing out has to find it until then.
      await db
        .deleteFrom('oauth_grants')
        .where('expires_at', '<=', now - MAX_LIFETIME * 1000)
        .execute()
      await db
        .deleteFrom('backchannel_requests')
        .where('expires_at', '<=', now - DAY_MS)
        .execute()
      // No setting lets a session live longer than a day.
      await db
        .deleteFrom('sessions')
        .where('started_at', '<=', now - DAY_MS)
        .execute()
      await db
        .deleteFrom('alarms')
        .where('at', '<=', now - ALARMS_MS)
        .execute()
      await db
        .deleteFrom('drift')
        .where('last_at', '<=', now - DRIFT_MS)
        .execute()
      await db
        .deleteFrom('operator_links')
        .where('expires_at', '<=', now - DAY_MS)
        .execute()
      await db
        .deleteFrom('join_tokens')
        .where('expires_at', '<=', now - DAY_MS)
        .execute()
      await db
        .deleteFrom('signals')
        .where('at', '<=', now - DAY_MS)
        .execute()
    })
    await limits.sweep()
    await mandates.sweep()
  }
  const timers = [
    setInterval(() => quietly(() => approvals.expire()), APPROVALS_MS),
    setInterval(() => quietly(sweep), REST_MS),
  ]
  for (const timer of timers) timer.unref()
  return () => {
    for (const timer of timers) clearInterval(timer)
  }
}
