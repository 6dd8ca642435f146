import { Kysely, PostgresDialect } from 'kysely'
import type { Transaction } from 'kysely'
import pg from 'pg'
import { SallyportError } from '@sallyport/base'
import { migrate } from './migrate.ts'
import type { Database } from './schema.ts'

export type Tx = Transaction<Database>
type Db = Kysely<Database>

/** The database. Whatever fails because it is away fails as `SP_STORE_UNAVAILABLE`, and nothing is half done. */
export interface Store {
  run<T>(act: (db: Db) => Promise<T>): Promise<T>
  /** One transaction, read committed: callers lock the rows that they decide by. */
  transaction<T>(act: (tx: Tx) => Promise<T>): Promise<T>
  /** A connection outside the pool, for LISTEN. The caller ends it. */
  connect(): Promise<pg.Client>
  close(): Promise<void>
}

const APP_ROLE = 'sallyport_app'
const CONNECT_MS = 2000
const QUERY_MS = 5000

/**
 * Migrates as the owner of the schema, then works as a role that owns nothing and cannot rewrite evidence, where the owner
 * may make such a role.
 *
 * @param url `postgres://…`
 * @throws SallyportError `SP_STORE_UNAVAILABLE`, `SP_STORE_MIGRATION`
 */
export async function openStore(url: string): Promise<Store> {
  const role = await prepare(url)
  const config: pg.PoolConfig = {
    connectionString: url,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: QUERY_MS,
    statement_timeout: QUERY_MS,
    application_name: 'sallyport-control',
    types: { getTypeParser },
    ...(role === undefined ? {} : { options: `-c role=${role}` }),
  }
  const pool = new pg.Pool({ ...config, max: 16, idleTimeoutMillis: 30_000 })
  // A connection may break while it is idle and while it is in use; unhandled, either would end the process.
  pool.on('error', () => undefined)
  pool.on('connect', (client) => client.on('error', () => undefined))
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  return {
    run: (act) => guarded(() => act(db)),
    transaction: (act) => guarded(() => db.transaction().execute(act)),
    connect: () =>
      guarded(async () => {
        const client = new pg.Client(config)
        client.on('error', () => undefined)
        await client.connect()
        return client
      }),
    close: () => db.destroy(),
  }
}

/** @returns the role to work as; undefined where it is the user of the URL itself */
async function prepare(url: string): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_MS })
  client.on('error', () => undefined)
  return guarded(async () => {
    await client.connect()
    try {
      const { rows } = await client.query<{ name: string; able: boolean; exists: boolean }>(
        `SELECT current_user AS name, (rolsuper OR rolcreaterole) AS able,
                EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS exists
           FROM pg_roles WHERE rolname = current_user`,
        [APP_ROLE],
      )
      const me = rows[0]
      const role = me?.able === true ? APP_ROLE : undefined
      if (me && role !== undefined && !me.exists) {
        await client.query(`CREATE ROLE ${role} NOLOGIN`)
        await client.query(`GRANT ${role} TO ${client.escapeIdentifier(me.name)}`)
      }
      await migrate(client, role ?? me?.name ?? APP_ROLE)
      return role
    } finally {
      await client.end()
    }
  })
}

const INT8 = pg.types.builtins.INT8

/** bigint as a number: times and counters fit; anything that would not is an error, not a rounding. */
function getTypeParser(
  ...[oid, format]: Parameters<typeof pg.types.getTypeParser>
): (value: string) => unknown {
  // pg types its own parsers as taking anything; in text format they take text.
  if (oid !== INT8) return pg.types.getTypeParser(oid, format) as (value: string) => unknown
  return (text) => {
    const value = Number(text)
    if (!Number.isSafeInteger(value)) throw new RangeError(`bigint ${text} out of range`)
    return value
  }
}

async function guarded<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (error instanceof SallyportError || !isAway(error)) throw error
    throw new SallyportError('SP_STORE_UNAVAILABLE', 'the database cannot be reached', {
      detail: error instanceof Error ? error.message : String(error),
      fix: 'wait until the database is back; nothing that was not confirmed has taken effect for sure',
      cause: error,
    })
  }
}

/** Network errors of this side, and the classes of SQLSTATE that speak of the server and not of the statement. */
const ERRNO = /^(ECONN|EPIPE|ENOENT|ETIMEDOUT|EHOST|ENET|EACCES|EAI_|ENOTFOUND)/
const SQLSTATE = /^(08|53|57P|58|XX)|^(57014|55P03|25006|25P0[23])$/
const MESSAGE =
  /Connection terminated|timeout exceeded|Query read timeout|not queryable|connection error|driver has already been destroyed|after calling end/i

function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  // AggregateError comes from dialling several addresses.
  if (error instanceof AggregateError) return error.errors.some((inner) => isAway(inner))
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return ERRNO.test(code) || SQLSTATE.test(code) || MESSAGE.test(error.message)
}
