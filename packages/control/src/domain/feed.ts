import { sql } from 'kysely'
import { errorCode, parseJson, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { kindOf, parseSpiffeId } from '@sallyport/spiffe'
import { encodeRecord } from '@sallyport/wire'
import type {
  AuditRecord,
  DecisionRecord,
  FeedItem,
  LabelRecord,
  OutcomeRecord,
} from '@sallyport/wire'
import type { Store, Tx } from '../store/store.ts'
import type { DecisionDetail, DecisionFilter, Decisions, EdgeView } from './decisions.ts'
import type { Events } from './events.ts'
import type { IncidentLog } from './incident-log.ts'
import { countInventory } from './inventory.ts'
import { countShadows } from './shadow.ts'
import { storable } from './text.ts'

const MAX_ITEMS = 1000
const MAX_EXPLANATION = 262_144
const MAX_LISTED = 500
const EDGE_MS = 15 * 60_000

export interface FeedDeps {
  readonly store: Store
  readonly clock: Clock
  readonly events: Events
  readonly incidents: IncidentLog
  /** Called once for each batch, after it is durable, in the order of the log. */
  readonly onItems: (gateway: string, items: readonly FeedItem[], seq: number) => void
}

/** @see Decisions */
export function createDecisions(deps: FeedDeps): Decisions {
  const { store, events } = deps
  return {
    async ingest(gateway, shard, items) {
      check(gateway, shard, items)
      const taken = await store
        .transaction((tx) => take(tx, deps, gateway, shard, items))
        .catch(async (error: unknown) => {
          if (errorCode(error) === 'SP_FEED_FORKED') await alarm(deps, gateway)
          throw error
        })
      if (taken.items.length > 0) {
        for (const { record } of taken.items) {
          if (record.kind === 'decision') events.publish('decision', record)
        }
        deps.onItems(gateway, taken.items, taken.seq)
      }
      return { next: taken.next }
    },
    list: (filter = {}) => store.run((db) => list(db as Tx, filter)),
    get: (id) => store.run((db) => get(db as Tx, id)),
    edges: () => store.run((db) => edges(db as Tx, deps.clock.now() - EDGE_MS)),
    shards: () =>
      store.run((db) =>
        db.selectFrom('feed_shards').select(['shard', 'next as size']).orderBy('shard').execute(),
      ),
  }
}

async function alarm({ store, incidents, clock }: FeedDeps, gateway: string): Promise<void> {
  const text = 'its audit log differs from what it sent before'
  await store.transaction((tx) =>
    incidents.raise(tx, {
      subject: gateway,
      status: 'open',
      risk: 100,
      entry: { at: clock.now(), kind: 'signal', text },
    }),
  )
}

/** A log is named by its origin, `TRUST-DOMAIN/gateway/NAME`, or shorter by the gateway alone. */
export function ownsShard(gateway: string, shard: string): boolean {
  const { trustDomain, ...id } = parseSpiffeId(gateway)
  const long = gateway.slice('spiffe://'.length)
  // One that bears the name of the trust domain does not own everybody's.
  const short = shard.startsWith(`${trustDomain}/`)
    ? long
    : (kindOf({ trustDomain, ...id })?.name ?? long)
  return [short, long].some((prefix) => shard === prefix || shard.startsWith(`${prefix}/`))
}

function check(gateway: string, shard: string, items: readonly FeedItem[]): void {
  const name = kindOf(parseSpiffeId(gateway))?.name ?? ''
  if (!ownsShard(gateway, shard)) throw invalid('the shard is not of this gateway')
  if (items.length > MAX_ITEMS) throw invalid(`more than ${MAX_ITEMS} items`)
  let before = -1
  for (const { index, record, explanation } of items) {
    if (!Number.isSafeInteger(index) || index <= before) throw invalid('indices do not grow by one')
    before = index
    // Throws for whatever is no audit record.
    encodeRecord(record)
    if (record.gateway !== gateway && record.gateway !== name) {
      throw invalid('a record is of another gateway')
    }
    if (explanation !== undefined && JSON.stringify(explanation).length > MAX_EXPLANATION) {
      throw invalid('an explanation is too long')
    }
  }
}

async function take(
  tx: Tx,
  deps: FeedDeps,
  gateway: string,
  shard: string,
  items: readonly FeedItem[],
): Promise<{ next: number; items: readonly FeedItem[]; seq: number }> {
  await tx
    .insertInto('feed_shards')
    .values({ shard, gateway, next: 0 })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  const head = await tx
    .selectFrom('feed_shards')
    .select(['gateway', 'next'])
    .where('shard', '=', shard)
    .forUpdate()
    .executeTakeFirstOrThrow()
  if (head.gateway !== gateway) throw invalid('the shard belongs to another gateway')
  await checkKnown(
    tx,
    shard,
    items.filter(({ index }) => index < head.next),
  )
  const fresh: FeedItem[] = []
  let { next } = head
  for (const item of items) {
    // What came before is known; after a gap the gateway has to begin at what is missing.
    if (item.index === next) {
      fresh.push(item)
      next++
    }
  }
  if (fresh.length === 0) return { next, items: fresh, seq: 0 }
  const rows = await tx
    .insertInto('feed')
    .values(fresh.map((item) => feedRow(shard, item)))
    .returning('seq')
    .execute()
  await tx.updateTable('feed_shards').set({ next }).where('shard', '=', shard).execute()
  const records = fresh.map(({ record }) => record)
  await countShadows(tx, records)
  await countInventory(tx, records, deps.clock.now())
  await keepLabels(
    tx,
    fresh.flatMap(({ record }) => (record.kind === 'labels' ? [record] : [])),
  )
  await count(
    tx,
    deps,
    fresh.flatMap(({ record }) => (record.kind === 'decision' ? [record] : [])),
  )
  return { next, items: fresh, seq: rows.at(-1)?.seq ?? 0 }
}

/** What sessions have touched, kept apart: decisions that other enforcement points ask for are made by it. */
async function keepLabels(tx: Tx, records: readonly LabelRecord[]): Promise<void> {
  const values = new Map<string, { instance: string; label: string }>()
  for (const { instance, added } of records) {
    for (const label of added) {
      const row = { instance: storable(instance), label: storable(label) }
      values.set(JSON.stringify(row), row)
    }
  }
  // In one order everywhere, so that two gateways' batches cannot wait for each other.
  const rows = [...values].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row)
  if (rows.length === 0) return
  await tx
    .insertInto('session_labels')
    .values(rows)
    .onConflict((conflict) => conflict.doNothing())
    .execute()
}

/** One place in a log holds one record: another one there means that the log was replaced or rewritten. */
async function checkKnown(tx: Tx, shard: string, items: readonly FeedItem[]): Promise<void> {
  if (items.length === 0) return
  const rows = await tx
    .selectFrom('feed')
    .select(['index', 'record'])
    .where('shard', '=', shard)
    .where(
      'index',
      'in',
      items.map(({ index }) => index),
    )
    .execute()
  const known = new Map(rows.map(({ index, record }) => [index, record]))
  const forked = items.find(({ index, record }) => known.get(index) !== textOf(record))
  if (!forked) return
  throw new SallyportError('SP_FEED_FORKED', 'the log differs from what was sent before', {
    detail: `shard ${shard}, index ${forked.index}`,
    fix: 'verify the log of this gateway with `sallyport audit verify`; a gateway that lost its log comes back under another id',
  })
}

/** The record as the log itself holds it. */
function textOf(record: AuditRecord): string {
  return Buffer.from(encodeRecord(record)).toString()
}

function feedRow(shard: string, { index, record, explanation }: FeedItem) {
  const decision = record.kind === 'decision' ? record : undefined
  return {
    shard,
    index,
    kind: record.kind,
    at: record.at,
    decision_id: decisionIdOf(record),
    agent: decision ? storable(decision.agent) : null,
    instance: decision ? storable(decision.instance) : null,
    system: decision ? storable(decision.system) : null,
    operation: decision ? storable(decision.operation) : null,
    decision: decision?.decision ?? null,
    record: textOf(record),
    explanation: explanation === undefined ? null : JSON.stringify(explanation),
  }
}

function decisionIdOf(record: AuditRecord): string | null {
  if (record.kind === 'event') return null
  return storable(record.kind === 'decision' ? record.id : record.decisionId)
}

/** Counters, last signs of life, and the timelines of open incidents. */
async function count(tx: Tx, deps: FeedDeps, records: readonly DecisionRecord[]): Promise<void> {
  const calls = new Map<string, { agent: string; decision: string; calls: number }>()
  const seen = new Map<string, number>()
  const refused = new Map<string, DecisionRecord[]>()
  for (const record of records) {
    const agent = storable(record.agent)
    const key = `${record.decision} ${agent}`
    const counted = calls.get(key)?.calls ?? 0
    calls.set(key, { agent, decision: record.decision, calls: counted + 1 })
    seen.set(record.instance, Math.max(seen.get(record.instance) ?? 0, record.at))
    if (record.decision !== 'allow') {
      refused.set(record.instance, [...(refused.get(record.instance) ?? []), record])
    }
  }
  if (calls.size > 0) {
    // In one order everywhere, so that two gateways' batches cannot wait for each other.
    const values = [...calls.values()].toSorted((a, b) =>
      a.agent + a.decision < b.agent + b.decision ? -1 : 1,
    )
    await tx
      .insertInto('call_counts')
      .values(values)
      .onConflict((conflict) =>
        conflict
          .columns(['agent', 'decision'])
          .doUpdateSet({ calls: sql`call_counts.calls + excluded.calls` }),
      )
      .execute()
  }
  const now = deps.clock.now()
  const alive = [...seen].toSorted(([a], [b]) => (a < b ? -1 : 1))
  if (alive.length > 0) {
    const ids = alive.map(([id]) => storable(id))
    const times = alive.map(([, at]) => Math.min(at, now))
    await sql`
      UPDATE instances SET last_seen = greatest(last_seen, v.at)
        FROM (SELECT spiffe_id FROM instances WHERE spiffe_id = ANY(${ids}::text[])
               ORDER BY spiffe_id FOR UPDATE) locked
        JOIN unnest(${ids}::text[], ${times}::bigint[]) AS v(id, at) ON v.id = locked.spiffe_id
       WHERE instances.spiffe_id = locked.spiffe_id`.execute(tx)
  }
  for (const [instance, decisions] of refused) {
    await deps.incidents.note(
      tx,
      instance,
      decisions.map((record) => ({
        at: record.at,
        kind: 'decision',
        text: `${record.decision} ${record.system}.${record.operation}`,
        decisionId: record.id,
      })),
    )
  }
}

async function list(tx: Tx, filter: DecisionFilter): Promise<readonly DecisionRecord[]> {
  const limit = Math.min(Math.max(1, Math.trunc(filter.limit ?? 100)), MAX_LISTED)
  let query = tx
    .selectFrom('feed')
    .select('record')
    .where('kind', '=', 'decision')
    .orderBy('seq', 'desc')
    .limit(limit)
  const { agent, instance, system, decision, before } = filter
  if (agent !== undefined) query = query.where('agent', '=', storable(agent))
  if (instance !== undefined) query = query.where('instance', '=', storable(instance))
  if (system !== undefined) query = query.where('system', '=', storable(system))
  if (decision !== undefined) query = query.where('decision', '=', decision)
  if (before !== undefined) {
    query = query.where('seq', '<', (eb) =>
      eb
        .selectFrom('feed')
        .select('seq')
        .where('decision_id', '=', storable(before))
        .where('kind', '=', 'decision')
        .limit(1),
    )
  }
  const rows = await query.execute()
  return rows.map(({ record }) => readRecord(record) as DecisionRecord)
}

async function get(tx: Tx, id: string): Promise<DecisionDetail | undefined> {
  const rows = await tx
    .selectFrom('feed')
    .select(['kind', 'shard', 'index', 'record', 'explanation'])
    .where('decision_id', '=', storable(id))
    .orderBy('seq')
    .execute()
  const decision = rows.find(({ kind }) => kind === 'decision')
  if (!decision) return undefined
  const outcome = rows.find(({ kind }) => kind === 'outcome')
  return {
    record: readRecord(decision.record) as DecisionRecord,
    outcome: outcome ? (readRecord(outcome.record) as OutcomeRecord) : null,
    labels: rows
      .filter(({ kind }) => kind === 'labels')
      .map(({ record }) => readRecord(record) as LabelRecord),
    explanation: decision.explanation === null ? null : parseJson(decision.explanation),
    audit: { shard: decision.shard, index: decision.index },
  }
}

async function edges(tx: Tx, since: number): Promise<readonly EdgeView[]> {
  const counted = (decision: string) => sql<number>`count(*) FILTER (WHERE decision = ${decision})`
  const rows = await tx
    .selectFrom('feed')
    .select(['agent as from', 'system as to', 'operation'])
    .select([
      counted('allow').as('allow'),
      counted('deny').as('deny'),
      counted('needs').as('needs'),
      sql<number>`max(at)`.as('lastAt'),
    ])
    .where('kind', '=', 'decision')
    .where('at', '>=', since)
    .groupBy(['agent', 'system', 'operation'])
    .orderBy('agent')
    .limit(2000)
    .execute()
  return rows.map(({ from, to, operation, ...rest }) => ({
    from: from ?? '',
    to: to ?? '',
    operation: operation ?? '',
    ...rest,
  }))
}

/** Written by `ingest`, which validated it as the kind that its row says. */
function readRecord(text: string): unknown {
  return parseJson(text)
}

const invalid = (detail: string): SallyportError =>
  new SallyportError('SP_FEED_INVALID', 'the feed is not valid', { detail })
