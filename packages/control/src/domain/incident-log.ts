import { sql } from 'kysely'
import { newId, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { agentId, kindOf, parseSpiffeId } from '@sallyport/spiffe'
import type { Store, Tx } from '../store/store.ts'
import type { Acts } from './acts.ts'
import type { Events } from './events.ts'
import type { Incidents, IncidentView, TimelineEntry } from './incidents.ts'
import { checkReason, storable } from './text.ts'

const BACKFILL_MS = 15 * 60_000
const BACKFILL_ROWS = 200
const SHOWN_ENTRIES = 2000
/** Signals kept of one instance before any incident. */
const SIGNALS_KEPT = 200

/** How the rest of the control plane writes incidents: always inside the transaction of what happened. */
export interface IncidentLog extends Incidents {
  /** Opens one for the subject where none is open, or raises the one that is. @returns its id */
  raise(
    tx: Tx,
    input: { subject: string; status: 'open' | 'contained'; risk: number; entry: TimelineEntry },
  ): Promise<string>
  /** Adds to the open incidents of the instance, or of its whole agent. */
  note(tx: Tx, instance: string, entries: readonly TimelineEntry[]): Promise<void>
  /** Notes signals, and keeps them for an incident that opens within a quarter of an hour. */
  notice(tx: Tx, instance: string, signals: readonly TimelineEntry[]): Promise<void>
  close(tx: Tx, subject: string, entry: TimelineEntry): Promise<void>
}

export function createIncidents(deps: {
  readonly store: Store
  readonly clock: Clock
  readonly events: Events
  readonly record: Acts['record']
}): IncidentLog {
  const { store, clock, events } = deps
  const note = async (
    tx: Tx,
    instance: string,
    entries: readonly TimelineEntry[],
  ): Promise<void> => {
    if (entries.length === 0) return
    const incidents = await tx
      .selectFrom('incidents')
      .select('id')
      .where('subject', 'in', subjectsOf(instance))
      .where('status', '!=', 'closed')
      .execute()
    for (const { id } of incidents) {
      await append(tx, id, entries)
      events.publish('incident', { id, subject: instance })
    }
  }
  const get = (id: string): Promise<IncidentView | undefined> =>
    store.run(async (db) => {
      const row = await db
        .selectFrom('incidents')
        .selectAll()
        .where('id', '=', id)
        .executeTakeFirst()
      if (!row) return undefined
      const entries = await db
        .selectFrom('incident_entries')
        .select(['at', 'kind', 'text', 'decision_id'])
        .where('incident_id', '=', id)
        .orderBy('at')
        .orderBy('seq')
        .limit(SHOWN_ENTRIES)
        .execute()
      return view(
        row,
        entries.map(({ at, kind, text, decision_id }) => ({
          at,
          kind,
          text,
          ...(decision_id === null ? {} : { decisionId: decision_id }),
        })),
      )
    })
  return {
    note,
    async notice(tx, instance, signals) {
      // An incident that opens meanwhile either takes these along or is seen here.
      for (const subject of subjectsOf(instance).toSorted()) await turn(tx, subject)
      await keep(tx, instance, signals.slice(-SIGNALS_KEPT), clock.now() - BACKFILL_MS)
      await note(tx, instance, signals)
    },
    async raise(tx, { subject, status, risk, entry }) {
      const now = clock.now()
      const row = await tx
        .insertInto('incidents')
        .values({ id: newId('inc', now), subject, status, opened_at: now, closed_at: null, risk })
        .onConflict((conflict) =>
          conflict
            .column('subject')
            .where('status', '!=', sql.lit('closed'))
            .doUpdateSet({
              // What is contained stays so.
              status: sql`least(incidents.status, excluded.status)`,
              risk: sql`greatest(incidents.risk, excluded.risk)`,
            }),
        )
        .returning(['id', sql<boolean>`xmax = 0`.as('fresh')])
        .executeTakeFirstOrThrow()
      const { id } = row
      if (row.fresh) {
        await turn(tx, subject)
        await backfill(tx, id, subject, now - BACKFILL_MS)
      }
      await append(tx, id, [entry])
      events.publish('incident', { id, subject, status })
      return id
    },
    async close(tx, subject, entry) {
      const row = await tx
        .updateTable('incidents')
        .set({ status: 'closed', closed_at: clock.now() })
        .where('subject', '=', subject)
        .where('status', '!=', 'closed')
        .returning('id')
        .executeTakeFirst()
      if (!row) return
      await append(tx, row.id, [entry])
      events.publish('incident', { id: row.id, subject, status: 'closed' })
    },
    async dismiss({ id, reason, by }) {
      const why = checkReason(reason, 'SP_INCIDENT_REASON')
      demandDismissible(await get(id), id)
      // On the record before anything changes: nobody hides an alarm without a trace.
      await deps.record('incident-closed', { id, by, reason: why })
      const at = clock.now()
      await store.transaction(async (tx) => {
        const closed = await tx
          .updateTable('incidents')
          .set({ status: 'closed', closed_at: at })
          .where('id', '=', id)
          // Meanwhile it may have been contained, or closed by somebody else.
          .where('status', '=', 'open')
          .returning('id')
          .executeTakeFirst()
        if (!closed) throw new SallyportError('SP_INCIDENT_CLOSED', 'it is not open any more')
        const text = `closed as a false alarm by ${by}: ${why}`
        await append(tx, id, [{ at, kind: 'closed', text }])
      })
      const view = await get(id)
      if (!view) throw unknown(id)
      events.publish('incident', { id, subject: view.subject, status: 'closed' })
      return view
    },
    list: () =>
      store.run(async (db) => {
        const rows = await db
          .selectFrom('incidents')
          .selectAll()
          .orderBy('opened_at', 'desc')
          .limit(500)
          .execute()
        return rows.map((row) => view(row, []))
      }),
    get,
  }
}

function demandDismissible(incident: IncidentView | undefined, id: string): void {
  if (!incident) throw unknown(id)
  if (incident.status === 'closed') {
    throw new SallyportError('SP_INCIDENT_CLOSED', 'it is closed already')
  }
  if (incident.status === 'contained') {
    throw new SallyportError('SP_INCIDENT_HELD', 'its subject is cut off', {
      fix: 'release the subject: that closes the incident',
    })
  }
  if (/^spiffe:\/\/[^/]+\/operator\//.test(incident.subject)) {
    throw new SallyportError('SP_INCIDENT_HELD', 'it is about a person', {
      fix: 'have somebody else review the break-glass: that closes the incident',
    })
  }
}

const unknown = (id: string): SallyportError =>
  new SallyportError('SP_INCIDENT_UNKNOWN', `there is no incident \`${id}\``)

/** The instance itself and all of its agent: either may be what is cut off. */
export function subjectsOf(instance: string): string[] {
  try {
    const id = parseSpiffeId(instance)
    const kind = kindOf(id)
    return kind?.kind === 'agent' ? [instance, agentId(id.trustDomain, kind.name)] : [instance]
  } catch {
    // A gateway that reports nonsense must not hold up what it reports after it.
    return [instance]
  }
}

async function append(tx: Tx, id: string, entries: readonly TimelineEntry[]): Promise<void> {
  await tx
    .insertInto('incident_entries')
    .values(
      entries.map(({ at, kind, text, decisionId }) => ({
        incident_id: id,
        at,
        kind,
        text: storable(text),
        decision_id: decisionId === undefined ? null : storable(decisionId),
      })),
    )
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

/** Held until the transaction ends. */
async function turn(tx: Tx, subject: string): Promise<void> {
  await sql`SELECT pg_advisory_xact_lock(hashtextextended(${`incident ${subject}`}, 0))`.execute(tx)
}

async function keep(
  tx: Tx,
  instance: string,
  signals: readonly TimelineEntry[],
  since: number,
): Promise<void> {
  if (signals.length === 0) return
  await tx
    .insertInto('signals')
    .values(
      signals.map(({ at, text }) => ({ instance: storable(instance), at, text: storable(text) })),
    )
    .execute()
  await sql`
    DELETE FROM signals
     WHERE instance = ${storable(instance)} AND (at < ${since} OR seq <= (
             SELECT seq FROM signals WHERE instance = ${storable(instance)}
              ORDER BY seq DESC OFFSET ${SIGNALS_KEPT} LIMIT 1))`.execute(tx)
}

/** What was noticed of the subject and what it was refused shortly before: where an investigation begins. */
async function backfill(tx: Tx, id: string, subject: string, since: number): Promise<void> {
  await sql`
    INSERT INTO incident_entries (incident_id, at, kind, text, decision_id)
    SELECT ${id}, at, 'decision', decision || ' ' || system || '.' || operation, decision_id FROM (
      SELECT seq, at, decision, system, operation, decision_id FROM feed
       WHERE kind = 'decision' AND at >= ${since} AND decision <> 'allow'
         AND (instance = ${subject} OR starts_with(instance, ${`${subject}/`}))
       ORDER BY seq DESC LIMIT ${BACKFILL_ROWS}
    ) recent ORDER BY seq
    ON CONFLICT DO NOTHING`.execute(tx)
  await sql`
    INSERT INTO incident_entries (incident_id, at, kind, text)
    SELECT ${id}, at, 'signal', text FROM signals
     WHERE at >= ${since} AND (instance = ${subject} OR starts_with(instance, ${`${subject}/`}))
     ORDER BY seq`.execute(tx)
}

function view(
  row: {
    id: string
    status: IncidentView['status']
    subject: string
    opened_at: number
    closed_at: number | null
    risk: number
  },
  timeline: readonly TimelineEntry[],
): IncidentView {
  return {
    id: row.id,
    status: row.status,
    subject: row.subject,
    openedAt: row.opened_at,
    ...(row.closed_at === null ? {} : { closedAt: row.closed_at }),
    risk: row.risk,
    timeline,
  }
}
