import { setTimeout as delay } from 'node:timers/promises'
import { SallyportError } from '@sallyport/base'
import type { DatabaseAccount, TableGrant } from '@sallyport/network'
import type pg from 'pg'
import { checkReach } from './reach.ts'
import { atomically, quoted, statement } from './sql.ts'

/** How an account signs in. */
export type Login =
  /** With a client certificate of its name: no password is ever good for it. */
  | { readonly kind: 'certificate' }
  /** With a password, for so long; sessions opened meanwhile stay. */
  | { readonly kind: 'password'; readonly verifier: string; readonly seconds: number }

export interface NewAccount {
  /** Letters, digits and `_`. */
  readonly role: string
  readonly database: string
  readonly account: DatabaseAccount
  readonly login: Login
  /** Whose it is, for whoever looks at the server. */
  readonly comment: string
}

/** How often, and how long apart, sessions are ended until there is none. */
const ENDING_TRIES = 100
const ENDING_PAUSE_MS = 100

/**
 * Makes a role that can do what the account says and nothing else, in one transaction. What PUBLIC may do beside is found out and
 * refused, since the role would have it too.
 *
 * @throws SallyportError `SP_DATABASE_ROW_SECURITY`, `SP_DATABASE_TABLE`, `SP_DATABASE_OVERREACH`
 */
export async function createAccount(client: pg.ClientBase, input: NewAccount): Promise<void> {
  const { role, account } = input
  await atomically(client, async () => {
    await inTurn(client)
    const attributes =
      'NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT LOGIN'
    // A whole number of the declaration's.
    const limit = `CONNECTION LIMIT ${Math.trunc(account.maxConnections)}`
    await statement(client, `CREATE ROLE %I ${attributes} ${limit} VALID UNTIL '-infinity'`, role)
    await statement(client, 'COMMENT ON ROLE %I IS %L', role, input.comment)
    await setLogin(client, role, input.login)
    const timeout = `${Math.trunc(account.statementTimeoutMs)}ms`
    await statement(client, 'ALTER ROLE %I SET statement_timeout = %L', role, timeout)
    const idle = 'idle_in_transaction_session_timeout'
    await statement(client, `ALTER ROLE %I SET ${idle} = %L`, role, timeout)
    await statement(client, 'GRANT CONNECT ON DATABASE %I TO %I', input.database, role)
    for (const schema of new Set(account.grants.map((grant) => grant.schema))) {
      await statement(client, 'GRANT USAGE ON SCHEMA %I TO %I', schema, role)
    }
    for (const [index, grant] of account.grants.entries()) {
      await grantTable(client, role, grant, index)
    }
    await checkReach(client, role, account.grants)
  })
}

/** Any fixed number. Grants on one table that come together would fail: PostgreSQL does not queue them. */
const TURN = 7_430_195_113

async function inTurn(client: pg.ClientBase): Promise<void> {
  await client.query('SELECT pg_advisory_xact_lock($1)', [TURN])
}

/**
 * Lets an account sign in anew. A role may change its own password, and never how long one is good: so what it sets itself ends
 * with ours.
 */
export async function setLogin(client: pg.ClientBase, role: string, login: Login): Promise<void> {
  if (login.kind === 'certificate') {
    await statement(client, `ALTER ROLE %I PASSWORD NULL VALID UNTIL '-infinity'`, role)
    return
  }
  // The database's own clock is what judges it.
  const { rows } = await client.query<{ until: string }>(
    'SELECT (clock_timestamp() + make_interval(secs => $1))::text AS until',
    [login.seconds],
  )
  const until = rows[0]?.until ?? '-infinity'
  await statement(client, 'ALTER ROLE %I PASSWORD %L VALID UNTIL %L', role, login.verifier, until)
}

async function grantTable(
  client: pg.ClientBase,
  role: string,
  grant: TableGrant,
  index: number,
): Promise<void> {
  const { schema, table, rows } = grant
  const found = await client.query<{ relrowsecurity: boolean }>(
    `SELECT relrowsecurity FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')`,
    [schema, table],
  )
  const [relation] = found.rows
  if (!relation) {
    throw new SallyportError('SP_DATABASE_TABLE', `there is no table \`${schema}.${table}\``, {
      fix: 'accounts are given tables, by their exact names; correct the declaration',
    })
  }
  const columns: string[] = []
  for (const column of grant.columns) columns.push(await quoted(client, '%I', column))
  for (const action of grant.actions) {
    const what = action === 'delete' ? 'DELETE' : `${WORD[action]} (${columns.join()})`
    // What was quoted is part of a template now: its percent signs are signs.
    await statement(client, `GRANT ${escaped(what)} ON %I.%I TO %I`, schema, table, role)
  }
  if (!rows) return
  if (!relation.relrowsecurity) {
    throw new SallyportError(
      'SP_DATABASE_ROW_SECURITY',
      `row security is off for \`${schema}.${table}\``,
      {
        detail: 'a filter of rows would filter nothing',
        fix: 'give its other users policies, then ALTER TABLE … ENABLE ROW LEVEL SECURITY',
      },
    )
  }
  const parts: string[] = []
  for (const [column, value] of Object.entries(rows)) {
    // Literals without a type take the column's.
    parts.push(await quoted(client, '(%I = %L) IS TRUE', column, String(value)))
  }
  const condition = escaped(parts.join(' AND '))
  for (const kind of ['PERMISSIVE', 'RESTRICTIVE'] as const) {
    // The first lets the rows be seen; the second holds whatever other policies let everybody see.
    await statement(
      client,
      `CREATE POLICY %I ON %I.%I AS ${kind} FOR ALL TO %I USING (${condition}) WITH CHECK (${condition})`,
      `${role}_${index}${kind === 'PERMISSIVE' ? 'p' : 'r'}`,
      schema,
      table,
      role,
    )
  }
}

const WORD = { select: 'SELECT', insert: 'INSERT', update: 'UPDATE' } as const

const escaped = (sql: string): string => sql.replaceAll('%', '%%')

/**
 * Ends an account: no new sessions, the open ones ended, then the role with all it was given. Safe to call again, and for a role
 * that is gone.
 *
 * @returns how many sessions were ended
 * @throws SallyportError `SP_DATABASE_SESSIONS` where some would not end; the role cannot sign in any more even then
 */
export async function closeAccount(client: pg.ClientBase, role: string): Promise<number> {
  // Several control planes may end it at once: PostgreSQL does not queue changes of a role.
  const lock = [role, TURN]
  await client.query('SELECT pg_advisory_lock(hashtextextended($1, $2))', lock)
  try {
    const { rows } = await client.query<Found>(
      `SELECT r.oid::text AS oid, current_setting('server_version_num')::int AS version,
              pg_has_role(current_user, r.oid, 'USAGE') AS member
         FROM pg_roles r WHERE r.rolname = $1`,
      [role],
    )
    const [found] = rows
    if (!found) return 0
    const ended = await drop(client, role, found)
    // A sign-in that had passed its checks just before.
    return ended + (await endSessions(client, found.oid))
  } finally {
    await client.query('SELECT pg_advisory_unlock(hashtextextended($1, $2))', lock)
  }
}

interface Found {
  readonly oid: string
  readonly version: number
  readonly member: boolean
}

async function drop(client: pg.ClientBase, role: string, found: Found): Promise<number> {
  await statement(client, `ALTER ROLE %I NOLOGIN PASSWORD NULL VALID UNTIL '-infinity'`, role)
  if (!found.member) {
    // An administrator that is no superuser ends sessions, and drops what a role has, as its member.
    const how = found.version >= 160_000 ? ' WITH INHERIT TRUE, SET FALSE' : ''
    await statement(client, `GRANT %I TO CURRENT_USER${how}`, role)
  }
  const ended = await endSessions(client, found.oid)
  await atomically(client, async () => {
    await inTurn(client)
    await statement(client, 'DROP OWNED BY %I', role)
    await statement(client, 'DROP ROLE %I', role)
  })
  return ended
}

async function endSessions(client: pg.ClientBase, oid: string): Promise<number> {
  const seen = new Set<number>()
  for (let tries = 0; tries < ENDING_TRIES; tries++) {
    const { rows } = await client.query<{ pid: number }>(
      `SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = $1::oid`,
      [oid],
    )
    if (rows.length === 0) return seen.size
    for (const { pid } of rows) seen.add(pid)
    await delay(ENDING_PAUSE_MS)
  }
  throw new SallyportError('SP_DATABASE_SESSIONS', 'a session of an ended account does not end', {
    detail: `role oid ${oid}`,
    fix: 'see what it waits for in pg_stat_activity; it is tried again',
  })
}

/** Roles whose names begin so. */
export async function accountsLike(client: pg.ClientBase, prefix: string): Promise<string[]> {
  const { rows } = await client.query<{ rolname: string }>(
    'SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1) ORDER BY rolname',
    [prefix],
  )
  return rows.map(({ rolname }) => rolname)
}
