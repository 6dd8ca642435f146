import type { Limit, Network, Settings } from '@sallyport/network'
import type { LimitChange } from './types.ts'

/** Settings in which more is wider; of the others less is. */
const MORE_IS_WIDER: readonly (keyof Settings)[] = [
  'svidTtlSeconds',
  'stalenessSeconds',
  'strictStalenessSeconds',
  'riskTtlSeconds',
  'approvalTtlSeconds',
  'quarantineAtRisk',
]

/** How long people's sign-ins hold, and what they are where nothing is declared. */
const SIGN_IN = [
  ['sessionMinutes', 480],
  ['sessionIdleMinutes', 15],
  ['recoveryMinutes', 10],
  ['breakGlassMinutes', 30],
  ['breakGlassReviewHours', 24],
] as const

/** What bounds calls beside the policies: limits, the quorum, and the settings that say how long trust lasts. */
export function limitChanges(before: Network, after: Network): LimitChange[] {
  const changes: LimitChange[] = []
  const add = (what: string, a: unknown, b: unknown, wider: boolean): void => {
    if (JSON.stringify(a) === JSON.stringify(b)) return
    const direction = wider ? 'widened' : 'narrowed'
    changes.push({ direction, what, before: shown(a), after: shown(b) })
  }
  add('quorum', before.quorum, after.quorum, after.quorum < before.quorum)
  for (const name of MORE_IS_WIDER) {
    const [a, b] = [before.settings[name], after.settings[name]]
    add(`settings.${name}`, a, b, (b ?? Infinity) > (a ?? Infinity))
  }
  for (const [name, absent] of SIGN_IN) {
    const [a = absent, b = absent] = [before.settings[name], after.settings[name]]
    add(`settings.${name}`, a, b, b > a)
  }
  const [bound = 'browser', tied = 'browser'] = [before, after].map(
    ({ settings }) => settings.sessionBinding,
  )
  add('settings.sessionBinding', bound, tied, tied === 'browser')
  const [a, b] = [before.settings.staleRisk, after.settings.staleRisk]
  add('settings.staleRisk', a, b, b < a)
  const [x = 0, y = 0] = [before.settings.shadowMinutes, after.settings.shadowMinutes]
  add('settings.shadowMinutes', x, y, y < x)
  // Whichever hours policies name, others are meant.
  add('settings.timeZone', before.settings.timeZone, after.settings.timeZone, true)
  const ids = new Set([...before.limits, ...after.limits].map(({ id }) => id))
  for (const id of ids) {
    const [old, next] = [before, after].map(({ limits }) => limits.find((one) => one.id === id))
    compareLimits(id, old, next, add)
  }
  return changes
}

type Add = (what: string, before: unknown, after: unknown, wider: boolean) => void

function compareLimits(
  id: string,
  old: Limit | undefined,
  next: Limit | undefined,
  add: Add,
): void {
  const what = `limit ${id}`
  if (!old || !next) {
    add(what, old && 'declared', next && 'declared', next === undefined)
    return
  }
  const lost = (a: readonly string[], b: readonly string[]): boolean =>
    a.some((one) => !b.includes(one))
  const sorted = (names: readonly string[]): string[] => names.toSorted()
  add(`${what}: agents`, sorted(old.agents), sorted(next.agents), lost(old.agents, next.agents))
  const [a, b] = [old.operations, next.operations]
  add(`${what}: operations`, sorted(a), sorted(b), lost(a, b))
  add(`${what}: maxCalls`, old.maxCalls, next.maxCalls, more(old.maxCalls, next.maxCalls))
  const other = old.maxSum?.input !== next.maxSum?.input
  const sums = other || more(old.maxSum?.max, next.maxSum?.max)
  add(`${what}: maxSum`, old.maxSum, next.maxSum, old.maxSum !== undefined && sums)
  // The same number in a shorter time is more of it.
  const shorter = next.windowSeconds < old.windowSeconds
  add(`${what}: windowSeconds`, old.windowSeconds, next.windowSeconds, shorter)
}

const more = (a: number | undefined, b: number | undefined): boolean =>
  (b ?? Infinity) > (a ?? Infinity)

export const shown = (value: unknown): string =>
  value === undefined ? 'none' : JSON.stringify(value)
