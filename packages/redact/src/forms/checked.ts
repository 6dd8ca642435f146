import { RECOGNISERS } from '../recognise/recognisers.ts'
import type { Kind, Recogniser } from '../recognise/recogniser.ts'

/** What goes by ranges of its own, not by a check. */
const BY_RANGE: ReadonlySet<Kind> = new Set(['DATE', 'PHONE', 'IP', 'MAC'])

/** Recognisers that say more than how many letters and figures there are: by a checksum, or without a word before it. */
const CHECKED: readonly Recogniser[] = RECOGNISERS.filter(
  ({ group, kind, holds, context }) =>
    group === 'identifiers' &&
    !BY_RANGE.has(kind) &&
    (holds !== undefined || context === undefined),
)

const MAX_LENGTH = 128
const MIN_LETTERS = 14

/** As what a whole text passes a check, whatever stands around it; undefined where it passes none. */
export function checkedKind(text: string): Kind | undefined {
  // Nothing shorter goes without a figure.
  if (text.length > MAX_LENGTH || (text.length < MIN_LETTERS && !/\d/.test(text))) return undefined
  for (const { pattern, holds, kind } of CHECKED) {
    pattern.lastIndex = 0
    if (!pattern.test(text) || pattern.lastIndex !== text.length) continue
    if (holds === undefined || holds(text) === true) return kind
  }
  return undefined
}
