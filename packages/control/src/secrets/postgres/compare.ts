import { errorCode } from '@sallyport/base'
import type { Database, Network, TableGrant } from '@sallyport/network'
import { kindOf, parseSpiffeId } from '@sallyport/spiffe'
import type pg from 'pg'
import type { LeaseView } from '../leases.ts'
import { compareReach } from './reach.ts'
import type { Reach } from './reach.ts'

/** One role of a database: what it can do beyond the declaration, and what it lacks of it. */
export interface GrantComparison {
  readonly database: string
  readonly role: string
  /** SPIFFE id of the instance whose account it is; `gateway` for the role that gateways sign in with. */
  readonly holder: string
  readonly beyond: readonly Reach[]
  readonly missing: readonly Reach[]
  /** Tables whose rows the declaration filters, and the server does not. */
  readonly unfiltered: readonly string[]
  /** Why nothing is known of it. */
  readonly failed?: string
}

const MAX_SHOWN = 100

/** A database that could not be asked. */
export const notAsked = (database: string, error: unknown): GrantComparison => ({
  ...{ database, role: '', holder: '', beyond: [], missing: [], unfiltered: [] },
  failed: errorCode(error),
})

/**
 * Compares the accounts of leases, and the role of gateways, with the declaration.
 *
 * @param client the database's administrator
 * @param held leases that have not ended
 */
export async function compareGrants(
  client: pg.ClientBase,
  network: Network,
  database: Database,
  held: readonly LeaseView[],
): Promise<GrantComparison[]> {
  const found: GrantComparison[] = []
  for (const { resource, account, holder, state } of held) {
    if (resource !== database.name || account === null || state !== 'active') continue
    const kind = kindOf(parseSpiffeId(holder))
    const declared = database.accounts.find(({ agent }) => agent === kind?.name)
    found.push(await compareRole(client, database.name, account, holder, declared?.grants ?? []))
  }
  for (const { postgres, operations } of network.systems) {
    if (postgres?.database !== database.database) continue
    const grants = postgres.tables.map((table): TableGrant => {
      const actions = operations.flatMap(({ binding }) =>
        binding.kind === 'postgres' && binding.table === table.name ? [binding.action] : [],
      )
      const columns = Object.keys(table.columns)
      return { schema: table.schema, table: table.table, columns, actions }
    })
    found.push(await compareRole(client, database.name, postgres.user, 'gateway', grants))
  }
  return found
}

async function compareRole(
  client: pg.ClientBase,
  database: string,
  role: string,
  holder: string,
  grants: readonly TableGrant[],
): Promise<GrantComparison> {
  const about = { database, role, holder }
  const { rows } = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [role])
  if (rows.length === 0) {
    return { ...about, beyond: [], missing: [], unfiltered: [], failed: 'no such role' }
  }
  const { beyond, missing } = await compareReach(client, role, grants)
  const unfiltered: string[] = []
  for (const [index, { schema, table, rows: filter }] of grants.entries()) {
    if (filter && !(await isFiltered(client, role, schema, table, index))) {
      unfiltered.push(`${schema}.${table}`)
    }
  }
  const shown = { beyond: beyond.slice(0, MAX_SHOWN), missing: missing.slice(0, MAX_SHOWN) }
  return { ...about, ...shown, unfiltered }
}

/** Row security on, and the restrictive policy of exactly this account there: it holds whatever others let everybody see. */
async function isFiltered(
  client: pg.ClientBase,
  role: string,
  schema: string,
  table: string,
  index: number,
): Promise<boolean> {
  const { rows } = await client.query(
    `SELECT FROM pg_class c
       JOIN pg_namespace n ON n.oid = c.relnamespace
       JOIN pg_policy p ON p.polrelid = c.oid
       JOIN pg_roles r ON r.oid = ANY (p.polroles)
      WHERE n.nspname = $1 AND c.relname = $2 AND c.relrowsecurity
        AND NOT p.polpermissive AND p.polcmd = '*' AND r.rolname = $3 AND p.polname = $4`,
    [schema, table, role, `${role}_${index}r`],
  )
  return rows.length > 0
}
