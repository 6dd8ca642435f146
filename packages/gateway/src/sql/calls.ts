import type { CedarJson } from '@sallyport/cedar'
import { readInput } from '@sallyport/decide'
import type { DataClass, Operation, PostgresSystem, System, TableAction } from '@sallyport/network'
import { DATA_CLASSES } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import type { OutcomeRecord } from '@sallyport/wire'
import type { Grant, Pipeline, Presented } from '../calls/pipeline.ts'
import type { Caller, Decided, TypedCall, UpstreamRequest } from '../calls/types.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { Enforced } from '../state/bundles.ts'
import { SqlRefusal } from './refuse.ts'
import { Shown, shownColumns } from './shown.ts'
import type { ShownColumn } from './shown.ts'
import { filterSql } from './rows.ts'
import { compile } from './text/compile.ts'
import type { Compiled } from './text/compile.ts'
import type { TableFacts, TableView, Tokens } from './text/facts.ts'
import type { Node } from './text/nodes.ts'
import type { TablesParts } from './text/tables.ts'
import type { Parameters } from './text/values.ts'

export interface CallParts {
  readonly pipeline: Pipeline
  readonly tokeniser: Tokeniser
}

/** One statement on its way. */
export interface Asked {
  readonly caller: Caller
  readonly enforced: Enforced
  readonly system: System
  readonly postgres: PostgresSystem
  readonly statement: readonly [kind: string, node: Node]
  readonly parameters: Parameters
  /** Parameters as they travel, for the record. */
  readonly values: Buffer
}

/** A statement that may be sent: every table in it decided, counted, recorded. */
export interface Authorised {
  readonly compiled: Compiled
  readonly grants: readonly Grant[]
  readonly maxRows: number
  /** By data set, the highest class of what leaves whole of it. */
  readonly classes: ReadonlyMap<string, DataClass>
  readonly shown: readonly ShownColumn[]
}

/** What of a statement is decided so far. */
interface State {
  readonly views: Map<string, TableView>
  /** By table and action, what is known of its columns. */
  readonly seen: Map<string, string>
  compiled: Compiled | undefined
}

/** Where no table says less. */
const MAX_ROWS = 1_000_000
const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const NO_OPERATION = 'there is no such operation'
const UNSENT = { result: 'aborted', bytesOut: 0, released: {}, forwarded: false } as const
const keyOf = ({ table, action }: TableFacts): string => `${table.name}.${action}`

/** Takes statements through the second door: one call for each table and what is done with it. */
export class Calls {
  readonly #parts: CallParts

  constructor(parts: CallParts) {
    this.#parts = parts
  }

  /**
   * What a statement would be if every column could be seen whole: for what it asks, and for the types of what it returns.
   *
   * @throws SqlRefusal
   */
  draft({ system, enforced, postgres, statement, parameters }: Omit<Asked, 'values'>): Compiled {
    const [kind, node] = statement
    return compile(kind, node, this.#tables({ system, enforced, postgres, parameters }))
  }

  /**
   * Decides all that a statement does. When this resolves every decision is durable, and so are the labels.
   *
   * @throws Refusal with the id of the decision
   */
  async authorise(asked: Asked, presented: Presented): Promise<Authorised> {
    const { pipeline } = this.#parts
    const { caller, enforced } = asked
    const draft = this.draft(asked)
    const state: State = { views: new Map(), seen: new Map(), compiled: undefined }
    const typed = draft.facts.flatMap((facts) => this.#typed(asked, draft, facts, state))
    const grants: Grant[] = []
    try {
      for (const call of typed) {
        grants.push(await pipeline.authorise(enforced, caller, call, presented))
      }
      // A statement without tables has nothing that is decided: it is sent as it was drafted.
      const compiled = typed.length === 0 ? draft : state.compiled
      // INVARIANT: nothing is sent in which a table stands that no view was made for.
      if (!compiled?.facts.every((facts) => typed.length === 0 || state.views.has(keyOf(facts))))
        throw new Refusal('SP_INTERNAL', 'the statement was not written', { status: 503 })
      demandJudged(draft, compiled)
      const classes = classesOf(enforced, compiled, state.views)
      const labels = labelsOf(enforced, compiled)
      for (const grant of grants) {
        await pipeline.answers.commitLabels({ ...grant, outcome: { ...grant.outcome, labels } })
      }
      const limits = compiled.facts.map(({ table }) => table.maxRows)
      const shown = shownColumns(compiled.outputs, enforced.decider.index)
      return { compiled, grants, classes, shown, maxRows: Math.min(...limits, MAX_ROWS) }
    } catch (error) {
      const refusal = toRefusal(error)
      for (const grant of grants) {
        pipeline.finish(grant, { ...UNSENT, status: refusal.status })
      }
      throw refusal
    }
  }

  /**
   * What a statement would be if it were decided now, without its values: for the types of what it returns. Nothing is recorded,
   * since nothing is run.
   */
  sketch(asked: Omit<Asked, 'values'>): Compiled {
    const { pipeline } = this.#parts
    const state: State = { views: new Map(), seen: new Map(), compiled: undefined }
    const draft = this.draft(asked)
    const whole = { ...asked, values: Buffer.alloc(0) }
    for (const facts of draft.facts) {
      for (const typed of this.#typed(whole, draft, facts, state)) {
        const decided = pipeline.preview(asked.enforced, asked.caller, typed)
        if (decided.outcome.decision === 'allow') typed.rewrite?.(decided)
      }
    }
    return state.compiled ?? draft
  }

  /** @throws SqlRefusal for a value that has no token: it does not leave in another form */
  tokenise(kind: string, value: Buffer): string {
    try {
      return this.#parts.tokeniser.tokenise(kind, DECODER.decode(value))
    } catch {
      throw new SqlRefusal('SP_SQL_COLUMN', 'a value cannot leave as a token', '42501')
    }
  }

  /** What takes down the rows of a statement; undefined where they show nothing. */
  shown(
    { shown, grants: [grant] }: Authorised,
    types: readonly number[],
    formats: readonly number[],
  ): Shown | undefined {
    if (!grant || shown.length === 0) return undefined
    const { answers } = this.#parts.pipeline
    return new Shown(shown, types, formats, (highest) => answers.taker(grant, highest))
  }

  /** Whether a statement that is still being answered may go on. @throws Refusal */
  recheck({ grants }: Authorised): void {
    for (const grant of grants) {
      const { outcome } = this.#parts.pipeline.redecide(grant)
      const same = JSON.stringify(outcome.projection) === JSON.stringify(grant.outcome.projection)
      if (outcome.decision === 'allow' && same) continue
      throw new Refusal(
        outcome.decision === 'allow' ? 'SP_DECLARATION_CHANGED' : outcome.code,
        'the decision does not hold any more',
        {
          status: 403,
        },
      )
    }
  }

  /** Records how it ended. */
  finish(
    { grants, classes }: Authorised,
    end: {
      readonly result: OutcomeRecord['result']
      readonly status: number
      readonly rows: number
      readonly bytesOut: number
      readonly sent: boolean
    },
  ): void {
    for (const [i, grant] of grants.entries()) {
      const { pipeline } = this.#parts
      const released = Object.fromEntries(
        [...classes].map(([dataset, maxWholeClass]) => [
          dataset,
          { records: end.rows, maxWholeClass },
        ]),
      )
      pipeline.finish(grant, {
        ...{ status: end.status, result: end.result, forwarded: end.sent },
        // What left is told once, by the first.
        bytesOut: i === 0 ? end.bytesOut : 0,
        released: end.rows > 0 ? own(released, grant) : {},
      })
    }
  }

  #typed(asked: Asked, draft: Compiled, facts: TableFacts, state: State): TypedCall[] {
    const { system, enforced, caller } = asked
    const { index } = enforced.decider
    const bound = system.operations.filter(
      ({ binding }) =>
        binding.kind === 'postgres' &&
        binding.table === facts.table.name &&
        binding.action === facts.action,
    )
    const operation =
      bound.find(({ name }) => index.findFlow(caller.agent, system.name, name)) ?? bound[0]
    if (!operation) {
      throw new Refusal('SP_NO_OPERATION', NO_OPERATION, { status: 403, outcome: 'not-permitted' })
    }
    // Every row that is written is a call of its own.
    const rows = facts.sets.length === 0 ? [undefined] : facts.sets
    const key = keyOf(facts)
    const base = request(asked, facts.action, draft.sql)
    let sent = base
    return rows.map((set) => {
      const input = inputOf(operation, facts, set)
      return {
        ...{ system, operation, input },
        upstream: () => base,
        rewrite: (decided) => {
          // Every row of an INSERT comes here; only where it is seen otherwise is the statement another one.
          const seen = JSON.stringify(decided.outcome.projection)
          if (state.seen.get(key) === seen) return sent
          state.seen.set(key, seen)
          const [kind, node] = asked.statement
          state.views.set(key, this.#view(asked, facts, decided))
          state.compiled = compile(kind, node, {
            ...this.#tables(asked),
            // A table that is not decided yet is written as in the draft: only what the last decision completes is sent.
            view: (table, action) => state.views.get(`${table.name}.${action}`),
          })
          sent = request(asked, facts.action, state.compiled.sql)
          return sent
        },
      }
    })
  }

  #view({ enforced, system }: Asked, { table }: TableFacts, decided: Decided): TableView {
    const { call, session, outcome } = decided
    const { index } = enforced.decider
    const treatments = outcome.projection[table.dataset] ?? {}
    const rows = enforced.rows.get(`${system.name}.${table.name}`)
    return {
      treatmentOf: (column) =>
        (Object.hasOwn(treatments, column) ? treatments[column] : undefined) ?? 'drop',
      maskOf: (column) => index.findField(table.dataset, column)?.mask ?? 'full',
      filter: rows && filterSql(rows.filter(call, session)),
    }
  }

  #tables({
    enforced,
    postgres,
    parameters,
  }: Pick<Asked, 'system' | 'enforced' | 'postgres' | 'parameters'>): TablesParts {
    const { tokeniser } = this.#parts
    const { index } = enforced.decider
    const tokens: Tokens = {
      kindOf: ({ dataset }, column) => index.tokenKind(`${dataset}.${column}`),
      restored: (kind, text) => {
        if (!tokeniser.isToken(text)) return text
        try {
          return tokeniser.restore(kind, text)
        } catch {
          return text
        }
      },
    }
    return { system: postgres, parameters, tokens }
  }
}

function inputOf(
  operation: Operation,
  facts: TableFacts,
  set: Readonly<Record<string, CedarJson>> | undefined,
): Record<string, CedarJson> {
  const given: Record<string, unknown> = {
    columns: [...facts.columns].toSorted(),
    filters: [...facts.filters].toSorted(),
    where: facts.where,
    written: [...facts.written].toSorted(),
    set: set ?? {},
    ...(facts.limit === undefined ? {} : { limit: facts.limit }),
  }
  const members = Object.keys(operation.input.members).filter((name) => Object.hasOwn(given, name))
  return readInput(operation.input, Object.fromEntries(members.map((name) => [name, given[name]])))
}

/** What the record commits to: the text as it is sent, and the parameters as they are. */
function request({ system, values }: Asked, action: TableAction, sql: string): UpstreamRequest {
  const body = Buffer.concat([Buffer.from(`${sql}\0`), values])
  return { method: action.toUpperCase(), path: `/${system.name}`, body }
}

/**
 * INVARIANT: policies judged the draft, in which every column can be seen. Where one cannot, its name must not have found another
 * column instead, which nobody judged.
 */
function demandJudged(draft: Compiled, { facts }: Compiled): void {
  const judged = new Map(draft.facts.map((one) => [keyOf(one), one]))
  for (const sent of facts) {
    const asked = judged.get(keyOf(sent))
    const same =
      asked !== undefined &&
      [...sent.columns].every((column) => asked.columns.has(column)) &&
      [...sent.filters].every((column) => asked.filters.has(column)) &&
      Object.keys(asked.where).every((column) => sent.filters.has(column))
    if (same) continue
    throw new SqlRefusal(
      'SP_SQL_COLUMN',
      'a name means a column that cannot be seen here, and another one without it',
      '42501',
    )
  }
}

/** Tags of every column that the statement reads in any form. */
function labelsOf({ decider: { index } }: Enforced, { facts }: Compiled): string[] {
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

/** Of what left, what the call itself returns. */
function own(released: OutcomeRecord['released'], { typed }: Grant): OutcomeRecord['released'] {
  const datasets = Object.values(typed.operation.returns)
  return Object.fromEntries(Object.entries(released).filter(([name]) => datasets.includes(name)))
}
