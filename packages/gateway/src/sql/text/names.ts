import type { ColumnType } from '@sallyport/network'
import { noName, unsupported } from '../refuse.ts'

/** The alias of a declared table in what is sent; callers cannot use it. */
export const ROW = 'sp_row'

const MAX_IDENTIFIER = 63

/** A name as it is sent. @throws SqlRefusal for one that PostgreSQL would cut short, or that is the gateway's own */
export function quoteName(name: string): string {
  if (name === '' || Buffer.byteLength(name) > MAX_IDENTIFIER || name === ROW) {
    throw unsupported(`the name \`${name.slice(0, MAX_IDENTIFIER)}\``)
  }
  return `"${name.replaceAll('"', '""')}"`
}

/** Of the declaration: its identifiers are plain. */
export const declaredName = (name: string): string => `"${name}"`

/** A text as it is sent: the same whatever `standard_conforming_strings` says. */
export function quoteText(text: string): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll("'", "''")
  return escaped.includes('\\') ? `E'${escaped}'` : `'${escaped}'`
}

/** Types that values may be cast to. What reads the catalog (`regclass`) or has states of its own is not among them. */
const TYPES: ReadonlySet<string> = new Set([
  ...['bool', 'int2', 'int4', 'int8', 'text', 'varchar', 'numeric', 'float4', 'float8', 'uuid'],
  ...['date', 'time', 'timetz', 'timestamp', 'timestamptz', 'interval', 'json', 'jsonb', 'bytea'],
])

/** @param names as parsed @returns the type's name, schema-qualified */
export function typeName(names: readonly string[]): string {
  const name = names.at(-1) ?? ''
  const qualified = names.length === 1 || (names.length === 2 && names[0] === 'pg_catalog')
  if (!qualified || !TYPES.has(name)) throw noName('type', names.join('.'), '42704')
  return `pg_catalog.${declaredName(name)}`
}

export const columnType = (type: ColumnType): string => `pg_catalog.${declaredName(type)}`

const AGGREGATES: ReadonlySet<string> = new Set([
  ...['count', 'sum', 'avg', 'min', 'max', 'bool_and', 'bool_or', 'every', 'string_agg'],
  ...['array_agg', 'jsonb_agg', 'json_agg', 'stddev', 'stddev_pop', 'stddev_samp', 'variance'],
  ...['var_pop', 'var_samp'],
])
const WINDOWS: ReadonlySet<string> = new Set([
  ...['row_number', 'rank', 'dense_rank', 'percent_rank', 'cume_dist', 'ntile', 'lag', 'lead'],
  ...['first_value', 'last_value', 'nth_value'],
])

/** Functions of their arguments and the time alone, whose results are not much longer than what they are given. */
const PURE: ReadonlySet<string> = new Set([
  ...['lower', 'upper', 'initcap', 'length', 'char_length', 'character_length', 'octet_length'],
  ...['substring', 'substr', 'left', 'right', 'btrim', 'ltrim', 'rtrim', 'position', 'strpos'],
  ...['replace', 'translate', 'split_part', 'concat', 'concat_ws', 'reverse', 'starts_with'],
  ...['overlay', 'ascii', 'like_escape', 'md5', 'sha256', 'encode', 'decode'],
  ...['abs', 'ceil', 'ceiling', 'floor', 'round', 'trunc', 'mod', 'div', 'power', 'sqrt', 'cbrt'],
  ...['sign', 'ln', 'log', 'exp', 'width_bucket'],
  ...['to_char', 'to_date', 'to_number', 'to_timestamp', 'date_trunc', 'date_part', 'extract'],
  ...[
    'age',
    'make_date',
    'make_timestamp',
    'make_interval',
    'timezone',
    'isfinite',
    'justify_days',
  ],
  ...['now', 'statement_timestamp', 'transaction_timestamp', 'clock_timestamp', 'date'],
  ...['cardinality', 'array_length', 'array_position', 'array_to_string', 'string_to_array'],
  ...['jsonb_array_length', 'json_array_length', 'jsonb_typeof', 'jsonb_extract_path'],
  ...['jsonb_extract_path_text', 'jsonb_build_object', 'jsonb_build_array', 'to_jsonb'],
  ...['version', 'current_schema', 'gen_random_uuid'],
])

export type FunctionKind = 'aggregate' | 'window' | 'pure'

/**
 * @returns the function as it is sent, schema-qualified, so that no function of the same name stands in for it
 * @throws SqlRefusal for every function that is not on the lists
 */
export function functionName(names: readonly string[]): {
  readonly sql: string
  readonly kind: FunctionKind
} {
  const name = names.at(-1) ?? ''
  const qualified = names.length === 1 || (names.length === 2 && names[0] === 'pg_catalog')
  const kind: FunctionKind | undefined = !qualified
    ? undefined
    : AGGREGATES.has(name)
      ? 'aggregate'
      : WINDOWS.has(name)
        ? 'window'
        : PURE.has(name)
          ? 'pure'
          : undefined
  if (kind === undefined) throw noName('function', names.join('.'), '42883')
  return { sql: `pg_catalog.${declaredName(name)}`, kind }
}

const OPERATORS: ReadonlySet<string> = new Set([
  ...['=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '/', '%', '||'],
  ...['->', '->>', '#>', '#>>', '@>', '<@', '?', '?|', '?&', '&&'],
])

/** An operator as it is sent. @throws SqlRefusal for one that is not on the list */
export function operatorName(names: readonly string[]): string {
  const name = names.at(-1) ?? ''
  const qualified = names.length === 1 || (names.length === 2 && names[0] === 'pg_catalog')
  if (!qualified || !OPERATORS.has(name)) throw noName('operator', names.join('.'), '42883')
  return `OPERATOR(pg_catalog.${name})`
}
