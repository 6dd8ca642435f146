import { canonicalJson, newId, SallyportError, sha256Hex } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Network, OperatorRole } from '@sallyport/network'
import type { OperatorSet, ReviewStatement } from '@sallyport/wire'
import type { Store } from '../store/store.ts'
import type { Acts } from './acts.ts'
import type { AlarmBell } from './alarms.ts'
import type { BreakGlass, BreakGlassView } from './break-glass.ts'
import type { IncidentLog } from './incident-log.ts'
import { checkSignature } from './signers.ts'
import { checkReason, storable } from './text.ts'

const MINUTES = 30
const REVIEW_HOURS = 24
const HOUR_MS = 3_600_000
const REVIEWERS: readonly OperatorRole[] = ['approver', 'admin']
/** Above this a clock went back: nothing says how old it is. */
const MAX_BACK_MS = 60_000
const SHOWN = 200
const SHOWN_ACTS = 2000
const MAX_PATH = 2048
/** Whoever can act as anybody's superior is a danger worth the highest number. */
const RISK = 100

interface Row {
  readonly id: string
  readonly operator: string
  readonly session_id: string
  readonly roles: readonly OperatorRole[]
  readonly reason: string
  readonly incident_id: string
  readonly opened_at: number
  readonly expires_at: number
  readonly ended_at: number | null
  readonly reviewed_at: number | null
  readonly reviewed_by: string | null
  readonly review: string | null
}

/** What a session has beside its usual roles. */
export interface Elevation {
  readonly id: string
  readonly roles: readonly OperatorRole[]
  readonly endsAt: number
}

export interface Emergencies extends BreakGlass {
  /** @returns what is open in this session; undefined where nothing is, or the declaration gives it no longer */
  of(sessionId: string, operator: string): Promise<Elevation | undefined>
}

/** @see BreakGlass */
export function createBreakGlass(deps: {
  readonly store: Store
  readonly clock: Clock
  readonly trustDomain: string
  readonly network: () => Network
  readonly alarms: AlarmBell
  readonly incidents: IncidentLog
  readonly acts: Acts
  readonly operatorSet: () => OperatorSet | undefined
  readonly onError: (error: unknown) => void
}): Emergencies {
  const { store, clock, network, alarms, incidents, acts } = deps
  const declared = (operator: string) => network().operators.find(({ name }) => name === operator)
  const subjectOf = (operator: string): string =>
    `spiffe://${deps.trustDomain}/operator/${operator}`
  const endOf = (row: Row): number => Math.min(row.ended_at ?? Infinity, row.expires_at)
  const isOpen = (row: Row): boolean => {
    const now = clock.now()
    return now < endOf(row) && row.opened_at - now <= MAX_BACK_MS
  }
  const viewOf = (row: Row): BreakGlassView => {
    const { id, operator, roles, reason, incident_id: incidentId, opened_at: openedAt } = row
    const { reviewed_at: at, reviewed_by: by, review: text } = row
    const endsAt = endOf(row)
    const hours = network().settings.breakGlassReviewHours ?? REVIEW_HOURS
    const reviewBy = endsAt + hours * HOUR_MS
    const review = at === null || by === null || text === null ? undefined : { by, at, text }
    return {
      ...{ id, operator, roles, reason, incidentId, openedAt, endsAt, reviewBy },
      open: isOpen(row),
      ...(review ? { review } : {}),
      overdue: review === undefined && clock.now() >= reviewBy,
    }
  }
  const find = async (id: string): Promise<Row> => {
    const row = await store.run((db) =>
      db.selectFrom('break_glass').selectAll().where('id', '=', id).executeTakeFirst(),
    )
    if (row) return row
    throw new SallyportError('SP_BREAK_GLASS_UNKNOWN', 'there is no such break-glass')
  }

  const statementOf = async (row: Row, by: string, text: unknown): Promise<ReviewStatement> => {
    if (row.operator === by) {
      throw new SallyportError('SP_BREAK_GLASS_SELF', 'nobody reviews their own break-glass', {
        fix: 'another operator has to',
      })
    }
    // By what is declared: what somebody has by break-glass reviews nothing.
    if (!declared(by)?.roles.some((role) => REVIEWERS.includes(role))) {
      throw new SallyportError('SP_BREAK_GLASS_ROLE', `\`${by}\` may not review this`)
    }
    if (isOpen(row)) {
      throw new SallyportError('SP_BREAK_GLASS_OPEN', 'it is still open', {
        fix: 'end it first: what is done after a review would be reviewed by nobody',
      })
    }
    if (row.reviewed_at !== null) {
      throw new SallyportError('SP_BREAK_GLASS_UNKNOWN', 'it has been reviewed already')
    }
    const done = await store.run((db) =>
      db
        .selectFrom('break_glass_acts')
        .select(['at', 'method', 'path'])
        .where('break_glass_id', '=', row.id)
        .orderBy('seq')
        .execute(),
    )
    return {
      kind: 'break-glass-review',
      ...{ id: row.id, operator: row.operator, reviewer: by },
      text: checkReason(typeof text === 'string' ? text : '', 'SP_BREAK_GLASS_REASON'),
      ...{ openedAt: row.opened_at, endedAt: endOf(row) },
      acts: sha256Hex(canonicalJson(done.map(({ at, method, path }) => [at, method, path]))),
    }
  }

  return {
    async of(sessionId, operator) {
      const most = declared(operator)?.breakGlass?.roles
      if (!most) return undefined
      const rows = await store.run((db) =>
        db.selectFrom('break_glass').selectAll().where('session_id', '=', sessionId).execute(),
      )
      const row = rows.find((one) => one.operator === operator && isOpen(one))
      // A declaration that gives less counts at once.
      const roles = row?.roles.filter((role) => most.includes(role)) ?? []
      return row && roles.length > 0 ? { id: row.id, roles, endsAt: endOf(row) } : undefined
    },
    async list() {
      const rows = await store.run((db) =>
        db
          .selectFrom('break_glass')
          .selectAll()
          .orderBy('opened_at', 'desc')
          .limit(SHOWN)
          .execute(),
      )
      return rows.map(viewOf)
    },
    async get(id) {
      return store.run(async (db) => {
        const row = await db
          .selectFrom('break_glass')
          .selectAll()
          .where('id', '=', id)
          .executeTakeFirst()
        if (!row) return undefined
        const done = await db
          .selectFrom('break_glass_acts')
          .select(['at', 'method', 'path'])
          .where('break_glass_id', '=', id)
          .orderBy('seq')
          .limit(SHOWN_ACTS)
          .execute()
        return { ...viewOf(row), acts: done }
      })
    },
    async open(session, reason) {
      const { operator } = session
      const roles = declared(operator)?.breakGlass?.roles
      if (!roles || session.method !== 'passkey') {
        throw new SallyportError(
          'SP_BREAK_GLASS_UNDECLARED',
          'the declaration gives this operator nothing to break',
          { fix: 'declare `breakGlass` at the operator; a quorum signs the change' },
        )
      }
      const why = checkReason(reason, 'SP_BREAK_GLASS_REASON')
      const now = clock.now()
      const id = newId('brk', now)
      // Not without a trace: what cannot be recorded is not opened.
      await acts.record('break-glass-opened', { id, operator, roles: roles.join(' '), reason: why })
      const text = `\`${operator}\` broke the glass (${roles.join(', ')}): ${why}`
      const row = await store.transaction(async (tx) => {
        const open = await tx
          .selectFrom('break_glass')
          .selectAll()
          .where('operator', '=', operator)
          .where('ended_at', 'is', null)
          .where('expires_at', '>', now)
          .execute()
        if (open.some((one) => one.session_id === session.id)) {
          throw new SallyportError('SP_BREAK_GLASS_OPEN', 'the glass is broken already', {
            fix: 'act, or end it first',
          })
        }
        const incidentId = await incidents.raise(tx, {
          subject: subjectOf(operator),
          status: 'open',
          risk: RISK,
          entry: { at: now, kind: 'signal', text },
        })
        const minutes = network().settings.breakGlassMinutes ?? MINUTES
        const values = {
          ...{ id, operator, session_id: session.id, reason: why, incident_id: incidentId },
          opened_at: now,
          // No longer than the session in which it holds.
          expires_at: Math.min(now + minutes * 60_000, session.expiresAt),
          ...{ ended_at: null, reviewed_at: null, reviewed_by: null, review: null },
        }
        await tx
          .insertInto('break_glass')
          .values({ ...values, roles: JSON.stringify(roles) })
          .execute()
        return { ...values, roles }
      })
      await alarms.raise({ kind: 'break-glass', operator, text })
      return viewOf(row)
    },
    async end(id, by) {
      const row = await find(id)
      if (!isOpen(row)) throw new SallyportError('SP_BREAK_GLASS_UNKNOWN', 'it has ended already')
      await store.run((db) =>
        db
          .updateTable('break_glass')
          .set({ ended_at: clock.now() })
          .where('id', '=', id)
          .where('ended_at', 'is', null)
          .execute(),
      )
      await alarms.raise({
        kind: 'break-glass',
        operator: row.operator,
        text: `\`${by}\` ended the break-glass of \`${row.operator}\``,
      })
    },
    reviewStatement: async ({ id, by, text }) => statementOf(await find(id), by, text),
    async review({ id, by, statement: given, signature }) {
      const row = await find(id)
      const statement = await statementOf(row, by, given.text)
      checkSignature({
        set: deps.operatorSet(),
        operator: by,
        ...{ expected: statement, given, signature },
        roles: REVIEWERS,
        codes: { statement: 'SP_BREAK_GLASS_STATEMENT', role: 'SP_BREAK_GLASS_ROLE' },
      })
      const { text: said } = statement
      // With the signature, so that whoever has the log and the operators' keys needs to believe nobody that it was reviewed.
      const signed = canonicalJson({ statement, signatures: [signature] })
      const facts = { id, operator: row.operator, by, review: said, statement: signed }
      await acts.record('break-glass-reviewed', facts)
      const now = clock.now()
      await store.transaction(async (tx) => {
        const done = await tx
          .updateTable('break_glass')
          .set({ reviewed_at: now, reviewed_by: by, review: said })
          .where('id', '=', id)
          .where('reviewed_at', 'is', null)
          .returning('id')
          .executeTakeFirst()
        if (!done) {
          throw new SallyportError('SP_BREAK_GLASS_UNKNOWN', 'it has been reviewed already')
        }
        const others = await tx
          .selectFrom('break_glass')
          .select('id')
          .where('operator', '=', row.operator)
          .where('reviewed_at', 'is', null)
          .execute()
        const entry = { at: now, kind: 'release' as const, text: `reviewed by ${by}: ${said}` }
        if (others.length === 0) await incidents.close(tx, subjectOf(row.operator), entry)
      })
      await alarms.raise({
        kind: 'break-glass',
        operator: row.operator,
        text: `\`${by}\` reviewed the break-glass of \`${row.operator}\`: ${said}`,
      })
    },
    async note(id, { method, path, narrows }) {
      const act = { at: clock.now(), method, path: storable(path).slice(0, MAX_PATH) }
      await store.run((db) =>
        db
          .insertInto('break_glass_acts')
          .values({ break_glass_id: id, ...act })
          .onConflict((conflict) => conflict.doNothing())
          .execute(),
      )
      if (method === 'GET') return
      const recorded = acts.record('break-glass-act', { id, method, path: act.path })
      // Nothing keeps anybody from taking authority away.
      await (narrows ? recorded.catch(deps.onError) : recorded)
    },
  }
}
