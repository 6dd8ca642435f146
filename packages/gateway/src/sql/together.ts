import type { Grant } from '../calls/grant.ts'
import type { Still } from '../calls/still.ts'
import type { Enforced } from '../state/bundles.ts'
import { tagsOf } from './sent.ts'
import type { TableFacts } from './text/facts.ts'

/** A granted call of a statement. */
export interface Part {
  readonly grant: Grant
  readonly facts: TableFacts
  /** Labels that its session has by this statement alone. */
  readonly own: readonly string[]
}

/**
 * What a statement does at once must be allowed one after the other: in some order, each of its reads beside the labels that those before it
 * bring, and each write beside those of all that is read. Else a join would show what no two statements would.
 *
 * @throws Refusal with the id of a decision that does not hold so
 */
export function demandTogether(still: Still, enforced: Enforced, parts: readonly Part[]): void {
  const demand = (part: Part, of: readonly Part[]): void => {
    const { grant, facts, own } = part
    // Rows of one INSERT are calls of one write. A read of the very table that is written is another call.
    const others = of.flatMap((one) => (one.facts === facts ? [] : [one.facts]))
    still.demandUnsent(grant, { own, beside: tagsOf(enforced, others) })
  }
  let left = parts.filter(({ facts: { action } }) => action === 'select')
  for (const part of parts) if (!left.includes(part)) demand(part, parts)
  // From the end: what may come behind all others stands in nobody's way.
  while (left.length > 0) {
    let refused: unknown
    const last = left.findLast((part) => {
      try {
        demand(part, left)
        return true
      } catch (error) {
        refused ??= error
        return false
      }
    })
    if (!last) throw refused
    left = left.filter((part) => part !== last)
  }
}
