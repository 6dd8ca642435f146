import { join } from 'node:path'
import { SallyportError } from '@sallyport/base'
import { barrierRevision, fileStorage, fileUnsealer, openBarrier } from '@sallyport/seal'
import type { Barrier, BarrierStorage, TokenKeys, Unsealer } from '@sallyport/seal'
import type { Store } from '../store/store.ts'
import { BARRIER_FILE, UNSEAL_FILE, UNSEAL_KEY } from './keys.ts'
import type { KeySettings } from './settings.ts'

/**
 * Keeps a barrier in the database, for any number of control planes, with a copy in the folder `trust`: `init` made that one before there
 * was a database, and after a restored database it is the newer of the two.
 */
export function sharedStorage(
  dir: string,
  store: Store,
  onError: (error: unknown) => void,
): BarrierStorage {
  const file = fileStorage(join(dir, BARRIER_FILE))
  const inDatabase = (): Promise<string | undefined> =>
    store.run(async (db) => {
      const row = await db.selectFrom('barrier').select('document').executeTakeFirst()
      return row?.document
    })
  const read = async (): Promise<string | undefined> => newer(await inDatabase(), await file.read())
  return {
    read,
    async replace(previous, next) {
      const copy = await file.read()
      const done = await store.transaction(async (tx) => {
        const row = await tx.selectFrom('barrier').select('document').forUpdate().executeTakeFirst()
        if (newer(row?.document, copy) !== previous) return false
        if (row) {
          await tx.updateTable('barrier').set({ document: next }).execute()
          return true
        }
        // Of two that insert the first row at once, one waits and finds it there.
        const made = await tx
          .insertInto('barrier')
          .values({ document: next })
          .onConflict((conflict) => conflict.column('sole').doNothing())
          .executeTakeFirst()
        return made.numInsertedOrUpdatedRows === 1n
      })
      // The database has it: a copy that cannot be written is for the operator to know, and no reason to fail.
      if (done) await file.replace(copy, next).catch(onError)
      return done
    },
  }
}

/** @throws SallyportError `SP_SEAL_CORRUPT`, `SP_STORE_FOREIGN` where they are of different barriers */
function newer(database: string | undefined, copy: string | undefined): string | undefined {
  if (database === undefined || copy === undefined) return database ?? copy
  const [theirs, ours] = [barrierRevision(database), barrierRevision(copy)]
  if (theirs.id !== ours.id) {
    throw new SallyportError(
      'SP_STORE_FOREIGN',
      'the database holds the barrier of another trust root',
      {
        detail: `\`${theirs.id}\` there, \`${ours.id}\` in the folder \`trust\``,
        fix: 'name the database and the data directory that belong together',
      },
    )
  }
  return ours.revision > theirs.revision ? copy : database
}

/**
 * Opens the barrier and unseals it: by its unsealer where it has one, otherwise, or where that one is away, by people.
 *
 * @param byPeople resolves when people have unsealed it
 * @throws SallyportError `SP_SEAL_*`, `SP_KEY_*`, `SP_HSM_*`
 */
export async function unsealedBarrier(deps: {
  readonly dir: string
  readonly storage: BarrierStorage
  readonly tokens: () => Promise<TokenKeys | undefined>
  readonly settings: KeySettings
  readonly byPeople: (barrier: Barrier) => Promise<void>
  readonly onError: (error: unknown) => void
}): Promise<Barrier> {
  const barrier = await openBarrier({ storage: deps.storage })
  const { unsealer, shares } = barrier.status()
  if (unsealer !== undefined) {
    try {
      await barrier.unsealWith(await unsealerOf(deps))
      return barrier
    } catch (error) {
      if (!shares) throw error
      deps.onError(error)
    }
  }
  await deps.byPeople(barrier)
  return barrier
}

async function unsealerOf(deps: {
  readonly dir: string
  readonly tokens: () => Promise<TokenKeys | undefined>
}): Promise<Unsealer> {
  const tokens = await deps.tokens()
  return tokens ? tokens.unsealer(UNSEAL_KEY) : fileUnsealer(join(deps.dir, UNSEAL_FILE))
}
