import { sql } from 'kysely'
import { parseJson, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { AuditRecord, DecisionRecord } from '@sallyport/wire'
import type { Store, Tx } from '../store/store.ts'
import type { Events } from './events.ts'
import { loadDeclarationBody } from './publisher.ts'
import type { Publisher } from './publisher.ts'
import { storable } from './text.ts'

const EXAMPLES = 10
const MINUTE_MS = 60_000
/** Where counting ends: what one gateway makes up must not make the counting of others fail. */
const MAX_CALLS = Number.MAX_SAFE_INTEGER

/** How far a proposal has come. */
export interface ShadowStage {
  readonly stage: 'draft' | 'shadow'
  /** Milliseconds since the epoch, while it is in shadow. */
  readonly since?: number
  readonly by?: string
  /** Whole minutes that it has been in shadow beside the declaration in force. */
  readonly minutes: number
  /** How many it must have been before it can come into force. */
  readonly required: number
}

interface ShadowExample {
  readonly decisionId: string
  readonly at: number
  readonly instance: string
  readonly agent: string
  readonly system: string
  readonly operation: string
  readonly live: { readonly decision: string; readonly code: string }
  readonly shadow: NonNullable<DecisionRecord['shadow']>
}

export interface ShadowReport extends ShadowStage {
  readonly digest: string
  /** Digest of the declaration in force: what it is compared with. */
  readonly against: string
  readonly counts: {
    readonly agreed: number
    readonly denyToAllow: number
    readonly allowToDeny: number
    /** Approvals that would be needed, not be needed, or be more or fewer. */
    readonly needsChanged: number
    /** The same decision by another way: another code, other fields, other limits. */
    readonly otherwise: number
    /** Could not be decided under it, or were left out to keep calls fast. */
    readonly notCompared: number
  }
  readonly changes: readonly {
    readonly from: string
    readonly to: string
    readonly calls: number
    readonly examples: readonly ShadowExample[]
  }[]
}

export interface ShadowDeps {
  readonly store: Store
  readonly clock: Clock
  readonly publisher: Publisher
  readonly events: Events
}

/**
 * Puts a proposed declaration into shadow, in place of any other. It was checked when it was proposed; nothing that it says
 * takes effect.
 *
 * @throws SallyportError `SP_DECLARATION_UNKNOWN`
 */
export async function startShadow(
  { publisher, clock, events }: ShadowDeps,
  { digest, by }: { readonly digest: string; readonly by: string },
): Promise<void> {
  const { result } = await publisher.publish(async (tx) => {
    const against = publisher.current().bundle.declarationDigest
    if (digest === against) {
      throw new SallyportError('SP_DECLARATION_UNKNOWN', 'this declaration is in force already')
    }
    await loadDeclarationBody(tx, digest)
    const now = clock.now()
    const running = await current(tx)
    if (running?.digest === digest && running.against === against) {
      return { result: false, changed: false }
    }
    await endShadow(tx, now)
    await tx
      .insertInto('shadow_runs')
      .values({ digest, against, started_at: now, started_by: by, ended_at: null })
      .execute()
    return { result: true, changed: true }
  })
  if (result) events.publish('revision', { shadow: digest })
}

/** Takes whatever is in shadow out of it. */
export async function stopShadow({ publisher, clock, events }: ShadowDeps): Promise<void> {
  const { result } = await publisher.publish(async (tx) => {
    const ended = await endShadow(tx, clock.now())
    return { result: ended, changed: ended }
  })
  if (result) events.publish('revision', { shadow: null })
}

/** Ends the run under way; to be called by whatever replaces the declaration in force, too. */
export async function endShadow(tx: Tx, now: number): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('shadow_runs')
    .set({ ended_at: now })
    .where('ended_at', 'is', null)
    .executeTakeFirst()
  return numUpdatedRows > 0n
}

async function current(tx: Tx): Promise<{ digest: string; against: string } | undefined> {
  return tx
    .selectFrom('shadow_runs')
    .select(['digest', 'against'])
    .where('ended_at', 'is', null)
    .executeTakeFirst()
}

/** How far a proposal has come beside the declaration in force. */
export async function stageOf(
  tx: Tx,
  { publisher, clock }: Pick<ShadowDeps, 'publisher' | 'clock'>,
  digest: string,
): Promise<ShadowStage> {
  const { declaration, declarationDigest: against } = publisher.current().bundle
  const required = declaration.network.settings.shadowMinutes ?? 0
  const runs = await tx
    .selectFrom('shadow_runs')
    .select(['started_at', 'started_by', 'ended_at'])
    .where('digest', '=', digest)
    .where('against', '=', against)
    .execute()
  const now = clock.now()
  const spent = runs.reduce(
    (sum, { started_at: from, ended_at: to }) => sum + Math.max(0, (to ?? now) - from),
    0,
  )
  const minutes = Math.floor(spent / MINUTE_MS)
  const running = runs.find(({ ended_at: to }) => to === null)
  return running
    ? {
        stage: 'shadow',
        since: running.started_at,
        by: running.started_by,
        minutes,
        required,
      }
    : { stage: 'draft', minutes, required }
}

/** @throws SallyportError `SP_DECLARATION_SHADOW` where it has not been in shadow for as long as the declaration in force asks */
export async function demandShadowed(
  tx: Tx,
  deps: Pick<ShadowDeps, 'publisher' | 'clock'>,
  digest: string,
): Promise<void> {
  const { minutes, required } = await stageOf(tx, deps, digest)
  if (minutes >= required) return
  throw new SallyportError(
    'SP_DECLARATION_SHADOW',
    `this declaration has to be in shadow for ${required} minutes before it can come into force`,
    {
      detail: `so far ${minutes}`,
      fix: 'start its shadow, read the report, and sign last when the time is over',
    },
  )
}

/** @throws SallyportError `SP_DECLARATION_UNKNOWN` */
export async function shadowReport(deps: ShadowDeps, digest: string): Promise<ShadowReport> {
  return deps.store.run(async (db) => {
    const tx = db as Tx
    await loadDeclarationBody(tx, digest)
    const against = deps.publisher.current().bundle.declarationDigest
    const stage = await stageOf(tx, deps, digest)
    const rows = await tx
      .selectFrom('shadow_counts')
      .select(['kind', 'calls'])
      .where('digest', '=', digest)
      .where('against', '=', against)
      .execute()
    const examples = await examplesOf(tx, digest, against)
    const calls = (...kinds: readonly string[]): number =>
      rows.reduce((sum, row) => (kinds.includes(row.kind) ? sum + row.calls : sum), 0)
    const needs = ['needs-allow', 'needs-deny', 'allow-needs', 'deny-needs', 'needs-needs']
    return {
      digest,
      against,
      ...stage,
      counts: {
        agreed: calls('agreed'),
        denyToAllow: calls('deny-allow'),
        allowToDeny: calls('allow-deny'),
        needsChanged: calls(...needs),
        otherwise: calls('allow-allow', 'deny-deny'),
        notCompared: calls('failed', 'skipped'),
      },
      changes: rows
        .filter(({ kind }) => kind.includes('-'))
        .toSorted((a, b) => b.calls - a.calls)
        .map(({ kind, calls: many }) => {
          const [from = '', to = ''] = kind.split('-')
          return { from, to, calls: many, examples: examples.get(kind) ?? [] }
        }),
    }
  })
}

async function examplesOf(
  tx: Tx,
  digest: string,
  against: string,
): Promise<ReadonlyMap<string, ShadowExample[]>> {
  const rows = await tx
    .selectFrom('shadow_examples as e')
    .innerJoin('feed as f', 'f.decision_id', 'e.decision_id')
    .select(['e.kind', 'f.record'])
    .where('f.kind', '=', 'decision')
    .where('e.digest', '=', digest)
    .where('e.against', '=', against)
    .orderBy('e.at')
    .execute()
  const examples = new Map<string, ShadowExample[]>()
  for (const { kind, record: text } of rows) {
    // Validated when it was ingested, as what its row says.
    const record = parseJson(text) as unknown as DecisionRecord
    const { shadow, id, at, instance, agent, system, operation, decision, code } = record
    if (!shadow) continue
    const live = { decision, code }
    const example = { decisionId: id, at, instance, agent, system, operation, live, shadow }
    examples.set(kind, [...(examples.get(kind) ?? []), example])
  }
  return examples
}

/**
 * Counts what a batch of a gateway's log says of shadows, within the transaction that takes it in: once, however often it is
 * sent. What was never in shadow here is not counted.
 */
export async function countShadows(tx: Tx, records: readonly AuditRecord[]): Promise<void> {
  const counts = new Map<string, { digest: string; against: string; kind: string; calls: number }>()
  const examples: { digest: string; against: string; kind: string; id: string; at: number }[] = []
  const add = (digest: string, against: string, kind: string, calls: number): void => {
    const key = `${digest} ${against} ${kind}`
    const before = counts.get(key)?.calls ?? 0
    if (calls > 0) {
      counts.set(key, { digest, against, kind, calls: Math.min(before + calls, MAX_CALLS) })
    }
  }
  for (const record of records) {
    if (record.kind === 'decision' && record.shadow) {
      const { declarationDigest: against, shadow, decision } = record
      const kind = `${decision}-${shadow.decision}`
      add(shadow.digest, against, kind, 1)
      examples.push({
        ...{ digest: shadow.digest, against, kind },
        ...{ id: storable(record.id), at: record.at },
      })
    } else if (record.kind === 'event' && record.event === 'shadow-counts') {
      const { digest, against, ...told } = record.facts
      if (typeof digest !== 'string' || typeof against !== 'string') continue
      for (const kind of ['agreed', 'failed', 'skipped']) {
        const calls = told[kind]
        if (Number.isSafeInteger(calls))
          add(storable(digest), storable(against), kind, Number(calls))
      }
    }
  }
  // In one order everywhere, so that two gateways' batches cannot wait for each other.
  for (const [, row] of [...counts].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    await sql`
      INSERT INTO shadow_counts (digest, against, kind, calls)
        SELECT ${row.digest}, ${row.against}, ${row.kind}, ${row.calls}
         WHERE EXISTS (SELECT FROM shadow_runs
                        WHERE digest = ${row.digest} AND against = ${row.against})
      ON CONFLICT (digest, against, kind)
        DO UPDATE SET calls = least(shadow_counts.calls::numeric + excluded.calls, ${MAX_CALLS})`.execute(
      tx,
    )
  }
  for (const { digest, against, kind, id, at } of examples) {
    await sql`
      INSERT INTO shadow_examples (digest, against, kind, decision_id, at)
        SELECT ${digest}, ${against}, ${kind}, ${id}, ${at}
         WHERE EXISTS (SELECT FROM shadow_runs WHERE digest = ${digest} AND against = ${against})
           AND (SELECT count(*) FROM shadow_examples
                 WHERE digest = ${digest} AND against = ${against} AND kind = ${kind}) < ${EXAMPLES}
      ON CONFLICT DO NOTHING`.execute(tx)
  }
}
