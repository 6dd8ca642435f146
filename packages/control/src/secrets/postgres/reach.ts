import { SallyportError } from '@sallyport/base'
import type { TableGrant } from '@sallyport/network'
import type pg from 'pg'

/** What a role can effectively do: its own grants, and those of PUBLIC and of roles it belongs to. */
const REACH = `
  WITH relations AS (
    SELECT c.oid, n.nspname, c.relname
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
       AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
       AND has_schema_privilege($1, n.oid, 'USAGE')
       AND (has_table_privilege($1, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
         OR has_any_column_privilege($1, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
  )
  SELECT nspname AS schema, relname AS table, attname AS column, lower(action) AS action
    FROM relations r
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) action
   WHERE has_column_privilege($1, r.oid, a.attnum, action)
  UNION ALL
  SELECT nspname, relname, NULL, lower(action)
    FROM relations r CROSS JOIN unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) action
   WHERE has_table_privilege($1, r.oid, action)
  UNION ALL
  SELECT nspname, '*', NULL, 'create'
    FROM pg_namespace n
   WHERE nspname !~ '^pg_' AND has_schema_privilege($1, n.oid, 'CREATE')
  UNION ALL
  SELECT '*', '*', NULL, 'create'
   WHERE has_database_privilege($1, current_database(), 'CREATE')`

/** One thing that a role can do: to a column, to a whole table, or (`*`) beyond any. */
export interface Reach {
  readonly schema: string
  readonly table: string
  readonly column: string | null
  readonly action: string
}

/**
 * What a role can effectively do beside what it was granted by name, and what of that it cannot do.
 *
 * @param role one that there is
 */
export async function compareReach(
  client: pg.ClientBase,
  role: string,
  grants: readonly TableGrant[],
): Promise<{ readonly beyond: readonly Reach[]; readonly missing: readonly Reach[] }> {
  const granted = new Map(
    grants
      .flatMap(({ schema, table, columns, actions }) =>
        actions.flatMap((action): Reach[] =>
          action === 'delete'
            ? [{ schema, table, column: null, action }]
            : columns.map((column) => ({ schema, table, column, action })),
        ),
      )
      .map((reach) => [keyOf(reach), reach]),
  )
  const { rows } = await client.query<Reach>(REACH, [role])
  const found = new Set(rows.map(keyOf))
  return {
    beyond: rows.filter((reach) => !granted.has(keyOf(reach))),
    missing: [...granted].filter(([key]) => !found.has(key)).map(([, reach]) => reach),
  }
}

/**
 * Asks the server what a role can effectively read and change, and refuses where that is more than it was granted.
 *
 * @throws SallyportError `SP_DATABASE_OVERREACH`
 */
export async function checkReach(
  client: pg.ClientBase,
  role: string,
  grants: readonly TableGrant[],
): Promise<void> {
  const { beyond } = await compareReach(client, role, grants)
  const [first] = beyond
  if (!first) return
  throw new SallyportError(
    'SP_DATABASE_OVERREACH',
    'everybody may do more in this database than the account is given',
    {
      detail: `${beyond.length} in all, e.g. ${first.action} ${first.schema}.${first.table}.${first.column ?? '*'}`,
      fix: 'revoke from PUBLIC what its own users can be granted by name',
    },
  )
}

const keyOf = ({ schema, table, column, action }: Reach): string =>
  JSON.stringify([schema, table, column, action])
