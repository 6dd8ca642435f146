import type { DataClass } from '@sallyport/network'
import { DATA_CLASSES } from '@sallyport/network'
import { Refusal } from '../refusal.ts'
import type { Enforced } from '../state/bundles.ts'
import { SqlRefusal } from './refuse.ts'
import { shownColumns } from './shown.ts'
import type { ShownColumn } from './shown.ts'
import type { Compiled } from './text/compile.ts'
import type { TableFacts, TableView } from './text/facts.ts'

/** What is the same of a statement as it was written, whatever values come with it. */
interface Same {
  readonly maxRows: number
  /** Tags of all that it reads. */
  readonly labels: readonly string[]
  /** By data set, the highest class of what leaves whole of it. */
  readonly classes: ReadonlyMap<string, DataClass>
  readonly shown: readonly ShownColumn[]
}

/** A statement as it is sent, and what comes of it. */
export interface Sent extends Same {
  readonly compiled: Compiled
}

/** Where no table says less. */
const MAX_ROWS = 1_000_000

/** By the form of the statement. */
const known = new WeakMap<Compiled['form'], Same>()
/** Form of the statement as sent → as drafted, where their columns were compared. */
const compared = new WeakMap<Compiled['form'], Compiled['form']>()

/** Names a table, and what is done with it. */
export const keyOf = ({ table, action }: TableFacts): string => `${table.name}.${action}`

/**
 * What is sent of a statement all of whose calls are decided.
 *
 * @param views how each table is seen, by `keyOf`
 * @param written the statement as it is written by them
 * @throws Refusal where it may not be
 */
export function sentOf(
  enforced: Enforced,
  draft: Compiled,
  views: ReadonlyMap<string, TableView>,
  written: Compiled | undefined,
): Sent {
  // A statement without tables has nothing that is decided: it is sent as it was drafted.
  const isDecided = draft.facts.length > 0
  const compiled = isDecided ? written : draft
  // INVARIANT: nothing is sent in which a table stands that no view was made for.
  if (!compiled?.facts.every((facts) => !isDecided || views.has(keyOf(facts))))
    throw new Refusal('SP_INTERNAL', 'the statement was not written', { status: 503 })
  demandJudged(draft, compiled)
  let same = known.get(compiled.form)
  if (!same) known.set(compiled.form, (same = sameOf(enforced, compiled, views)))
  const { maxRows, labels, classes, shown } = same
  return { compiled, maxRows, labels, classes, shown }
}

function sameOf(
  enforced: Enforced,
  compiled: Compiled,
  views: ReadonlyMap<string, TableView>,
): Same {
  return {
    classes: classesOf(enforced, compiled, views),
    labels: tagsOf(enforced, compiled.facts),
    shown: shownColumns(compiled.outputs, enforced.decider.index),
    maxRows: Math.min(...compiled.facts.map(({ table }) => table.maxRows), MAX_ROWS),
  }
}

/**
 * INVARIANT: policies judged the draft, in which every column can be seen. Where one cannot, its name must not have found another
 * column instead, which nobody judged.
 */
function demandJudged(draft: Compiled, sent: Compiled): void {
  // What rows are wanted by depends on the values, and nothing else does.
  const isCompared = compared.get(sent.form) === draft.form
  for (const facts of sent.facts) {
    const key = keyOf(facts)
    const asked = draft.facts.find((one) => keyOf(one) === key)
    const same =
      asked !== undefined &&
      (isCompared || isWithin(facts, asked)) &&
      Object.keys(asked.where).every((column) => facts.filters.has(column))
    if (same) continue
    throw new SqlRefusal(
      'SP_SQL_COLUMN',
      'a name means a column that cannot be seen here, and another one without it',
      '42501',
    )
  }
  compared.set(sent.form, draft.form)
}

const isWithin = (sent: TableFacts, asked: TableFacts): boolean =>
  [...sent.columns].every((column) => asked.columns.has(column)) &&
  [...sent.filters].every((column) => asked.filters.has(column))

/** Tags of every column that is read in any form. */
export function tagsOf(
  { decider: { index } }: Enforced,
  facts: readonly TableFacts[],
): readonly string[] {
  const tags = facts.flatMap(({ table, columns }) =>
    [...columns].flatMap((column) => index.findField(table.dataset, column)?.tags ?? []),
  )
  return [...new Set(tags)].toSorted()
}

function classesOf(
  { decider: { index } }: Enforced,
  { facts }: Compiled,
  views: ReadonlyMap<string, TableView>,
): Map<string, DataClass> {
  const found = new Map<string, DataClass>()
  for (const one of facts) {
    const { table, columns } = one
    let highest: DataClass = found.get(table.dataset) ?? 'public'
    for (const column of columns) {
      if (views.get(keyOf(one))?.treatmentOf(column) !== 'whole') continue
      const own = index.findField(table.dataset, column)?.class ?? 'restricted'
      if (DATA_CLASSES.indexOf(own) > DATA_CLASSES.indexOf(highest)) highest = own
    }
    found.set(table.dataset, highest)
  }
  return found
}
