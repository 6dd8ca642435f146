import { canonicalJson } from '@sallyport/base'
import type { DecisionRecord } from '@sallyport/wire'
import type { Change } from './change.ts'
import type { ChangeGroup, Example, NotReplayed, ReplayReport } from './types.ts'

const MAX_GROUPS = 1000
const MAX_EXAMPLES = 5
const MAX_FAILURES = 20

type Counted = Omit<ReplayReport, 'log' | 'recordedUnder' | 'draft'>
type Open<T> = { -readonly [K in keyof T]: T[K] }

/** Counts what a replay finds, and keeps a few examples of each. */
export class Tally {
  readonly #groups = new Map<string, Open<ChangeGroup> & { readonly examples: Example[] }>()
  readonly #notReplayed = new Map<NotReplayed, { count: number; readonly examples: Example[] }>()
  readonly #failures: (Example & { readonly why: string })[] = []
  readonly #leftOut = new Set<string>()
  #decisions = 0
  #failed = 0
  #unchanged = 0
  #changed = { widened: 0, narrowed: 0 }

  notReplayed(reason: NotReplayed, record: DecisionRecord, index: number): void {
    this.#decisions++
    let entry = this.#notReplayed.get(reason)
    if (!entry) this.#notReplayed.set(reason, (entry = { count: 0, examples: [] }))
    entry.count++
    if (entry.examples.length < MAX_EXAMPLES) entry.examples.push(exampleOf(record, index))
  }

  failed(why: string, record: DecisionRecord, index: number): void {
    this.#decisions++
    this.#failed++
    if (this.#failures.length < MAX_FAILURES) {
      this.#failures.push({ ...exampleOf(record, index), why })
    }
  }

  /** @param stopped whether something other than policy had stopped the call */
  replayed(
    change: Change | undefined,
    record: DecisionRecord,
    index: number,
    stopped: boolean,
  ): void {
    this.#decisions++
    if (!change) {
      this.#unchanged++
      return
    }
    this.#changed[change.direction]++
    const { agent, system } = record
    const operation = `${system}.${record.operation}`
    const key = canonicalJson([agent, operation, change])
    const group = this.#groups.get(key)
    if (group) {
      group.count++
      if (stopped) group.stopped++
      group.firstAt = Math.min(group.firstAt, record.at)
      group.lastAt = Math.max(group.lastAt, record.at)
      if (group.examples.length < MAX_EXAMPLES) group.examples.push(exampleOf(record, index))
      return
    }
    if (this.#groups.size >= MAX_GROUPS) {
      this.#leftOut.add(key)
      return
    }
    this.#groups.set(key, {
      ...change,
      agent,
      operation,
      count: 1,
      stopped: stopped ? 1 : 0,
      firstAt: record.at,
      lastAt: record.at,
      examples: [exampleOf(record, index)],
    })
  }

  report(): Counted {
    const { widened, narrowed } = this.#changed
    const reproduced = this.#unchanged + widened + narrowed
    const changes = [...this.#groups.values()].toSorted((a, b) =>
      a.direction === b.direction ? b.count - a.count : a.direction === 'widened' ? -1 : 1,
    )
    return {
      decisions: this.#decisions,
      replayed: reproduced + this.#failed,
      selfCheck: { reproduced, of: reproduced + this.#failed, failures: this.#failures },
      notReplayed: [...this.#notReplayed].map(([reason, entry]) => ({ reason, ...entry })),
      unchanged: this.#unchanged,
      widened,
      narrowed,
      changes,
      groupsLeftOut: this.#leftOut.size,
    }
  }
}

const exampleOf = ({ id, at, instance }: DecisionRecord, index: number): Example => ({
  id,
  index,
  at,
  instance,
})
