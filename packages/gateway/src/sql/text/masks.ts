import type { ColumnType, MaskStyle } from '@sallyport/network'

const HIDDEN = "'***'::pg_catalog.text"

/** Types whose text `last4` and `first1` are applied to. */
const TEXTUAL: ReadonlySet<ColumnType> = new Set([
  'text',
  'varchar',
  'uuid',
  'int2',
  'int4',
  'int8',
  'numeric',
])
const DATED: ReadonlySet<ColumnType> = new Set(['date', 'timestamp', 'timestamptz'])

/**
 * What stands in for a masked column: whatever a statement does with it, it does with the masked text. Never more than
 * `mask` of redact shows.
 *
 * @param column the column, quoted and qualified
 */
export function maskSql(column: string, type: ColumnType, style: MaskStyle): string {
  const text = `${column}::pg_catalog.text`
  if (style === 'last4' && TEXTUAL.has(type)) {
    const kept = `pg_catalog.regexp_replace(${text}, '[^[:alnum:]]', '', 'g')`
    return `(CASE WHEN pg_catalog.length(${kept}) OPERATOR(pg_catalog.>=) 8 THEN '***' OPERATOR(pg_catalog.||) pg_catalog.right(${kept}, 4) ELSE ${HIDDEN} END)`
  }
  if (style === 'first1' && TEXTUAL.has(type)) {
    const trimmed = `pg_catalog.btrim(${text})`
    return `(CASE WHEN pg_catalog.length(${trimmed}) OPERATOR(pg_catalog.>=) 2 THEN pg_catalog.left(${trimmed}, 1) OPERATOR(pg_catalog.||) '***' ELSE ${HIDDEN} END)`
  }
  if (style === 'year' && DATED.has(type)) {
    // In a zone of its own: by shifting the session's one could feel one's way to the moment.
    const local =
      type === 'timestamptz'
        ? `pg_catalog.timezone('UTC', ${column})`
        : `${column}::pg_catalog.timestamp`
    return `(CASE WHEN pg_catalog.isfinite(${column}) THEN pg_catalog.to_char(${local}, 'YYYY') ELSE ${HIDDEN} END)`
  }
  return HIDDEN
}

/** Types whose values have a token; a column of another type does not leave where a token is all that may. */
const TOKENISED: ReadonlySet<ColumnType> = new Set([
  'text',
  'varchar',
  'uuid',
  'int2',
  'int4',
  'int8',
  'numeric',
])

export const hasTokens = (type: ColumnType): boolean => TOKENISED.has(type)
