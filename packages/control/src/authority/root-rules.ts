import { X509Certificate } from 'node:crypto'
import { sql } from 'kysely'
import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { rootFingerprint } from '@sallyport/wire'
import type { Publisher } from '../domain/publisher.ts'
import type { Tx } from '../store/store.ts'
import type { Trust } from '../trust.ts'
import { readRootRows, stateOf } from './root-rows.ts'
import type { RootRow } from './root-rows.ts'

interface RuleDeps {
  readonly clock: Clock
  readonly publisher: Publisher
  readonly trust: Pick<Trust, 'pins'>
}

/** Others who trust this domain by its bundle look that often for a newer one; and once more, should one answer get lost. */
const FEDERATION_MS = 2 * 300_000

/**
 * Until when somebody may run who never heard of this root: whoever was given a certificate since was given the root with it, so
 * it is the end of the last one from before.
 */
export async function unseenUntil(
  tx: Tx,
  deps: RuleDeps,
  row: RootRow,
): Promise<number | undefined> {
  const now = deps.clock.now()
  const trusted = row.trusted_at ?? now
  const { last } = await tx
    .selectFrom('certificates')
    .select(({ fn }) => fn.max<number | null>('not_after').as('last'))
    .where('issued_at', '<=', trusted)
    .where('not_after', '>', now)
    .executeTakeFirstOrThrow()
  const { federation = [], settings } = deps.publisher.index().network
  const others = federation.length > 0 ? trusted + FEDERATION_MS : 0
  // Certificates that a restored database has forgotten, or that a control plane gave out which had not heard of the root yet.
  const unknown = trusted + settings.svidTtlSeconds * 1000
  const until = Math.max(last ?? 0, others, unknown)
  return until > now ? until : undefined
}

/** Until when an SVID below this root is valid, or one of a control plane that has not changed over may be. */
export async function usedUntil(
  tx: Tx,
  deps: RuleDeps,
  { fingerprint }: RootRow,
  all: readonly RootRow[],
): Promise<number | undefined> {
  const now = deps.clock.now()
  const first = rootFingerprint(
    new X509Certificate(deps.trust.pins.roots).raw.toString('base64url'),
  )
  const { rows } = await sql<{ last: number | null }>`
    SELECT max(not_after) AS last FROM certificates
     WHERE coalesce(root, ${first}) = ${fingerprint} AND not_after > ${now}`.execute(tx)
  const { svidTtlSeconds } = deps.publisher.index().network.settings
  const since = all.map((row) => row.activated_at ?? 0).reduce((a, b) => Math.max(a, b), 0)
  const until = Math.max(rows[0]?.last ?? 0, since + svidTtlSeconds * 1000)
  return until > now ? until : undefined
}

/** Keys of roots, beside others in the same place: whoever writes the database has no other one opened or destroyed. */
export const ROOT_KEY: RegExp = /^(?:ca|root-[0-9a-f]{16})$/

/** The key that ends with a root; none where another root that has not ended is said to have it too: what is destroyed is gone for good. */
export function onlyKeyOf(row: RootRow, all: readonly RootRow[]): string | undefined {
  const { key } = row
  if (key === null || !ROOT_KEY.test(key)) return undefined
  const others = all.filter((one) => one.key === key && one.fingerprint !== row.fingerprint)
  return others.every((one) => one.retired_at !== null) ? key : undefined
}

/** The trusted successor. @throws SallyportError `SP_CA_ROOT_NOT_TRUSTED`, `SP_CA_ROOT_UNSEEN` */
export async function toActivate(tx: Tx, deps: RuleDeps): Promise<RootRow> {
  const all = await readRootRows(tx)
  const row = all.find((one) => stateOf(one, all) === 'trusted')
  if (!row) throw notTrusted()
  const until = await unseenUntil(tx, deps, row)
  if (until !== undefined) throw unseen(until)
  return row
}

/** @throws SallyportError `SP_CA_ROOT_UNKNOWN`, `SP_CA_ROOT_ACTIVE`, `SP_CA_ROOT_IN_USE` */
export async function toRetire(
  tx: Tx,
  deps: RuleDeps,
  wanted: string | undefined,
): Promise<RootRow> {
  const all = await readRootRows(tx)
  const row = retirable(all, wanted)
  const until = await usedUntil(tx, deps, row, all)
  if (until !== undefined) throw inUse(until)
  return row
}

function retirable(all: readonly RootRow[], wanted: string | undefined): RootRow {
  const out = all.filter((row) => ['trusted', 'outgoing'].includes(stateOf(row, all)))
  const found =
    wanted === undefined
      ? out.filter((row) => stateOf(row, all) === 'outgoing').slice(0, 1)
      : all.filter((row) => row.fingerprint.startsWith(wanted))
  const [row, second] = found
  if (!row || second) {
    throw new SallyportError('SP_CA_ROOT_UNKNOWN', 'there is no such root to retire', {
      fix: 'see `sallyport ca show`: a root that does not sign any more can be retired',
    })
  }
  if (out.includes(row)) return row
  throw new SallyportError('SP_CA_ROOT_ACTIVE', `this root is ${stateOf(row, all)}`, {
    fix: 'put its successor in use first',
  })
}

export const prepared = (): SallyportError =>
  new SallyportError('SP_CA_ROOT_PREPARED', 'there is a successor of the trust root already', {
    fix: 'put it in use, or take it back with `sallyport ca root cancel`, or `retire` once it is trusted',
  })

export const notTrusted = (): SallyportError =>
  new SallyportError('SP_CA_ROOT_NOT_TRUSTED', 'no successor of the trust root is trusted yet', {
    fix: 'prepare one, and have a quorum of admins sign it',
  })

const unseen = (until: number): SallyportError =>
  new SallyportError('SP_CA_ROOT_UNSEEN', 'not everybody can know the new root yet', {
    detail: `until ${new Date(until).toISOString()} there are certificates from before it was trusted`,
    fix: 'wait until they have been renewed',
  })

const inUse = (until: number): SallyportError =>
  new SallyportError('SP_CA_ROOT_IN_USE', 'there are valid certificates below this root', {
    detail: `the last of them ends at ${new Date(until).toISOString()}`,
    fix: 'wait until they have ended',
  })
