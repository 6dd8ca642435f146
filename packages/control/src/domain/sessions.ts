import { randomBytes } from 'node:crypto'
import type { Clock } from '@sallyport/base'
import type { Operator } from '@sallyport/network'
import type { Store } from '../store/store.ts'
import type { Operators } from './operators.ts'
import { newSecret, secretHash } from './secrets.ts'

const SESSION_MS = 8 * 3_600_000
const CHALLENGE_MS = 5 * 60_000

type Sessions = Pick<
  Operators,
  | 'startSession'
  | 'session'
  | 'endSession'
  | 'keepChallenge'
  | 'takeChallenge'
  | 'setTotpSecret'
  | 'totpSecret'
  | 'useTotpStep'
>

/** The part of `Operators` that is about being signed in. */
export function createSessions(deps: {
  readonly store: Store
  readonly clock: Clock
  /** @throws SallyportError `SP_OPERATOR_UNKNOWN` */
  readonly find: (operator: string) => Operator
  readonly credentialsOf: (operator: string) => readonly string[]
}): Sessions {
  const { store, clock, find, credentialsOf } = deps
  return {
    async startSession({ operator, method }) {
      const { displayName, roles } = find(operator)
      const session = newSecret('session')
      const csrf = randomBytes(24).toString('base64url')
      const expiresAt = clock.now() + SESSION_MS
      await store.run((db) =>
        db
          .insertInto('sessions')
          .values({
            hash: secretHash('session', session),
            operator,
            method,
            csrf,
            expires_at: expiresAt,
          })
          .execute(),
      )
      return { session, view: { operator, displayName, roles, method, csrf, expiresAt } }
    },
    async session(session) {
      const row = await store.run((db) =>
        db
          .selectFrom('sessions')
          .selectAll()
          .where('hash', '=', secretHash('session', session))
          .where('expires_at', '>', clock.now())
          .executeTakeFirst(),
      )
      if (!row) return undefined
      let operator: Operator
      try {
        operator = find(row.operator)
      } catch {
        // No longer declared: signed out.
        return undefined
      }
      if (credentialsOf(row.operator).length === 0) return undefined
      const { displayName, roles } = operator
      const { method, csrf, expires_at: expiresAt } = row
      return { operator: row.operator, displayName, roles, method, csrf, expiresAt }
    },
    async endSession(session) {
      await store.run((db) =>
        db.deleteFrom('sessions').where('hash', '=', secretHash('session', session)).execute(),
      )
    },
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
