import type { Log } from '@sallyport/tlog'
import type { Network } from '@sallyport/network'
import { decodeRecord } from '@sallyport/wire'

/** How many log records are read at a time. */
const PAGE = 65_536
const UNTRUSTED = 'untrusted'
const NONE: readonly string[] = []
/** How long a label that is touched again needs no new record. */
const RECORD_EVERY_MS = 60_000
/** Approvals whose requester is remembered; the control plane knows the older ones. */
const MAX_APPROVALS = 100_000

/** Which of an instance's labels a session has. Empty: all of them. */
export interface SessionScope {
  /** Those touched from here on, milliseconds since the epoch: a task from outside the instance began a fresh session. */
  readonly since?: number
  /** Instances whose labels come with the task, all of them. */
  readonly also?: readonly string[]
}

/** When a label was touched last: for sure, and as far as the log says. */
interface Touched {
  at: number
  readonly recorded: number
}

/** A list of labels, all of which are covered for a while. */
interface Asked {
  readonly labels: readonly string[]
  readonly touched: readonly Touched[]
  /** From the latest of their records, until the earliest of them stands for no touch any more. */
  readonly from: number
  readonly until: number
  /** When all of them were touched last: told to each when somebody asks when that was. */
  at: number
}

/** Within that time the record before stands for this touch too, also after a restart. */
const covers = ({ recorded }: Touched, now: number): boolean =>
  now >= recorded && now < recorded + RECORD_EVERY_MS

function askedOf(labels: readonly string[], touched: readonly Touched[], at: number): Asked {
  const records = touched.map(({ recorded }) => recorded)
  const until = Math.min(...records) + RECORD_EVERY_MS
  return { labels, touched, from: Math.max(...records), until, at }
}

function touch(known: Touched, now: number): void {
  if (known.at < now) known.at = now
}

/**
 * What each instance has touched and when, and which approvals it asked for. Labels stay with the instance: reconnecting clears
 * nothing, and neither does a restart, after which they are read back from the log. A session is the instance, from the moment on
 * that a mandate from outside was given: what the instance touched before is not in it, what it touches under whichever
 * session since then is.
 */
export class Sessions {
  readonly #labels = new Map<string, Map<string, Touched>>()
  /** All labels of an instance, sorted, until one is added. */
  readonly #sorted = new Map<string, readonly string[]>()
  /** What an instance was last found to lack nothing of, by the very list, until one is added. */
  readonly #asked = new Map<string, Asked>()
  readonly #approvals = new Map<string, string>()
  /** Approvals that were used up here. */
  readonly used: Set<string> = new Set()
  /** A record that could not be read may have been any label of anyone. */
  #incomplete = false

  /** Reads the sessions back from the log. */
  static async rebuild(log: Pick<Log, 'read' | 'size'>): Promise<Sessions> {
    const sessions = new Sessions()
    for (let from = 0; from < log.size; from += PAGE) {
      for await (const { record } of log.read(from, PAGE)) sessions.#replay(record)
    }
    return sessions
  }

  #replay(bytes: Buffer): void {
    // Records are canonical JSON, so these spellings are the only ones; decoding a million others would take minutes.
    if (!bytes.includes('"kind":"labels"') && !bytes.includes('"approvalId":"')) return
    try {
      const record = decodeRecord(bytes)
      if (record.kind === 'labels') this.#replayed(record.instance, record.added, record.at)
      else if (record.kind === 'approval-used') this.used.add(record.approvalId)
      else if (record.kind === 'decision' && record.approvalId !== undefined) {
        this.askedFor(record.approvalId, record.instance)
      }
    } catch {
      this.#incomplete = true
    }
  }

  /** Sorted; every label there is where they are not known for sure. */
  labelsOf(instance: string, network: Network, scope?: SessionScope): readonly string[] {
    if (this.#incomplete) return allLabels(network)
    if (scope?.since === undefined && scope?.also === undefined) return this.#all(instance)
    const { since = Number.NEGATIVE_INFINITY, also = [] } = scope
    this.#settle(instance)
    const own = [...(this.#labels.get(instance) ?? [])].filter(([, { at }]) => at >= since)
    const others = also.flatMap((one) => [...(this.#labels.get(one)?.keys() ?? [])])
    return [...new Set([...own.map(([label]) => label), ...others])].toSorted()
  }

  /**
   * Those of `labels` that need a record before they can be counted as touched now; the others are, by this.
   *
   * @param now milliseconds since the epoch
   */
  missing(instance: string, labels: readonly string[], now: number): readonly string[] {
    const own = this.#labels.get(instance)
    if (!own) return labels
    const last = this.#asked.get(instance)
    if (last?.labels === labels && now >= last.from && now < last.until) {
      last.at = Math.max(last.at, now)
      return NONE
    }
    this.#settle(instance)
    const missing: string[] = []
    const touched: Touched[] = []
    for (const label of labels) {
      const known = own.get(label)
      if (known && covers(known, now)) {
        touch(known, now)
        touched.push(known)
      } else missing.push(label)
    }
    // The decider hands out one list for the same treatments; one that could change would not say what it said before.
    if (missing.length === 0 && Object.isFrozen(labels)) {
      this.#asked.set(instance, askedOf(labels, touched, now))
    }
    return missing
  }

  /** Counts labels as touched at a time at which a record of them is durable. */
  add(instance: string, labels: readonly string[], at: number): void {
    const own = this.#of(instance)
    for (const label of labels) {
      own.set(label, { at: Math.max(at, own.get(label)?.at ?? at), recorded: at })
    }
  }

  /** What was touched again after a record, without one of its own, was so within the minute after it. */
  #replayed(instance: string, labels: readonly string[], at: number): void {
    const own = this.#of(instance)
    for (const label of labels) {
      const until = at + RECORD_EVERY_MS
      own.set(label, { at: Math.max(until, own.get(label)?.at ?? until), recorded: at })
    }
  }

  #all(instance: string): readonly string[] {
    let sorted = this.#sorted.get(instance)
    if (!sorted) {
      sorted = Object.freeze([...(this.#labels.get(instance)?.keys() ?? [])].toSorted())
      // Of one that has none, nothing is kept: strangers may be many.
      if (sorted.length > 0) this.#sorted.set(instance, sorted)
    }
    return sorted
  }

  /** Tells labels when they were touched last, where that was told to their list alone. */
  #settle(instance: string): void {
    const last = this.#asked.get(instance)
    if (last) for (const one of last.touched) touch(one, last.at)
  }

  /** To add to. */
  #of(instance: string): Map<string, Touched> {
    this.#settle(instance)
    this.#sorted.delete(instance)
    this.#asked.delete(instance)
    let own = this.#labels.get(instance)
    if (!own) this.#labels.set(instance, (own = new Map()))
    return own
  }

  askedFor(approvalId: string, instance: string): void {
    const oldest = this.#approvals.keys().next().value
    if (this.#approvals.size >= MAX_APPROVALS && oldest !== undefined) {
      this.#approvals.delete(oldest)
    }
    this.#approvals.set(approvalId, instance)
  }

  /** Whether this instance was given the approval's id. */
  isRequester(approvalId: string, instance: string): boolean {
    return this.#approvals.get(approvalId) === instance
  }
}

function allLabels(network: Network): string[] {
  const tags = network.datasets.flatMap(({ fields }) => fields.flatMap((field) => field.tags))
  return [...new Set([...tags, UNTRUSTED])].toSorted()
}
