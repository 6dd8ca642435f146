import type { MandateView } from '../api/mandate-types.ts'

/** A mandate in its place: below the one that it is a part of. */
export interface Placed {
  readonly mandate: MandateView
  /** Rows to the left of it: 0 at the top of what is held here. */
  readonly level: number
  /** It is a part of one that is not held here. */
  readonly orphan: boolean
  /** What is left of it and of everything above it that is held here. */
  readonly usesLeft: number
}

/** Depth first, each mandate before its parts; those of one parent in the order they came in. */
export function placed(mandates: readonly MandateView[]): readonly Placed[] {
  const known = new Map(mandates.map((one) => [one.id, one]))
  const below = Map.groupBy(mandates, ({ chain }) => {
    const parent = chain.at(-2)
    return parent !== undefined && known.has(parent) ? parent : ''
  })
  const rows: Placed[] = []
  const place = (mandate: MandateView, level: number, above: number): void => {
    const usesLeft = Math.min(above, Math.max(0, mandate.statement.uses - mandate.used))
    rows.push({ mandate, level, orphan: level === 0 && mandate.chain.length > 1, usesLeft })
    // A chain ends: an id is the hash of what it says, its parent's id included.
    for (const part of below.get(mandate.id) ?? []) place(part, level + 1, usesLeft)
  }
  for (const root of below.get('') ?? []) place(root, 0, Number.MAX_SAFE_INTEGER)
  return rows
}

/** What ends with a mandate: everything below it that is in force, the nearest first. */
export function fallsWith(id: string, mandates: readonly MandateView[]): readonly MandateView[] {
  return mandates
    .filter((one) => one.id !== id && one.status === 'active' && one.chain.includes(id))
    .toSorted((a, b) => a.chain.length - b.chain.length)
}

/** Why a mandate cannot be used, in one word; `cut` where an instance that signed a hop of it is quarantined. */
export type MandateState = 'active' | 'used' | 'expired' | 'revoked' | 'cut'

/** @param cut whether an instance is quarantined */
export function stateOf(
  { mandate, usesLeft }: Placed,
  mandates: ReadonlyMap<string, MandateView>,
  cut: (spiffeId: string) => boolean,
): MandateState {
  if (mandate.status !== 'active') return mandate.status
  const signers = mandate.chain.flatMap((id) => mandates.get(id)?.statement.delegator ?? [])
  if (signers.some((signer) => signer.startsWith('spiffe://') && cut(signer))) return 'cut'
  return usesLeft === 0 ? 'used' : 'active'
}
