import { sql } from 'kysely'
import { parseJson } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { createDetector } from '@sallyport/detect'
import type { Detector, Observation, Signal } from '@sallyport/detect'
import { DATA_CLASSES } from '@sallyport/network'
import type { DataClass } from '@sallyport/network'
import type { DecisionRecord, FeedItem, OutcomeRecord } from '@sallyport/wire'
import type { Store, Tx } from '../store/store.ts'
import { isControl } from './text.ts'
import type { Events } from './events.ts'
import type { IncidentLog } from './incident-log.ts'
import type { Publisher } from './publisher.ts'
import type { Quarantines } from './quarantine.ts'

/** At most four risk revisions a second. */
const THROTTLE_MS = 250
const DECAY_MS = 1000
const SAVE_MS = 5000
/** A call whose outcome never came is taken into account without one. */
const OUTCOME_MS = 30_000
const MAX_PENDING = 20_000
/** Where the declaration names no threshold, this much is an incident all the same. */
const CRITICAL = 80

export interface Watch {
  /** Takes in a durable batch of a gateway's log. */
  observe(items: readonly FeedItem[], seq: number): void
  /** Publishes the risk of a new instance before its first call. */
  welcome(spiffeId: string): Promise<void>
  start(): Promise<void>
  stop(): Promise<void>
}

export interface WatchDeps {
  readonly store: Store
  readonly clock: Clock
  readonly publisher: Publisher
  readonly quarantine: Quarantines
  readonly incidents: IncidentLog
  readonly events: Events
  readonly onError: (error: unknown) => void
}

interface Pending {
  readonly decision: DecisionRecord
  readonly labels: string[]
  readonly since: number
}

/**
 * The detection loop: log records → observations → risk in the bundle, throttled; a risk over the declared threshold
 * quarantines at once, as service identity `detector`.
 */
export function createWatch(deps: WatchDeps): Watch {
  return new DetectionLoop(deps)
}

class DetectionLoop implements Watch {
  readonly #deps: WatchDeps
  readonly #pending = new Map<string, Pending>()
  readonly #known = new Map<string, { score: number; at: number }>()
  readonly #dirty = new Set<string>()
  readonly #cutting = new Set<string>()
  readonly #timers: NodeJS.Timeout[] = []
  #detector: Detector
  #seq = 0
  #lastPublish = -Infinity
  #scheduled: NodeJS.Timeout | undefined
  #waiting: Promise<void> | undefined
  #stopped = false

  constructor(deps: WatchDeps) {
    this.#deps = deps
    this.#detector = this.#fresh()
  }

  #fresh(): Detector {
    return createDetector({
      network: this.#deps.publisher.index().network,
      clock: this.#deps.clock,
    })
  }

  async start(): Promise<void> {
    const { store, publisher } = this.#deps
    const saved = await store.run((db) =>
      db.selectFrom('detector_state').selectAll().executeTakeFirst(),
    )
    if (saved) {
      try {
        this.#detector.restore(parseJson(saved.snapshot, { maxBytes: 256 << 20 }))
      } catch (error) {
        // Of another version: baselines are learnt anew, which is no reason to stand still.
        this.#deps.onError(error)
        this.#detector = this.#fresh()
      }
      this.#seq = saved.seq
    }
    await this.#catchUp()
    let digest = publisher.current().bundle.declarationDigest
    publisher.onChange(({ bundle }) => {
      if (bundle.declarationDigest === digest) return
      digest = bundle.declarationDigest
      const snapshot = this.#detector.snapshot()
      this.#detector = this.#fresh()
      this.#detector.restore(snapshot)
    })
    this.#timers.push(
      setInterval(() => this.#tick(), DECAY_MS),
      setInterval(() => void this.#save().catch(this.#deps.onError), SAVE_MS),
    )
    for (const timer of this.#timers) timer.unref()
    this.#tick()
  }

  /** What a crash kept from being observed. */
  async #catchUp(): Promise<void> {
    for (;;) {
      const rows = await this.#deps.store.run((db) =>
        db
          .selectFrom('feed')
          .select(['seq', 'index', 'record'])
          .where('seq', '>', this.#seq)
          .orderBy('seq')
          .limit(1000)
          .execute(),
      )
      const last = rows.at(-1)
      if (!last) return
      const items = rows.map(({ index, record }) => ({
        index,
        // Validated when it was ingested.
        record: parseJson(record) as unknown as FeedItem['record'],
      }))
      this.observe(items, last.seq)
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    for (const timer of this.#timers) clearInterval(timer)
    clearTimeout(this.#scheduled)
    await this.#save()
  }

  async welcome(spiffeId: string): Promise<void> {
    this.#known.set(spiffeId, { score: 0, at: this.#deps.clock.now() })
    this.#dirty.add(spiffeId)
    await this.#publish()
  }

  observe(items: readonly FeedItem[], seq: number): void {
    const { clock } = this.#deps
    const signals: Signal[] = []
    const touched = new Set<string>()
    const see = (observation: Observation): void => {
      signals.push(...this.#detector.observe(observation))
      touched.add(observation.instance)
    }
    for (const { record } of items) {
      // What another enforcement point says that an agent asked for is no evidence against the agent.
      if (isControl(record.gateway)) continue
      if (record.kind === 'decision') {
        if (record.decision === 'allow' && this.#pending.size < MAX_PENDING) {
          this.#pending.set(record.id, { decision: record, labels: [], since: clock.monotonic() })
        } else see(observationOf(record, undefined, []))
      } else if (record.kind === 'labels') {
        this.#pending.get(record.decisionId)?.labels.push(...record.added)
      } else if (record.kind === 'outcome') {
        const pending = this.#pending.get(record.decisionId)
        this.#pending.delete(record.decisionId)
        if (pending) see(observationOf(pending.decision, record, pending.labels))
      }
    }
    this.#seq = Math.max(this.#seq, seq)
    this.#judge(touched, signals)
  }

  #tick(): void {
    const { clock } = this.#deps
    const late = clock.monotonic() - OUTCOME_MS
    const signals: Signal[] = []
    for (const [id, { decision, labels, since }] of this.#pending) {
      // In order of arrival: the first that is not late ends it.
      if (since > late) break
      this.#pending.delete(id)
      signals.push(...this.#detector.observe(observationOf(decision, undefined, labels)))
    }
    const { bundle } = this.#deps.publisher.current()
    this.#judge(new Set(Object.keys(bundle.risk)), signals)
  }

  /** Compares risks with what gateways know, and acts on what changed. */
  #judge(instances: ReadonlySet<string>, signals: readonly Signal[]): void {
    const { clock, publisher, quarantine, events } = this.#deps
    const { settings } = publisher.index().network
    const now = clock.now()
    const hard = new Set(signals.filter((signal) => signal.hard).map(({ instance }) => instance))
    if (signals.length > 0) this.#inBackground(this.#note(signals))
    for (const instance of new Set([...instances, ...hard])) {
      const { score } = this.#detector.risk(instance, now)
      const known = this.#known.get(instance)
      const refresh = (settings.riskTtlSeconds * 1000) / 3
      if (!known || known.score !== score || now - known.at >= refresh) {
        if (known?.score !== score) events.publish('risk', { instance, score, at: now })
        this.#known.set(instance, { score, at: now })
        this.#dirty.add(instance)
      }
      const threshold = settings.quarantineAtRisk
      const over = threshold !== undefined && (score >= threshold || hard.has(instance))
      if (over && !quarantine.isQuarantined(instance))
        this.#inBackground(this.#cut(instance, score))
      else if (threshold === undefined && score >= CRITICAL && (known?.score ?? 0) < CRITICAL) {
        this.#inBackground(this.#alarm(instance, score))
      }
    }
    if (this.#dirty.size > 0) this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled || this.#stopped) return
    const wait = Math.max(0, this.#lastPublish + THROTTLE_MS - this.#deps.clock.monotonic())
    this.#scheduled = setTimeout(() => {
      this.#scheduled = undefined
      this.#inBackground(this.#publish())
    }, wait)
    this.#scheduled.unref()
  }

  /** Callers that come while one publication waits for its turn share it. */
  #publish(): Promise<void> {
    this.#waiting ??= this.#publishNow()
    return this.#waiting
  }

  async #publishNow(): Promise<void> {
    const { publisher, clock } = this.#deps
    let taken: readonly string[] = []
    try {
      await publisher.publish(async (tx) => {
        this.#waiting = undefined
        this.#lastPublish = clock.monotonic()
        taken = [...this.#dirty]
        this.#dirty.clear()
        const changed = await this.#write(tx, taken)
        return { result: undefined, changed }
      })
    } catch (error) {
      this.#waiting = undefined
      for (const instance of taken) this.#dirty.add(instance)
      throw error
    }
  }

  /** @returns whether any instance that lives was among them */
  async #write(tx: Tx, instances: readonly string[]): Promise<boolean> {
    const now = this.#deps.clock.now()
    const rows = instances.map((id) => {
      const { score, reasons } = this.#detector.risk(id, now)
      return { id, score, reasons: JSON.stringify(reasons) }
    })
    // In the order in which everybody locks several of them.
    const { numAffectedRows } = await sql`
      WITH locked AS (SELECT spiffe_id FROM instances
                       WHERE spiffe_id = ANY(${rows.map(({ id }) => id)}::text[])
                       ORDER BY spiffe_id FOR UPDATE)
      UPDATE instances SET risk = v.score, risk_at = ${now}, risk_reasons = v.reasons
        FROM unnest(${rows.map(({ id }) => id)}::text[], ${rows.map(({ score }) => score)}::float8[],
                    ${rows.map(({ reasons }) => reasons)}::text[]) AS v(id, score, reasons)
        JOIN locked ON locked.spiffe_id = v.id
       WHERE instances.spiffe_id = v.id`.execute(tx)
    return Number(numAffectedRows ?? 0) > 0
  }

  async #cut(instance: string, score: number): Promise<void> {
    if (this.#cutting.has(instance)) return
    this.#cutting.add(instance)
    try {
      const { reasons } = this.#detector.risk(instance, this.#deps.clock.now())
      const why = reasons[0]?.text ?? 'a signal that alone is enough'
      await this.#deps.quarantine.quarantine({
        subject: instance,
        reason: `risk ${score}: ${why}`.replaceAll(/\p{Cc}/gu, ' ').slice(0, 500),
        by: 'detector',
        risk: score,
      })
    } finally {
      this.#cutting.delete(instance)
    }
  }

  async #alarm(instance: string, score: number): Promise<void> {
    const at = this.#deps.clock.now()
    await this.#deps.store.transaction((tx) =>
      this.#deps.incidents.raise(tx, {
        subject: instance,
        status: 'open',
        risk: score,
        entry: { at, kind: 'risk', text: `risk ${score}` },
      }),
    )
  }

  async #note(signals: readonly Signal[]): Promise<void> {
    const byInstance = Map.groupBy(signals, ({ instance }) => instance)
    await this.#deps.store.transaction(async (tx) => {
      // In one order everywhere, so that two control planes cannot wait for each other.
      for (const [instance, mine] of [...byInstance].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
        await this.#deps.incidents.notice(
          tx,
          instance,
          mine.map(({ at, text, signal }) => ({ at, kind: 'signal', text: `${signal}: ${text}` })),
        )
      }
    })
  }

  async #save(): Promise<void> {
    const values = { seq: this.#seq, snapshot: JSON.stringify(this.#detector.snapshot()) }
    await this.#deps.store.run((db) =>
      db
        .insertInto('detector_state')
        .values({ sole: true, ...values })
        .onConflict((conflict) => conflict.column('sole').doUpdateSet(values))
        .execute(),
    )
  }

  #inBackground(work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      this.#deps.onError(error)
      // What could not be written is tried again by the next tick.
    })
  }
}

function observationOf(
  decision: DecisionRecord,
  outcome: OutcomeRecord | undefined,
  newLabels: readonly string[],
): Observation {
  const { at, instance, agent, system, operation, code } = decision
  const released = Object.values(outcome?.released ?? {})
  const highest = Math.max(-1, ...released.map(({ maxWholeClass }) => rank(maxWholeClass)))
  const maxWholeClass = DATA_CLASSES[highest]
  return {
    at,
    instance,
    agent,
    system,
    operation,
    code,
    newLabels,
    decision: decision.decision,
    records: released.reduce((sum, { records }) => sum + records, 0),
    bytes: outcome?.bytesOut ?? 0,
    ...(maxWholeClass === undefined ? {} : { maxWholeClass }),
  }
}

function rank(name: string): number {
  // An unknown class finds nothing and ranks below all.
  return DATA_CLASSES.indexOf(name as DataClass)
}
