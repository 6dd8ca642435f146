import type { RowFilter } from '@sallyport/cedar'
import type { RowFilters } from '@sallyport/decide'
import type { Decided } from '../calls/types.ts'
import { SqlRefusal } from './refuse.ts'
import { quoteText } from './text/names.ts'

/** A condition on rows. */
export interface RowCondition {
  /** As it is sent, its values written into it. */
  readonly sql: string
  /** The same with a place for each value. */
  readonly form: string
}

/** @returns undefined where all rows are had */
function conditionOf({ kind, text, values }: RowFilter): RowCondition | undefined {
  if (kind === 'all') return undefined
  if (kind === 'none') return NO_ROWS
  // Names in it are the declaration's own, and those have no `$`; everything else in it is the translator's.
  const sql = text.replaceAll(/\$(\d+)/g, (_, number: string) =>
    literal(values[Number(number) - 1]),
  )
  return { sql, form: text }
}

const NO_ROWS: RowCondition = { sql: 'FALSE', form: 'FALSE' }

/** Callers of one table whose conditions are kept. */
const MAX_KEPT = 1000

/** Conditions that were made before: making one takes longer than deciding the call. */
export class RowConditions {
  readonly #kept = new WeakMap<RowFilters, Map<string, RowCondition | undefined>>()

  /** The condition on the rows that an allowed call may have; undefined where it may have them all. */
  of(
    rows: RowFilters,
    { call, session }: Pick<Decided, 'call' | 'session'>,
  ): RowCondition | undefined {
    let kept = this.#kept.get(rows)
    if (!kept) this.#kept.set(rows, (kept = new Map()))
    // INVARIANT: all that policies about rows read; of the time they see whole seconds, and of what is asked for nothing.
    const { input: _input, time, ...read } = call
    const key = JSON.stringify([read, Math.floor(time / 1000), session])
    if (kept.has(key)) return kept.get(key)
    const condition = conditionOf(rows.filter(call, session))
    const oldest = kept.keys().next().value
    if (kept.size >= MAX_KEPT && oldest !== undefined) kept.delete(oldest)
    kept.set(key, condition)
    return condition
  }
}

function literal(value: unknown): string {
  if (typeof value === 'string') return quoteText(value)
  if (typeof value === 'boolean') return value ? 'TRUE' : 'FALSE'
  if (Array.isArray(value)) {
    return value.length === 0 ? "'{}'" : `ARRAY[${value.map(literal).join(', ')}]`
  }
  throw new SqlRefusal(
    'SP_SQL_UNSUPPORTED',
    'the rows of this table cannot be told apart',
    '0A000',
    {
      detail: `a value of type ${typeof value} in a filter of rows`,
    },
  )
}
