import { X509Certificate } from 'node:crypto'
import { canonicalJson, parseJson } from '@sallyport/base'
import { rootFingerprint } from '@sallyport/wire'
import type { PasskeySignature, RootList, RootStatement, TrustPins } from '@sallyport/wire'
import type { Tx } from '../store/store.ts'
import type { KeptRoot, KeptRoots } from '../trust/roots.ts'

/** One root of the trust domain, as the database has it. */
export interface RootRow {
  readonly fingerprint: string
  /** DER, base64url; empty where only its retirement is known. */
  readonly certificate: string
  readonly key: string | null
  readonly prepared_at: number
  readonly prepared_by: string
  readonly statement: string | null
  readonly trusted_at: number | null
  readonly activated_at: number | null
  readonly retired_at: number | null
}

export type RootState = 'prepared' | 'trusted' | 'active' | 'outgoing' | 'retired'

/** Oldest first. */
export async function readRootRows(tx: Tx): Promise<readonly RootRow[]> {
  return tx
    .selectFrom('trust_roots')
    .selectAll()
    .orderBy('prepared_at')
    .orderBy('fingerprint')
    .execute()
}

/** The one that signs: of those that are trusted, the one that was put in use last. */
function activeOf(rows: readonly RootRow[]): RootRow | undefined {
  return rows
    .filter((row) => row.activated_at !== null && row.retired_at === null)
    .toSorted((a, b) => (b.activated_at ?? 0) - (a.activated_at ?? 0))[0]
}

export function stateOf(row: RootRow, rows: readonly RootRow[]): RootState {
  if (row.retired_at !== null) return 'retired'
  if (row.trusted_at === null) return 'prepared'
  if (row.activated_at === null) return 'trusted'
  return activeOf(rows)?.fingerprint === row.fingerprint ? 'active' : 'outgoing'
}

export const pemOf = ({ certificate }: Pick<RootRow, 'certificate'>): string =>
  new X509Certificate(Buffer.from(certificate, 'base64url')).toString()

export async function signaturesOn(
  tx: Tx,
  fingerprint: string,
  operators: number,
): Promise<PasskeySignature[]> {
  const rows = await tx
    .selectFrom('trust_root_signatures')
    .select('signature')
    .where('fingerprint', '=', fingerprint)
    .where('operators', '=', operators)
    .orderBy('operator')
    .execute()
  // Only signatures that verified were written.
  return rows.map(({ signature }) => signature as PasskeySignature)
}

/** What bundles say of roots: undefined while there was never another than the first. */
export async function rootListOf(tx: Tx): Promise<RootList | undefined> {
  const rows = (await readRootRows(tx)).toSorted(
    (a, b) => (a.trusted_at ?? 0) - (b.trusted_at ?? 0),
  )
  const added: RootList['added'][number][] = []
  for (const { fingerprint, statement: text, retired_at: retired } of rows) {
    if (text === null || retired !== null) continue
    // Kept as the canonical text of the statement that was signed.
    const statement = parseJson(text) as unknown as RootStatement
    added.push({ statement, signatures: await signaturesOn(tx, fingerprint, statement.operators) })
  }
  const retired = rows.filter((row) => row.retired_at !== null).map((row) => row.fingerprint)
  return added.length + retired.length === 0 ? undefined : { added, retired }
}

/**
 * Sees to it that the first root is there, and that nothing is forgotten that this data directory knows: a root stays trusted, in use or
 * retired, whatever backup a database was restored from.
 *
 * @returns whether bundles say more than before
 */
export async function mergeRoots(
  tx: Tx,
  pins: TrustPins,
  kept: KeptRoots | undefined,
  madeAt: number,
): Promise<boolean> {
  const certificate = new X509Certificate(pins.roots).raw.toString('base64url')
  const first: KeptRoot = {
    certificate,
    key: 'ca',
    preparedAt: madeAt,
    trustedAt: 0,
    activatedAt: 0,
  }
  const before = canonicalJson((await rootListOf(tx)) ?? null)
  await keep(tx, first, 'init')
  for (const root of kept?.roots ?? []) await keep(tx, root, 'control')
  for (const { statement, signatures } of kept?.proof.roots?.added ?? []) {
    await keepSigned(tx, statement, signatures)
  }
  return canonicalJson((await rootListOf(tx)) ?? null) !== before
}

async function keep(tx: Tx, root: KeptRoot, by: string): Promise<void> {
  const fingerprint = rootFingerprint(root.certificate)
  await tx
    .insertInto('trust_roots')
    .values({
      fingerprint,
      certificate: root.certificate,
      key: root.key ?? null,
      prepared_at: root.preparedAt,
      prepared_by: by,
      statement: null,
      trusted_at: root.trustedAt,
      activated_at: root.activatedAt ?? null,
      retired_at: root.retiredAt ?? null,
    })
    .onConflict((conflict) =>
      conflict.column('fingerprint').doUpdateSet((eb) => ({
        certificate: root.certificate,
        key: eb.fn.coalesce('trust_roots.key', 'excluded.key'),
        trusted_at: eb.fn.coalesce('trust_roots.trusted_at', 'excluded.trusted_at'),
        activated_at: eb.fn.coalesce('trust_roots.activated_at', 'excluded.activated_at'),
        retired_at: eb.fn.coalesce('trust_roots.retired_at', 'excluded.retired_at'),
      })),
    )
    .execute()
}

async function keepSigned(
  tx: Tx,
  statement: RootStatement,
  signatures: readonly PasskeySignature[],
): Promise<void> {
  const fingerprint = rootFingerprint(statement.certificate)
  await tx
    .updateTable('trust_roots')
    .set({ statement: canonicalJson(statement) })
    .where('fingerprint', '=', fingerprint)
    .where('statement', 'is', null)
    .execute()
  for (const signature of signatures) {
    await tx
      .insertInto('trust_root_signatures')
      .values({
        fingerprint,
        operators: statement.operators,
        operator: signature.operator,
        signature: JSON.stringify(signature),
        at: 0,
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }
}

/**
 * Takes over what a bundle says of roots that this database has forgotten; its signatures were verified with the bundle.
 *
 * @returns whether that is more than before
 */
export async function takeOverRoots(
  tx: Tx,
  list: RootList | undefined,
  now: number,
): Promise<boolean> {
  if (!list) return false
  const before = canonicalJson((await rootListOf(tx)) ?? null)
  for (const { statement, signatures } of list.added) {
    const { certificate } = statement
    await keep(tx, { certificate, preparedAt: now, trustedAt: now }, 'a later bundle')
    await keepSigned(tx, statement, signatures)
  }
  for (const fingerprint of list.retired) {
    const { numUpdatedRows } = await tx
      .updateTable('trust_roots')
      .set((eb) => ({ retired_at: eb.fn.coalesce('retired_at', eb.val(now)) }))
      .where('fingerprint', '=', fingerprint)
      .executeTakeFirst()
    if (numUpdatedRows > 0n) continue
    const none = { key: null, statement: null, trusted_at: now, activated_at: null }
    const row = { certificate: '', prepared_at: now, prepared_by: 'a later bundle', ...none }
    await tx
      .insertInto('trust_roots')
      .values({ fingerprint, ...row, retired_at: now })
      .execute()
  }
  return canonicalJson((await rootListOf(tx)) ?? null) !== before
}
