import type { Clock } from '@sallyport/base'
import type { OutcomeRecord } from '@sallyport/wire'
import { toRefusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Authorised, Calls } from './calls.ts'
import type { ClientWire } from './client.ts'
import { descriptionOf, parsing } from './forms.ts'
import type { Described } from './forms.ts'
import { OIDS } from './parameters.ts'
import { SqlRefusal } from './refuse.ts'
import type { Shown } from './shown.ts'
import type { Compiled } from './text/compile.ts'
import type { Link } from './upstream/link.ts'
import type { Frame } from './wire/frames.ts'
import * as wire from './wire/messages.ts'

export interface RunParts {
  readonly calls: Calls
  readonly settings: GatewaySettings
  readonly clock: Clock
  readonly client: ClientWire
  readonly link: Link
  /** @throws Refusal where the caller does not stand any more */
  recheck(): void
  /** What the database said of an error, as it may be told. */
  toldError(body: Buffer): Error
}

/** Of statements without tables. */
const MAX_ROWS = 1_000_000

/** One statement in the database, from its opening to its end: what comes back of it is cut down on the way. */
export class Run {
  readonly #parts: RunParts
  readonly #name: string
  readonly #compiled: Compiled
  #authorised: Authorised | undefined
  readonly #changes: ReadonlyMap<number, (value: Buffer) => Buffer>
  #described: Described | undefined
  #returnsRows = false
  #shown: Shown | undefined
  #checkedAt: number
  #rows = 0
  #bytes = 0
  /** How far the database was asked to go with it. */
  #asked: 'nothing' | 'parse' | 'bind' = 'nothing'
  #sent = false
  #executed = false
  #ended = false

  /** @param name of its portal in the database */
  constructor(parts: RunParts, name: string, compiled: Compiled) {
    this.#parts = parts
    this.#name = name
    this.#compiled = compiled
    this.#checkedAt = parts.clock.monotonic()
    this.#changes = new Map(
      compiled.outputs.flatMap(({ token }, i) =>
        token === undefined
          ? []
          : [[i, (value: Buffer) => Buffer.from(parts.calls.tokenise(token, value))] as const],
      ),
    )
  }

  /** Whether it may be run before its description is known, and its transaction ended with it: there is nothing to take back. */
  get onlyReads(): boolean {
    return this.#compiled.facts.every(({ action }) => action === 'select')
  }

  /** What it would send. */
  get compiled(): Compiled {
    return this.#compiled
  }

  /**
   * Has it made ready while its decision is being written: parsed, and where it only reads bound and described too.
   *
   * INVARIANT: nothing of it is executed. What writes is not even bound before its record is durable.
   *
   * @param ahead as `ask` will be told: where it is, what the database says of this comes with the rows, in one piece
   */
  prepare(bound: wire.BindMessage, oids: readonly number[], ahead: number | undefined): void {
    const { link } = this.#parts
    const parsed = parsing(this.#compiled, oids, bound.values.length)
    if (this.onlyReads)
      link.send(parsed, ...this.#binding(bound), ...(ahead === undefined ? [wire.FLUSH] : []))
    else link.send(parsed)
    this.#asked = this.onlyReads ? 'bind' : 'parse'
  }

  /**
   * Asks for what it was not asked for yet: to be parsed, bound and described.
   *
   * @param authorised its decision, which is durable; undefined where it has no tables
   * @param ahead how many rows the client is known to ask for next, 0 for all of them, with nothing after them: it is run at once, and the
   *   transaction's end asked for
   */
  ask(
    bound: wire.BindMessage,
    oids: readonly number[],
    authorised: Authorised | undefined,
    ahead: number | undefined,
  ): void {
    this.#authorised = authorised
    try {
      const isBound = this.#asked === 'bind'
      const isParsed = isBound || this.#asked === 'parse'
      const messages = [
        ...(isParsed ? [] : [parsing(this.#compiled, oids, bound.values.length)]),
        ...(isBound ? [] : this.#binding(bound)),
      ]
      if (ahead !== undefined) {
        messages.push(wire.execute(this.#name, this.#atMost(ahead)), wire.SYNC)
      } else if (!isBound) messages.push(wire.FLUSH)
      if (messages.length > 0) this.#parts.link.send(...messages)
      this.#sent = ahead !== undefined
    } catch (error) {
      this.end('upstream-error')
      throw error
    }
  }

  /**
   * Waits until it is described.
   *
   * @throws what the database said, as it may be told
   */
  async opened({ resultFormats }: wire.BindMessage): Promise<void> {
    const { calls } = this.#parts
    try {
      // INVARIANT: before any row is handed on, whether or not they are on their way.
      this.#describe(await this.#until('T', 'n'))
      if (this.#authorised) {
        this.#shown = calls.shown(this.#authorised, this.columns, resultFormats)
      }
    } catch (error) {
      this.end('upstream-error')
      throw error
    }
  }

  /** Types of its parameters and columns; nothing is executed. */
  async describe(oids: readonly number[]): Promise<readonly Buffer[]> {
    this.#parts.link.send(
      parsing(this.#compiled, oids, 0),
      wire.describe({ kind: 'S', name: '' }),
      wire.FLUSH,
    )
    const parameters = await this.#until('t')
    const told = Buffer.from(parameters.raw)
    this.#take(await this.#until('T', 'n'))
    return [told, ...this.description()]
  }

  /** Types of its columns. */
  get columns(): readonly number[] {
    return this.#described?.columns ?? []
  }

  /** Whether the client was given any of it. */
  get started(): boolean {
    return this.#executed
  }

  get returnsRows(): boolean {
    return this.#returnsRows
  }

  /** INVARIANT: what is changed on its way is found by its place, so places must be those of the statement as written. */
  #describe(frame: Frame): void {
    this.#take(frame)
    const { columns } = this
    const { outputs } = this.#compiled
    const tokens = outputs.every(({ token }, i) => token === undefined || columns[i] === OIDS.text)
    if (!this.#authorised || (columns.length === outputs.length && tokens)) return
    throw new SqlRefusal('SP_SQL_UPSTREAM', 'the database describes another statement', '58000')
  }

  description(): readonly Buffer[] {
    return [this.#described?.told ?? wire.NO_DATA]
  }

  #take(frame: Frame): void {
    this.#returnsRows = frame.type === 'T'
    this.#described = descriptionOf(this.#compiled, frame)
  }

  /**
   * Runs it, or goes on with it, and passes on what comes back.
   *
   * @param most rows, 0 for all of them
   * @returns what the client is to be told of how far it came
   * @throws Refusal where the decision does not hold any more, or more rows come than may
   */
  async execute(most: number): Promise<Buffer> {
    const { link, client } = this.#parts
    try {
      // It was described in the meantime, and its client may have taken all the time it liked.
      if (!this.#sent) this.#authorised?.demandStill()
      else this.#recheck()
      if (this.#executed || !this.#sent) {
        link.send(wire.execute(this.#name, this.#atMost(most)), wire.FLUSH)
      }
      this.#sent = true
      this.#executed = true
      for (;;) {
        const frames = await link.batch()
        const out: Buffer[] = []
        let done: Buffer | undefined
        let read = 0
        try {
          for (const frame of frames) {
            read++
            if (frame.type === 'D') {
              out.push(this.#row(frame))
              continue
            }
            client.write(Buffer.concat(out.splice(0)))
            if (frame.type === 'E') throw this.#parts.toldError(frame.body)
            if (frame.type === 'C' || frame.type === 's' || frame.type === 'I') {
              done = Buffer.from(frame.raw)
              break
            }
          }
        } finally {
          // Whatever stopped this: an error among them is what whoever fails the transaction waits for.
          link.putBack(frames.slice(read))
        }
        client.write(Buffer.concat(out))
        // Of what takes long, all that is there is told.
        if (!done) client.flush()
        await client.drained()
        if (client.closed) throw new SqlRefusal('SP_SQL_CANCELLED', 'the client went away', '57014')
        this.#recheck()
        if (done) return done
      }
    } catch (error) {
      const refused = error instanceof Error ? toRefusal(error) : undefined
      this.end(
        client.closed ? 'aborted' : refused?.code === 'SP_INTERNAL' ? 'upstream-error' : 'cut',
      )
      throw error
    }
  }

  /** Ends it, and its portal in the database. */
  close(): void {
    this.end('completed')
    const { link } = this.#parts
    if (link.alive) link.send(wire.close({ kind: 'P', name: this.#name }))
  }

  /** Takes down how it ended, once. */
  end(result: OutcomeRecord['result']): void {
    if (this.#ended) return
    this.#ended = true
    if (!this.#authorised) return
    this.#parts.calls.finish(this.#authorised, {
      result: this.#sent || result !== 'completed' ? result : 'aborted',
      status: result === 'completed' ? 200 : result === 'cut' ? 403 : 502,
      ...{ rows: this.#rows, bytesOut: this.#bytes, sent: this.#sent },
    })
  }

  #binding(bound: wire.BindMessage): readonly Buffer[] {
    return [
      wire.bind({ ...bound, portal: this.#name, statement: '' }),
      wire.describe({ kind: 'P', name: this.#name }),
    ]
  }

  #atMost(most: number): number {
    // One more than may leave is enough to know that there are more.
    const left = (this.#authorised?.maxRows ?? MAX_ROWS) - this.#rows + 1
    return most === 0 ? left : Math.min(most, left)
  }

  #row({ body, raw }: Frame): Buffer {
    this.#rows++
    const most = this.#authorised?.maxRows
    if (most !== undefined && this.#rows > most) {
      this.#rows--
      throw new SqlRefusal('SP_SQL_ROWS', `the statement returns more than ${most} rows`, '54000')
    }
    this.#shown?.row(body)
    const row = this.#changes.size === 0 ? raw : wire.changedRow(body, this.#changes)
    this.#bytes += row.length
    return row
  }

  /** A statement that takes long is decided again while it does. */
  #recheck(): void {
    const { clock, settings } = this.#parts
    const now = clock.monotonic()
    if (!this.#authorised || now - this.#checkedAt < settings.streamRecheckMs) return
    this.#checkedAt = now
    this.#parts.recheck()
    this.#authorised.demandLasting()
  }

  /** As `Link.until`. @throws what the database said instead */
  async #until(...types: readonly string[]): Promise<Frame> {
    const found = await this.#parts.link.until('E', ...types)
    if (found.type === 'E') throw this.#parts.toldError(found.body)
    return found
  }
}
