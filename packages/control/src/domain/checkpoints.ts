import { sql } from 'kysely'
import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Store, Tx } from '../store/store.ts'
import { ownsShard } from './feed.ts'
import type { IncidentLog } from './incident-log.ts'

/** Checkpoints of every shard, held away from the logs they are of: what shows that a log was cut short. */
export interface Checkpoints {
  /**
   * Keeps the newest signed checkpoint of a shard. It is kept as it came: whoever verifies a log has its public key.
   *
   * @param owner SPIFFE id of whoever writes the shard
   * @param note a C2SP signed note (tlog-checkpoint)
   * @throws SallyportError `SP_FEED_INVALID`; `SP_FEED_FORKED` for one that covers less than one that is held, or the same
   *   with another root
   */
  keep(owner: string, shard: string, note: string): Promise<void>
  /** Of each shard that has any: the one that covers most. */
  newest(): Promise<ReadonlyMap<string, string>>
}

const NOTE =
  /^([^\n+\s]{1,512})\n(0|[1-9]\d{0,15})\n([A-Za-z0-9+/]{43}=)\n\n— ([^\n+\s]{1,512}) [A-Za-z0-9+/=]{91,92}\n$/
/** Of a shard's checkpoints the newest are kept, and of older ones the last of each day for about a year. */
const NEWEST = 64
const DAYS = 400
const DAY_MS = 86_400_000

export function createCheckpoints(deps: {
  readonly store: Store
  readonly clock: Clock
  readonly incidents: IncidentLog
}): Checkpoints {
  const { store, clock, incidents } = deps
  return {
    async keep(owner, shard, note) {
      const size = sizeOf(owner, shard, note)
      const forked = await store.transaction(async (tx) => {
        // One at a time for a shard, so that what is newest does not change meanwhile.
        await sql`SELECT pg_advisory_xact_lock(hashtextextended(${`checkpoint ${shard}`}, 0))`.execute(
          tx,
        )
        const held = await newestOf(tx, shard)
        if (held && size < held.size) return !(await isKnown(tx, shard, size, note))
        if (held?.size === size) return rootOf(held.note) !== rootOf(note)
        await tx
          .insertInto('audit_checkpoints')
          .values({ shard, size, note, at: clock.now() })
          .execute()
        await thin(tx, shard, clock.now())
        return false
      })
      if (!forked) return
      await store.transaction((tx) =>
        incidents.raise(tx, {
          subject: owner,
          status: 'open',
          risk: 100,
          entry: {
            at: clock.now(),
            kind: 'signal',
            text: `its audit log has a checkpoint over ${size} records that contradicts one held here`,
          },
        }),
      )
      throw new SallyportError('SP_FEED_FORKED', 'the log differs from what was sent before', {
        detail: `shard ${shard}, checkpoint over ${size}`,
        fix: 'verify the log of this gateway with `sallyport audit verify`; a gateway that lost its log comes back under another id',
      })
    },
    newest: () =>
      store.run(async (db) => {
        const rows = await db
          .selectFrom('audit_checkpoints')
          .distinctOn('shard')
          .select(['shard', 'note'])
          .orderBy('shard')
          .orderBy('size', 'desc')
          .execute()
        return new Map(rows.map(({ shard, note }) => [shard, note]))
      }),
  }
}

function sizeOf(owner: string, shard: string, note: string): number {
  const invalid = (detail: string): SallyportError =>
    new SallyportError('SP_FEED_INVALID', 'the feed is not valid', { detail })
  if (!ownsShard(owner, shard)) throw invalid('the shard is not of this gateway')
  const [, origin, size, , signer] = NOTE.exec(note) ?? []
  if (origin !== shard || signer !== shard) throw invalid('the checkpoint is none of this shard')
  return Number(size)
}

const rootOf = (note: string): string | undefined => note.split('\n')[2]

function newestOf(tx: Tx, shard: string): Promise<{ size: number; note: string } | undefined> {
  return tx
    .selectFrom('audit_checkpoints')
    .select(['size', 'note'])
    .where('shard', '=', shard)
    .orderBy('size', 'desc')
    .limit(1)
    .executeTakeFirst()
}

/** A message that was overtaken says nothing new. */
async function isKnown(tx: Tx, shard: string, size: number, note: string): Promise<boolean> {
  const row = await tx
    .selectFrom('audit_checkpoints')
    .select('note')
    .where('shard', '=', shard)
    .where('size', '=', size)
    .executeTakeFirst()
  return row !== undefined && rootOf(row.note) === rootOf(note)
}

async function thin(tx: Tx, shard: string, now: number): Promise<void> {
  await sql`
    DELETE FROM audit_checkpoints c
     WHERE shard = ${shard}
       AND size < (SELECT min(size) FROM (SELECT size FROM audit_checkpoints WHERE shard = ${shard}
                                          ORDER BY size DESC LIMIT ${NEWEST}) newest)
       AND (at < ${now - DAYS * DAY_MS} OR EXISTS (
             SELECT 1 FROM audit_checkpoints later
              WHERE later.shard = c.shard AND later.size > c.size
                AND later.at / ${DAY_MS} = c.at / ${DAY_MS}))`.execute(tx)
}
