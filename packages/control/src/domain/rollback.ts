import { canonicalJson, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import { acceptBundle, compareRevision, verifyQuorum } from '@sallyport/wire'
import type { Bundle, OperatorSet, Revision, SignedBundle } from '@sallyport/wire'
import { takeOverRoots } from '../authority/root-rows.ts'
import { SPENT_NONCE } from '../attest/nonces.ts'
import type { Store, Tx } from '../store/store.ts'
import type { Trust } from '../trust.ts'
import type { Events } from './events.ts'
import { followLinks } from './operator-links.ts'
import type { Publisher } from './publisher.ts'

/** A revision that gateways enforce and this database does not know. */
export interface Later {
  readonly revision: Revision
  readonly declarationDigest: string
  /** The gateway that showed it. */
  readonly shownBy: string
}

/**
 * A database that was restored from a backup has forgotten what came after it. Gateways refuse its bundles, which are older
 * than what they have seen, and show the newest they have. That one was signed here, so what it takes away is taken over at once;
 * what may be done goes on only in a new epoch, for which a quorum signs the declaration again.
 */
export interface Rollback {
  /**
   * Takes over what a gateway shows.
   *
   * @throws SallyportError `SP_BUNDLE_*` where it was not signed here, `SP_STORE_FORKED` where operators were changed on both sides
   */
  shown(gateway: string, signed: SignedBundle<Declaration>): Promise<void>
  /** Undefined where the database knows all that gateways have shown. */
  later(): Promise<Later | undefined>
}

interface RollbackDeps {
  readonly store: Store
  readonly clock: Clock
  readonly trust: Trust
  readonly publisher: Publisher
  readonly events: Events
  readonly onError: (error: unknown) => void
}

export function createRollback(deps: RollbackDeps): Rollback {
  const { store, publisher, events } = deps
  return {
    later: () => store.run((db) => laterOf(db as Tx)),
    async shown(gateway, signed) {
      // The whole rule, as by a gateway that has seen nothing: every signature in it, and its shape.
      acceptBundle(undefined, signed, deps.trust.pins, { now: deps.clock.now() })
      const { bundle } = signed
      const { result } = await publisher.publish(async (tx, next) => {
        const narrowed = await takeOver(tx, deps, bundle)
        // What is ahead of the database, not of this process: another control plane may just have published it.
        const ahead = compareRevision(bundle.revision, next) >= 0
        const found = ahead ? await remember(tx, deps, gateway, bundle) : undefined
        return { result: found, changed: narrowed }
      })
      if (!result) return
      events.publish('revision', { later: bundle.revision })
      deps.onError(restored(result))
    },
  }
}

/** The later bundle that was shown, where its revision is still ahead of the head. */
export async function laterOf(tx: Tx): Promise<Later | undefined> {
  const row = await tx.selectFrom('later_bundle').selectAll().executeTakeFirst()
  if (!row) return undefined
  const { epoch, n, declaration_digest: declarationDigest, shown_by: shownBy } = row
  return { revision: { epoch, n }, declarationDigest, shownBy }
}

/** @returns what was found, the first time that it is this far ahead */
async function remember(
  tx: Tx,
  { clock }: RollbackDeps,
  gateway: string,
  { revision, declarationDigest, declarationSerial = 0, declaration }: Bundle<Declaration>,
): Promise<Later | undefined> {
  const known = await laterOf(tx)
  if (known && compareRevision(revision, known.revision) <= 0) return undefined
  const now = clock.now()
  const row = {
    ...revision,
    declaration_digest: declarationDigest,
    declaration_serial: declarationSerial,
    shown_by: gateway,
    at: now,
  }
  await tx
    .insertInto('later_bundle')
    .values(row)
    .onConflict((conflict) => conflict.column('sole').doUpdateSet(row))
    .execute()
  await tx
    .insertInto('declarations')
    .values({
      digest: declarationDigest,
      body: canonicalJson(declaration),
      proposed_by: gateway,
      proposed_at: now,
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  if (!known) await voidWhatWasOnceOnly(tx, now)
  return { revision, declarationDigest, shownBy: gateway }
}

/** What the backup holds as unused may have been used since: nothing of it counts any more. */
async function voidWhatWasOnceOnly(tx: Tx, now: number): Promise<void> {
  for (const table of ['join_tokens', 'operator_links'] as const) {
    await tx.updateTable(table).set({ expires_at: now }).where('used_at', 'is', null).execute()
  }
  // What was used of a mandate after the backup is counted nowhere.
  await tx
    .insertInto('mandate_floor')
    .values({ issued_after: now })
    .onConflict((conflict) => conflict.column('sole').doUpdateSet({ issued_after: now }))
    .execute()
  // A nonce that was spent stays so: it is kept where open challenges are.
  await tx.deleteFrom('challenges').where('purpose', '!=', SPENT_NONCE).execute()
  await tx.deleteFrom('sessions').execute()
  await tx.deleteFrom('recoveries').execute()
  // What people gave since, and took back since, is not known: they are asked again.
  await tx.deleteFrom('oauth_grants').execute()
  await tx.deleteFrom('backchannel_requests').execute()
  await tx
    .updateTable('oauth_artefacts')
    .set({ consumed: Math.floor(now / 1000) })
    .where('consumed', 'is', null)
    .execute()
  await tx
    .updateTable('approvals')
    .set({ status: 'expired' })
    .where('status', 'in', ['pending', 'approved'])
    .execute()
}

/** @returns whether anything is narrower, or the operators are others, than before */
async function takeOver(tx: Tx, deps: RollbackDeps, bundle: Bundle): Promise<boolean> {
  const { clock } = deps
  const operators = await followLinks(tx, clock, bundle.operators)
  const set = bundle.operators?.set
  const roots = await takeOverRoots(tx, bundle.roots, clock.now())
  let changed = operators || roots
  for (const { id, subject, reason, by, at } of bundle.quarantined) {
    const { numInsertedOrUpdatedRows } = await tx
      .insertInto('quarantines')
      .values({
        ...{ id, subject, reason, by, at },
        ...{ release_statement: null, released_at: null, released_epoch: null },
      })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    changed ||= numInsertedOrUpdatedRows === 1n
  }
  const carried = new Set(bundle.quarantined.map(({ id }) => id))
  for (const release of bundle.releases) {
    const { quarantineId } = release.statement
    if (!set || carried.has(quarantineId) || !isSigned(release, set)) continue
    // A gateway takes a release once: asked for again, it would stay cut off for ever.
    const { numUpdatedRows } = await tx
      .updateTable('quarantines')
      .set({
        released_at: clock.now(),
        released_epoch: bundle.revision.epoch,
        release_statement: canonicalJson(release.statement),
      })
      .where('id', '=', quarantineId)
      .where('subject', '=', release.statement.subject)
      .where('released_at', 'is', null)
      .executeTakeFirst()
    if (numUpdatedRows !== 1n) continue
    await keepSignatures(tx, release)
    changed = true
  }
  for (const { serial, notAfter } of bundle.revokedSerials) {
    const { numInsertedOrUpdatedRows } = await tx
      .insertInto('revoked_serials')
      .values({ serial, not_after: notAfter, at: clock.now() })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    changed ||= numInsertedOrUpdatedRows === 1n
  }
  for (const { id, notAfter } of bundle.revokedMandates ?? []) {
    const { numInsertedOrUpdatedRows } = await tx
      .insertInto('revoked_mandates')
      .values({
        ...{ id, not_after: notAfter, at: clock.now() },
        ...{ reason: 'revoked before the database was restored', by: 'control' },
      })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    changed ||= numInsertedOrUpdatedRows === 1n
  }
  for (const { jti, exp } of bundle.tokens?.revoked ?? []) {
    const { numInsertedOrUpdatedRows } = await tx
      .insertInto('revoked_tokens')
      // Whose it was, the bundle does not say: nobody's count is raised by it.
      .values({ jti, exp, client: '', at: clock.now() })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    changed ||= numInsertedOrUpdatedRows === 1n
  }
  return changed
}

function isSigned(
  { statement, signatures }: Bundle['releases'][number],
  set: OperatorSet,
): boolean {
  try {
    verifyQuorum(statement, signatures, set, { quorum: set.quorum, roles: ['approver', 'admin'] })
    return true
  } catch (error) {
    if (error instanceof SallyportError) return false
    throw error
  }
}

async function keepSignatures(
  tx: Tx,
  { statement, signatures }: Bundle['releases'][number],
): Promise<void> {
  for (const signature of signatures) {
    await tx
      .insertInto('release_signatures')
      .values({
        quarantine_id: statement.quarantineId,
        operator: signature.operator,
        signature: JSON.stringify(signature),
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }
}

function restored({ revision, shownBy }: Later): SallyportError {
  const { epoch, n } = revision
  return new SallyportError(
    'SP_STORE_RESTORED',
    'the database is older than what gateways enforce: it was restored from a backup',
    {
      detail: `${shownBy} has revision ${epoch}.${n}`,
      fix: `let every gateway connect, then have a quorum sign the declaration for epoch ${epoch + 1} in the console, under Changes`,
    },
  )
}
