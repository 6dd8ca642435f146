import type { Clock } from '@sallyport/base'
import type { PostgresSystem, System } from '@sallyport/network'
import type { VerifiedSvid } from '@sallyport/spiffe'
import type { IdentityHolder } from '@sallyport/transport'
import type { Address } from '../../edge/listener.ts'
import type { GatewaySettings } from '../../settings.ts'
import type { Credentials } from '../../upstream/credentials.ts'
import { reasonOf } from '../../refusal.ts'
import { SqlRefusal } from '../refuse.ts'
import { OIDS } from '../parameters.ts'
import { declaredName } from '../text/names.ts'
import { columnTypes, describe, parse, query, SYNC } from '../wire/messages.ts'
import { connectDatabase } from './connect.ts'
import { Link, unreachable } from './link.ts'

export interface DatabasesOptions {
  readonly holder: IdentityHolder
  readonly credentials: Credentials
  readonly settings: GatewaySettings
  readonly clock: Clock
  /** System name → where it is, if not as declared. */
  readonly overrides: Readonly<Record<string, Address>>
  readonly refuses: (service: VerifiedSvid) => boolean
}

export interface Borrower {
  /** SPIFFE id. */
  readonly instance: string
  readonly agent: string
}

/** Names which role a session has, and whose it is, whatever else may differ. */
interface Session {
  readonly link: Link
  readonly key: string
  readonly instance: string
  /** The database, where it is a service of the network. */
  readonly peer: VerifiedSvid | undefined
  idleSince: number
}

/** Sessions with databases. One is only ever of one instance: none of its state can reach another. */
export class Databases {
  readonly #options: DatabasesOptions
  readonly #sessions = new Map<Link, Session>()
  readonly #idle = new Set<Session>()
  readonly #opening = new Map<string, number>()
  readonly #timer: NodeJS.Timeout
  readonly #unsubscribe: () => void

  constructor(options: DatabasesOptions) {
    this.#options = options
    const { clock, settings } = options
    this.#timer = setInterval(() => {
      const before = clock.monotonic() - settings.upstreamIdleMs
      this.#drop((session) => session.idleSince < before)
    }, 5000).unref()
    // A session that was opened with the identity before this one is not begun with again.
    this.#unsubscribe = options.holder.onChange(() => {
      this.#drop(() => true)
    })
  }

  get size(): number {
    return this.#sessions.size
  }

  /** @throws SqlRefusal `SP_SQL_UPSTREAM`, Refusal `SP_CREDENTIAL_MISSING` */
  async borrow(borrower: Borrower, system: System, postgres: PostgresSystem): Promise<Link> {
    const { instance } = borrower
    const key = JSON.stringify([instance, system.name, system.upstream, postgres])
    for (const session of this.#idle) {
      if (session.key !== key) continue
      this.#idle.delete(session)
      if (session.link.alive) return session.link
    }
    const own = [...this.#sessions.values()].filter((one) => one.instance === instance).length
    const opening = this.#opening.get(instance) ?? 0
    if (own + opening >= this.#options.settings.upstreamConnections) {
      throw new SqlRefusal('SP_SQL_UPSTREAM', 'the caller has too many sessions', '53300')
    }
    this.#opening.set(instance, opening + 1)
    try {
      const { link, peer } = await this.#open(borrower, system, postgres)
      this.#sessions.set(link, { link, key, instance, peer, idleSince: 0 })
      link.socket.once('close', () => {
        this.#forget(link)
      })
      if (!link.alive) throw unreachable('the database closed the connection')
      // It may have been cut off while it was signed in to.
      if (peer && this.#options.refuses(peer)) {
        link.destroy()
        throw unreachable('the database is not to be used')
      }
      return link
    } finally {
      const left = (this.#opening.get(instance) ?? 1) - 1
      if (left > 0) this.#opening.set(instance, left)
      else this.#opening.delete(instance)
    }
  }

  /** Takes a session back; one that cannot be made as new is ended. */
  async giveBack(link: Link, clean: boolean): Promise<void> {
    const session = this.#sessions.get(link)
    if (!session) return
    link.onParameter = undefined
    if (!clean || !link.alive) {
      link.destroy()
      return
    }
    try {
      link.send(query('DISCARD ALL'))
      let status = ''
      let failed = false
      while (status === '') {
        const { type, body } = await link.next()
        if (type === 'E') failed = true
        if (type === 'Z') status = body.toString('latin1')
      }
      if (failed || status !== 'I') throw unreachable('the session cannot be reset')
      session.idleSince = this.#options.clock.monotonic()
      this.#idle.add(session)
    } catch {
      link.destroy()
    }
  }

  /** Asks the database to stop what a session runs, over a connection of its own (PostgreSQL, section 54.2.9). */
  async cancel(link: Link, system: System): Promise<void> {
    const body = Buffer.concat([Buffer.from('04d2162e', 'hex'), link.key])
    const head = Buffer.alloc(4)
    head.writeInt32BE(body.length + 4)
    const { socket } = await this.#connect(system)
    const timer = setTimeout(
      () => socket.destroy(),
      this.#options.settings.upstreamConnectTimeoutMs,
    )
    // The database closes it once it has passed the request on.
    await new Promise<void>((resolve) => {
      socket.once('close', () => resolve())
      socket.resume()
      socket.write(Buffer.concat([head, body]))
    })
    clearTimeout(timer)
  }

  /** Breaks off the sessions of an instance, or with a database, of this name or of one below it. */
  cut(subject: string): void {
    const isBelow = (name: string | undefined): boolean =>
      name === subject || name?.startsWith(`${subject}/`) === true
    for (const { link, instance, peer } of this.#sessions.values()) {
      if (isBelow(instance) || isBelow(peer?.id.uri)) link.destroy()
    }
  }

  /** Breaks off the sessions with databases that showed these certificates, or some under these roots. */
  cutPeers(serials: readonly string[], roots: readonly string[]): void {
    for (const { link, peer } of this.#sessions.values()) {
      if (peer && (serials.includes(peer.serial) || roots.includes(peer.root))) link.destroy()
    }
  }

  close(): void {
    clearInterval(this.#timer)
    this.#unsubscribe()
    for (const link of this.#sessions.keys()) link.destroy()
  }

  async #open(
    { instance, agent }: Borrower,
    system: System,
    postgres: PostgresSystem,
  ): Promise<{ readonly link: Link; readonly peer: VerifiedSvid | undefined }> {
    const password = await this.#options.credentials.get(postgres.secret)
    const { socket, peer } = await this.#connect(system)
    const link = new Link(socket)
    const timer = setTimeout(() => link.destroy(), this.#options.settings.upstreamConnectTimeoutMs)
    try {
      await link.start(
        {
          user: postgres.user,
          database: postgres.database,
          client_encoding: 'UTF8',
          application_name: `sallyport ${agent}`,
          options: Object.entries({
            // Only functions and operators of the server's own are found by their bare names.
            search_path: 'pg_catalog',
            statement_timeout: String(postgres.statementTimeoutMs),
            idle_in_transaction_session_timeout: String(IDLE_MS),
            standard_conforming_strings: 'on',
            datestyle: 'ISO,MDY',
            'sallyport.instance': instance,
            'sallyport.agent': agent,
          })
            .map(([name, value]) => `-c ${name}=${value}`)
            .join(' '),
        },
        password,
      )
      await demandDeclared(link, postgres)
      return { link, peer }
    } catch (error) {
      link.destroy()
      // It may have been replaced: the next session asks for it anew.
      this.#options.credentials.forget(postgres.secret)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  async #connect(system: System): ReturnType<typeof connectDatabase> {
    const { holder, overrides, settings, refuses } = this.#options
    const override = Object.hasOwn(overrides, system.name) ? overrides[system.name] : undefined
    try {
      return await connectDatabase({
        ...{ holder, system, override, refuses },
        timeoutMs: settings.upstreamConnectTimeoutMs,
      })
    } catch (error) {
      if (error instanceof SqlRefusal) throw error
      throw unreachable(reasonOf(error))
    }
  }

  #drop(old: (session: Session) => boolean): void {
    for (const session of this.#idle) {
      if (!old(session)) continue
      this.#idle.delete(session)
      session.link.end()
    }
  }

  #forget(link: Link): void {
    const session = this.#sessions.get(link)
    if (!session) return
    this.#sessions.delete(link)
    this.#idle.delete(session)
  }
}

/**
 * The database must have the tables as they are declared: a value that is judged as a whole number and compared as something
 * else would be judged wrongly.
 *
 * @throws SqlRefusal `SP_SQL_UPSTREAM`
 */
async function demandDeclared(link: Link, { tables }: PostgresSystem): Promise<void> {
  const asked = tables.flatMap(({ schema, table, columns }) => {
    const list = Object.keys(columns).map(declaredName).join(', ')
    const sql = `SELECT ${list} FROM ${declaredName(schema)}.${declaredName(table)}`
    return [parse({ name: '', sql, oids: [] }), describe({ kind: 'S', name: '' })]
  })
  link.send(...asked, SYNC)
  const found: (readonly number[])[] = []
  for (let type = ''; type !== 'Z';) {
    const frame = await link.next()
    ;({ type } = frame)
    if (type === 'T') found.push(columnTypes(frame.body))
    if (type === 'E') break
  }
  const stray = tables.find(({ columns }, i) => {
    const types = Object.values(columns).map((type) => OIDS[type])
    return types.join() !== found[i]?.join()
  })
  if (stray) throw unreachable(`the table \`${stray.name}\` is not as declared, or not to be read`)
}

/** How long a transaction may stand open with nothing being asked: it holds locks. */
const IDLE_MS = 60_000
