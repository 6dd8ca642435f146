import { DATA_CLASSES } from '@sallyport/network'
import type { OutcomeRecord } from '@sallyport/wire'

/** As records have them: texts. */
const CLASSES: readonly string[] = DATA_CLASSES

/** What an answer released so far, and one more piece of it. */
export function sumReleased(
  total: OutcomeRecord['released'],
  more: OutcomeRecord['released'],
): OutcomeRecord['released'] {
  const added = Object.entries(more).map(([dataset, { records, maxWholeClass }]) => {
    const before = total[dataset]
    const higher =
      before && CLASSES.indexOf(before.maxWholeClass) > CLASSES.indexOf(maxWholeClass)
        ? before.maxWholeClass
        : maxWholeClass
    return [dataset, { records: (before?.records ?? 0) + records, maxWholeClass: higher }] as const
  })
  return { ...total, ...Object.fromEntries(added) }
}
