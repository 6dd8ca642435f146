import type { Clock } from '@sallyport/base'
import type { Artefacts } from '@sallyport/oauth'
import type { Store } from '../store/store.ts'

/** @see Artefacts */
export function createArtefacts(store: Store, clock: Clock): Artefacts {
  return {
    put: ({ hash, kind, payload, expiresAt, grant, alias }, replace) =>
      store.run(async (db) => {
        const row = { kind, payload, expires_at: expiresAt, grant_hash: grant, alias }
        const insert = db.insertInto('oauth_artefacts').values({ hash, ...row, consumed: null })
        const done = await insert
          .onConflict((conflict) => {
            const same = conflict.column('hash')
            return replace ? same.doUpdateSet(row) : same.doNothing()
          })
          .returning('hash')
          .executeTakeFirst()
        return done !== undefined
      }),
    find: (by) =>
      store.run((db) =>
        db
          .selectFrom('oauth_artefacts')
          .select(['payload', 'consumed'])
          .where((eb) => ('hash' in by ? eb('hash', '=', by.hash) : eb('alias', '=', by.alias)))
          .where('expires_at', '>', clock.now())
          .executeTakeFirst(),
      ),
    consume: (hash, at) =>
      store.run(async (db) => {
        const done = await db
          .updateTable('oauth_artefacts')
          .set({ consumed: at })
          .where('hash', '=', hash)
          .where('consumed', 'is', null)
          .returning('hash')
          .executeTakeFirst()
        return done !== undefined
      }),
    remove: (hash) =>
      store.run(async (db) => {
        await db.deleteFrom('oauth_artefacts').where('hash', '=', hash).execute()
      }),
    removeGrant: (grant) =>
      store.run(async (db) => {
        await db.deleteFrom('oauth_artefacts').where('grant_hash', '=', grant).execute()
      }),
  }
}
