import type { PostgresSystem, System, TableAction } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import type { OutcomeRecord } from '@sallyport/wire'
import type { Grant, Pipeline, Presented } from '../calls/pipeline.ts'
import type { Caller, Decided, TypedCall, UpstreamRequest } from '../calls/types.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { Enforced } from '../state/bundles.ts'
import { Inputs } from './inputs.ts'
import { columnsOf, demandLasting } from './lasting.ts'
import type { Way } from './lasting.ts'
import { SqlRefusal } from './refuse.ts'
import { RowConditions } from './rows.ts'
import { keyOf, sentOf } from './sent.ts'
import type { Sent } from './sent.ts'
import { Shown } from './shown.ts'
import type { Compiled } from './text/compile.ts'
import type { TableFacts, TableView, Tokens } from './text/facts.ts'
import type { Node } from './text/nodes.ts'
import type { TablesParts } from './text/tables.ts'
import type { Parameters } from './text/values.ts'
import { demandTogether } from './together.ts'
import type { Part } from './together.ts'
import { KeptTokens } from './tokens.ts'
import { Written } from './written.ts'

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
export interface Authorised extends Sent {
  readonly grants: readonly Grant[]
  /**
   * To be asked right before it is executed, where anything was awaited since `authorise` resolved.
   *
   * @throws Refusal where one of its calls would not be granted any more as it was
   */
  demandStill(): void
  /**
   * To be asked from time to time while its rows leave.
   *
   * @throws Refusal where they may not any more, or not as it was sent
   */
  demandLasting(): void
}

/** What of a statement is decided so far. */
interface State {
  readonly views: Map<string, TableView>
  /** The same as texts: what is known of its columns, and of its rows. */
  readonly ways: Map<string, Way>
  compiled: Compiled | undefined
  /** What is sent stands: whatever is looked at from then on is compared with it. */
  isSent: boolean
}

const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const NO_OPERATION = 'there is no such operation'
const UNSENT = { bytesOut: 0, released: {}, forwarded: false } as const

/** Takes statements through the second door: one call for each table and what is done with it. */
export class Calls {
  readonly #parts: CallParts
  readonly #written = new Written()
  readonly #conditions = new RowConditions()
  readonly #inputs = new Inputs()
  readonly #kept: KeptTokens

  constructor(parts: CallParts) {
    this.#parts = parts
    this.#kept = new KeptTokens(parts.tokeniser)
  }

  /**
   * What a statement would be if every column could be seen whole: for what it asks, and for the types of what it returns.
   *
   * @throws SqlRefusal
   */
  draft(asked: Omit<Asked, 'values'>): Compiled {
    const { system, enforced, statement } = asked
    const way = JSON.stringify([system.name])
    return this.#written.of(statement, enforced.decider.index, way, this.#tables(asked))
  }

  /**
   * Decides all that a statement does. When this resolves every decision is durable, and so are the labels; and each decision holds, however
   * long the others were waited for.
   *
   * @param meanwhile told of what would be sent, once all of it is decided and while the last record is being written: it may be made
   *   ready, and nothing may come of it yet
   * @throws Refusal with the id of the decision
   */
  async authorise(
    asked: Asked,
    presented: Presented,
    meanwhile: (compiled: Compiled) => void,
  ): Promise<Authorised> {
    const { pipeline } = this.#parts
    const { caller, enforced } = asked
    const draft = this.draft(asked)
    const state: State = { views: new Map(), ways: new Map(), compiled: undefined, isSent: false }
    const of: TableFacts[] = []
    const typed = draft.facts.flatMap((facts) => {
      const calls = this.#typed(asked, draft, facts, state)
      of.push(...calls.map(() => facts))
      return calls
    })
    let sent: Sent | undefined
    const last = typed.pop()
    if (last) {
      const ready = (): void =>
        meanwhile((sent = sentOf(enforced, draft, state.views, state.compiled)).compiled)
      typed.push({ ...last, meanwhile: ready })
    }
    const grants: Grant[] = []
    try {
      for (const call of typed) {
        grants.push(await pipeline.authorise(enforced, caller, call, presented))
      }
      sent ??= sentOf(enforced, draft, state.views, state.compiled)
      state.isSent = true
      let own: readonly (readonly string[])[] | undefined
      const parts = (): readonly Part[] =>
        grants.map((grant, i) => {
          const facts = of[i]
          if (!facts) throw new Refusal('SP_INTERNAL', 'a decision is of no table', { status: 503 })
          return { grant, facts, own: own?.[i] ?? [] }
        })
      const demandStill = (): void => {
        demandTogether(pipeline.still, enforced, parts())
      }
      // One decision was looked at when its record was there. What is refused here brings no labels.
      if (grants.length > 1) demandStill()
      own = await this.#commitLabels(grants, sent.labels)
      if (own) demandStill()
      return {
        ...{ ...sent, grants, demandStill },
        demandLasting: () => {
          demandLasting(pipeline.still, this.#conditions, parts(), state.ways)
        },
      }
    } catch (error) {
      const refusal = toRefusal(error)
      for (const grant of grants) {
        const result = grant.id === refusal.decision ? 'cut' : 'aborted'
        pipeline.finish(grant, { ...UNSENT, result, status: refusal.status })
      }
      throw refusal
    }
  }

  /**
   * Makes the labels of a statement durable.
   *
   * @returns of each call those that its session did not have before; undefined where there was nothing to wait for
   */
  async #commitLabels(
    grants: readonly Grant[],
    labels: readonly string[],
  ): Promise<readonly (readonly string[])[] | undefined> {
    const { answers, still } = this.#parts.pipeline
    let own: readonly (readonly string[])[] | undefined
    for (const { id, caller, outcome } of grants) {
      const committing = answers.commitLabels({ id, caller, outcome: { ...outcome, labels } })
      if (!committing) continue
      own ??= grants.map((grant) => {
        const before = still.labelsOf(grant)
        return labels.filter((label) => !before.includes(label))
      })
      await committing
    }
    return own
  }

  /**
   * What a statement would be if it were decided now, without its values: for the types of what it returns. Nothing is recorded,
   * since nothing is run.
   */
  sketch(asked: Omit<Asked, 'values'>): Compiled {
    const { pipeline } = this.#parts
    const state: State = { views: new Map(), ways: new Map(), compiled: undefined, isSent: false }
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
      return this.#kept.of(kind, DECODER.decode(value))
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
      const input = this.#inputs.of(operation, facts, set)
      return {
        ...{ system, operation, input },
        upstream: () => base,
        rewrite: (decided) => {
          // Every row of an INSERT comes here; only where it is seen otherwise is the statement another one.
          const columns = columnsOf(decided.outcome.projection)
          const view = this.#view(asked, facts, decided)
          const before = state.ways.get(key)
          if (before?.columns === columns && before.rows === view.filter) return sent
          if (state.isSent) return base
          state.views.set(key, view)
          state.ways.set(key, { columns, rows: view.filter })
          const way = JSON.stringify([system.name, ...state.ways])
          state.compiled = this.#written.of(asked.statement, index, way, {
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
    const filter = rows && this.#conditions.of(rows, { call, session })?.sql
    return {
      treatmentOf: (column) =>
        (Object.hasOwn(treatments, column) ? treatments[column] : undefined) ?? 'drop',
      maskOf: (column) => index.findField(table.dataset, column)?.mask ?? 'full',
      filter,
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

/** What the record commits to: the text as it is sent, and the parameters as they are. */
function request({ system, values }: Asked, action: TableAction, sql: string): UpstreamRequest {
  const body = Buffer.concat([Buffer.from(`${sql}\0`), values])
  return { method: action.toUpperCase(), path: `/${system.name}`, body }
}

/** Of what left, what the call itself returns. */
function own(released: OutcomeRecord['released'], { typed }: Grant): OutcomeRecord['released'] {
  const datasets = Object.values(typed.operation.returns)
  return Object.fromEntries(Object.entries(released).filter(([name]) => datasets.includes(name)))
}
