import type { Clock } from '@sallyport/base'
import type { PostgresSystem, System } from '@sallyport/network'
import type { Pipeline } from '../calls/pipeline.ts'
import type { Standing } from '../calls/standing.ts'
import type { Caller } from '../calls/types.ts'
import type { Pace } from '../edge/pace.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Enforced } from '../state/bundles.ts'
import type { Stats } from '../stats.ts'
import { askedAhead } from './ahead.ts'
import type { Calls } from './calls.ts'
import type { ClientWire } from './client.ts'
import { protocolError } from './client.ts'
import { connectionOf } from './connection.ts'
import { checkOids, boundParameters, UNKNOWN } from './parameters.ts'
import { Run } from './run.ts'
import { NO_VALUES, Statements } from './statements.ts'
import type { Portal, Prepared } from './statements.ts'
import type { RunParts } from './run.ts'
import { SqlRefusal } from './refuse.ts'
import { controlOf, isOwn } from './text/control.ts'
import type { OwnControl } from './text/control.ts'
import { parseStatement } from './text/parser.ts'
import { DatabaseError, toldRefusal } from './told.ts'
import { Transaction } from './transaction.ts'
import type { Link } from './upstream/link.ts'
import type { Frame } from './wire/frames.ts'
import * as wire from './wire/messages.ts'

export interface SessionParts {
  readonly calls: Calls
  readonly pipeline: Pipeline
  readonly standing: Standing
  readonly pace: Pace
  readonly settings: GatewaySettings
  readonly stats: Stats
  readonly clock: Clock
}

/** One client's session with one database: everything it says is judged before the database hears of it. */
export class Session {
  readonly caller: Caller
  readonly #parts: SessionParts
  readonly #client: ClientWire
  readonly #link: Link
  readonly system: System
  readonly #statements = new Statements()
  readonly #presented: { approval: string | undefined; mandate: string | undefined } = {
    approval: undefined,
    mandate: undefined,
  }
  readonly #transaction: Transaction
  /** After an error nothing counts until the client has said where it goes on (PostgreSQL, section 54.2.3). */
  #skipping = false
  #run: Run | undefined
  readonly #connection: string
  /** The declaration of the system that was last found to be of this connection. */
  #known: System
  #portalNumber = 0

  constructor(parts: SessionParts, caller: Caller, system: System, client: ClientWire, link: Link) {
    this.#parts = parts
    this.caller = caller
    this.system = system
    this.#client = client
    this.#link = link
    this.#transaction = new Transaction(link)
    this.#known = system
    this.#connection = connectionOf(system)
  }

  /** Whether the session with the database could be another client's of the same instance. */
  get clean(): boolean {
    const { status, isOpen } = this.#transaction
    return status === 'I' && !isOpen && this.#run === undefined
  }

  /** Whether something runs that could be cancelled. */
  get busy(): boolean {
    return this.#run !== undefined
  }

  /** Serves until the client leaves. */
  async serve(): Promise<void> {
    try {
      for (;;) {
        const frame = await this.#client.next()
        if (!frame || frame.type === 'X') return
        await this.#handle(frame)
      }
    } finally {
      this.#statements.endPortals('aborted')
    }
  }

  async #handle(frame: Frame): Promise<void> {
    if (this.#skipping && frame.type !== 'S') return
    try {
      switch (frame.type) {
        case 'Q':
          await this.#query(wire.readText(frame.body))
          return
        case 'P':
          await this.#parse(wire.readParse(frame.body))
          return
        case 'B':
          this.#statements.bind(wire.readBind(frame.body))
          this.#client.write(wire.BIND_COMPLETE)
          return
        case 'D':
          await this.#describe(wire.readNamed(frame.body))
          return
        case 'E':
          await this.#execute(wire.readExecute(frame.body))
          return
        case 'C':
          await this.#close(wire.readNamed(frame.body))
          return
        case 'S':
          await this.#sync()
          return
        case 'H':
          this.#client.flush()
          return
        case 'F':
          throw new SqlRefusal(
            'SP_SQL_UNSUPPORTED',
            'a call of a function by its number is not supported here',
            '0A000',
          )
        default:
          // COPY is never begun, so nothing of it is waited for.
          throw protocolError(`a message of type \`${frame.type}\` is out of place`)
      }
    } catch (error) {
      await this.#failed(error, frame.type === 'Q' || frame.type === 'F')
    }
  }

  /** Tells what went wrong, and leaves client and database with the same idea of the transaction. */
  async #failed(error: unknown, simple: boolean): Promise<void> {
    let broken = error instanceof RangeError ? protocolError('a message is not one') : error
    if (broken instanceof DatabaseError) {
      this.#client.write(broken.told)
      // It may be the last that the database says.
      this.#client.flush()
    } else {
      if (!(broken instanceof Error)) broken = new Error(String(broken))
      const refusal = toRefusal(broken)
      if (refusal.decision === undefined) {
        const { pipeline } = this.#parts
        refusal.decision = await pipeline.refuseUntyped(this.caller, refusal, this.system.name)
      }
      this.#client.write(toldRefusal(refusal))
      if (refusal.close || refusal.code === 'SP_SQL_PROTOCOL' || !this.#link.alive) {
        this.#client.end()
        throw refusal
      }
      // Whatever becomes of the database meanwhile.
      this.#client.flush()
      await this.#transaction.fail()
    }
    if (simple) await this.#sync()
    else this.#skipping = true
  }

  /** @param done what its statement is said to have done, where that is only told once its transaction is */
  async #sync(run?: Run, done?: Buffer): Promise<void> {
    this.#skipping = false
    let failed = true
    try {
      const error = await this.#transaction.end()
      failed = error !== undefined
      const { status } = this.#transaction
      const told = error?.told ?? done
      this.#client.write(...(told ? [told] : []), wire.ready(status))
      // Before what nobody waits for, such as the record of how it ended.
      this.#client.flush()
      // Portals end with their transaction.
      if (status === 'I') this.#statements.endPortals(failed ? 'upstream-error' : 'completed')
    } finally {
      run?.end(failed ? 'upstream-error' : 'completed')
    }
  }

  async #query(sql: string): Promise<void> {
    this.#statements.forget('')
    this.#statements.dropPortal('')
    const prepared = await this.#prepare(sql, [])
    let run: Run | undefined
    let done: Buffer | undefined
    if (prepared.parsed) {
      run = await this.#open({ prepared, bound: NO_VALUES, run: undefined }, '', 0)
      if (run?.returnsRows) this.#client.hold(...run.description())
      if (run) done = await this.#runOn(run, 0)
    } else this.#client.write(wire.EMPTY_QUERY)
    // What fails as its transaction ends was not done.
    await this.#sync(run, done)
  }

  async #parse({ name, sql, oids }: wire.ParseMessage): Promise<void> {
    const size = Buffer.byteLength(sql) + 4 * oids.length
    this.#statements.demandRoom(name, size)
    checkOids(oids)
    const prepared = await this.#prepare(sql, oids)
    this.#statements.keep(name, { ...prepared, size })
    this.#client.write(wire.PARSE_COMPLETE)
  }

  async #prepare(sql: string, oids: readonly number[]): Promise<Prepared> {
    this.#admit()
    const { enforced, postgres } = this.#now()
    const parsed = await parseStatement(sql)
    if (!parsed) return { parsed, control: undefined, oids, size: 0, columns: undefined }
    const control = controlOf(...parsed, postgres.statementTimeoutMs)
    if (!control) {
      this.#parts.calls.draft({
        ...{ caller: this.caller, enforced, system: this.system, postgres },
        ...{ statement: parsed, parameters: UNKNOWN },
      })
    }
    return { parsed, control, oids, size: 0, columns: undefined }
  }

  async #describe({ kind, name }: wire.Named): Promise<void> {
    if (kind === 'P') {
      const portal = this.#statements.portal(name)
      // What the gateway does itself is done when it is executed.
      const run = isOwn(portal.prepared.control)
        ? undefined
        : await this.#opened(portal, askedAhead(this.#client, name))
      this.#client.write(...(run?.description() ?? [wire.NO_DATA]))
      return
    }
    await this.#describeStatement(this.#statements.find(name))
  }

  /** Types of parameters and columns, as a draft of the statement has them; the decision comes with the values. */
  async #describeStatement(prepared: Prepared): Promise<void> {
    const { parsed, control, oids } = prepared
    if (!parsed || control) {
      this.#client.write(wire.NO_PARAMETERS, wire.NO_DATA)
      return
    }
    this.#admit()
    const { enforced, postgres } = this.#now()
    const draft = this.#parts.calls.sketch({
      ...{ caller: this.caller, enforced, system: this.system, postgres },
      ...{ statement: parsed, parameters: UNKNOWN },
    })
    const run = new Run(this.#runParts(), '', draft)
    this.#transaction.sent()
    const described = await run.describe(oids)
    prepared.columns = run.columns
    this.#client.write(...described)
  }

  async #execute({ portal: name, most }: { portal: string; most: number }): Promise<void> {
    const portal = this.#statements.portal(name)
    if (!portal.prepared.parsed) {
      this.#client.write(wire.EMPTY_QUERY)
      return
    }
    // To go on with it is a call of its own.
    if (portal.run?.started === true) this.#admit()
    const isLast = this.#client.waiting(0)?.type === 'S'
    const run = await this.#opened(portal, isLast ? most : undefined)
    if (run) this.#client.write(await this.#runOn(run, most))
  }

  async #close({ kind, name }: wire.Named): Promise<void> {
    if (kind === 'S') this.#statements.forget(name)
    else this.#statements.dropPortal(name)
    this.#client.write(wire.CLOSE_COMPLETE)
    await Promise.resolve()
  }

  async #opened(portal: Portal, ahead: number | undefined): Promise<Run | undefined> {
    if (!portal.prepared.parsed) return undefined
    if (portal.run === undefined) {
      this.#admit()
      portal.run = await this.#open(portal, `sp${++this.#portalNumber}`, ahead)
    }
    return portal.run
  }

  /**
   * Decides a statement and opens it in the database; undefined where the gateway has done it itself.
   *
   * @param ahead rows that the client asks for next, and nothing else before its transaction ends; 0 for all of them
   */
  async #open(
    { prepared, bound }: Portal,
    name: string,
    ahead: number | undefined,
  ): Promise<Run | undefined> {
    const { parsed, control, oids } = prepared
    if (!parsed) return undefined
    const { stats, calls } = this.#parts
    stats.requests++
    const { enforced, postgres } = this.#now()
    if (isOwn(control)) {
      this.#own(control)
      return undefined
    }
    const isFirst = !this.#transaction.isOpen
    // Whatever was sent before it would end with it, and might have to be taken back.
    const onceOf = (run: Run): number | undefined => (isFirst && run.onlyReads ? ahead : undefined)
    let made: Run | undefined
    const authorised = control
      ? undefined
      : await calls.authorise(
          {
            ...{ caller: this.caller, enforced, system: this.system, postgres, statement: parsed },
            parameters: boundParameters(bound, oids),
            values: wire.bind({ ...bound, portal: '', statement: '' }),
          },
          this.#presented,
          (compiled) => {
            made = new Run(this.#runParts(), name, compiled)
            this.#transaction.sent()
            made.prepare(bound, oids, onceOf(made))
          },
        )
    const compiled = authorised?.compiled ?? { ...NOTHING_READ, sql: control?.sql ?? '', form: {} }
    const run = made?.compiled === compiled ? made : new Run(this.#runParts(), name, compiled)
    const once = onceOf(run)
    run.ask(bound, oids, authorised, once)
    if (once === undefined) this.#transaction.sent()
    else this.#transaction.sentWhole()
    await run.opened(bound)
    // What the decision says of a column may have changed since the client was told its type.
    if (prepared.columns !== undefined && prepared.columns.join() !== run.columns.join()) {
      run.end('aborted')
      throw new SqlRefusal(
        'SP_SQL_UNSUPPORTED',
        'another type of result for a described statement',
        '0A000',
      )
    }
    return run
  }

  async #runOn(run: Run, most: number): Promise<Buffer> {
    this.#run = run
    this.#transaction.sent()
    try {
      return await run.execute(most)
    } finally {
      this.#run = undefined
    }
  }

  #admit(): void {
    if (this.#parts.pace.admits(this.caller.instance)) return
    throw new Refusal('SP_OVERLOADED', 'calls come too fast', { status: 429, retryAfterSeconds: 1 })
  }

  #own(control: OwnControl): void {
    if (control.kind === 'deallocate') {
      this.#statements.deallocate(control.name)
      const done = control.name === undefined ? 'DEALLOCATE ALL' : 'DEALLOCATE'
      this.#client.write(wire.commandComplete(done))
      return
    }
    this.#presented[control.what] = control.value === '' ? undefined : control.value
    this.#client.write(wire.commandComplete('SET'))
  }

  #runParts(): RunParts {
    const { calls, settings, clock } = this.#parts
    return {
      ...{ calls, settings, clock, client: this.#client, link: this.#link },
      recheck: () => this.#parts.standing.recheck(this.caller),
      toldError: (body) => DatabaseError.of(body),
    }
  }

  /** What is in force, for a caller who still stands. */
  #now(): { enforced: Enforced; postgres: PostgresSystem } {
    const { standing } = this.#parts
    standing.recheck(this.caller)
    const enforced = standing.enforced(false)
    const system = enforced.decider.index.findSystem(this.system.name)
    // Another upstream, or other tables: what this session is connected to may not be what is declared any more.
    if (
      !system?.postgres ||
      (system !== this.#known && connectionOf(system) !== this.#connection)
    ) {
      throw new Refusal('SP_DECLARATION_CHANGED', 'the declaration changed meanwhile', {
        status: 503,
        close: true,
      })
    }
    this.#known = system
    return { enforced, postgres: system.postgres }
  }
}

const NOTHING_READ = {
  ...{ outputs: [], facts: [], parameterTypes: new Map<number, never>(), isFixed: true },
}
