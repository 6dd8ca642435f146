import type { PostgresSystem, System } from '@sallyport/network'

/** What a session with a database was opened by, and its tables were compared with. */
export function connectionOf({ upstream, postgres }: System): string {
  const { database, user, secret, tables = [] }: Partial<PostgresSystem> = postgres ?? {}
  const shapes = tables.map(({ name, schema, table, columns }) => ({
    name,
    schema,
    table,
    columns,
  }))
  return JSON.stringify([upstream, database, user, secret, shapes])
}
