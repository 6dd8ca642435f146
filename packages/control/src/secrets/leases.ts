import { sql } from 'kysely'
import type { Selectable } from 'kysely'
import { newId, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Database } from '../store/schema.ts'
import type { Store, Tx } from '../store/store.ts'

export type LeaseRow = Selectable<Database['leases']>

/** What a holder and an operator see of a lease. Times are milliseconds since the epoch. */
export interface LeaseView {
  readonly id: string
  readonly parent: string | null
  readonly kind: 'scope' | 'database'
  /** SPIFFE id of the instance. */
  readonly holder: string
  readonly resource: string
  /** The role in the database. */
  readonly account: string | null
  readonly state: LeaseRow['state']
  readonly issuedAt: number
  readonly expiresAt: number
  readonly maxExpiresAt: number
  readonly endedAt: number | null
  readonly endReason: string | null
}

export interface NewLease {
  readonly parent?: string
  readonly kind: 'scope' | 'database'
  readonly holder: string
  readonly serial: string
  readonly resource: string
  readonly account?: string
  readonly target?: string
  readonly terms?: string
  readonly ttlSeconds: number
  readonly maxTtlSeconds: number
}

export interface LeaseDeps {
  readonly store: Store
  readonly clock: Clock
  /** Ends what a lease stands for. Called again until it has resolved once. */
  readonly release: (row: LeaseRow) => Promise<void>
  /** Why a lease that has not run out should end all the same. */
  readonly judge: (row: LeaseRow) => string | undefined
  readonly onEnded: (row: LeaseRow, reason: string) => Promise<void>
  readonly onError: (error: unknown) => void
}

/** A creation that has not come to its end by then has crashed. */
const CREATING_MS = 60_000
/** Longest wait before what could not be ended is tried again. */
const MAX_RETRY_MS = 30_000
/** At most this many at a time for one instance. */
const MAX_HELD = 32
const MAX_LISTED = 500

/**
 * Who holds what until when. Judged by the database's clock, which is never let go back, and in each process by its monotonic clock
 * too: whichever says first that a lease has run out is believed.
 */
export class Leases {
  readonly #deps: LeaseDeps
  /** Monotonic ends, for the expiry that each was computed from. */
  readonly #ends = new Map<string, { readonly expiresAt: number; readonly at: number }>()
  /** What could not be ended: how often, and the monotonic time of the next try. */
  readonly #retries = new Map<string, { readonly tries: number; readonly at: number }>()
  /** What is being ended now. */
  readonly #releasing = new Map<string, Promise<unknown>>()
  #sweeping: Promise<void> | undefined
  #again = false

  constructor(deps: LeaseDeps) {
    this.#deps = deps
  }

  /**
   * Writes down a lease before what it stands for is made, so that no crash leaves anything unaccounted for.
   *
   * @throws SallyportError `SP_LEASE_UNKNOWN` for a parent that is not the holder's, `SP_LEASE_FLOOD`
   */
  async begin(input: NewLease): Promise<LeaseRow> {
    return this.#deps.store.transaction(async (tx) => {
      const now = await tick(tx)
      let limit = now + input.maxTtlSeconds * 1000
      if (input.parent !== undefined) {
        const parent = await held(tx, input.parent, input.holder, now)
        limit = Math.min(limit, parent.max_expires_at)
      }
      const { open } = await tx
        .selectFrom('leases')
        .select(sql<number>`count(*)`.as('open'))
        .where('holder', '=', input.holder)
        .where('state', '!=', 'ended')
        .executeTakeFirstOrThrow()
      if (open >= MAX_HELD) {
        throw new SallyportError('SP_LEASE_FLOOD', `this instance holds ${MAX_HELD} leases already`)
      }
      const row: LeaseRow = {
        id: newId('lea', this.#deps.clock.now()),
        parent: input.parent ?? null,
        kind: input.kind,
        holder: input.holder,
        serial: input.serial,
        resource: input.resource,
        account: input.account ?? null,
        target: input.target ?? null,
        terms: input.terms ?? null,
        state: input.kind === 'scope' ? 'active' : 'creating',
        issued_at: now,
        expires_at: Math.min(now + input.ttlSeconds * 1000, limit),
        max_expires_at: limit,
        ended_at: null,
        end_reason: null,
      }
      await tx.insertInto('leases').values(row).execute()
      this.#watch(row, now)
      return row
    })
  }

  /** What the lease stands for is there. @returns false where it was ended meanwhile: undo it then */
  async activate(id: string): Promise<boolean> {
    const updated = await this.#deps.store.run((db) =>
      db
        .updateTable('leases')
        .set({ state: 'active' })
        .where('id', '=', id)
        .where('state', '=', 'creating')
        .returning('id')
        .executeTakeFirst(),
    )
    return updated !== undefined
  }

  /**
   * Lengthens a lease, never beyond its last end, and only for the instance that holds it, whatever certificate it has by now.
   *
   * @throws SallyportError `SP_LEASE_UNKNOWN`
   */
  async renew(
    id: string,
    by: { readonly holder: string; readonly serial: string },
    ttlSeconds: number,
  ): Promise<LeaseRow> {
    return this.#deps.store.transaction(async (tx) => {
      const now = await tick(tx)
      const row = await held(tx, id, by.holder, now)
      if (this.#ranOut(row, now)) throw unknown()
      const expires_at = Math.max(
        row.expires_at,
        Math.min(now + ttlSeconds * 1000, row.max_expires_at),
      )
      const renewed = { ...row, expires_at, serial: by.serial }
      await tx
        .updateTable('leases')
        .set({ expires_at, serial: by.serial })
        .where('id', '=', id)
        .execute()
      this.#watch(renewed, now)
      return renewed
    })
  }

  /** The lease, where this instance holds it now. @throws SallyportError `SP_LEASE_UNKNOWN` */
  async held(id: string, holder: string): Promise<LeaseRow> {
    return this.#deps.store.transaction(async (tx) => {
      const now = await tick(tx)
      const row = await held(tx, id, holder, now)
      if (this.#ranOut(row, now)) throw unknown()
      return row
    })
  }

  /** Newest first. @param holder only those of this instance */
  async list(
    options: { readonly holder?: string; readonly ended?: boolean } = {},
  ): Promise<readonly LeaseView[]> {
    return this.#deps.store.run(async (db) => {
      let query = db.selectFrom('leases').selectAll().orderBy('issued_at', 'desc').limit(MAX_LISTED)
      if (options.holder !== undefined) query = query.where('holder', '=', options.holder)
      if (options.ended !== true) query = query.where('state', '!=', 'ended')
      return (await query.execute()).map(viewOf)
    })
  }

  /**
   * Ends a lease and all below it. What they stand for has ended when this resolves.
   *
   * @param holder where an instance asks: it ends only its own
   * @throws SallyportError `SP_LEASE_UNKNOWN`, or why it did not end (it is tried again)
   */
  async end(id: string, reason: string, holder?: string): Promise<void> {
    const rows = await this.#deps.store.transaction(async (tx) => {
      const row = await tx
        .selectFrom('leases')
        .selectAll()
        .where('id', '=', id)
        .forUpdate()
        .executeTakeFirst()
      if (!row || (holder !== undefined && row.holder !== holder)) throw unknown()
      return mark(tx, [id], reason)
    })
    const failed = await this.#release(rows)
    if (failed !== undefined) throw failed
  }

  /** Ends what has run out, or should not be any more. Runs once at a time, and once more where it was asked for meanwhile. */
  sweep(): Promise<void> {
    this.#again = this.#sweeping !== undefined
    this.#sweeping ??= this.#sweepAll().finally(() => {
      this.#sweeping = undefined
    })
    return this.#sweeping
  }

  /** Accounts that a lease stands for, or is being ended for. */
  async accounts(): Promise<ReadonlySet<string>> {
    const rows = await this.#deps.store.run((db) =>
      db
        .selectFrom('leases')
        .select('account')
        .where('state', '!=', 'ended')
        .where('account', 'is not', null)
        .execute(),
    )
    return new Set(rows.flatMap(({ account }) => account ?? []))
  }

  async #sweepAll(): Promise<void> {
    do {
      this.#again = false
      await this.#sweepOnce()
    } while (this.#again)
  }

  async #sweepOnce(): Promise<void> {
    const due = await this.#deps.store.transaction(async (tx) => {
      const now = await tick(tx)
      const open = await tx.selectFrom('leases').selectAll().where('state', '!=', 'ended').execute()
      const reasons = new Map<string, string[]>()
      for (const row of open) {
        if (row.state === 'ending') continue
        this.#watch(row, now)
        const stuck = row.state === 'creating' && now - row.issued_at > CREATING_MS
        const reason = this.#ranOut(row, now)
          ? 'expired'
          : stuck
            ? 'never finished'
            : this.#deps.judge(row)
        if (reason !== undefined) reasons.set(reason, [...(reasons.get(reason) ?? []), row.id])
      }
      const ids = new Set(open.map(({ id }) => id))
      for (const id of this.#ends.keys()) if (!ids.has(id)) this.#ends.delete(id)
      const monotonic = this.#deps.clock.monotonic()
      const marked = open.filter(
        ({ id, state }) => state === 'ending' && (this.#retries.get(id)?.at ?? 0) <= monotonic,
      )
      for (const [reason, these] of reasons) marked.push(...(await mark(tx, these, reason)))
      return marked
    })
    await this.#release(due)
  }

  /** @returns the first failure; what failed stays to be ended */
  async #release(rows: readonly LeaseRow[]): Promise<unknown> {
    const failures = await Promise.all(
      rows.map((row) => {
        const releasing =
          this.#releasing.get(row.id) ??
          this.#releaseOne(row).finally(() => this.#releasing.delete(row.id))
        this.#releasing.set(row.id, releasing)
        return releasing
      }),
    )
    return failures.find((failure) => failure !== undefined)
  }

  /** @returns why it did not end, or undefined */
  async #releaseOne(row: LeaseRow): Promise<unknown> {
    const { clock, onEnded, onError, release, store } = this.#deps
    try {
      await release(row)
      const ended = await store.transaction(async (tx) => {
        const now = await tick(tx)
        return tx
          .updateTable('leases')
          .set({ state: 'ended', ended_at: now })
          .where('id', '=', row.id)
          .where('state', '=', 'ending')
          .returning('end_reason')
          .executeTakeFirst()
      })
      this.#ends.delete(row.id)
      this.#retries.delete(row.id)
      if (ended) await onEnded(row, ended.end_reason ?? '')
      return undefined
    } catch (error) {
      const tries = (this.#retries.get(row.id)?.tries ?? 0) + 1
      const wait = Math.min(1000 * 2 ** Math.min(tries, 10), MAX_RETRY_MS)
      this.#retries.set(row.id, { tries, at: clock.monotonic() + wait })
      onError(error)
      return error
    }
  }

  #watch(row: LeaseRow, now: number): void {
    if (this.#ends.get(row.id)?.expiresAt === row.expires_at) return
    const at = this.#deps.clock.monotonic() + Math.max(0, row.expires_at - now)
    this.#ends.set(row.id, { expiresAt: row.expires_at, at })
  }

  #ranOut(row: LeaseRow, now: number): boolean {
    const end = this.#ends.get(row.id)
    const late = end?.expiresAt === row.expires_at && this.#deps.clock.monotonic() >= end.at
    return late || row.expires_at <= now
  }
}

/** The time that leases are judged by: the database's, or the latest that it ever told. */
export async function tick(tx: Tx): Promise<number> {
  const { high } = await tx
    .updateTable('lease_clock')
    .set({
      high: sql<number>`greatest(high, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)`,
    })
    .returning('high')
    .executeTakeFirstOrThrow()
  return high
}

/** One answer for what is not there, has ended, or is somebody else's: nobody learns which. */
async function held(tx: Tx, id: string, holder: string, now: number): Promise<LeaseRow> {
  const row = await tx
    .selectFrom('leases')
    .selectAll()
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst()
  if (!row || row.holder !== holder || row.state !== 'active' || row.expires_at <= now) {
    throw unknown()
  }
  return row
}

/** Marks leases, and all below them, as ending. @returns those that were not yet */
async function mark(tx: Tx, ids: readonly string[], reason: string): Promise<LeaseRow[]> {
  const { rows } = await sql<LeaseRow>`
    WITH RECURSIVE below AS (
      SELECT id FROM leases WHERE id = ANY(${sql.val([...ids])}::text[])
      UNION SELECT l.id FROM leases l JOIN below b ON l.parent = b.id
    )
    UPDATE leases SET state = 'ending', end_reason = ${reason}
     WHERE id IN (SELECT id FROM below) AND state IN ('creating', 'active')
    RETURNING *`.execute(tx)
  return rows
}

function viewOf(row: LeaseRow): LeaseView {
  return {
    id: row.id,
    parent: row.parent,
    kind: row.kind,
    holder: row.holder,
    resource: row.resource,
    account: row.account,
    state: row.state,
    issuedAt: row.issued_at,
    expiresAt: row.expires_at,
    maxExpiresAt: row.max_expires_at,
    endedAt: row.ended_at,
    endReason: row.end_reason,
  }
}

function unknown(): SallyportError {
  return new SallyportError('SP_LEASE_UNKNOWN', 'this instance holds no such lease', {
    fix: 'ask for a new one',
  })
}
