import type { Log } from '@sallyport/tlog'
import type { Network } from '@sallyport/network'
import { decodeRecord } from '@sallyport/wire'

/** How many log records are read at a time. */
const PAGE = 65_536
const UNTRUSTED = 'untrusted'
/** Approvals whose requester is remembered; the control plane knows the older ones. */
const MAX_APPROVALS = 100_000

/**
 * What each instance has touched, and which approvals it asked for. Labels stay with the instance: reconnecting clears
 * nothing, and neither does a restart, after which they are read back from the log.
 */
export class Sessions {
  readonly #labels = new Map<string, Set<string>>()
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
      if (record.kind === 'labels') this.add(record.instance, record.added)
      else if (record.kind === 'approval-used') this.used.add(record.approvalId)
      else if (record.kind === 'decision' && record.approvalId !== undefined) {
        this.askedFor(record.approvalId, record.instance)
      }
    } catch {
      this.#incomplete = true
    }
  }

  /** Sorted; every label there is where they are not known for sure. */
  labelsOf(instance: string, network: Network): readonly string[] {
    if (this.#incomplete) return allLabels(network)
    return [...(this.#labels.get(instance) ?? [])].toSorted()
  }

  /** Those of `labels` that the instance does not have. */
  missing(instance: string, labels: readonly string[]): string[] {
    const own = this.#labels.get(instance)
    return labels.filter((label) => own?.has(label) !== true)
  }

  add(instance: string, labels: readonly string[]): void {
    let own = this.#labels.get(instance)
    if (!own) this.#labels.set(instance, (own = new Set()))
    for (const label of labels) own.add(label)
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
