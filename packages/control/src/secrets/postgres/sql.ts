import { SallyportError } from '@sallyport/base'
import type pg from 'pg'

/**
 * Runs a statement into which the server itself has quoted the names and values: `%I` for identifiers, `%L` for literals
 * (PostgreSQL's `format`). No name is ever quoted here, so none can be quoted otherwise than the server reads it.
 *
 * @param template without any text of a caller's
 */
export async function statement(
  client: pg.ClientBase,
  template: string,
  ...values: readonly string[]
): Promise<void> {
  await client.query(await quoted(client, template, ...values))
}

/** The text of a statement, or of a part of one, with its names and values quoted by the server. */
export async function quoted(
  client: pg.ClientBase,
  template: string,
  ...values: readonly string[]
): Promise<string> {
  for (const value of values) {
    // A text that PostgreSQL cannot hold, and names that it would cut to another one's.
    if (value.includes('\0')) throw new SallyportError('SP_DATABASE_NAME', 'a name holds a NUL')
  }
  const { rows } = await client.query<{ text: string | null }>(
    'SELECT format($1, VARIADIC $2::text[]) AS text',
    [template, values],
  )
  const text = rows[0]?.text
  if (typeof text !== 'string' || text === '') {
    throw new SallyportError('SP_INTERNAL', 'the server quoted nothing')
  }
  return text
}

/** One transaction: all of it, or nothing. */
export async function atomically<T>(client: pg.ClientBase, act: () => Promise<T>): Promise<T> {
  await client.query('BEGIN')
  try {
    const result = await act()
    await client.query('COMMIT')
    return result
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined)
    throw error
  }
}
