import { isDeepStrictEqual } from 'node:util'
import type { Projection } from '@sallyport/decide'
import type { NetworkIndex, PostgresTable, System } from '@sallyport/network'
import type { Holds, Still } from '../calls/still.ts'
import { Refusal } from '../refusal.ts'
import type { RowConditions } from './rows.ts'
import { keyOf } from './sent.ts'
import type { Part } from './together.ts'

/** How a statement as sent sees a table. */
export interface Way {
  /** As `columnsOf`. */
  readonly columns: string
  /** The condition on its rows, as it is sent; undefined where it has them all. */
  readonly rows: string | undefined
}

const known = new WeakMap<Projection, string>()

/** A projection as a text. */
export function columnsOf(projection: Projection): string {
  let text = known.get(projection)
  if (text === undefined) known.set(projection, (text = JSON.stringify(projection)))
  return text
}

/**
 * The rows of a statement that is being answered leave as it was sent: each table of it must be seen still as it was then.
 *
 * @param ways how it was sent, by `keyOf`
 * @throws Refusal what has become of one of its calls; `SP_DECLARATION_CHANGED` where it may go on, and would be sent otherwise
 */
export function demandLasting(
  still: Still,
  conditions: RowConditions,
  parts: readonly Part[],
  ways: ReadonlyMap<string, Way>,
): void {
  for (const { grant, facts, own } of parts) {
    const now = still.demand(grant, { own })
    const { index, digest } = now.enforced.decider
    const before = grant.enforced.decider
    const declared =
      digest === before.digest ||
      isDeepStrictEqual(
        tableOf(index, now.typed.system, facts.table.name),
        tableOf(before.index, grant.typed.system, facts.table.name),
      )
    const way = ways.get(keyOf(facts))
    const columns = columnsOf(now.outcome.projection) === way?.columns
    if (declared && columns && hasRows(conditions, now, facts.table, way.rows, grant.call.time)) {
      continue
    }
    throw new Refusal('SP_DECLARATION_CHANGED', 'the decision does not hold any more', {
      status: 403,
    })
  }
}

/**
 * Whether whoever had the rows of a condition may have them still. By anything but the clock it must be the very same condition, or none.
 * The clock itself moves on: rows that were current when it was decided may leave after that, but not rows of which policies by now ask
 * something else, or which they give to nobody any more.
 */
function hasRows(
  conditions: RowConditions,
  { enforced, typed: { system }, call, session }: Holds,
  table: PostgresTable,
  sent: string | undefined,
  then: number,
): boolean {
  const filters = enforced.rows.get(`${system.name}.${table.name}`)
  if (!filters) return true
  const asOf = (time: number) => conditions.of(filters, { call: { ...call, time }, session })
  const [was, is] = [asOf(then), asOf(call.time)]
  return (was === undefined || was.sql === sent) && (is === undefined || is.form === was?.form)
}

/** What is declared of a table, but for the policies that choose its rows: those are asked. */
function tableOf(index: NetworkIndex, { postgres }: System, name: string): unknown {
  const table = postgres?.tables.find((one) => one.name === name)
  return table && { ...table, rows: undefined, holds: index.findDataset(table.dataset) }
}
