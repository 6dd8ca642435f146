import type { Clock } from '@sallyport/base'
import type { Operator } from '@sallyport/network'
import type { Store } from '../store/store.ts'
import type { Operators } from './operators.ts'
import { secretHash } from './secrets.ts'

const CHALLENGE_MS = 5 * 60_000

type Codes = Pick<
  Operators,
  'keepChallenge' | 'takeChallenge' | 'setTotpSecret' | 'totpSecret' | 'useTotpStep'
>

/** The part of `Operators` that is about what is good once: challenges and codes. */
export function createCodes(deps: {
  readonly store: Store
  readonly clock: Clock
  /** @throws SallyportError `SP_OPERATOR_UNKNOWN` */
  readonly find: (operator: string) => Operator
}): Codes {
  const { store, clock, find } = deps
  return {
    async keepChallenge(challenge, purpose) {
      await store.run((db) =>
        db
          .insertInto('challenges')
          .values({
            hash: secretHash('challenge', challenge),
            purpose,
            expires_at: clock.now() + CHALLENGE_MS,
          })
          .execute(),
      )
    },
    async takeChallenge(challenge, purpose) {
      const row = await store.run((db) =>
        db
          .deleteFrom('challenges')
          .where('hash', '=', secretHash('challenge', challenge))
          .returning(['purpose', 'expires_at'])
          .executeTakeFirst(),
      )
      return row !== undefined && row.purpose === purpose && row.expires_at > clock.now()
    },
    async setTotpSecret(operator, secret) {
      find(operator)
      await store.run((db) =>
        db
          .insertInto('operator_totp')
          .values({ operator, secret })
          .onConflict((conflict) => conflict.column('operator').doUpdateSet({ secret }))
          .execute(),
      )
    },
    async totpSecret(operator) {
      const row = await store.run((db) =>
        db
          .selectFrom('operator_totp')
          .select('secret')
          .where('operator', '=', operator)
          .executeTakeFirst(),
      )
      return row?.secret
    },
    async useTotpStep(operator, step) {
      const row = await store.run((db) =>
        db
          .updateTable('operator_totp')
          .set({ last_step: step })
          .where('operator', '=', operator)
          .where('last_step', '<', step)
          .returning('operator')
          .executeTakeFirst(),
      )
      return row !== undefined
    },
  }
}
