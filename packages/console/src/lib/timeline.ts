import type { Incident } from '../api/types.ts'
import { duration } from './format.ts'

/** One event as the control plane tells it. */
export type Entry = NonNullable<Incident['timeline']>[number]

/** One line of a timeline: one event, or a run of equal refusals. */
export interface Step {
  readonly kind: string
  readonly text: string
  /** Of the first and the last of a run; the same of a single event. */
  readonly at: number
  readonly until: number
  readonly count: number
  /** Milliseconds after the first event of all. */
  readonly after: number
  readonly decisions: readonly string[]
  /** What turned the course of it: everything but refusals and requests for approval. */
  readonly milestone: boolean
}

const ROUTINE = new Set(['decision', 'approval'])

/** The events in order, runs of equal refusals as one, each with its distance from the first. */
export function stepsOf(timeline: readonly Entry[]): readonly Step[] {
  const entries = timeline.toSorted((a, b) => a.at - b.at)
  const start = entries[0]?.at ?? 0
  const steps: Step[] = []
  for (const { at, kind, text, decisionId } of entries) {
    const last = steps.at(-1)
    const decisions = decisionId === undefined ? [] : [decisionId]
    if (last && kind === 'decision' && last.kind === kind && last.text === text) {
      steps[steps.length - 1] = {
        ...last,
        until: at,
        count: last.count + 1,
        decisions: [...last.decisions, ...decisions],
      }
    } else {
      const milestone = !ROUTINE.has(kind)
      steps.push({ kind, text, at, until: at, count: 1, after: at - start, decisions, milestone })
    }
  }
  return steps
}

/** What stands above the timeline: the first sign, whatever it was, and every turn since. */
export function milestonesOf(steps: readonly Step[]): readonly Step[] {
  return steps.filter(({ milestone }, i) => milestone || i === 0)
}

/** `3.50 s`, `1 min 05 s`: a distance from the first event. */
export function elapsed(ms: number): string {
  return ms < 60_000 ? `${(Math.max(0, ms) / 1000).toFixed(2)} s` : duration(ms)
}
