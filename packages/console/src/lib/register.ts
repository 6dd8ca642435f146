import type { RegisterEntry } from '../api/key-types.ts'

export type SortBy = 'urgency' | 'name' | 'owner' | 'age' | 'ends' | 'rotation'

export interface RegisterFilter {
  readonly needle: string
  readonly kind: '' | RegisterEntry['kind']
  /** `yes`, `no`, `unknown`. */
  readonly exportable: '' | 'yes' | 'no' | 'unknown'
  readonly overdue: boolean
}

export const NO_FILTER: RegisterFilter = { needle: '', kind: '', exportable: '', overdue: false }

export function filtered(
  entries: readonly RegisterEntry[],
  { needle, kind, exportable, overdue }: RegisterFilter,
): readonly RegisterEntry[] {
  const wanted = needle.trim().toLowerCase()
  return entries.filter(
    (entry) =>
      (!overdue || entry.state !== 'good') &&
      (kind === '' || entry.kind === kind) &&
      (exportable === '' || exportableWord(entry) === exportable) &&
      [entry.name, entry.owner, entry.use, entry.algorithm, entry.heldBy].some((text) =>
        text.toLowerCase().includes(wanted),
      ),
  )
}

export function exportableWord({ exportable }: RegisterEntry): 'yes' | 'no' | 'unknown' {
  return exportable === 'unknown' ? 'unknown' : exportable ? 'yes' : 'no'
}

/** What is over first, then what is due, then by the share of its life that is left: what has no end is last. */
export function sorted(
  entries: readonly RegisterEntry[],
  by: SortBy,
  descending: boolean,
  now: number,
): readonly RegisterEntry[] {
  const rank = (entry: RegisterEntry): number | string => {
    switch (by) {
      case 'urgency':
        return urgency(entry, now)
      case 'name':
        return entry.name.toLowerCase()
      case 'owner':
        return entry.owner.toLowerCase()
      case 'age':
        return entry.createdAt ?? Number.MAX_SAFE_INTEGER
      case 'ends':
        return entry.expiresAt ?? Number.MAX_SAFE_INTEGER
      case 'rotation':
        return entry.rotateBy ?? Number.MAX_SAFE_INTEGER
    }
  }
  const ranked = entries.map((entry) => ({ entry, rank: rank(entry) }))
  ranked.sort((a, b) => {
    const order = a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : 0
    return order === 0 ? a.entry.name.localeCompare(b.entry.name) : descending ? -order : order
  })
  return ranked.map(({ entry }) => entry)
}

function urgency({ state, createdAt, expiresAt, rotateBy }: RegisterEntry, now: number): number {
  if (state === 'expired') return -2
  if (state === 'due') return -1
  const end = Math.min(expiresAt ?? Infinity, rotateBy ?? Infinity)
  if (end === Infinity) return 2
  // Without a beginning the share is not known: after those that are known, before what has no end.
  return createdAt === null || end <= createdAt ? 1 : Math.max(0, (end - now) / (end - createdAt))
}
