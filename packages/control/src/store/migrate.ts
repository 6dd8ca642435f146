import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { sha256Hex, SallyportError } from '@sallyport/base'
import type pg from 'pg'

const FOLDER = join(import.meta.dirname, 'migrations')
/** Any fixed number: two control planes that start at once take turns. */
const LOCK = 7_430_195_112

/** What the application role may never do, whatever its code tries: rewrite the evidence. */
const APPEND_ONLY = [
  'feed',
  'approval_statements',
  'declarations',
  'declaration_serials',
  'operator_sets',
  'incident_entries',
  'break_glass_acts',
]

/**
 * Brings the schema up to date: every file of `migrations/` once, in order, each in one transaction, under a lock. Then
 * gives `appRole` what it needs and no more.
 *
 * @throws SallyportError `SP_STORE_MIGRATION` where the database is newer than this program, or was migrated by other files
 */
export async function migrate(client: pg.ClientBase, appRole: string): Promise<void> {
  await client.query('SELECT pg_advisory_lock($1)', [LOCK])
  try {
    await client.query(
      'CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, digest text NOT NULL, at timestamptz NOT NULL DEFAULT now())',
    )
    const { rows } = await client.query<{ name: string; digest: string }>(
      'SELECT name, digest FROM schema_migrations',
    )
    const done = new Map(rows.map(({ name, digest }) => [name, digest]))
    const names = readdirSync(FOLDER)
      .filter((name) => name.endsWith('.sql'))
      .toSorted()
    for (const name of done.keys()) {
      if (!names.includes(name)) throw mismatch(`it has ${name}, which this version does not know`)
    }
    for (const name of names) {
      const sql = readFileSync(join(FOLDER, name), 'utf8')
      const digest = sha256Hex(sql)
      const before = done.get(name)
      if (before === digest) continue
      if (before !== undefined) throw mismatch(`${name} differs from what was applied`)
      await transaction(client, async () => {
        await client.query(sql)
        await client.query('INSERT INTO schema_migrations (name, digest) VALUES ($1, $2)', [
          name,
          digest,
        ])
      })
    }
    await grant(client, appRole)
  } finally {
    await client.query('SELECT pg_advisory_unlock($1)', [LOCK])
  }
}

async function grant(client: pg.ClientBase, role: string): Promise<void> {
  const name = client.escapeIdentifier(role)
  const { rows } = await client.query<{ owner: string }>('SELECT current_user AS owner')
  // A database of the user's own may come with one role that owns everything.
  if (rows[0]?.owner === role) return
  await transaction(client, async () => {
    await client.query(`GRANT USAGE ON SCHEMA public TO ${name}`)
    await client.query(
      `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO ${name}`,
    )
    await client.query(`GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ${name}`)
    for (const table of [...APPEND_ONLY, 'schema_migrations']) {
      await client.query(`REVOKE UPDATE, DELETE ON ${client.escapeIdentifier(table)} FROM ${name}`)
    }
    await client.query(`REVOKE INSERT ON schema_migrations FROM ${name}`)
  })
}

async function transaction(client: pg.ClientBase, act: () => Promise<void>): Promise<void> {
  await client.query('BEGIN')
  try {
    await act()
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  }
}

function mismatch(detail: string): SallyportError {
  return new SallyportError('SP_STORE_MIGRATION', 'the database does not fit this version', {
    detail,
    fix: 'run the version of sallyport that last used this database, or a newer one',
  })
}
