import { SallyportError } from '@sallyport/base'
import type { Database } from '@sallyport/network'
import pg from 'pg'

/** Where accounts are made, and by whom: what an end of them needs to know, whatever the declaration says by then. */
export type Target = Pick<Database, 'name' | 'host' | 'port' | 'database' | 'tls' | 'admin'>

const CONNECT_MS = 5000
const STATEMENT_MS = 20_000

/**
 * One connection of the database's own administrator, for one piece of work.
 *
 * @param password read for this call, kept nowhere
 * @throws SallyportError `SP_DATABASE_UNREACHABLE`, or what `act` throws
 */
export async function asAdmin<T>(
  target: Target,
  password: string,
  act: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const { host, port, database, tls, admin } = target
  const client = new pg.Client({
    ...{ host, port, database, user: admin.user, password },
    ssl: tls
      ? { ca: tls.ca, servername: tls.serverName, rejectUnauthorized: true, minVersion: 'TLSv1.3' }
      : false,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: STATEMENT_MS + CONNECT_MS,
    statement_timeout: STATEMENT_MS,
    application_name: 'sallyport-accounts',
    // What a role or a database sets as its own search path must not decide which function is called.
    options: '-c search_path=pg_catalog',
  })
  client.on('error', () => undefined)
  try {
    await client.connect()
  } catch (cause) {
    await client.end().catch(() => undefined)
    throw unreachable(target.name, cause)
  }
  try {
    return await act(client)
  } catch (error) {
    if (error instanceof SallyportError) throw error
    throw failed(target.name, error)
  } finally {
    await client.end().catch(() => undefined)
  }
}

function unreachable(name: string, cause: unknown): SallyportError {
  return new SallyportError('SP_DATABASE_UNREACHABLE', `the database \`${name}\` is out of reach`, {
    detail: cause instanceof Error ? cause.message : String(cause),
    fix: 'check its address, its certificate, and the administrator’s password',
    cause,
  })
}

/** What PostgreSQL says of our own statements holds names, never a password: those travel as verifiers. */
function failed(name: string, cause: unknown): SallyportError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  return new SallyportError('SP_DATABASE_REFUSED', `the database \`${name}\` refused a statement`, {
    detail: `${code} ${cause instanceof Error ? cause.message : String(cause)}`.trim(),
    fix: 'see that the administrator may create roles, and owns the tables it grants',
    cause,
  })
}
