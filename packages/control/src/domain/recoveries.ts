import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Network } from '@sallyport/network'
import type { Store } from '../store/store.ts'
import type { AlarmBell } from './alarms.ts'
import type { Acts } from './acts.ts'

const RECOVERY_MINUTES = 10

interface Recovery {
  readonly operator: string
  readonly confirmedBy: string
  readonly confirmedAt: number
  readonly expiresAt: number
}

/** Signing in by a code takes two: whoever lost a passkey, and another operator who knows that it is they. */
export interface Recoveries {
  /** Confirmed, not used, not expired. */
  list(): Promise<readonly Recovery[]>
  /**
   * Lets an operator sign in by a code, once, within minutes. Asked again it starts anew.
   *
   * @param input.by has just shown a passkey with user verification
   * @throws SallyportError `SP_OPERATOR_UNKNOWN`, `SP_RECOVERY_SELF`, `SP_RECOVERY_CODES`, `SP_AUDIT_UNAVAILABLE`
   */
  confirm(input: { readonly operator: string; readonly by: string }): Promise<Recovery>
  /**
   * Spends the confirmation and the time step of a code that was right, both or neither.
   *
   * @returns who confirmed; undefined where nobody has, or this or a later step was used before
   */
  use(operator: string, step: number): Promise<string | undefined>
}

/** @see Recoveries */
export function createRecoveries(deps: {
  readonly store: Store
  readonly clock: Clock
  readonly network: () => Network
  readonly alarms: AlarmBell
  readonly acts: Acts
}): Recoveries {
  const { store, clock, network, alarms, acts } = deps
  const windowMs = (): number => (network().settings.recoveryMinutes ?? RECOVERY_MINUTES) * 60_000
  return {
    async list() {
      const rows = await store.run((db) =>
        db
          .selectFrom('recoveries')
          .selectAll()
          .where('confirmed_at', '>', clock.now() - windowMs())
          .execute(),
      )
      return rows.map(({ operator, confirmed_by: confirmedBy, confirmed_at: confirmedAt }) => {
        return { operator, confirmedBy, confirmedAt, expiresAt: confirmedAt + windowMs() }
      })
    },
    async confirm({ operator, by }) {
      if (!network().operators.some(({ name }) => name === operator)) {
        throw new SallyportError('SP_OPERATOR_UNKNOWN', `no operator \`${operator}\` is declared`)
      }
      if (operator === by) {
        throw new SallyportError('SP_RECOVERY_SELF', 'nobody confirms their own recovery', {
          fix: 'ask another operator to confirm it',
        })
      }
      const codes = await store.run((db) =>
        db
          .selectFrom('operator_totp')
          .select('operator')
          .where('operator', '=', operator)
          .executeTakeFirst(),
      )
      if (!codes) {
        throw new SallyportError('SP_RECOVERY_CODES', `\`${operator}\` has set up no codes`, {
          fix: 'give a one-time link to enrol a new passkey instead',
        })
      }
      await acts.record('recovery-confirmed', { operator, by })
      const at = clock.now()
      const values = { confirmed_by: by, confirmed_at: at }
      await store.run((db) =>
        db
          .insertInto('recoveries')
          .values({ operator, ...values })
          .onConflict((conflict) => conflict.column('operator').doUpdateSet(values))
          .execute(),
      )
      await alarms.raise({
        kind: 'recovery',
        operator,
        text: `\`${by}\` lets \`${operator}\` sign in by a code, once`,
      })
      return { operator, confirmedBy: by, confirmedAt: at, expiresAt: at + windowMs() }
    },
    async use(operator, step) {
      const outcome = await store.transaction(async (tx) => {
        const confirmed = await tx
          .selectFrom('recoveries')
          .select(['confirmed_by', 'confirmed_at'])
          .where('operator', '=', operator)
          .forUpdate()
          .executeTakeFirst()
        // A clock that went back must not lengthen the window.
        const age = confirmed ? clock.now() - confirmed.confirmed_at : Infinity
        if (!confirmed || age >= windowMs() || age < -60_000) return undefined
        const fresh = await tx
          .updateTable('operator_totp')
          .set({ last_step: step })
          .where('operator', '=', operator)
          .where('last_step', '<', step)
          .returning('operator')
          .executeTakeFirst()
        if (!fresh) return 'reused' as const
        await tx.deleteFrom('recoveries').where('operator', '=', operator).execute()
        return { by: confirmed.confirmed_by }
      })
      if (outcome === 'reused') {
        const text = `a code of \`${operator}\` was given a second time`
        await alarms.raise({ kind: 'code-reused', operator, text })
        return undefined
      }
      if (!outcome) return undefined
      await acts.record('recovery-used', { operator, by: outcome.by })
      return outcome.by
    },
  }
}
