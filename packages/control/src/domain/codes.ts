import type { Clock } from '@sallyport/base'
import type { Operator } from '@sallyport/network'
import type { Barrier } from '@sallyport/seal'
import type { Store } from '../store/store.ts'
import type { Operators } from './operators.ts'
import { secretHash } from './secrets.ts'

const CHALLENGE_MS = 5 * 60_000

type Codes = Pick<Operators, 'keepChallenge' | 'takeChallenge' | 'setTotpSecret' | 'totpSecret'>

/** The part of `Operators` that is about what is good once: challenges and codes. */
export function createCodes(deps: {
  readonly store: Store
  readonly clock: Clock
  /** Its keys are not in the database. */
  readonly barrier: Barrier
  /** @throws SallyportError `SP_OPERATOR_UNKNOWN` */
  readonly find: (operator: string) => Operator
}): Codes {
  const { store, clock, find, barrier } = deps
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
    async setTotpSecret(operator, secret, step) {
      find(operator)
      const sealed = await barrier.encrypt(pathOf(operator), 0, Buffer.from(secret))
      const values = { secret: sealed.toString('base64url'), last_step: step }
      await store.run((db) =>
        db
          .insertInto('operator_totp')
          .values({ operator, ...values })
          .onConflict((conflict) => conflict.column('operator').doUpdateSet(values))
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
      if (!row) return undefined
      const sealed = Buffer.from(row.secret, 'base64url')
      return (await barrier.decrypt(pathOf(operator), 0, sealed)).toString()
    },
  }
}

/** A sealed secret opens for its own operator only. */
const pathOf = (operator: string): string => `totp/${operator}`
