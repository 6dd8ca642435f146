import { canonicalJson, errorCode } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { createDecider } from '@sallyport/decide'
import type { Call, Decider, Outcome, SessionState } from '@sallyport/decide'
import type { Declaration } from '@sallyport/network'
import type { EventRecord, ShadowDeclaration, ShadowOutcome } from '@sallyport/wire'

export interface ShadowOptions {
  readonly clock: Clock
  /** Records an event of the gateway's own. */
  readonly onEvent: (event: string, facts: Partial<Pick<EventRecord, 'code' | 'facts'>>) => void
  /** Test seam. */
  readonly build?: (declaration: Declaration) => Promise<Decider>
}

/** Of each second, so much at most goes into decisions that have no effect; the rest of the calls are not compared. */
const BUDGET_MS = 50
/** A declaration of which so many decisions in a row take longer than this is given up. */
const SLOW_MS = 25
const MAX_SLOW = 5
const REPORT_MS = 5000
const MAX_CHANGES = 32

interface Counts {
  /** The declaration in force that they were compared with. */
  readonly against: string
  agreed: number
  differed: number
  /** Could not be decided at all. */
  failed: number
  /** Left out, to keep within the budget. */
  skipped: number
}

/**
 * Decides each call once more, by the declaration in shadow, after its decision stands. What comes of it goes into the record
 * and nowhere else: it is handed no way to say anything to the call.
 */
export class Shadow {
  readonly #options: ShadowOptions
  readonly #timer: NodeJS.Timeout
  #decider: Decider | undefined
  #wanted: ShadowDeclaration<Declaration> | undefined
  #building: Promise<void> | undefined
  #counts: Counts | undefined
  #second = 0
  #spent = 0
  #slow = 0

  constructor(options: ShadowOptions) {
    this.#options = options
    this.#timer = setInterval(() => {
      this.report()
    }, REPORT_MS)
    this.#timer.unref()
  }

  /** What the newest bundle has in shadow. Builds off the way of calls, one at a time; never throws, never waits. */
  want(shadow: ShadowDeclaration<Declaration> | undefined): void {
    if (this.#wanted?.digest === shadow?.digest) return
    this.report()
    this.#wanted = shadow
    this.#decider = undefined
    if (shadow) this.#building ??= this.#build()
  }

  /**
   * What the shadow says of a call that was decided, where it says something else. Never throws.
   *
   * @param against digest of the declaration that decided it
   */
  compare(
    call: Call,
    session: SessionState,
    outcome: Outcome,
    against: string,
  ): ShadowOutcome | undefined {
    const decider = this.#decider
    if (!decider) return undefined
    try {
      const counts = this.#countsFor(against)
      const { clock } = this.#options
      const start = clock.monotonic()
      if (Math.floor(start / 1000) !== this.#second) {
        this.#second = Math.floor(start / 1000)
        this.#spent = 0
      }
      if (this.#spent >= BUDGET_MS) {
        counts.skipped++
        return undefined
      }
      let found: ShadowOutcome | undefined
      try {
        found = difference(decider.digest, outcome, decider.decide(call, session))
        if (found) counts.differed++
        else counts.agreed++
      } catch {
        counts.failed++
      }
      const took = clock.monotonic() - start
      this.#spent += took
      this.#slow = took > SLOW_MS ? this.#slow + 1 : 0
      if (this.#slow >= MAX_SLOW) this.#giveUp(decider.digest, took)
      return found
    } catch {
      // Nothing here may stand in the way of a call.
      return undefined
    }
  }

  /** Records what was compared since the last time, where anything was. */
  report(): void {
    const counts = this.#counts
    const digest = this.#decider?.digest
    this.#counts = undefined
    if (!counts || digest === undefined) return
    this.#options.onEvent('shadow-counts', { facts: { digest, ...counts } })
  }

  /** Resolves when nothing is being built. */
  async settled(): Promise<void> {
    await this.#building
  }

  close(): void {
    clearInterval(this.#timer)
    this.report()
    this.#wanted = undefined
    this.#decider = undefined
  }

  #countsFor(against: string): Counts {
    if (this.#counts?.against !== against) {
      this.report()
      this.#counts = { against, agreed: 0, differed: 0, failed: 0, skipped: 0 }
    }
    return this.#counts
  }

  #giveUp(digest: string, tookMs: number): void {
    this.report()
    this.#decider = undefined
    this.#options.onEvent('shadow-stopped', { facts: { digest, tookMs: Math.round(tookMs) } })
  }

  async #build(): Promise<void> {
    const { build = (declaration) => createDecider({ declaration }), onEvent } = this.#options
    try {
      for (let wanted = this.#wanted; wanted;) {
        const { digest } = wanted
        try {
          const decider = await build(wanted.declaration)
          if (this.#wanted?.digest === digest) {
            this.#decider = decider
            this.#slow = 0
            onEvent('shadow-ready', { facts: { digest } })
          }
        } catch (error) {
          onEvent('shadow-refused', { code: errorCode(error), facts: { digest } })
        }
        wanted = this.#wanted?.digest === digest ? undefined : this.#wanted
      }
    } finally {
      this.#building = undefined
    }
  }
}

function difference(digest: string, live: Outcome, shadow: Outcome): ShadowOutcome | undefined {
  const { decision, code, needs } = shadow
  const same = decision === live.decision && code === live.code && sameNeeds(needs, live.needs)
  const changes = decision === 'allow' && live.decision === 'allow' ? changed(live, shadow) : []
  if (same && changes.length === 0) return undefined
  return {
    ...{ digest, decision, code },
    ...(needs.length > 0 ? { needs } : {}),
    ...(changes.length > 0 ? { changes: changes.slice(0, MAX_CHANGES).map(clip) } : {}),
  }
}

function sameNeeds(a: Outcome['needs'], b: Outcome['needs']): boolean {
  return (
    a.length === b.length &&
    a.every(({ kind, count }, i) => kind === b[i]?.kind && count === b[i]?.count)
  )
}

/** Names of a declaration that nobody has signed: however long, the record that carries them must remain one. */
const clip = (text: string): string => text.slice(0, 160).toWellFormed()

function changed(live: Outcome, shadow: Outcome): string[] {
  // Nearly every call: nothing is built where nothing differs.
  return [
    ...(covers(live, shadow) && covers(shadow, live) ? [] : changedFields(live, shadow)),
    ...(live.limits.length + shadow.limits.length === 0 ? [] : changedLimits(live, shadow)),
  ]
}

/** Whether every field that `a` names has the same treatment in `b`. */
function covers({ projection: a }: Outcome, { projection: b }: Outcome): boolean {
  for (const dataset in a) {
    const [fields, others] = [a[dataset], b[dataset]]
    for (const field in fields) if (fields[field] !== others?.[field]) return false
  }
  return true
}

function changedFields(live: Outcome, shadow: Outcome): string[] {
  const names = ({ projection }: Outcome): Map<string, string> =>
    new Map(
      Object.entries(projection).flatMap(([dataset, fields]) =>
        Object.entries(fields).map(([field, treatment]) => [`${dataset}.${field}`, treatment]),
      ),
    )
  const before = names(live)
  const after = names(shadow)
  return [...new Set([...before.keys(), ...after.keys()])].toSorted().flatMap((field) => {
    const from = before.get(field) ?? 'drop'
    const to = after.get(field) ?? 'drop'
    return from === to ? [] : [`field ${field}: ${from} to ${to}`]
  })
}

function changedLimits(live: Outcome, shadow: Outcome): string[] {
  const ids = ({ limits }: Outcome): Map<string, string> =>
    new Map(limits.map((limit) => [limit.id, canonicalJson(limit)]))
  const before = ids(live)
  const after = ids(shadow)
  return [...new Set([...before.keys(), ...after.keys()])].toSorted().flatMap((id) => {
    if (before.get(id) === after.get(id)) return []
    return [`limit ${id}: ${!after.has(id) ? 'gone' : before.has(id) ? 'changed' : 'new'}`]
  })
}
