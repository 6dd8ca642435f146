import type { OutcomeRecord } from '@sallyport/wire'
import type { Run } from './run.ts'
import { noName, SqlRefusal } from './refuse.ts'
import type { Control } from './text/control.ts'
import type { Node } from './text/nodes.ts'
import type { BindMessage } from './wire/messages.ts'

/** A statement as a client prepared it: parsed, and not yet decided. */
export interface Prepared {
  readonly parsed: readonly [kind: string, node: Node] | undefined
  readonly control: Control | undefined
  readonly oids: readonly number[]
  /** Bytes that the client sent for it, where it is kept. */
  readonly size: number
  /** Types of its columns, once the client was told them. */
  columns: readonly number[] | undefined
}

export interface Portal {
  readonly prepared: Prepared
  readonly bound: BindMessage
  /** From when it is described or executed first: decided, and open in the database. */
  run: Run | undefined
}

export const NO_VALUES: BindMessage = {
  ...{ portal: '', statement: '', formats: [], values: [], resultFormats: [] },
}

const MAX_STATEMENTS = 1000
const MAX_PORTALS = 100
/** Of the texts of statements, whose trees take many times that. */
const MAX_STATEMENT_BYTES = 2 * 1024 * 1024
const MAX_VALUE_BYTES = 16 * 1024 * 1024

/** What a client has prepared and bound: its names are the gateway's to keep, and the database has others. */
export class Statements {
  readonly #statements = new Map<string, Prepared>()
  readonly #portals = new Map<string, Portal>()

  /** @throws SqlRefusal where there is no room for another, or one of this name */
  demandRoom(name: string, size: number): void {
    if (name !== '' && this.#statements.has(name)) {
      const shown = name.slice(0, 63)
      throw new SqlRefusal('SP_SQL_NAME', `the statement \`${shown}\` exists already`, '42P05')
    }
    if (this.#statements.size >= MAX_STATEMENTS) throw tooMany(`${MAX_STATEMENTS} statements`)
    let held = size
    for (const [other, prepared] of this.#statements) if (other !== name) held += prepared.size
    if (held > MAX_STATEMENT_BYTES) throw tooMany(`${MAX_STATEMENT_BYTES} bytes of statements`)
  }

  keep(name: string, prepared: Prepared): void {
    this.#statements.set(name, prepared)
  }

  /** @throws SqlRefusal where there is none */
  find(name: string): Prepared {
    const prepared = this.#statements.get(name)
    if (!prepared) throw noName('statement', name, '26000')
    return prepared
  }

  forget(name: string): void {
    this.#statements.delete(name)
  }

  /** @param name undefined for all of them */
  deallocate(name: string | undefined): void {
    if (name === undefined) this.#statements.clear()
    else if (!this.#statements.delete(name)) throw noName('statement', name, '26000')
  }

  /** @throws SqlRefusal */
  bind(bound: BindMessage): void {
    const prepared = this.find(bound.statement)
    if (bound.portal !== '' && this.#portals.has(bound.portal)) {
      throw new SqlRefusal('SP_SQL_NAME', 'the portal exists already', '42P03')
    }
    if (this.#portals.size >= MAX_PORTALS) throw tooMany(`${MAX_PORTALS} portals`)
    let held = sizeOf(bound)
    for (const [other, portal] of this.#portals) {
      if (other !== bound.portal) held += sizeOf(portal.bound)
    }
    if (held > MAX_VALUE_BYTES) throw tooMany(`${MAX_VALUE_BYTES} bytes of values`)
    this.dropPortal(bound.portal)
    this.#portals.set(bound.portal, { prepared, bound, run: undefined })
  }

  /** @throws SqlRefusal where there is none */
  portal(name: string): Portal {
    const portal = this.#portals.get(name)
    if (!portal) throw noName('portal', name, '34000')
    return portal
  }

  dropPortal(name: string): void {
    const run = this.#portals.get(name)?.run
    this.#portals.delete(name)
    // Within a transaction the database would keep it.
    run?.close()
  }

  endPortals(result: OutcomeRecord['result']): void {
    for (const { run } of this.#portals.values()) run?.end(result)
    this.#portals.clear()
  }
}

const sizeOf = ({ values }: BindMessage): number =>
  values.reduce((sum, value) => sum + 8 + (value?.length ?? 0), 0)

const tooMany = (what: string): SqlRefusal =>
  new SqlRefusal('SP_SQL_UNSUPPORTED', `more than ${what} are not supported here`, '53400')
