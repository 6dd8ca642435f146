import { randomBytes, X509Certificate } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { sql } from 'kysely'
import { canonicalJson, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { signRoot } from '@sallyport/spiffe'
import { rootFingerprint, rootProof } from '@sallyport/wire'
import type { OperatorSet, PasskeySignature, RootStatement } from '@sallyport/wire'
import type { Acts } from '../domain/acts.ts'
import type { Publisher } from '../domain/publisher.ts'
import { serially } from '../domain/serially.ts'
import { checkSignature, noOperators, signersOf } from '../domain/signers.ts'
import type { Store, Tx } from '../store/store.ts'
import type { Trust } from '../trust.ts'
import { ROOTS_FORMAT } from '../trust/roots.ts'
import type { KeptRoots } from '../trust/roots.ts'
import type { RootOfAuthority } from './authority.ts'
import { readIfThere, writeDurably } from './keys.ts'
import { pemOf, readRootRows, signaturesOn, stateOf } from './root-rows.ts'
import {
  notTrusted,
  onlyKeyOf,
  prepared,
  ROOT_KEY,
  toActivate,
  toRetire,
  unseenUntil,
  usedUntil,
} from './root-rules.ts'
import type { RootRow, RootState } from './root-rows.ts'

/** What operators see of one root. */
interface RootView {
  /** SHA-256 of the certificate (DER), hex. */
  readonly fingerprint: string
  /** Absent where only its retirement is known. */
  readonly notAfter?: number
  readonly state: RootState
  readonly preparedAt: number
  readonly preparedBy: string
  readonly trustedAt?: number
  readonly activatedAt?: number
  readonly retiredAt?: number
  /** Of a prepared one: who signed so far, and how many have to. */
  readonly signed?: readonly string[]
  readonly quorum?: number
  /** The next step is refused until then, where it is known already; milliseconds since the epoch. */
  readonly waitsUntil?: number
}

/**
 * Successors of the trust root. To trust another root is the widest act there is, so a quorum signs its certificate and every verifier
 * checks that; to put it in use changes nobody's rights; to retire one only takes away.
 */
export interface Roots {
  view(): Promise<readonly RootView[]>
  /** Makes the key and the certificate of a successor. Nobody trusts it yet. @throws SallyportError `SP_CA_ROOT_PREPARED`, the provider's own */
  prepare(input: { readonly by: string }): Promise<readonly RootView[]>
  /** What the operators are to sign. @throws SallyportError `SP_CA_ROOT_NOT_PREPARED`, `SP_OPERATORS_NONE` */
  statement(): Promise<RootStatement>
  /**
   * Adds one operator's signature; with the quorum's last one bundles carry the root, beside the others.
   *
   * @throws SallyportError `SP_CA_ROOT_NOT_PREPARED`, `SP_CA_ROOT_STATEMENT`, `SP_CA_ROOT_ROLE`, `SP_KEY_*`, `SP_SIGNATURE_*`
   */
  sign(input: {
    readonly operator: string
    readonly statement: RootStatement
    readonly signature: PasskeySignature
  }): Promise<{ live: boolean; signed: readonly string[]; quorum: number }>
  /** Forgets a prepared one that is not trusted yet. @throws SallyportError `SP_CA_ROOT_NOT_PREPARED` */
  cancel(): Promise<readonly RootView[]>
  /**
   * Signs below the trusted successor from now on.
   *
   * @throws SallyportError `SP_CA_ROOT_NOT_TRUSTED`; `SP_CA_ROOT_UNSEEN` while somebody may not know it yet; `SP_KEY_MISSING`,
   *   `SP_AUDIT_UNAVAILABLE`
   */
  activate(input: { readonly by: string }): Promise<readonly RootView[]>
  /**
   * Ends trust in a root that does not sign any more.
   *
   * @param input.fingerprint whole, or how it begins; the oldest that does not sign where absent
   * @throws SallyportError `SP_CA_ROOT_UNKNOWN`, `SP_CA_ROOT_ACTIVE`; `SP_CA_ROOT_IN_USE` while an SVID below it is valid;
   *   `SP_AUDIT_UNAVAILABLE`
   */
  retire(input: {
    readonly by: string
    readonly fingerprint?: string | undefined
  }): Promise<readonly RootView[]>
}

/** The same, and what the control plane itself does with it. */
export interface RootKeeper extends Roots {
  /** The root that is to sign, of those whose keys are here. @throws SallyportError `SP_KEY_MISSING` */
  current(): Promise<RootOfAuthority>
  /** Does what the database says: files, keys, and what `follow` was given. */
  sync(): Promise<void>
  /** Told after each `sync` which root is to sign. */
  follow(listener: (root: RootOfAuthority) => Promise<void>): void
}

export interface RootsDeps {
  readonly store: Store
  readonly clock: Clock
  readonly trust: Trust
  readonly publisher: Publisher
  readonly operatorSet: () => OperatorSet | undefined
  /** On the record before anything changes: who did it stands nowhere else. */
  readonly record: Acts['record']
  readonly onError: (error: unknown) => void
}

const ROOT_SECONDS = 10 * 365 * 86_400
const ROLES = ['admin'] as const
/** Names the key that is being made, so that a crash leaves none that nobody knows of. */
const PREPARING = 'root.preparing'

export function createRoots(deps: RootsDeps): RootKeeper {
  const { store, clock, trust, publisher } = deps
  const turn = serially()
  let listener: ((root: RootOfAuthority) => Promise<void>) | undefined

  const rows = (): Promise<readonly RootRow[]> => store.run((db) => readRootRows(db as Tx))
  const view = (): Promise<readonly RootView[]> =>
    store.run(async (db) => {
      const all = await readRootRows(db as Tx)
      return Promise.all(all.map((row) => viewOf(db as Tx, deps, row, all)))
    })
  const current = async (): Promise<RootOfAuthority> => signingRoot(deps, await rows())
  const sync = (): Promise<void> =>
    turn(async () => {
      const all = await rows()
      keepFile(deps, all)
      await destroyRetired(deps, all)
      await listener?.(await signingRoot(deps, all))
    })

  return {
    view,
    current,
    sync,
    follow(next) {
      listener = next
    },
    prepare: ({ by }) =>
      turn(async () => {
        await store.transaction(async (tx) => {
          await sql`SELECT FROM bundle_head FOR UPDATE`.execute(tx)
          const all = await readRootRows(tx)
          if (all.some((row) => ['prepared', 'trusted'].includes(stateOf(row, all)))) {
            throw prepared()
          }
          await forgetUnfinished(deps, all)
          await makeRoot(tx, deps, by)
        })
        rmSync(join(trust.dir, PREPARING), { force: true })
        return view()
      }),
    async statement() {
      return statementOf(deps, preparedOf(await rows()))
    },
    async sign(input) {
      const { result } = await publisher.publish(async (tx) => {
        const done = await sign(tx, deps, input)
        return { result: done, changed: done.live }
      })
      if (result.live) await sync()
      return result
    },
    async cancel() {
      const key = await store.transaction(async (tx) => {
        await sql`SELECT FROM bundle_head FOR UPDATE`.execute(tx)
        const all = await readRootRows(tx)
        const row = preparedOf(all)
        await tx.deleteFrom('trust_roots').where('fingerprint', '=', row.fingerprint).execute()
        await tx
          .deleteFrom('trust_root_signatures')
          .where('fingerprint', '=', row.fingerprint)
          .execute()
        return onlyKeyOf(row, all)
      })
      if (key !== undefined) await trust.rootKeys.destroy(key)
      return view()
    },
    async activate({ by }) {
      const row = await store.transaction((tx) => toActivate(tx, deps))
      const { fingerprint } = row
      await openRoot(deps, row)
      await deps.record('root-activated', { fingerprint, by })
      await publisher.publish(async (tx) => {
        if ((await toActivate(tx, deps)).fingerprint !== fingerprint) throw notTrusted()
        await tx
          .updateTable('trust_roots')
          .set({ activated_at: clock.now() })
          .where('fingerprint', '=', fingerprint)
          .execute()
        // A revision, though bundles say the same: other control planes look.
        return { result: undefined, changed: true }
      })
      await sync()
      return view()
    },
    async retire({ by, fingerprint: wanted }) {
      const { fingerprint } = await store.transaction((tx) => toRetire(tx, deps, wanted))
      await deps.record('root-retired', { fingerprint, by })
      await publisher.publish(async (tx) => {
        await toRetire(tx, deps, fingerprint)
        await tx
          .updateTable('trust_roots')
          .set({ retired_at: clock.now() })
          .where('fingerprint', '=', fingerprint)
          .execute()
        return { result: undefined, changed: true }
      })
      await sync()
      return view()
    },
  }
}

async function viewOf(
  tx: Tx,
  deps: RootsDeps,
  row: RootRow,
  all: readonly RootRow[],
): Promise<RootView> {
  const state = stateOf(row, all)
  const set = deps.operatorSet()
  const waitsUntil =
    state === 'trusted'
      ? await unseenUntil(tx, deps, row)
      : state === 'outgoing'
        ? await usedUntil(tx, deps, row, all)
        : undefined
  const signatures =
    state === 'prepared' && set ? await signaturesOn(tx, row.fingerprint, set.version) : []
  const signing = set && {
    signed: signersOf(statementOf(deps, row), signatures, set, ROLES),
    quorum: set.quorum,
  }
  return {
    fingerprint: row.fingerprint,
    ...(row.certificate === ''
      ? {}
      : { notAfter: new X509Certificate(pemOf(row)).validToDate.getTime() }),
    state,
    preparedAt: row.prepared_at,
    preparedBy: row.prepared_by,
    ...(row.trusted_at === null ? {} : { trustedAt: row.trusted_at }),
    ...(row.activated_at === null ? {} : { activatedAt: row.activated_at }),
    ...(row.retired_at === null ? {} : { retiredAt: row.retired_at }),
    ...(state === 'prepared' ? signing : {}),
    ...(waitsUntil === undefined ? {} : { waitsUntil }),
  }
}

async function makeRoot(tx: Tx, { trust, clock }: RootsDeps, by: string): Promise<void> {
  const key = `root-${randomBytes(8).toString('hex')}`
  writeDurably(trust.dir, PREPARING, key)
  const signer = await trust.rootKeys.generate(key, 'p256')
  const now = clock.now()
  const { trustDomain } = trust.pins
  const pem = signRoot(signer, { trustDomain, ttlSeconds: ROOT_SECONDS, now })
  const certificate = new X509Certificate(pem).raw.toString('base64url')
  const none = { statement: null, trusted_at: null, activated_at: null, retired_at: null }
  await tx
    .insertInto('trust_roots')
    .values({
      fingerprint: rootFingerprint(certificate),
      ...{ certificate, key, prepared_at: now, prepared_by: by },
      ...none,
    })
    .execute()
}

/** Destroys the key that an attempt left which never came to an end. */
async function forgetUnfinished({ trust }: RootsDeps, all: readonly RootRow[]): Promise<void> {
  const key = readIfThere(trust.dir, PREPARING)
  if (key === undefined) return
  if (ROOT_KEY.test(key) && !all.some((row) => row.key === key)) await trust.rootKeys.destroy(key)
  rmSync(join(trust.dir, PREPARING), { force: true })
}

function statementOf({ trust, operatorSet }: RootsDeps, { certificate }: RootRow): RootStatement {
  const set = operatorSet()
  if (!set) throw noOperators()
  const { trustDomain } = trust.pins
  return { kind: 'root', trustDomain, certificate, operators: set.version }
}

async function sign(
  tx: Tx,
  deps: RootsDeps,
  input: Parameters<Roots['sign']>[0],
): Promise<{ live: boolean; signed: readonly string[]; quorum: number }> {
  const row = preparedOf(await readRootRows(tx))
  const expected = statementOf(deps, row)
  const set = checkSignature({
    set: deps.operatorSet(),
    operator: input.operator,
    expected,
    given: input.statement,
    signature: input.signature,
    roles: ROLES,
    codes: { statement: 'SP_CA_ROOT_STATEMENT', role: 'SP_CA_ROOT_ROLE' },
  })
  // A root that nobody could ever sign with would only be one more to trust.
  await openRoot(deps, row)
  const now = deps.clock.now()
  const { fingerprint } = row
  await tx
    .insertInto('trust_root_signatures')
    .values({
      ...{ fingerprint, operators: set.version, operator: input.operator, at: now },
      signature: JSON.stringify(input.signature),
    })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  const signatures = await signaturesOn(tx, fingerprint, set.version)
  const signed = signersOf(expected, signatures, set, ROLES)
  const live = signed.length >= set.quorum
  if (live) {
    await tx
      .updateTable('trust_roots')
      .set({ trusted_at: now, statement: canonicalJson(expected) })
      .where('fingerprint', '=', fingerprint)
      .execute()
  }
  return { live, signed, quorum: set.quorum }
}

function preparedOf(all: readonly RootRow[]): RootRow {
  const row = all.find((one) => stateOf(one, all) === 'prepared')
  if (row) return row
  throw new SallyportError(
    'SP_CA_ROOT_NOT_PREPARED',
    'no successor of the trust root is prepared',
    {
      fix: 'prepare one with `sallyport ca root prepare`',
    },
  )
}

/** @throws SallyportError `SP_KEY_MISSING` */
async function openRoot({ trust }: RootsDeps, row: RootRow): Promise<RootOfAuthority> {
  if (row.key === null || !ROOT_KEY.test(row.key)) {
    throw new SallyportError('SP_KEY_MISSING', 'the key of this root is not here', {
      detail: row.fingerprint,
      fix: 'copy it from the folder `trust` of the control plane that made it',
    })
  }
  return { certificatePem: pemOf(row), signer: await trust.rootKeys.signer(row.key) }
}

/** The root in use; where its key is not here, the one that was in use last of those whose key is: it is trusted as well. */
async function signingRoot(deps: RootsDeps, all: readonly RootRow[]): Promise<RootOfAuthority> {
  const usable = all
    .filter((row) => row.activated_at !== null && row.retired_at === null)
    .toSorted((a, b) => (b.activated_at ?? 0) - (a.activated_at ?? 0))
  // Of a database that forgot that the one in use was put in use: what is trusted is all there is left.
  const left = all.filter((row) => stateOf(row, all) === 'trusted')
  const candidates = usable.length > 0 ? usable : left
  let missing: unknown
  for (const row of candidates) {
    try {
      return await openRoot(deps, row)
    } catch (error) {
      missing ??= error
      deps.onError(error)
    }
  }
  throw missing ?? new SallyportError('SP_KEY_MISSING', 'every root of this network is retired')
}

/** INVARIANT: written down before a retired key is destroyed, so that no restored database takes a destroyed root for the one in use. */
function keepFile({ trust, publisher }: RootsDeps, all: readonly RootRow[]): void {
  const proof = rootProof(publisher.current().bundle)
  if (!proof) return
  const roots = all
    .filter((row) => row.trusted_at !== null && row.certificate !== '')
    .map((row) => ({
      certificate: row.certificate,
      ...(row.key === null ? {} : { key: row.key }),
      preparedAt: row.prepared_at,
      trustedAt: row.trusted_at ?? 0,
      ...(row.activated_at === null ? {} : { activatedAt: row.activated_at }),
      ...(row.retired_at === null ? {} : { retiredAt: row.retired_at }),
    }))
  const next: KeptRoots = { format: ROOTS_FORMAT, genesis: trust.pins.roots, roots, proof }
  if (canonicalJson(next) !== canonicalJson(trust.kept ?? null)) trust.keepRoots(next)
}

async function destroyRetired({ trust }: RootsDeps, all: readonly RootRow[]): Promise<void> {
  const written = new Set(trust.kept?.proof.roots?.retired)
  for (const row of all) {
    const key = written.has(row.fingerprint) ? onlyKeyOf(row, all) : undefined
    if (key !== undefined) await trust.rootKeys.destroy(key)
  }
}
