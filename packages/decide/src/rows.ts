import { SallyportError } from '@sallyport/base'
import { EntityStore, loadPolicySet, rowFilter } from '@sallyport/cedar'
import type { ColumnMap, PolicySet, RowFilter } from '@sallyport/cedar'
import { deriveEntities, deriveSchema, instanceEntity } from '@sallyport/network'
import type { Declaration, PolicySource } from '@sallyport/network'
import { policiesByCaller } from './callers.ts'
import { clockOf, fieldContext, sharedContext } from './context.ts'
import type { ContextFacts } from './context.ts'
import { rowSchema } from './row-schema.ts'
import type { Call, Decider, SessionState } from './types.ts'

/** The rows of a declared data set in a PostgreSQL table. */
export interface RowSource {
  readonly dataset: string
  /** The table's name or alias in the queries that take the filter. */
  readonly table: string
  /** Column with what names a row, as text. */
  readonly id: string
  /** Field of the data set → its column. What is not here, no policy about rows can read. */
  readonly attributes: Readonly<Record<string, ColumnMap>>
  /**
   * Policies about rows, beside those of the declaration: action `Action::"row.read"`, resource a `Row` in
   * `DataSet::"…"`, the context of a field's treatment. Validated against the columns.
   */
  readonly policies: readonly PolicySource[]
}

export interface RowFilters {
  /**
   * The rows of the data set that a call may have; none where the call itself is not allowed, or does not return it.
   *
   * @param firstParameter number of the filter's first parameter (default 1)
   * @throws SallyportError `SP_CEDAR_FILTER_UNSUPPORTED`: no row may be returned then
   */
  filter(call: Call, session: SessionState, firstParameter?: number): RowFilter
}

const READ = { type: 'Action', id: 'row.read' }

/**
 * Prepares the row filters of one data set. Whatever no policy permits is not returned, as everywhere.
 *
 * @param input.decider of the same declaration
 * @throws SallyportError `SP_NETWORK_NO_DATASET`, `SP_CEDAR_*` for policies that do not fit network and columns
 */
export async function createRowFilters(input: {
  readonly declaration: Declaration
  readonly decider: Decider
  readonly rows: RowSource
}): Promise<RowFilters> {
  const { declaration, decider, rows } = input
  const dataset = decider.index.findDataset(rows.dataset)
  const stray = Object.keys(rows.attributes).find(
    (name) => decider.index.findField(rows.dataset, name) === undefined,
  )
  if (dataset === undefined || stray !== undefined) {
    const what = stray === undefined ? rows.dataset : `${rows.dataset}.${stray}`
    throw new SallyportError('SP_NETWORK_NO_DATASET', 'the network declares no such data', {
      detail: `\`${what}\``,
      fix: 'declare the data set and its fields in network.yaml',
    })
  }
  const policies = await loadPolicySet({
    policies: [...(await policiesByCaller(declaration)).own, ...rows.policies],
    schema: `${deriveSchema(declaration.network)}\n${rowSchema(rows.attributes)}`,
  })
  const store = EntityStore.from([
    ...deriveEntities(declaration.network),
    { uid: READ, attrs: {}, parents: [] },
  ])
  return new DataSetRows(decider, rows, policies, store)
}

class DataSetRows implements RowFilters {
  readonly #decider: Decider
  readonly #rows: RowSource
  readonly #policies: PolicySet
  readonly #store: EntityStore
  readonly #clock: ContextFacts['clock']

  constructor(decider: Decider, rows: RowSource, policies: PolicySet, store: EntityStore) {
    this.#decider = decider
    this.#rows = rows
    this.#policies = policies
    this.#store = store
    this.#clock = clockOf(decider.index.network.settings.timeZone)
  }

  filter(call: Call, session: SessionState, firstParameter = 1): RowFilter {
    const { index } = this.#decider
    const { dataset, table, id, attributes } = this.#rows
    const outcome = this.#decider.decide(call, session)
    const flow = index.findFlow(call.agent, call.system, call.operation)
    if (flow === undefined || outcome.decision !== 'allow') return NONE
    // Policies of rows speak of our own agents.
    if (index.findForeignAgent(call.agent)) return NONE
    if (!Object.hasOwn(outcome.projection, dataset)) return NONE
    const approvers = call.evidence.approvals
    const { purpose } = flow
    const shared = sharedContext({ call, session, purpose, approvers, clock: this.#clock })
    return rowFilter({
      policies: this.#policies,
      entities: this.#store.with([instanceEntity(index.network, call.agent, call.instance)]),
      principal: { type: 'Instance', id: call.instance },
      action: READ,
      context: fieldContext(shared, `${call.system}.${call.operation}`),
      row: { table, type: 'Row', id, attributes, in: [{ type: 'DataSet', id: dataset }] },
      firstParameter,
      // Obligations are owed on calls; on a row none is understood.
      vetoes: (policy) => Object.hasOwn(this.#policies.annotations(policy), 'obligation'),
    })
  }
}

const NONE: RowFilter = { kind: 'none', text: 'FALSE', values: [], policies: [] }
