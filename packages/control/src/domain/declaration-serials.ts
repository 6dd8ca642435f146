import { SallyportError } from '@sallyport/base'
import { sql } from 'kysely'
import type { Tx } from '../store/store.ts'

/**
 * The serial that a draft has to be signed with: the one that it was given, unless a later draft came into force since. Signatures
 * under an earlier one are void: whoever gave them compared the draft with what was in force then.
 *
 * @returns undefined where it has none yet, or none that still counts
 */
export async function serialOf(tx: Tx, digest: string): Promise<number | undefined> {
  const { rows } = await sql<{ serial: number | null }>`SELECT max(serial) AS serial
    FROM declaration_serials WHERE digest = ${digest}
     AND serial > (SELECT declaration_serial FROM bundle_head)`.execute(tx)
  return rows[0]?.serial ?? undefined
}

/**
 * Gives a draft its serial, higher than any given before: here, or, as far as gateways have shown, before this database was restored.
 * Two that ask at once take turns.
 */
export async function drawSerial(tx: Tx, digest: string, now: number): Promise<number> {
  await sql`SELECT FROM bundle_head FOR UPDATE`.execute(tx)
  const given = await serialOf(tx, digest)
  if (given !== undefined) return given
  const { rows } = await sql<{
    serial: number
  }>`INSERT INTO declaration_serials (serial, digest, at)
    SELECT 1 + greatest(
        (SELECT max(serial) FROM declaration_serials),
        (SELECT declaration_serial FROM bundle_head),
        (SELECT declaration_serial FROM later_bundle)), ${digest}, ${now}
    RETURNING serial`.execute(tx)
  const [row] = rows
  if (!row) throw new SallyportError('SP_INTERNAL', 'no serial was given')
  return row.serial
}

/** What is signed may not come into force any more: something later has. */
export function overtaken(): SallyportError {
  return new SallyportError(
    'SP_DECLARATION_SERIAL',
    'a later declaration came into force since this one was drawn up',
    { fix: 'read its difference against what is in force now, and sign it anew' },
  )
}
